//! The bytes of a context's files, with an eye on whether they are still those that were found.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::Statx;

use super::root::Root;
use crate::tree::{ContentSource, ImagePath};

/// What shows that a file is another one, or was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    pub(super) fn of(stat: &Statx) -> Self {
        let (seconds, nanoseconds) = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        Self { inode: stat.stx_ino, size: stat.stx_size, seconds, nanoseconds }
    }

    fn of_file(metadata: &Metadata) -> Self {
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
        Self { inode: metadata.ino(), size: metadata.size(), seconds: metadata.mtime(), nanoseconds }
    }
}

/// The files of a context as they were found.
pub(super) struct Files {
    root: Arc<Root>,
    /// In order of the paths.
    stamps: Vec<(ImagePath, Stamp)>,
}

impl Files {
    /// `stamps` is in order.
    pub(super) fn new(root: Arc<Root>, stamps: Vec<(ImagePath, Stamp)>) -> Self {
        Self { root, stamps }
    }
}

impl ContentSource for Files {
    fn open(&self, path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        let place = self.stamps.binary_search_by(|(stamped, _)| stamped.cmp(path));
        let (_, stamp) =
            place.ok().and_then(|place| self.stamps.get(place)).ok_or(io::ErrorKind::NotFound)?;
        let (file, metadata) = self.root.open_file(path)?;
        let open = Unchanged { file, path: path.clone(), stamp: *stamp, left: stamp.size };
        open.check(&metadata)?;
        Ok(Box::new(open))
    }
}

/// A file that gives as many bytes as it had when it was found, or an error.
struct Unchanged {
    file: File,
    path: ImagePath,
    stamp: Stamp,
    left: u64,
}

impl Unchanged {
    fn check(&self, metadata: &Metadata) -> io::Result<()> {
        if Stamp::of_file(metadata) == self.stamp {
            return Ok(());
        }
        Err(io::Error::other(format!("{} changed while the context was read: build again", self.path)))
    }
}

impl Read for Unchanged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..most])?;
        self.left -= count as u64;
        if self.left == 0 || count == 0 {
            // Looked at once more after the last byte: what was written meanwhile would be a mixture.
            self.check(&self.file.metadata()?)?;
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}
