//! Tar archives from outside, as values: ADD's local archives, and contexts that come as a tar stream.
//!
//! Nothing is unpacked under the names that an archive gives. All bytes go one after the other into a single
//! spool file that the caller opened, and the names become [`ImagePath`]s, which cannot leave their root.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::tree::{ChangeSet, Content, ContentHash, ContentSource, Entry, ImagePath, Kind, Metadata, Tree};

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
    /// Reading, decompressing, or writing the spool file.
    #[error("read archive: {0}")]
    Io(#[from] io::Error),
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
    /// A kind of entry that is no file.
    #[error("archive entry {name:?} has type {kind:?}, which is not supported")]
    Kind {
        /// As in the archive.
        name: String,
        /// The type flag.
        kind: char,
    },
    /// More entries than any honest archive has.
    #[error("the archive has more than {ENTRY_LIMIT} entries")]
    TooManyEntries,
}

/// Each entry takes a few hundred bytes of memory; whole distributions have under 500,000 files.
const ENTRY_LIMIT: usize = 2_000_000;

/// What is read into memory at a time.
const BLOCK: usize = 128 << 10;

/// Read a tar stream to its end. File contents go to `spool`, an empty file that is open for reading and
/// writing; it is read from as long as the entries' contents live, whether it still has a name or not.
pub(crate) fn read_archive(tar: impl Read, spool: File) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let source = Arc::new(Spool { file: spool, lengths: std::sync::OnceLock::new() });
    let mut writer = BufWriter::with_capacity(BLOCK, source.file.try_clone()?);
    let mut lengths: Vec<(u64, u64)> = Vec::new();
    let mut offset = 0;
    let mut block = vec![0; BLOCK];
    let mut entries = Vec::new();
    for member in tar::Archive::new(tar).entries()? {
        let mut member = member?;
        if entries.len() >= ENTRY_LIMIT {
            return Err(ArchiveError::TooManyEntries);
        }
        let Some((path, entry)) = describe(&mut member)? else { continue };
        let mut described = ArchiveEntry { path, entry, content: None, hash: None };
        if let Kind::File { size } = &mut described.entry.kind {
            let mut hasher = blake3::Hasher::new();
            let start = offset;
            loop {
                let count = match member.read(&mut block) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                hasher.update(&block[..count]);
                writer.write_all(&block[..count])?;
                offset += count as u64;
            }
            // A sparse member has more bytes than its header says.
            *size = offset - start;
            described.hash = Some(ContentHash(*hasher.finalize().as_bytes()));
            // The spool knows a file by its number.
            let number = ImagePath::clamped(lengths.len().to_string());
            described.content = Some(Content::new(Arc::clone(&source) as Arc<dyn ContentSource>, number));
            lengths.push((start, offset - start));
        }
        entries.push(described);
    }
    writer.flush()?;
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

/// Path and entry of a member; `None` for members that are not files (global headers).
fn describe<R: Read>(member: &mut tar::Entry<'_, R>) -> Result<Option<(ImagePath, Entry)>, ArchiveError> {
    use tar::EntryType;
    let name = member.path_bytes().into_owned();
    let shown = || String::from_utf8_lossy(&name).into_owned();
    let kind = member.header().entry_type();
    if matches!(
        kind,
        EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
    ) {
        return Ok(None);
    }
    let inside = |bytes: &[u8]| {
        let path = if bytes.contains(&0) { None } else { ImagePath::strict(bytes) };
        path.ok_or_else(|| ArchiveError::Escape { name: String::from_utf8_lossy(bytes).into_owned() })
    };
    let path = inside(&name)?;
    let link = member.link_name_bytes().map(std::borrow::Cow::into_owned).filter(|link| !link.is_empty());
    let link = || link.ok_or_else(|| ArchiveError::NoTarget { name: shown() });
    // `foo/` with the type of a file is how the oldest tars wrote a directory.
    let old_directory = matches!(kind, EntryType::Regular) && name.ends_with(b"/") && member.size() == 0;
    let kind = match kind {
        _ if old_directory => Kind::Directory,
        EntryType::Directory => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            Kind::File { size: member.size() }
        }
        EntryType::Symlink => Kind::Symlink { target: link()? },
        EntryType::Link => Kind::Hardlink { target: inside(&link()?)? },
        EntryType::Char | EntryType::Block => Kind::Device {
            block: kind == EntryType::Block,
            major: member.header().device_major()?.unwrap_or(0),
            minor: member.header().device_minor()?.unwrap_or(0),
        },
        EntryType::Fifo => Kind::Fifo,
        other => return Err(ArchiveError::Kind { name: shown(), kind: char::from(other.as_byte()) }),
    };
    if path.is_root() && kind != Kind::Directory {
        return Err(ArchiveError::Root { name: shown() });
    }
    let metadata = metadata(member)?;
    Ok(Some((path, Entry { kind, metadata })))
}

fn metadata<R: Read>(member: &mut tar::Entry<'_, R>) -> Result<Metadata, ArchiveError> {
    let header = member.header();
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner is larger than 32 bits"));
    let mut metadata = Metadata {
        mode: header.mode()? & 0o7777,
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
        mtime: i64::try_from(header.mtime()?).unwrap_or(0),
        xattrs: BTreeMap::new(),
    };
    if let Some(extensions) = member.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let value = extension.value_bytes();
            let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
            match extension.key_bytes() {
                b"uid" => metadata.uid = id(number().unwrap_or_default())?,
                b"gid" => metadata.gid = id(number().unwrap_or_default())?,
                b"mtime" => metadata.mtime = whole_seconds(value).unwrap_or(metadata.mtime),
                key => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| is_kept(name)) {
                        metadata.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
    }
    Ok(metadata)
}

/// Attributes that mean something to whoever mounts layers are not an archive's to set.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// `1700000000.25`, rounded down.
fn whole_seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    let down = seconds.starts_with('-') && fraction.bytes().any(|b| b != b'0');
    whole.checked_sub(i64::from(down))
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
