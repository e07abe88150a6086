//! Tar archives from outside, as values: ADD's local archives, and contexts that come as a tar stream.
//!
//! Nothing is unpacked under the names that an archive gives. All bytes go one after the other into a single
//! spool file that the caller opened, and the names become [`ImagePath`]s, which cannot leave their root.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::blob::sniff_decoder;
use crate::tar::{Header, MemberKind, Reader, TarError, is_tar};
use crate::tree::{ChangeSet, Content, ContentHash, ContentSource, Entry, ImagePath, Kind, Tree};

/// An entry of an archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveEntry {
    /// Relative to where the archive is laid out. The root for `./`.
    pub(crate) path: ImagePath,
    /// What it is. The target of a hard link is relative like `path`.
    pub(crate) entry: Entry,
    /// The bytes of a regular file.
    pub(crate) content: Option<Content>,
    /// Their hash.
    pub(crate) hash: Option<ContentHash>,
}

/// An archive that cannot be read, or must not be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// Writing the spool file, or reading a member.
    #[error("read archive: {0}")]
    Io(#[from] io::Error),
    /// It is malformed.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A name that leads out of the archive's root, or is no name.
    #[error("archive entry {name:?} leads out of the directory it is extracted to")]
    Escape {
        /// As in the archive; bytes that are not UTF-8 are replaced.
        name: String,
    },
    /// A link to nowhere in particular.
    #[error("archive entry {name:?} is a link without a target")]
    NoTarget {
        /// As in the archive.
        name: String,
    },
    /// The root as something other than a directory.
    #[error("archive entry {name:?} makes the root something other than a directory")]
    Root {
        /// As in the archive.
        name: String,
    },
    /// More entries than any honest archive has.
    #[error("the archive has more than {ENTRY_LIMIT} entries")]
    TooManyEntries,
}

/// Each entry takes a few hundred bytes of memory; whole distributions have under 500,000 files.
const ENTRY_LIMIT: usize = 2_000_000;

/// What is read into memory at a time.
const BLOCK: usize = 128 << 10;

/// The tar stream in a file, without its compression; `None` when the file is no archive. The content decides,
/// not the name: an archive is what begins with a header, so one without any entry is a file like any other.
pub(crate) fn open_archive(file: &Content) -> io::Result<Option<Box<dyn Read + Send>>> {
    let mut first = Vec::with_capacity(HEADER);
    // What only looks compressed is a file too.
    let readable = sniff_decoder(file.open()?)
        .and_then(|(_, stream)| stream.take(HEADER as u64).read_to_end(&mut first))
        .is_ok();
    if !readable || !is_tar(&first) {
        return Ok(None);
    }
    let (_, stream) = sniff_decoder(file.open()?)?;
    Ok(Some(stream))
}

/// Size of a tar header, in bytes.
const HEADER: usize = 512;

/// Read a tar stream to its end. File contents go to `spool`, an empty file that is open for reading and
/// writing; it is read from as long as the entries' contents live, whether it still has a name or not.
pub(crate) fn read_archive(tar: impl Read, spool: File) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let source = Arc::new(Spool { file: spool, lengths: std::sync::OnceLock::new() });
    let mut writer = BufWriter::with_capacity(BLOCK, source.file.try_clone()?);
    let mut lengths: Vec<(u64, u64)> = Vec::new();
    let mut offset = 0;
    let mut block = vec![0; BLOCK];
    let mut entries = Vec::new();
    let mut reader = Reader::new(tar);
    while let Some(header) = reader.next()? {
        if entries.len() >= ENTRY_LIMIT {
            return Err(ArchiveError::TooManyEntries);
        }
        let (path, entry) = describe(header)?;
        let mut described = ArchiveEntry { path, entry, content: None, hash: None };
        if described.entry.is_file() {
            let mut hasher = blake3::Hasher::new();
            let start = offset;
            loop {
                let count = match reader.read(&mut block) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                hasher.update(&block[..count]);
                writer.write_all(&block[..count])?;
                offset += count as u64;
            }
            described.hash = Some(ContentHash(*hasher.finalize().as_bytes()));
            // The spool knows a file by its number.
            let number = ImagePath::clamped(lengths.len().to_string());
            described.content = Some(Content::new(Arc::clone(&source) as Arc<dyn ContentSource>, number));
            lengths.push((start, offset - start));
        }
        entries.push(described);
    }
    writer.flush()?;
    // Checksums of a compression stand at its end.
    reader.drain()?;
    // Set once, here.
    let _ = source.lengths.set(lengths);
    Ok(entries)
}

/// An archive as a context: what it unpacks to, owned by root.
pub(crate) fn archive_tree(entries: Vec<ArchiveEntry>) -> Tree {
    let mut changes = ChangeSet::default();
    for ArchiveEntry { path, mut entry, content, hash } in entries {
        if path.is_root() {
            continue;
        }
        (entry.metadata.uid, entry.metadata.gid) = (0, 0);
        match content {
            Some(content) => changes.put_file(path, entry, content, hash),
            None => changes.put(path, entry),
        }
    }
    let mut tree = Tree::default();
    tree.apply(&changes);
    tree
}

/// Path and entry of a member.
fn describe(header: Header) -> Result<(ImagePath, Entry), ArchiveError> {
    let Header { name, kind, mut metadata } = header;
    let shown = || String::from_utf8_lossy(&name).into_owned();
    let inside = |bytes: &[u8]| {
        ImagePath::strict(bytes)
            .ok_or_else(|| ArchiveError::Escape { name: String::from_utf8_lossy(bytes).into_owned() })
    };
    let path = inside(&name)?;
    let kind = match kind {
        MemberKind::File { size } => Kind::File { size },
        MemberKind::Directory => Kind::Directory,
        MemberKind::Symlink { target } | MemberKind::Hardlink { target } if target.is_empty() => {
            return Err(ArchiveError::NoTarget { name: shown() });
        }
        MemberKind::Symlink { target } => Kind::Symlink { target },
        MemberKind::Hardlink { target } => Kind::Hardlink { target: inside(&target)? },
        MemberKind::Device { block, major, minor } => Kind::Device { block, major, minor },
        MemberKind::Fifo => Kind::Fifo,
    };
    if path.is_root() && kind != Kind::Directory {
        return Err(ArchiveError::Root { name: shown() });
    }
    metadata.xattrs.retain(|name, _| is_kept(name));
    Ok((path, Entry { kind, metadata }))
}

/// Attributes that mean something to whoever mounts layers are not an archive's to set.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// The contents of an archive's files, one after the other.
struct Spool {
    file: File,
    /// Offset and length by number.
    lengths: std::sync::OnceLock<Vec<(u64, u64)>>,
}

impl ContentSource for Spool {
    fn open(&self, path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        let number: Option<usize> =
            std::str::from_utf8(path.as_bytes()).ok().and_then(|text| text.parse().ok());
        let place = number.and_then(|number| self.lengths.get()?.get(number));
        let (offset, length) = *place.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Slice { file: self.file.try_clone()?, offset, left: length }))
    }
}

struct Slice {
    file: File,
    offset: u64,
    left: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        // Several readers share the file's position, so it is not used.
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 && most != 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the spool file was cut short"));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
