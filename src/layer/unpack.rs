//! A layer's tar as a directory that an overlay can have as a lower one.
//!
//! Whiteouts become character devices 0:0 and opaque directories get overlayfs' attribute. Links above an
//! entry are followed as in a chroot, by what the archive and the layers below say, not by what the disk
//! says; on the disk every path is then walked without following any link ([`Rooted`]). Directories can be
//! entered by us alone until the end, where their owners, modes and times are set, deepest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, linkat, makedev, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::members::{Collector, Limits, Member, ReadLayerError, Visit, walk};
use super::rooted::{self, Rooted};
use crate::blob::ReadAhead;
use crate::ctx::Ctx;
use crate::oci::DiffId;
use crate::tree::{ChangeSet, Entry, ImagePath, Kind, Metadata, Tree};

/// Which attributes the overlay mount will look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverlayStyle {
    /// `trusted.overlay.*`: mounted by real root.
    Trusted,
    /// `user.overlay.*`: mounted in a user namespace with `userxattr`.
    User,
}

/// What becomes of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// They are set.
    Kept,
    /// Everything is ours: only one user exists here. The table of contents still has them.
    Single,
}

/// How a layer is unpacked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackOptions<'a> {
    /// How opaque directories are marked.
    pub(crate) style: OverlayStyle,
    /// What becomes of owners.
    pub(crate) owners: Owners,
    /// Checked when the whole tar was read; the directory is of no use when it differs.
    pub(crate) expected: Option<DiffId>,
    /// The merged tree of the layers below, when it is known (empty for a first layer). Its links are
    /// followed, directories that the layer implies take its metadata, and whiteouts of what it does not have
    /// are left out.
    pub(crate) below: Option<&'a Tree>,
    /// How much is unpacked at most.
    pub(crate) limits: Limits,
}

/// Unpack `tar` (not compressed) into the empty directory `directory`; answers its table of contents, with
/// hashes. After an error the directory holds a part of the layer.
pub(crate) fn unpack(
    ctx: &Ctx,
    tar: impl Read + Send + 'static,
    directory: &Path,
    options: &UnpackOptions<'_>,
) -> Result<ChangeSet, ReadLayerError> {
    let start = |source| ReadLayerError::Disk { path: ImagePath::root(), source };
    let mut unpacker = Unpacker {
        ctx,
        root: Rooted::open(directory).map_err(start)?,
        options: *options,
        directories: BTreeMap::new(),
        opaque: BTreeSet::new(),
        last: None,
        warned: BTreeSet::new(),
        buffer: vec![0; CHUNK],
    };
    let ahead = ReadAhead::new(tar).map_err(start)?;
    let (toc, ahead) = walk(ctx, ahead, options.limits, true, &mut unpacker)?;
    let actual = DiffId(ahead.finish().0);
    if let Some(expected) = options.expected.filter(|expected| *expected != actual) {
        return Err(ReadLayerError::DiffId { expected, actual });
    }
    unpacker.finish()?;
    Ok(toc)
}

/// Bytes written at a time.
const CHUNK: usize = 256 << 10;

struct Unpacker<'a> {
    ctx: &'a Ctx,
    root: Rooted,
    options: UnpackOptions<'a>,
    /// All directories by their place on disk, with what they get in the end.
    directories: BTreeMap<ImagePath, Metadata>,
    opaque: BTreeSet<ImagePath>,
    /// The directory that was used last: entries of one directory mostly follow each other.
    last: Option<(ImagePath, OwnedFd)>,
    warned: BTreeSet<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Visit for Unpacker<'_> {
    fn member(
        &mut self,
        member: &Member,
        seen: &Collector,
        data: &mut dyn Read,
    ) -> Result<(), ReadLayerError> {
        let real = |path: &ImagePath| {
            seen.resolve(path, self.options.below)
                .map_err(|reason| ReadLayerError::Entry { name: path.to_string(), reason })
        };
        let (path, result) = match member {
            Member::Ignored => return Ok(()),
            Member::Whiteout(path) => (path, self.whiteout(&real(path)?)),
            Member::Opaque(path) => {
                // Also a link at the directory's own name leads on.
                let inside = real(&path.child("x"))?;
                (path, self.opaque(&inside.parent().unwrap_or_default()))
            }
            Member::Put(path, entry) => {
                let target = match &entry.kind {
                    Kind::Hardlink { target } => Some(real(target)?),
                    _ => None,
                };
                let place = real(path)?;
                let result = match target {
                    None => self.put(&place, entry, data),
                    Some(target) if target == place => return Ok(()),
                    Some(target) => match self.hardlink(&place, &target) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            return Err(ReadLayerError::Entry {
                                name: path.to_string(),
                                reason: "is a hard link to a path that is not in this layer",
                            });
                        }
                        other => other,
                    },
                };
                (path, result)
            }
        };
        result.map_err(|source| ReadLayerError::Disk { path: path.clone(), source })
    }
}

impl Unpacker<'_> {
    /// The directory `path`, made where it is missing. To be given back to `last`.
    fn directory(&mut self, path: &ImagePath) -> io::Result<OwnedFd> {
        if let Some((last, fd)) = self.last.take()
            && last == *path
        {
            return Ok(fd);
        }
        let Self { root, directories, opaque, options, .. } = self;
        root.make_directory(path, &mut |made, whiteout| {
            if whiteout {
                opaque.insert(made.clone());
            }
            // Overlays take a directory's metadata from the topmost layer, so one that is only implied has to
            // repeat what it covers.
            let covered = options.below.and_then(|tree| tree.get(made)).map(|node| &node.entry);
            let metadata = match covered {
                Some(entry) if entry.is_directory() => entry.metadata.clone(),
                _ => Entry::directory(0o755).metadata,
            };
            directories.insert(made.clone(), metadata);
        })
    }

    fn parent(&mut self, path: &ImagePath) -> io::Result<OwnedFd> {
        self.directory(&path.parent().unwrap_or_default())
    }

    fn keep(&mut self, path: &ImagePath, parent: OwnedFd) {
        self.last = Some((path.parent().unwrap_or_default(), parent));
    }

    /// Forget what is known of `path` and below: it is about to be replaced.
    fn forget(&mut self, path: &ImagePath) {
        self.directories.retain(|directory, _| directory.below(path).is_none());
        self.opaque.retain(|directory| directory.below(path).is_none());
    }

    fn whiteout(&mut self, path: &ImagePath) -> io::Result<()> {
        if self.options.below.is_some_and(|tree| tree.get(path).is_none()) {
            return Ok(());
        }
        let parent = self.parent(path)?;
        match rooted::stat_at(&parent, path.name())? {
            None => mknodat(&parent, path.name(), FileType::CharacterDevice, Mode::empty(), 0)?,
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.opaque.insert(path.clone());
            }
            // A file of this layer hides the lower one by itself.
            Some(_) => {}
        }
        self.keep(path, parent);
        Ok(())
    }

    fn opaque(&mut self, path: &ImagePath) -> io::Result<()> {
        let directory = self.directory(path)?;
        self.last = Some((path.clone(), directory));
        self.opaque.insert(path.clone());
        Ok(())
    }

    fn put(&mut self, path: &ImagePath, entry: &Entry, data: &mut dyn Read) -> io::Result<()> {
        let metadata = &entry.metadata;
        if path.is_root() {
            self.directories.insert(path.clone(), metadata.clone());
            return Ok(());
        }
        let parent = self.parent(path)?;
        let name = path.name();
        match &entry.kind {
            Kind::Directory => {
                match rooted::stat_at(&parent, name)? {
                    None => rooted::make_directory_at(&parent, name)?,
                    Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                    Some(stat) => {
                        if rooted::is_whiteout(&stat) {
                            self.opaque.insert(path.clone());
                        }
                        rooted::remove_at(&parent, name)?;
                        rooted::make_directory_at(&parent, name)?;
                    }
                }
                self.directories.insert(path.clone(), metadata.clone());
            }
            Kind::File { .. } => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = self.replacing(path, &parent, |parent| {
                    openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
                })?;
                let mut file = File::from(file);
                loop {
                    let count = data.read(&mut self.buffer)?;
                    if count == 0 {
                        break;
                    }
                    file.write_all(&self.buffer[..count])?;
                }
                self.describe(&file, metadata)?;
            }
            Kind::Symlink { target } => {
                self.replacing(path, &parent, |parent| symlinkat(target.as_slice(), parent, name))?;
                self.describe_at(&parent, name, metadata)?;
            }
            Kind::Device { block, major, minor } => {
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let device = makedev(*major, *minor);
                let mode = Mode::from_raw_mode(metadata.mode);
                let made = self.replacing(path, &parent, |parent| mknodat(parent, name, kind, mode, device));
                match made {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        self.warn(
                            b"devices",
                            "device nodes can not be made here: RUN does not see those of the image",
                        );
                    }
                    other => {
                        other?;
                        rooted::set_mode_at(&parent, name, mode)?;
                        self.describe_at(&parent, name, metadata)?;
                    }
                }
            }
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(metadata.mode);
                self.replacing(path, &parent, |parent| mknodat(parent, name, FileType::Fifo, mode, 0))?;
                rooted::set_mode_at(&parent, name, mode)?;
                self.describe_at(&parent, name, metadata)?;
            }
            // Made by `hardlink`.
            Kind::Hardlink { .. } => {}
        }
        self.keep(path, parent);
        Ok(())
    }

    fn hardlink(&mut self, path: &ImagePath, target: &ImagePath) -> io::Result<()> {
        // Looked at first: what is in the way of the link may not be removed for a target that is not there.
        let target_parent = self.root.directory(&target.parent().unwrap_or_default())?;
        let stat = rooted::stat_at(&target_parent, target.name())?;
        match stat {
            Some(stat) if rooted::is_whiteout(&stat) => return Err(io::ErrorKind::NotFound.into()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(io::Error::other("it is a hard link to a directory"));
            }
            Some(_) => {}
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        let parent = self.parent(path)?;
        self.replacing(path, &parent, |parent| {
            // Without AT_SYMLINK_FOLLOW: a link is linked, not followed.
            linkat(&target_parent, target.name(), parent, path.name(), AtFlags::empty())
        })?;
        self.keep(path, parent);
        Ok(())
    }

    /// Make something at `path`, after removing what is there: of two entries of one name the last counts.
    fn replacing<T>(
        &mut self,
        path: &ImagePath,
        parent: &OwnedFd,
        make: impl Fn(&OwnedFd) -> Result<T, Errno>,
    ) -> io::Result<T> {
        match make(parent) {
            Err(Errno::EXIST) => {
                self.forget(path);
                rooted::remove_at(parent, path.name())?;
                Ok(make(parent)?)
            }
            other => Ok(other?),
        }
    }

    /// Owner, mode, attributes and time of an open file, in the order in which none undoes another.
    fn describe(&mut self, fd: impl AsFd, metadata: &Metadata) -> io::Result<()> {
        if self.options.owners == Owners::Kept {
            let (owner, group) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            fchown(&fd, Some(owner), Some(group)).map_err(|error| unmapped(error, metadata))?;
        }
        fchmod(&fd, Mode::from_raw_mode(metadata.mode))?;
        for (name, value) in &metadata.xattrs {
            match fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()) {
                // What this file system or user can not hold is lost for RUN only; the layer still has it.
                Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::INVAL) => {
                    let text = String::from_utf8_lossy(name);
                    self.warn(name, &format!("attribute {text} can not be set here: RUN does not see it"));
                }
                other => other?,
            }
        }
        Ok(futimens(&fd, &times(metadata))?)
    }

    /// Owner and time of what can not be opened. Its attributes are not set: user ones can not be, others
    /// mean nothing to a RUN.
    fn describe_at(&self, parent: &OwnedFd, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        if self.options.owners == Owners::Kept {
            let (owner, group) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            chownat(parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| unmapped(error, metadata))?;
        }
        Ok(utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn warn(&mut self, about: &[u8], message: &str) {
        if self.warned.insert(about.to_vec()) {
            self.ctx.warn(message);
        }
    }

    fn finish(mut self) -> Result<(), ReadLayerError> {
        if self.opaque.remove(&ImagePath::root()) {
            self.hide_all().map_err(|source| ReadLayerError::Disk { path: ImagePath::root(), source })?;
        }
        let attribute = match self.options.style {
            OverlayStyle::Trusted => "trusted.overlay.opaque",
            OverlayStyle::User => "user.overlay.opaque",
        };
        for (path, metadata) in std::mem::take(&mut self.directories).into_iter().rev() {
            let mut set = || {
                let fd = self.root.directory(&path)?;
                if self.opaque.contains(&path) {
                    fsetxattr(&fd, attribute, b"y", XattrFlags::empty())?;
                }
                self.describe(&fd, &metadata)
            };
            set().map_err(|source| ReadLayerError::Disk { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Overlays do not look at the mark of an opaque root: hide each lower name by itself.
    fn hide_all(&mut self) -> io::Result<()> {
        let Some(below) = self.options.below else {
            return Err(io::Error::other("an opaque root can not be unpacked without the layers below"));
        };
        for (path, _) in below.children(&ImagePath::root()) {
            self.whiteout(path)?;
        }
        Ok(())
    }
}

/// In a user namespace only ids that are mapped exist.
fn unmapped(error: Errno, metadata: &Metadata) -> io::Error {
    if error != Errno::INVAL {
        return error.into();
    }
    let Metadata { uid, gid, .. } = metadata;
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "owner {uid}:{gid} does not exist here: give this user more ids in /etc/subuid and /etc/subgid"
        ),
    )
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: metadata.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
