//! What a command changed, read from the upper directory of an overlay.
//!
//! The work is proportional to what is in the upper directory, whatever the size of the image. overlayfs
//! copies whole files up for the smallest reason, so each entry is compared to the one it covers, down to
//! the bytes when everything else is equal; a directory that is not different itself is only there as the
//! parent of what is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Stat, major, minor, readlinkat};

use super::members::is_overlay_attribute;
use super::rooted::{self, Rooted};
use crate::ctx::{Cancelled, Ctx};
use crate::tree::{Change, ChangeSet, Content, Entry, ImagePath, Kind, Metadata};

/// The changes of a command could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiffError {
    /// The disk failed.
    #[error("read what changed at {path}: {source}")]
    Disk {
        /// The path in the image.
        path: ImagePath,
        /// Why.
        source: io::Error,
    },
    /// The upper directory refers to lower ones, so it does not say what is in it.
    #[error("{path} has the overlay attribute {attribute}: mount with redirect_dir=off,metacopy=off")]
    Indirect {
        /// The path in the image.
        path: ImagePath,
        /// Which attribute.
        attribute: String,
    },
    /// A name that a layer can not have.
    #[error("{0} can not be in a layer: names that begin with .wh. mean removed files there")]
    Reserved(ImagePath),
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What `upper` changes of the stack `lowers` (bottom first). Contents are read from `upper` in place, so it
/// must stay as it is until they are packed.
pub(crate) fn diff(ctx: &Ctx, upper: &Path, lowers: &[PathBuf]) -> Result<ChangeSet, DiffError> {
    let disk = |source| DiffError::Disk { path: ImagePath::root(), source };
    let upper = Arc::new(Rooted::open(upper).map_err(disk)?);
    // Top first, as the overlay looks names up.
    let lowers: io::Result<Vec<Rooted>> = lowers.iter().rev().map(|lower| Rooted::open(lower)).collect();
    let mut differ = Differ {
        upper,
        lowers: lowers.map_err(disk)?,
        found: ChangeSet::default(),
        unchanged: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    let mut todo = vec![(ImagePath::root(), (0..differ.lowers.len()).collect::<Vec<_>>())];
    while let Some((path, covered)) = todo.pop() {
        ctx.check()?;
        let failed = |source| DiffError::Disk { path: path.clone(), source };
        let directory = differ.upper.directory(&path).map_err(failed)?;
        let names = rooted::list(&directory).map_err(failed)?;
        let mut lowers = Vec::new();
        if !names.iter().any(|(name, _)| is_opaque_marker(name)) {
            for layer in covered {
                lowers.push((layer, differ.lowers[layer].directory(&path).map_err(failed)?));
            }
        }
        for (name, _) in names {
            let child = path.child(&name);
            if let Some(below) = differ.entry(&directory, &child, &lowers)? {
                todo.push((child, below));
            }
        }
    }
    Ok(differ.finish())
}

struct Differ {
    upper: Arc<Rooted>,
    /// Top first.
    lowers: Vec<Rooted>,
    found: ChangeSet,
    /// What is in the upper directory and no different: needed as parents and first names only.
    unchanged: BTreeMap<ImagePath, Entry>,
    /// All names of each file with hard links, by device and inode.
    names: BTreeMap<(u64, u64), BTreeSet<ImagePath>>,
}

/// A lower layer by its place in the stack, and its directory that merges with the one looked at.
type Lower = (usize, OwnedFd);

/// What the lower layers have at a path.
struct Covered<'a> {
    parent: &'a OwnedFd,
    stat: Stat,
    /// When it is a directory: the layers whose directories merge in it, top first.
    layers: Vec<usize>,
}

impl Differ {
    /// Look at one entry of the upper directory. A directory answers which lower layers it merges with.
    fn entry(
        &mut self,
        directory: &OwnedFd,
        path: &ImagePath,
        lowers: &[Lower],
    ) -> Result<Option<Vec<usize>>, DiffError> {
        let failed = |source: io::Error| DiffError::Disk { path: path.clone(), source };
        let Some(stat) = rooted::stat_at(directory, path.name()).map_err(failed)? else {
            // Gone since: a process outlived its command.
            return Ok(None);
        };
        let covered = covered(path.name(), lowers).map_err(failed)?;
        if rooted::is_whiteout(&stat) {
            if covered.is_some() {
                self.found.changes.insert(path.clone(), Change::Remove);
            }
            return Ok(None);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(None);
        }
        if path.name().starts_with(b".wh.") {
            return self.named_whiteout(path, kind, stat.st_size, lowers).map(|()| None);
        }
        let mut attributes = rooted::attributes_at(directory, path.name()).map_err(failed)?;
        let opaque = is_opaque(path, &attributes)?;
        attributes.retain(|name, _| is_kept_attribute(name));
        let entry = entry(directory, path, &stat, attributes).map_err(failed)?;
        let covered_directory =
            covered.as_ref().filter(|c| FileType::from_raw_mode(c.stat.st_mode) == FileType::Directory);
        if entry.is_directory() {
            let below = match covered_directory {
                None => {
                    self.found.put(path.clone(), entry);
                    Vec::new()
                }
                Some(_) if opaque => {
                    self.found.changes.insert(path.clone(), Change::Replace { entry });
                    Vec::new()
                }
                Some(covered) => {
                    let layers = covered.layers.clone();
                    let mut old = rooted::attributes_at(covered.parent, path.name()).map_err(failed)?;
                    old.retain(|name, _| is_kept_attribute(name));
                    let same = same_owner_and_mode(&stat, &covered.stat) && old == entry.metadata.xattrs;
                    if same {
                        self.unchanged.insert(path.clone(), entry);
                    } else {
                        self.found.put(path.clone(), entry);
                    }
                    layers
                }
            };
            return Ok(Some(below));
        }
        if entry.is_file() && stat.st_nlink > 1 {
            self.names.entry((stat.st_dev, stat.st_ino)).or_default().insert(path.clone());
        }
        let same = match &covered {
            Some(covered) => is_same(directory, path, &entry, &stat, covered).map_err(failed)?,
            None => false,
        };
        if same {
            self.unchanged.insert(path.clone(), entry);
        } else {
            self.put(path.clone(), entry);
        }
        Ok(None)
    }

    fn put(&mut self, path: ImagePath, entry: Entry) {
        if entry.is_file() {
            let content = Content::new(self.upper.clone(), path.clone());
            self.found.put_file(path, entry, content, None);
        } else {
            self.found.put(path, entry);
        }
    }

    /// fuse-overlayfs without the right to make devices writes whiteouts as layers do.
    fn named_whiteout(
        &mut self,
        path: &ImagePath,
        kind: FileType,
        size: i64,
        lowers: &[Lower],
    ) -> Result<(), DiffError> {
        let directory = path.parent().unwrap_or_default();
        let name = &path.name()[b".wh.".len()..];
        if kind != FileType::RegularFile || size != 0 || matches!(name, b"" | b"." | b"..") {
            return Err(DiffError::Reserved(path.clone()));
        }
        if is_opaque_marker(path.name()) {
            // Its directory was looked at before what is in it.
            let entry = match self.found.changes.get(&directory) {
                Some(change) => change.entry().cloned(),
                None => self.unchanged.remove(&directory),
            };
            if let Some(entry) = entry {
                self.found.changes.insert(directory, Change::Replace { entry });
            }
            return Ok(());
        }
        let gone = directory.child(name);
        let failed = |source| DiffError::Disk { path: gone.clone(), source };
        let is_there = self
            .upper
            .stat(&gone)
            .map_err(failed)?
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory);
        if !is_there && covered(name, lowers).map_err(failed)?.is_some() {
            self.found.changes.entry(gone).or_insert(Change::Remove);
        }
        Ok(())
    }

    fn finish(mut self) -> ChangeSet {
        for names in std::mem::take(&mut self.names).into_values() {
            // A link is to a file of the same layer, so with one name all names must be in it.
            if !names.iter().any(|name| self.found.changes.contains_key(name)) {
                continue;
            }
            let mut names = names.into_iter();
            let Some(first) = names.next() else { continue };
            if let Some(entry) = self.unchanged.remove(&first) {
                self.put(first.clone(), entry);
            }
            for name in names {
                let old = self.found.changes.get(&name).and_then(Change::entry);
                if let Some(entry) = old.or_else(|| self.unchanged.get(&name)) {
                    let kind = Kind::Hardlink { target: first.clone() };
                    let entry = Entry { kind, metadata: entry.metadata.clone() };
                    self.found.put(name, entry);
                }
            }
        }
        let parents: BTreeSet<ImagePath> =
            self.found.changes.keys().flat_map(ImagePath::ancestors).filter(|path| !path.is_root()).collect();
        for path in parents {
            if let Some(entry) = self.unchanged.remove(&path)
                && !self.found.changes.contains_key(&path)
            {
                self.found.put(path, entry);
            }
        }
        self.found
    }
}

/// What the lower layers `lowers` have under `name`, by the overlay's rules.
fn covered<'a>(name: &[u8], lowers: &'a [Lower]) -> io::Result<Option<Covered<'a>>> {
    let mut covered: Option<Covered<'a>> = None;
    for (layer, directory) in lowers {
        let Some(stat) = rooted::stat_at(directory, name)? else { continue };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if rooted::is_whiteout(&stat) || (covered.is_some() && !is_directory) {
            break;
        }
        let found = covered.get_or_insert_with(|| Covered { parent: directory, stat, layers: Vec::new() });
        if !is_directory {
            break;
        }
        found.layers.push(*layer);
        let attributes = rooted::attributes_at(directory, name)?;
        if OPAQUE.iter().any(|key| attributes.get(*key).is_some_and(|value| value == b"y")) {
            break;
        }
    }
    Ok(covered)
}

/// The names that fuse-overlayfs marks an opaque directory with, where it can not set attributes.
fn is_opaque_marker(name: &[u8]) -> bool {
    matches!(name, b".wh..opq" | b".wh..wh..opq")
}

const OPAQUE: [&[u8]; 3] = [b"trusted.overlay.opaque", b"user.overlay.opaque", b"user.fuseoverlayfs.opaque"];

/// Whether the attributes make a directory opaque. Those that make an entry refer to another are refused.
fn is_opaque(path: &ImagePath, attributes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<bool, DiffError> {
    for name in attributes.keys() {
        let own = [&b"trusted.overlay."[..], b"user.overlay."].iter().find_map(|p| name.strip_prefix(*p));
        if matches!(own, Some(b"redirect" | b"metacopy")) {
            let attribute = String::from_utf8_lossy(name).into_owned();
            return Err(DiffError::Indirect { path: path.clone(), attribute });
        }
    }
    Ok(OPAQUE.iter().any(|key| attributes.get(*key).is_some_and(|value| value == b"y")))
}

/// Attributes that belong to an image. Security labels and access lists belong to the machine.
fn is_kept_attribute(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_overlay_attribute(name))
}

fn entry(
    directory: &OwnedFd,
    path: &ImagePath,
    stat: &Stat,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
) -> io::Result<Entry> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File { size: stat.st_size.cast_unsigned() },
        FileType::Symlink => {
            Kind::Symlink { target: readlinkat(directory, path.name(), Vec::new())?.into_bytes() }
        }
        kind @ (FileType::BlockDevice | FileType::CharacterDevice) => Kind::Device {
            block: kind == FileType::BlockDevice,
            major: major(stat.st_rdev),
            minor: minor(stat.st_rdev),
        },
        FileType::Fifo => Kind::Fifo,
        _ => return Err(io::Error::other("it is of an unknown kind")),
    };
    let metadata = Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        xattrs,
    };
    Ok(Entry { kind, metadata })
}

fn same_owner_and_mode(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
}

/// Whether an entry that is no directory is the one it covers, down to the bytes.
fn is_same(
    directory: &OwnedFd,
    path: &ImagePath,
    entry: &Entry,
    stat: &Stat,
    covered: &Covered<'_>,
) -> io::Result<bool> {
    let old = &covered.stat;
    // Layers hold whole seconds, so a lower file has no fraction.
    if !same_owner_and_mode(stat, old)
        || (stat.st_size, stat.st_mtime, stat.st_rdev) != (old.st_size, old.st_mtime, old.st_rdev)
    {
        return Ok(false);
    }
    let mut xattrs = rooted::attributes_at(covered.parent, path.name())?;
    xattrs.retain(|name, _| is_kept_attribute(name));
    if xattrs != entry.metadata.xattrs {
        return Ok(false);
    }
    match &entry.kind {
        Kind::File { .. } => same_bytes(
            rooted::open_file_at(directory, path.name())?,
            rooted::open_file_at(covered.parent, path.name())?,
        ),
        Kind::Symlink { target } => {
            Ok(readlinkat(covered.parent, path.name(), Vec::new())?.as_bytes() == target)
        }
        _ => Ok(true),
    }
}

fn same_bytes(mut a: File, mut b: File) -> io::Result<bool> {
    const CHUNK: u64 = 64 << 10;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&mut a).take(CHUNK).read_to_end(&mut left)?;
        (&mut b).take(CHUNK).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
