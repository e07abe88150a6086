//! A directory of the host that is opened once and never left.
//!
//! Every path below it is opened relative to its descriptor and without following a single link, so nothing
//! that happens to the directory meanwhile can lead out of it. Links are followed by reading them and walking
//! on from the root, as a process in a chroot would.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::walk::ContextError;
use crate::tree::ImagePath;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// What is asked of each path.
const STATX: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME);

/// As many as Linux follows in one path.
const LINK_LIMIT: usize = 40;

impl Root {
    /// Open `path`. Links in it are the user's and are followed.
    pub(crate) fn open(path: &Path) -> Result<Self, ContextError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| ContextError::Open { path: path.to_owned(), source: error.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The bytes of the regular file that `path` leads to, links followed inside the directory; `None` when
    /// there is none. Refuses more than `limit` bytes and anything that is no regular file.
    pub(crate) fn read(&self, path: &ImagePath, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        let error = |source: io::Error| self.error(path, source);
        let Some(real) = self.follow(path).map_err(|errno| error(errno.into()))? else { return Ok(None) };
        let file = match self.open_file(&real) {
            Ok((file, _)) => file,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(other) => return Err(error(other)),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(error)?;
        if bytes.len() as u64 > limit {
            let problem = format!("it is larger than {limit} bytes");
            return Err(error(io::Error::new(io::ErrorKind::FileTooLarge, problem)));
        }
        Ok(Some(bytes))
    }

    /// Where `path` leads once links are followed inside the directory; `None` when it does not exist.
    fn follow(&self, path: &ImagePath) -> Result<Option<ImagePath>, Errno> {
        let mut links = 0;
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut done = ImagePath::root();
        while let Some(component) = todo.pop() {
            let next = match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    done = done.parent().unwrap_or_default();
                    continue;
                }
                name => done.child(name),
            };
            match self.stat(&next) {
                Ok(stat) if is_link(&stat) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Errno::LOOP);
                    }
                    let target = self.read_link(&next)?;
                    if target.first() == Some(&b'/') {
                        done = ImagePath::root();
                    }
                    todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                Ok(_) => done = next,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(done))
    }

    /// What is at `path`, which has no links in it.
    pub(super) fn stat(&self, path: &ImagePath) -> Result<Statx, Errno> {
        match path.parent() {
            None => statx_at(&self.fd, b"."),
            Some(parent) => statx_at(&self.open_directory(&parent)?, path.name()),
        }
    }

    /// The target of the link at `path`.
    pub(super) fn read_link(&self, path: &ImagePath) -> Result<Vec<u8>, Errno> {
        let parent = self.open_directory(&path.parent().unwrap_or_default())?;
        read_link_at(&parent, path.name())
    }

    /// Open the directory at `path`, which has no links in it.
    pub(super) fn open_directory(&self, path: &ImagePath) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Open the regular file at `path`, which has no links in it. Never waits, whatever is there.
    pub(super) fn open_file(&self, path: &ImagePath) -> io::Result<(File, Metadata)> {
        let file = File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok((file, metadata))
    }

    fn open_at(&self, path: &ImagePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if path.is_root() {
            return rustix::fs::openat(&self.fd, c".", flags, Mode::empty());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, path.as_path(), flags, Mode::empty(), resolve) {
            // Kernels before 5.6, sandboxes that do not know the call, and very deep paths.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => self.open_by_component(path, flags),
            result => result,
        }
    }

    fn open_by_component(&self, path: &ImagePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory: Option<OwnedFd> = None;
        let parent = path.parent().unwrap_or_default();
        for component in parent.components() {
            let from = directory.as_ref().unwrap_or(&self.fd);
            directory = Some(rustix::fs::openat(from, component, step, Mode::empty())?);
        }
        rustix::fs::openat(directory.as_ref().unwrap_or(&self.fd), path.name(), flags, Mode::empty())
    }

    /// An error about `path` of this directory.
    pub(super) fn error(&self, path: &ImagePath, source: impl Into<io::Error>) -> ContextError {
        ContextError::Read { path: self.path.join(path.as_path()), source: source.into() }
    }
}

/// What the entry `name` of an open directory is, not following it.
pub(super) fn statx_at(directory: impl AsFd, name: &[u8]) -> Result<Statx, Errno> {
    rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, STATX)
}

/// The target of the link `name` of an open directory.
pub(super) fn read_link_at(directory: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    rustix::fs::readlinkat(directory, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// Whether this is a symbolic link.
pub(super) fn is_link(stat: &Statx) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_symlink()
}
