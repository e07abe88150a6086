//! A directory of the host as a tree, read only as far as some instruction selects it.
//!
//! Plain names of a source are looked up one by one, wildcards read the directories that they need, and only
//! directories that are selected as a whole are walked. What the ignore file leaves out is not in the tree, and
//! directories without anything left in them are not even read. Nothing is opened but directories: what files
//! contain is read later, through the tree's [`Content`]s, which notice when a file has changed since.
//!
//! Everything belongs to root, whoever owns it on the host. Of extended attributes only the file capabilities
//! of executables are taken (`security.capability`): the rest depends on the machine and how files got there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FileType, RawDir, Statx};
use rustix::io::Errno;

use super::content::{Files, Stamp};
use super::glob::Glob;
use super::ignore::{IgnoreFile, Verdict};
use super::pattern::{SourcePattern, spellings};
use super::root::{Root, read_link_at, statx_at};
use crate::tree::{Content, ContentSource, Entry, ImagePath, Kind, Metadata, Node, Tree};

/// A context that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// The directory itself.
    #[error("open context {}: {source}", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something in it.
    #[error("read {}: {source}", path.display())]
    Read {
        /// On the host.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What is known of a path before the tree is made.
struct Found {
    kind: Kind,
    mode: u32,
    mtime: i64,
    capability: Option<Vec<u8>>,
    /// Regular files only.
    stamp: Option<Stamp>,
    /// Device and inode of a file with several names.
    inode: Option<(u64, u64)>,
    /// Left out, but something below may be kept.
    excluded: bool,
}

/// The tree of what `patterns` select in `root`, without what `ignore` leaves out.
pub(crate) fn walk(
    root: &Arc<Root>,
    ignore: &IgnoreFile,
    patterns: &[&SourcePattern],
) -> Result<Tree, ContextError> {
    let mut walker = Walker {
        root,
        ignore,
        found: BTreeMap::new(),
        whole: BTreeSet::new(),
        missed: BTreeSet::new(),
        buffer: vec![MaybeUninit::uninit(); BUFFER],
    };
    for pattern in patterns {
        walker.take(pattern)?;
    }
    walker.add_neighbours();
    Ok(walker.tree())
}

/// Directory entries are read into this; a name needs at most 280 bytes of it.
const BUFFER: usize = 64 << 10;

/// A name in a directory, and what it is when the file system says so at once.
type Name = (Vec<u8>, FileType);

/// As many names are looked at for one that was meant.
const NEIGHBOURS: usize = 1_000;

impl Found {
    fn nothing(kind: Kind) -> Self {
        Self { kind, mode: 0, mtime: 0, capability: None, stamp: None, inode: None, excluded: false }
    }
}

struct Walker<'w> {
    root: &'w Arc<Root>,
    ignore: &'w IgnoreFile,
    found: BTreeMap<ImagePath, Found>,
    /// Directories of which everything was found.
    whole: BTreeSet<ImagePath>,
    /// Directories in which a plain name was not found.
    missed: BTreeSet<ImagePath>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Walker<'_> {
    fn take(&mut self, pattern: &SourcePattern) -> Result<(), ContextError> {
        let mut directory = ImagePath::root();
        for name in pattern.names() {
            let mut next = None;
            for name in spellings(name) {
                next = self.follow(&directory.child(name))?;
                if next.is_some() {
                    break;
                }
            }
            let Some(next) = next else {
                self.missed.insert(directory);
                return Ok(());
            };
            directory = next;
        }
        let mut matches = Vec::new();
        if pattern.globs().is_empty() {
            matches.push(directory);
        } else {
            self.expand(&directory, pattern.globs(), &mut matches)?;
        }
        for path in matches {
            if let Some(path) = self.follow(&path)? {
                let is_directory = self.found.get(&path).is_none_or(|found| found.kind == Kind::Directory);
                if is_directory {
                    self.walk(&path, pattern.below())?;
                }
            }
        }
        Ok(())
    }

    /// Where `path` leads, links followed inside the root; `None` when there is nothing, or nothing that is
    /// not left out. All that was looked at is found.
    fn follow(&mut self, path: &ImagePath) -> Result<Option<ImagePath>, ContextError> {
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
            match self.look(&next)? {
                None => return Ok(None),
                Some(Kind::Symlink { target }) => {
                    links += 1;
                    // The tree is incomplete then, and whoever selects from it finds the circle again.
                    if links > 40 {
                        return Ok(None);
                    }
                    if target.first() == Some(&b'/') {
                        done = ImagePath::root();
                    }
                    todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                Some(_) => done = next,
            }
        }
        Ok(Some(done))
    }

    /// What is at `path`, whose parent is a directory without links or does not exist.
    fn look(&mut self, path: &ImagePath) -> Result<Option<Kind>, ContextError> {
        if let Some(found) = self.found.get(path) {
            return Ok(Some(found.kind.clone()));
        }
        let parent = path.parent().unwrap_or_default();
        let open = self.root.open_directory(&parent);
        let stat = open.and_then(|directory| statx_at(&directory, path.name()).map(|stat| (directory, stat)));
        let (directory, stat) = match stat {
            Ok(both) => both,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(self.root.error(path, errno)),
        };
        let excluded = self.ignore.excluded(path);
        let is_directory = FileType::from_raw_mode(stat.stx_mode.into()).is_dir();
        if excluded && !(is_directory && self.ignore.may_contain_reincluded(path)) {
            return Ok(None);
        }
        let found = self.find(&directory, path, &stat, excluded)?;
        let kind = found.as_ref().map(|found| found.kind.clone());
        if let Some(found) = found {
            self.found.insert(path.clone(), found);
        }
        Ok(kind)
    }

    /// The paths that `globs` match below `directory`. Links on the way are not followed.
    fn expand(
        &mut self,
        directory: &ImagePath,
        globs: &[Glob],
        matches: &mut Vec<ImagePath>,
    ) -> Result<(), ContextError> {
        let Some((glob, rest)) = globs.split_first() else { return Ok(()) };
        for (name, hint) in self.names(directory)? {
            let leads_on = rest.is_empty() || matches!(hint, FileType::Directory | FileType::Unknown);
            if !leads_on || !glob.matches(&name) {
                continue;
            }
            let path = directory.child(&name);
            match self.look(&path)? {
                None => {}
                Some(_) if rest.is_empty() => matches.push(path),
                Some(Kind::Directory) => self.expand(&path, rest, matches)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Find everything below `top`, or what `below` (relative to `top`) matches.
    fn walk(&mut self, top: &ImagePath, below: Option<&Glob>) -> Result<(), ContextError> {
        let verdict = top
            .ancestors()
            .into_iter()
            .chain([top.clone()])
            .skip(1)
            .fold(self.ignore.root(), |parent, path| self.ignore.child(&parent, &path));
        let mut todo: Vec<(ImagePath, Verdict, bool)> = vec![(top.clone(), verdict, below.is_none())];
        while let Some((directory, verdict, all)) = todo.pop() {
            // Whatever is below a directory of which all is found, is found.
            if all && !self.whole.insert(directory.clone()) {
                continue;
            }
            // One descriptor at a time, however deep it goes.
            let (fd, names) = self.open_names(&directory)?;
            for (name, hint) in names {
                let path = directory.child(&name);
                let inside = all || below.is_some_and(|glob| matches_below(glob, top, &path));
                let stat = match hint {
                    FileType::Unknown => match statx_at(&fd, &name) {
                        Ok(stat) => Some(stat),
                        // Gone since: as if it had never been.
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(self.root.error(&path, errno)),
                    },
                    _ => None,
                };
                let kind = stat.as_ref().map_or(hint, |stat| FileType::from_raw_mode(stat.stx_mode.into()));
                let excluded = if kind.is_dir() {
                    let verdict = self.ignore.child(&verdict, &path);
                    let excluded = verdict.excluded;
                    let read = !excluded || self.ignore.may_contain_reincluded(&path);
                    let wanted = inside || below.is_some_and(|glob| may_match_below(glob, top, &path));
                    if !read || !wanted {
                        continue;
                    }
                    todo.push((path.clone(), verdict, inside));
                    excluded
                } else {
                    if !inside || self.ignore.excludes(&verdict, &path) {
                        continue;
                    }
                    false
                };
                let stat = match stat.map_or_else(|| statx_at(&fd, &name), Ok) {
                    Ok(stat) => stat,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(self.root.error(&path, errno)),
                };
                if let Some(found) = self.find(&fd, &path, &stat, excluded)? {
                    self.found.insert(path, found);
                }
            }
        }
        Ok(())
    }

    /// The names beside one that is missing, so that whoever reports it can tell which one was meant. They
    /// have no contents: a source is missing, so nothing will be copied.
    fn add_neighbours(&mut self) {
        for directory in std::mem::take(&mut self.missed) {
            for (name, kind) in self.names(&directory).unwrap_or_default().into_iter().take(NEIGHBOURS) {
                let path = directory.child(&name);
                if !self.ignore.excluded(&path) {
                    let kind = if kind.is_dir() { Kind::Directory } else { Kind::File { size: 0 } };
                    self.found.entry(path).or_insert_with(|| Found::nothing(kind));
                }
            }
        }
    }

    fn names(&mut self, directory: &ImagePath) -> Result<Vec<Name>, ContextError> {
        match self.open_names(directory) {
            Ok((_, names)) => Ok(names),
            Err(ContextError::Read { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// A directory and the names in it, sorted.
    fn open_names(&mut self, directory: &ImagePath) -> Result<(OwnedFd, Vec<Name>), ContextError> {
        let error = |errno: Errno| self.root.error(directory, errno);
        let fd = self.root.open_directory(directory).map_err(error)?;
        let mut names = Vec::new();
        let mut entries = RawDir::new(&fd, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((name.to_vec(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|one, two| one.0.cmp(&two.0));
        Ok((fd, names))
    }

    /// What a path is, from its directory; `None` for what no image can hold.
    fn find(
        &self,
        directory: impl AsFd,
        path: &ImagePath,
        stat: &Statx,
        excluded: bool,
    ) -> Result<Option<Found>, ContextError> {
        let mut found = Found {
            mode: u32::from(stat.stx_mode) & 0o7777,
            mtime: stat.stx_mtime.tv_sec,
            excluded,
            ..Found::nothing(Kind::Directory)
        };
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => {}
            FileType::RegularFile => {
                found.kind = Kind::File { size: stat.stx_size };
                found.stamp = Some(Stamp::of(stat));
                if stat.stx_nlink > 1 {
                    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
                    found.inode = Some((device, stat.stx_ino));
                }
                if found.mode & 0o111 != 0 {
                    found.capability = capability(directory, path.name());
                }
            }
            FileType::Symlink => {
                let target =
                    read_link_at(directory, path.name()).map_err(|errno| self.root.error(path, errno))?;
                found.kind = Kind::Symlink { target };
                found.mode = 0o777;
            }
            FileType::Fifo => found.kind = Kind::Fifo,
            kind @ (FileType::BlockDevice | FileType::CharacterDevice) => {
                let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
                // To overlay file systems this is a deleted file, not a device.
                if (major, minor) == (0, 0) {
                    return Ok(None);
                }
                found.kind = Kind::Device { block: kind == FileType::BlockDevice, major, minor };
            }
            // Sockets live as long as who listens on them.
            _ => return Ok(None),
        }
        Ok(Some(found))
    }

    fn tree(self) -> Tree {
        let mut found = self.found;
        if found.values().any(|found| found.excluded) {
            // Left-out directories are there only for what is kept in them.
            let needed: BTreeSet<ImagePath> = found
                .iter()
                .filter(|(_, found)| !found.excluded)
                .flat_map(|(path, _)| path.ancestors())
                .collect();
            found.retain(|path, found| !found.excluded || needed.contains(path));
        }
        let stamps = found.iter().filter_map(|(path, found)| Some((path.clone(), found.stamp?))).collect();
        let files: Arc<dyn ContentSource> = Arc::new(Files::new(Arc::clone(self.root), stamps));
        let mut inodes: BTreeMap<(u64, u64), Arc<()>> = BTreeMap::new();
        found
            .into_iter()
            .map(|(path, found)| {
                let mut metadata = Metadata { mode: found.mode, mtime: found.mtime, ..Metadata::default() };
                if let Some(capability) = found.capability {
                    metadata.xattrs.insert(CAPABILITY.to_bytes().to_vec(), capability);
                }
                let content = found.stamp.map(|_| Content::new(Arc::clone(&files), path.clone()));
                let inode = found.inode.map(|inode| Arc::clone(inodes.entry(inode).or_default()));
                let entry = Entry { kind: found.kind, metadata };
                (path, Node { entry, content, hash: None, inode })
            })
            .collect()
    }
}

/// Whether `glob`, relative to `top`, matches `path` itself. (What is below a match is known to be inside.)
fn matches_below(glob: &Glob, top: &ImagePath, path: &ImagePath) -> bool {
    path.below(top).is_some_and(|relative| glob.matches(relative.as_bytes()))
}

fn may_match_below(glob: &Glob, top: &ImagePath, path: &ImagePath) -> bool {
    path.below(top).is_some_and(|relative| glob.may_match_below(relative.as_bytes()))
}

const CAPABILITY: &std::ffi::CStr = c"security.capability";

/// The file capabilities of an entry. There is no call for this by directory and name, so it goes through the
/// descriptor's name in `/proc`; without `/proc` there are none.
fn capability(directory: impl AsFd, name: &[u8]) -> Option<Vec<u8>> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut value = [0; 64];
    let length = rustix::fs::lgetxattr(path, CAPABILITY, &mut value[..]).ok()?;
    value.get(..length).filter(|value| !value.is_empty()).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
