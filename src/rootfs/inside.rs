//! Looking at paths inside a root, as the image means them.
//!
//! `openat2(2)` with `RESOLVE_IN_ROOT` makes the kernel treat the root as `/` for absolute links and `..`;
//! magic links of /proc are refused. A path of which the end does not exist yet is resolved here, link by
//! link, to the [`Place`] where it would come to be.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use rustix::io::Errno;

/// A root that is looked into by descriptor.
#[derive(Debug)]
pub(crate) struct Inside {
    root: OwnedFd,
}

/// Where a path leads inside a root after all links were followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The names from the root down; none is a link or `..`.
    pub(crate) names: Vec<Vec<u8>>,
    /// How many of the names exist.
    pub(crate) existing: usize,
}

impl Place {
    /// Whether all of it exists.
    pub(crate) fn exists(&self) -> bool {
        self.existing == self.names.len()
    }

    /// The first `count` names as a path relative to the root; `.` for none.
    pub(crate) fn path(&self, count: usize) -> Vec<u8> {
        match self.names.get(..count) {
            Some([]) | None => b".".to_vec(),
            Some(names) => names.join(&b'/'),
        }
    }
}

/// Links that are followed in one path, as in the kernel.
const LINK_LIMIT: usize = 40;

impl Inside {
    /// Look into `root`, a directory.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// The root itself.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Open what `path` leads to. Never waits for a FIFO, never creates.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        // openat2 refuses flags that mean nothing, as NOCTTY for a handle.
        let terminal = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
        let flags = flags | OFlags::CLOEXEC | terminal;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // A rename or mount somewhere on the machine came between; the kernel asks to try again.
                Err(Errno::AGAIN) if tries < 100 => tries += 1,
                answer => return answer,
            }
        }
    }

    /// A handle on what `path` leads to, for stat and mounts.
    pub(crate) fn handle(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.open(path, OFlags::PATH)
    }

    /// The bytes of a regular file; `None` when there is no such path. Another kind of file, or one longer
    /// than `limit`, is an error: an image could name a FIFO or something endless.
    pub(crate) fn read(&self, path: &[u8], limit: u64) -> rustix::io::Result<Option<Vec<u8>>> {
        let file = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&file)?;
        if is_whiteout(&stat) {
            return Ok(None);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        if u64::try_from(stat.st_size).map_or(true, |size| size > limit) {
            return Err(Errno::FBIG);
        }
        let mut bytes = Vec::new();
        let mut buffer = [0_u8; 16 << 10];
        loop {
            let read = rustix::io::read(&file, &mut buffer)?;
            if read == 0 {
                return Ok(Some(bytes));
            }
            bytes.extend_from_slice(&buffer[..read]);
            if bytes.len() as u64 > limit {
                return Err(Errno::FBIG);
            }
        }
    }

    /// Where `path` leads, its missing end included.
    pub(crate) fn place(&self, path: &[u8]) -> rustix::io::Result<Place> {
        let mut todo: VecDeque<Vec<u8>> = names(path).collect();
        let mut place = Place { names: Vec::new(), existing: 0 };
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                place.names.pop();
                place.existing = place.existing.min(place.names.len());
                continue;
            }
            if !place.exists() {
                place.names.push(name);
                continue;
            }
            let parent = self.handle(&place.path(place.existing))?;
            let found = match statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => None,
                Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(error),
            };
            match found {
                Some(FileType::Symlink) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&parent, name.as_slice(), Vec::new())?.into_bytes();
                    if target.starts_with(b"/") {
                        place = Place { names: Vec::new(), existing: 0 };
                    }
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(name);
                    }
                }
                Some(kind) => {
                    if kind != FileType::Directory && !todo.is_empty() {
                        return Err(Errno::NOTDIR);
                    }
                    place.names.push(name);
                    place.existing += 1;
                }
                None => place.names.push(name),
            }
        }
        Ok(place)
    }
}

/// Whether it stands for "deleted": a root that is one layer's directory can have such.
fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The names in a path; `..` stays, empty names and `.` go.
fn names(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn inside(directory: &std::path::Path) -> Inside {
        Inside::new(std::fs::File::open(directory).unwrap().into())
    }

    fn path(place: &Place) -> String {
        String::from_utf8(place.path(place.names.len())).unwrap()
    }

    #[test]
    fn links_stay_inside_the_root_and_missing_ends_are_placed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        symlink("/run/stub.conf", root.join("etc/resolv.conf")).unwrap();
        symlink("../../../../etc", root.join("up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        let inside = inside(&root);
        for (asked, found, existing) in [
            ("/etc/resolv.conf", "run/stub.conf", 0),
            ("/up/hosts", "etc/hosts", 1),
            ("/../../a/b/../c", "a/c", 0),
            ("/", ".", 0),
            ("/file", "file", 1),
        ] {
            let place = inside.place(asked.as_bytes()).unwrap();
            assert_eq!((path(&place).as_str(), place.existing), (found, existing), "{asked}");
        }
        assert_eq!(inside.place(b"/loop"), Err(Errno::LOOP));
        assert_eq!(inside.place(b"/file/x"), Err(Errno::NOTDIR));
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passwd"), "root").unwrap();
        symlink("/passwd", dir.path().join("link")).unwrap();
        symlink("/etc/hostname", dir.path().join("outside")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let inside = inside(dir.path());
        assert_eq!(inside.read(b"link", 100).unwrap().unwrap(), b"root");
        assert_eq!(inside.read(b"outside", 100).unwrap(), None);
        assert_eq!(inside.read(b"passwd", 3), Err(Errno::FBIG));
        assert_eq!(inside.read(b"fifo", 100), Err(Errno::INVAL));
    }
}
