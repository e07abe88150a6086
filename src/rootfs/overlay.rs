//! A stack of layer directories with a writable one on top.

use std::fs::{DirBuilder, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::mount::{MountFlags, OpenTreeFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use super::{RootfsError, new_filesystem};
use crate::sys::MountAttributes;

/// The directories of an overlay. Plain data: nothing is mounted by having it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rootfs {
    /// Unpacked layers, bottom first. May be empty (scratch).
    pub(crate) lowers: Vec<PathBuf>,
    /// Receives what the command changes. Exists and is empty; the mode, owner and time of the root
    /// directory are set by mounting.
    pub(crate) upper: PathBuf,
    /// A scratch directory on the same file system as `upper`. Exists and is empty, before and after.
    pub(crate) work: PathBuf,
}

impl Rootfs {
    /// Give the upper directory the mode, owner and time that the root of the stack has. (The overlay shows
    /// the upper one's.)
    pub(crate) fn prepare_upper(&self) -> Result<(), RootfsError> {
        let what = || format!("prepare {}", self.upper.display());
        let (mode, owner, time) = match self.lowers.last() {
            None => (0o755, None, None),
            Some(top) => {
                let root = std::fs::metadata(top)
                    .map_err(|e| RootfsError::new(format!("look at layer {}", top.display()), e))?;
                let time = Timespec { tv_sec: root.mtime(), tv_nsec: root.mtime_nsec() as _ };
                (root.mode() & 0o7777, Some((root.uid(), root.gid())), Some(time))
            }
        };
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&self.upper, Some(uid), Some(gid))
                .map_err(|e| RootfsError::new(what(), e))?;
        }
        std::fs::set_permissions(&self.upper, Permissions::from_mode(mode))
            .map_err(|e| RootfsError::new(what(), e))?;
        if let Some(time) = time {
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &self.upper, &times, rustix::fs::AtFlags::empty())
                .map_err(|e| RootfsError::new(what(), e))?;
        }
        Ok(())
    }

    /// Mount the stack, attached nowhere. `top` is one more read-only layer above the image's. `mounting` is
    /// an empty directory of the caller's for the way of old kernels, where a mount must be somewhere first.
    ///
    /// Layers are named to the kernel by descriptor: its limits on the length of options do not depend on
    /// where the state directory is, and a step can not read host paths in /proc/mounts.
    pub(crate) fn mount(&self, top: Option<&Path>, mounting: &Path) -> Result<OwnedFd, RootfsError> {
        let work = self.fresh_work()?;
        let empty = self.work.join("empty");
        let mut layers: Vec<&Path> = top.into_iter().collect();
        layers.extend(self.lowers.iter().rev().map(PathBuf::as_path));
        if layers.is_empty() {
            directory(&empty)?;
            layers.push(&empty);
        }
        let lowers = layers.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (upper, work) = (open(&self.upper)?, open(&work)?);
        let lowers: Vec<String> = lowers.iter().map(descriptor_path).collect();
        let (upper_path, work_path) = (descriptor_path(&upper), descriptor_path(&work));

        let mut options: Vec<(&str, &str)> = lowers.iter().map(|path| ("lowerdir+", path.as_str())).collect();
        options.extend([("upperdir", upper_path.as_str()), ("workdir", work_path.as_str())]);
        options.extend(PLAIN);
        if in_user_namespace() {
            options.push(("userxattr", ""));
        }
        new_filesystem("overlay", &options, MountAttributes::default()).or_else(|refused| {
            old_way(&lowers, &upper_path, &work_path, mounting).map_err(|_| RootfsError {
                what: format!("overlay on {}", self.upper.display()),
                reason: format!(
                    "{}; the state directory must be on a file system that can be an overlay's upper \
                     directory (not itself an overlay, NFS or FUSE)",
                    refused.reason
                ),
            })
        })
    }

    /// A directory that no overlay has used: the kernel refuses one that a volatile mount had before.
    fn fresh_work(&self) -> Result<PathBuf, RootfsError> {
        for number in 0..100 {
            let path = self.work.join(format!("overlay{number}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(RootfsError::new(format!("create {}", path.display()), error)),
            }
        }
        Err(RootfsError::new(format!("create a directory in {}", self.work.display()), "too many there"))
    }
}

/// Nothing of a build needs to survive a crash (`volatile`), and the upper directory must say by itself what
/// changed: no references to lower layers in place of files or directories.
const PLAIN: [(&str, &str); 4] =
    [("volatile", ""), ("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// Before Linux 6.7 there is no `lowerdir+`: one option string of at most a page (about 200 layers).
fn old_way(lowers: &[String], upper: &str, work: &str, mounting: &Path) -> rustix::io::Result<OwnedFd> {
    let mut data = format!(
        "lowerdir={},upperdir={upper},workdir={work},volatile,redirect_dir=nofollow,metacopy=off,index=off",
        lowers.join(":")
    );
    if in_user_namespace() {
        data.push_str(",userxattr");
    }
    let data = std::ffi::CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    rustix::mount::mount("overlay", mounting, "overlay", MountFlags::empty(), Some(data.as_c_str()))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, mounting, flags);
    rustix::mount::unmount(mounting, UnmountFlags::DETACH)?;
    tree
}

/// Whether this process is in a user namespace other than the first: `trusted.*` attributes are not for it.
fn in_user_namespace() -> bool {
    // The first namespace maps all ids to themselves in one line.
    std::fs::read_to_string("/proc/self/uid_map").map_or(true, |map| {
        let mut fields = map.split_ascii_whitespace();
        (fields.next(), fields.next(), fields.next()) != (Some("0"), Some("0"), Some("4294967295"))
    })
}

fn open(path: &Path) -> Result<OwnedFd, RootfsError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| RootfsError::new(format!("open {}", path.display()), error))
}

fn descriptor_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn directory(path: &Path) -> Result<(), RootfsError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(RootfsError::new(format!("create {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
