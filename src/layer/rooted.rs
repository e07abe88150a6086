//! File operations below one directory, by file descriptors.
//!
//! A path is opened component by component and a symbolic link is never followed, so nothing that an archive
//! or a command put there, or swaps while we look, can lead out. Names that are handed to the kernel are
//! single components. Where the kernel can walk a whole path by the same rule (`openat2`), it does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::tree::{ContentSource, ImagePath};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that nothing leaves.
#[derive(Debug)]
pub(crate) struct Rooted {
    root: OwnedFd,
}

impl Rooted {
    /// The directory at `path`, which itself may be reached through links.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// The directory `path` below the root.
    pub(crate) fn directory(&self, path: &ImagePath) -> io::Result<OwnedFd> {
        match self.at_once(path) {
            // Not there before Linux 5.6 (ENOSYS), not let through by some sandboxes (EPERM), undecided while
            // something else renames (EAGAIN), too long for one call: then step by step.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG) => self.step_by_step(path),
            other => Ok(other?),
        }
    }

    /// The kernel's own walk, with the same rule.
    fn at_once(&self, path: &ImagePath) -> Result<OwnedFd, Errno> {
        let path = if path.is_root() { &b"."[..] } else { path.as_bytes() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), resolve)
    }

    fn step_by_step(&self, path: &ImagePath) -> io::Result<OwnedFd> {
        let mut directory = openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        for component in path.components() {
            directory = openat(&directory, component, DIRECTORY, Mode::empty())?;
        }
        Ok(directory)
    }

    /// The directory `path` below the root, made where it is missing; `made` is told what was made, and
    /// whether in the place of a whiteout.
    pub(crate) fn make_directory(
        &self,
        path: &ImagePath,
        made: &mut dyn FnMut(&ImagePath, bool),
    ) -> io::Result<OwnedFd> {
        if let Ok(directory) = self.at_once(path) {
            return Ok(directory);
        }
        let mut directory = openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        let mut here = ImagePath::root();
        for component in path.components() {
            here = here.child(component);
            directory = match openat(&directory, component, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    make_directory_at(&directory, component)?;
                    made(&here, false);
                    openat(&directory, component, DIRECTORY, Mode::empty())?
                }
                Err(Errno::NOTDIR | Errno::LOOP) if is_whiteout_at(&directory, component)? => {
                    unlinkat(&directory, component, AtFlags::empty())?;
                    make_directory_at(&directory, component)?;
                    made(&here, true);
                    openat(&directory, component, DIRECTORY, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok(directory)
    }

    /// What is at `path`; `None` when there is nothing.
    pub(crate) fn stat(&self, path: &ImagePath) -> io::Result<Option<Stat>> {
        match self.directory(&path.parent().unwrap_or_default()) {
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
            Ok(parent) => stat_at(&parent, path.name()),
        }
    }
}

/// Files are opened in place; whatever is not a regular file is refused without waiting for it.
impl ContentSource for Rooted {
    fn open(&self, path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        let parent = self.directory(&path.parent().unwrap_or_default())?;
        Ok(Box::new(open_file_at(&parent, path.name())?))
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Open the regular file `name` for reading.
pub(crate) fn open_file_at(directory: impl AsFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Open the directory `name`, which is not a link.
pub(crate) fn open_directory_at(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, DIRECTORY, Mode::empty())?)
}

/// A new directory that only we can enter until its metadata is set.
pub(crate) fn make_directory_at(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(mkdirat(directory, name, Mode::RWXU)?)
}

/// What `name` is, itself.
pub(crate) fn stat_at(directory: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Whether a status is that of an overlay's whiteout: the character device 0:0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_whiteout_at(directory: impl AsFd, name: &[u8]) -> io::Result<bool> {
    Ok(stat_at(directory, name)?.is_some_and(|stat| is_whiteout(&stat)))
}

/// Remove `name` and all below it, never through a link. Nothing there is fine.
pub(crate) fn remove_at(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux answers EISDIR, POSIX says EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Depth first with a stack of our own: an archive chooses the depth.
    let mut stack = vec![(name.to_vec(), open_directory_at(&directory, name)?)];
    while let Some((own, open)) = stack.last() {
        let mut deeper = None;
        for (child, _) in list(open)? {
            match unlinkat(open, child.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    match unlinkat(open, child.as_slice(), AtFlags::REMOVEDIR) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(Errno::NOTEMPTY | Errno::EXIST) => {
                            deeper = Some((open_directory_at(open, &child)?, child));
                            break;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some((fd, child)) = deeper {
            stack.push((child, fd));
            continue;
        }
        let own = own.clone();
        stack.pop();
        match stack.last() {
            Some((_, above)) => unlinkat(above, own.as_slice(), AtFlags::REMOVEDIR)?,
            None => unlinkat(&directory, own.as_slice(), AtFlags::REMOVEDIR)?,
        }
    }
    Ok(())
}

/// The names in a directory, with their inode numbers, without `.` and `..`.
pub(crate) fn list(directory: impl AsFd) -> io::Result<Vec<(Vec<u8>, u64)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.ino()));
        }
    }
    Ok(names)
}

/// Where the kernel gives the file behind a descriptor by name. It is the way to the attributes of what can
/// not be opened for reading (links, devices).
fn magic(fd: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Set the mode of `name`, itself. Links have none.
pub(crate) fn set_mode_at(directory: impl AsFd, name: &[u8], mode: Mode) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
        return Ok(());
    }
    Ok(rustix::fs::chmod(magic(&fd), mode)?)
}

/// The extended attributes of `name`, itself. File systems without attributes have none.
pub(crate) fn attributes_at(directory: impl AsFd, name: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
        // The magic link would be followed; what links carry (security labels) is no part of an image.
        return Ok(BTreeMap::new());
    }
    let path = magic(&fd);
    let read = |get: &dyn Fn(&mut Vec<u8>) -> Result<usize, Errno>| {
        let mut buffer = vec![0; 4096];
        loop {
            match get(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                // No attribute or list of them is larger than 64 KiB on Linux.
                Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
                Err(error) => return Err(error),
            }
        }
    };
    let names = match read(&|buffer| rustix::fs::listxattr(&path, buffer.as_mut_slice())) {
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut attributes = BTreeMap::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        match read(&|buffer| rustix::fs::getxattr(&path, name, buffer.as_mut_slice())) {
            // Removed since, or not for us to see.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            value => {
                attributes.insert(name.to_vec(), value?);
            }
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_walks_answer_alike_and_neither_follows_a_link() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        std::fs::write(place.path().join("a/file"), "").unwrap();
        std::os::unix::fs::symlink("b", place.path().join("a/link")).unwrap();
        std::os::unix::fs::symlink("/", place.path().join("a/out")).unwrap();
        let root = Rooted::open(place.path()).unwrap();
        for (path, is_there) in [
            ("", true),
            ("a", true),
            ("a/b", true),
            ("a/link", false),
            ("a/out/etc", false),
            ("a/file", false),
            ("a/none", false),
        ] {
            let path = ImagePath::clamped(path);
            assert_eq!(root.directory(&path).is_ok(), is_there, "{path}");
            assert_eq!(root.step_by_step(&path).is_ok(), is_there, "{path}");
        }
    }
}
