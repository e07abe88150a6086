//! A stack of layer directories with a writable one on top.

use std::fs::{DirBuilder, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::mount::{MountFlags, OpenTreeFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use super::{RootfsError, new_filesystem};
use crate::sys::{MountAttributes, in_first_user_namespace};

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

    /// The image's layers as one tree to look at, attached nowhere. Nothing can be written through it.
    ///
    /// With one layer that is its directory. `mounting` as for [`mount`](Self::mount).
    pub(crate) fn look(&self, mounting: &Path) -> Result<OwnedFd, RootfsError> {
        match &self.lowers[..] {
            [] => open(mounting),
            [only] => open(only),
            several => {
                let lowers = several.iter().rev().map(|layer| open(layer)).collect::<Result<Vec<_>, _>>()?;
                overlay(&lowers, None, mounting)
                    .map_err(|error| RootfsError::new("look at the image's layers in an overlay", error))
            }
        }
    }

    /// Mount the stack, attached nowhere. `top` is one more read-only layer above the image's. `mounting` is
    /// an empty directory of the caller's for the way of old kernels, where a mount must be somewhere first.
    ///
    /// Layers are named to the kernel by descriptor: its limits on the length of options do not depend on
    /// where the state directory is, and a step can not read host paths in /proc/mounts.
    pub(crate) fn mount(&self, top: Option<&Path>, mounting: &Path) -> Result<OwnedFd, RootfsError> {
        // The kernel refuses a work directory that a volatile mount had before.
        let work = self.work.join("overlay");
        directory(&work, 0o700)?;
        let mut layers: Vec<&Path> = top.into_iter().collect();
        layers.extend(self.lowers.iter().rev().map(PathBuf::as_path));
        let empty = self.work.join("empty");
        if layers.is_empty() {
            directory(&empty, 0o755)?;
            layers.push(&empty);
        }
        let lowers = layers.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let writable = (open(&self.upper)?, open(&work)?);
        overlay(&lowers, Some(&writable), mounting).map_err(|error| {
            RootfsError::new(
                format!("overlay on {}", self.upper.display()),
                format!(
                    "{error}; the state directory must be on a file system that can be an overlay's upper \
                     directory (not itself an overlay, NFS or FUSE)"
                ),
            )
        })
    }
}

/// Mount `lowers`, topmost first, and above them an upper and a work directory if there are.
fn overlay(
    lowers: &[OwnedFd],
    writable: Option<&(OwnedFd, OwnedFd)>,
    mounting: &Path,
) -> Result<OwnedFd, String> {
    let lowers: Vec<String> = lowers.iter().map(descriptor_path).collect();
    let writable = writable.map(|(upper, work)| (descriptor_path(upper), descriptor_path(work)));
    let mut options: Vec<(&str, &str)> = PLAIN.to_vec();
    options.extend(lowers.iter().map(|path| ("lowerdir+", path.as_str())));
    if let Some((upper, work)) = &writable {
        // Nothing of a build needs to survive a crash.
        options.extend([("upperdir", upper.as_str()), ("workdir", work.as_str()), ("volatile", "")]);
    }
    // Elsewhere `trusted.*` attributes are refused.
    if !in_first_user_namespace() {
        options.push(("userxattr", ""));
    }
    new_filesystem("overlay", &options, MountAttributes::default()).or_else(|refused| {
        // The kernel names directories as we named them to it.
        let mut reason = refused.reason;
        if let Some((upper, work)) = &writable {
            reason = reason.replace(upper, "the upper directory").replace(work, "the work directory");
        }
        old_way(&lowers, &options, mounting).map_err(|_| reason)
    })
}

/// The upper directory must say by itself what changed: no references to lower layers in place of files or
/// directories.
const PLAIN: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// Before Linux 6.7 there is no `lowerdir+`: one option string of at most a page (about 200 layers).
fn old_way(lowers: &[String], options: &[(&str, &str)], mounting: &Path) -> rustix::io::Result<OwnedFd> {
    let mut data = format!("lowerdir={}", lowers.join(":"));
    for (key, value) in options.iter().filter(|(key, _)| *key != "lowerdir+") {
        data.push(',');
        data.push_str(key);
        if !value.is_empty() {
            data.push('=');
            data.push_str(value);
        }
    }
    let data = std::ffi::CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    rustix::mount::mount("overlay", mounting, "overlay", MountFlags::empty(), Some(data.as_c_str()))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, mounting, flags);
    rustix::mount::unmount(mounting, UnmountFlags::DETACH)?;
    tree
}

fn open(path: &Path) -> Result<OwnedFd, RootfsError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| RootfsError::new(format!("open {}", path.display()), error))
}

fn descriptor_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn directory(path: &Path, mode: u32) -> Result<(), RootfsError> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(|error| RootfsError::new(format!("create {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_without_the_new_option_get_one_string() {
        use rustix::thread::UnshareFlags;

        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let path = move |name: &str| root.join(name);
        for name in ["low", "high", "upper", "work", "at"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::fs::write(path("low/file"), "low").unwrap();
        std::fs::write(path("high/file"), "high").unwrap();
        let text = {
            let path = path.clone();
            move |name: &str| path(name).to_str().unwrap().to_owned()
        };
        let (upper, work) = (text("upper"), text("work"));
        // A mount namespace of one thread.
        let seen = std::thread::spawn(move || {
            crate::sys::unshare(UnshareFlags::NEWNS).and_then(|()| crate::sys::make_private())?;
            let options = [("upperdir", upper.as_str()), ("workdir", work.as_str()), ("volatile", "")];
            let mount = old_way(&[text("high"), text("low")], &options, &path("at"))?;
            let file = rustix::fs::openat(&mount, "file", OFlags::RDONLY, Mode::empty())?;
            std::io::read_to_string(std::fs::File::from(file))
        });
        match seen.join().unwrap() {
            Ok(seen) => assert_eq!(seen, "high"),
            Err(error) => {
                use std::io::Write;
                let name = "kernels_without_the_new_option_get_one_string";
                writeln!(std::io::stderr(), "SKIPPED: {name}: {error}").unwrap();
            }
        }
    }
}
