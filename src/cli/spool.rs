//! Standard input, kept where it can be read more than once.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes in a file that has no name: it is gone with this process, however the process ends.
#[derive(Debug)]
pub(crate) struct Spool(File);

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// A tar.
    Plain,
    /// A gzip stream.
    Gzip,
    /// A bzip2 stream.
    Bzip2,
    /// An xz stream.
    Xz,
    /// A zstd stream.
    Zstd,
}

/// Size of a tar's header, which is all that is needed to know a stream.
const HEAD: usize = 512;

impl Spool {
    /// Keeps all that `from` gives in a file in `dir`.
    pub(crate) fn of(from: &mut dyn Read, dir: &Path) -> io::Result<Spool> {
        let mut file = tempfile::tempfile_in(dir)?;
        io::copy(from, &mut file)?;
        file.flush()?;
        Ok(Spool(file))
    }

    /// A path by which this process can open it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// A reader from its beginning. Readers share one position: use one at a time.
    pub(crate) fn reader(&self) -> io::Result<&File> {
        (&self.0).rewind()?;
        Ok(&self.0)
    }

    /// What kind of archive it is; `None` when it is none.
    pub(crate) fn packing(&self) -> io::Result<Option<Packing>> {
        let mut head = Vec::with_capacity(HEAD);
        self.reader()?.take(HEAD as u64).read_to_end(&mut head)?;
        Ok(packing(&head))
    }
}

/// What the first 512 bytes of a stream say that it is.
fn packing(head: &[u8]) -> Option<Packing> {
    match head {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Packing::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
        _ if is_tar_header(head) => Some(Packing::Plain),
        _ => None,
    }
}

/// Whether a block is a tar's first: its checksum fits, or it is the zero block of an empty archive. Old archives have
/// no magic bytes, so these are not asked for.
fn is_tar_header(head: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    if head.len() < HEAD {
        return false;
    }
    if head.iter().all(|byte| *byte == 0) {
        return true;
    }
    let stated = String::from_utf8_lossy(&head[CHECKSUM]).into_owned();
    let stated = u32::from_str_radix(stated.trim_matches([' ', '\0']), 8);
    // The checksum counts its own field as blanks.
    let counted: u32 = head
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { *byte }))
        .sum();
    stated == Ok(counted)
}

/// The file `name` of an archive; `None` when it has none. At most `limit` bytes and one more are read of it.
pub(crate) fn file_of_archive(
    spool: &Spool,
    packing: Packing,
    name: &Path,
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let file = io::BufReader::with_capacity(1 << 16, spool.reader()?);
    let plain: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        Packing::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
    };
    let mut archive = tar::Archive::new(plain);
    let mut found = None;
    // To the end: a later entry of the same name replaces an earlier one, as it would when unpacked.
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !same_path(&entry.path()?, name) {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err(io::Error::other(format!("`{}` is not a regular file", name.display())));
        }
        let mut bytes = Vec::new();
        (&mut entry).take(limit + 1).read_to_end(&mut bytes)?;
        found = Some(bytes);
    }
    Ok(found)
}

/// Whether two paths in an archive name the same entry: `./Dockerfile` is `Dockerfile`.
fn same_path(a: &Path, b: &Path) -> bool {
    use std::path::Component::{CurDir, RootDir};
    let names = |path: &Path| -> Vec<_> {
        path.components()
            .filter(|part| !matches!(part, CurDir | RootDir))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    names(a) == names(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn spooled(bytes: &[u8]) -> Spool {
        Spool::of(&mut &bytes[..], &std::env::temp_dir()).unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let tar = archive(&[("a", "x")]);
        assert_eq!(packing(&tar[..512]), Some(Packing::Plain));
        assert_eq!(packing(&[0; 512]), Some(Packing::Plain));
        assert_eq!(packing(&gzip(&tar)), Some(Packing::Gzip));
        assert_eq!(packing(b"BZh91AY"), Some(Packing::Bzip2));
        assert_eq!(packing(b"FROM scratch\n"), None);
        assert_eq!(packing(&[b'#'; 512]), None);
        assert_eq!(packing(b""), None);
    }

    #[test]
    fn a_spool_can_be_opened_by_its_path_again_and_again() {
        let spool = spooled(b"text");
        for _ in 0..2 {
            assert_eq!(std::fs::read(spool.path()).unwrap(), b"text");
        }
    }

    #[test]
    fn the_last_entry_of_a_name_counts() {
        let tar = archive(&[("./Dockerfile", "one"), ("b", "2"), ("Dockerfile", "three")]);
        for (bytes, packing) in [(tar.clone(), Packing::Plain), (gzip(&tar), Packing::Gzip)] {
            let spool = spooled(&bytes);
            assert_eq!(spool.packing().unwrap(), Some(packing));
            let file = |name: &str| file_of_archive(&spool, packing, Path::new(name), 100).unwrap();
            assert_eq!(file("Dockerfile").as_deref(), Some(&b"three"[..]));
            assert_eq!(file("Containerfile"), None);
        }
    }
}
