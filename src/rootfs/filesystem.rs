//! New file systems and bind mounts as descriptors (`fsopen(2)`, `open_tree(2)`; Linux 5.2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::RootfsError;
use crate::sys::{MountAttributes, set_mount_attributes};

/// Make a file system that is mounted nowhere yet; it goes when the descriptor and all mounts of it go.
///
/// `options` are set in order; an empty value is a flag.
pub(crate) fn new_filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttributes,
) -> Result<OwnedFd, RootfsError> {
    let what = || format!("mount a {kind} file system");
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| RootfsError::new(what(), e))?;
    let made = set_options(fs.as_fd(), kind, options).and_then(|()| {
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags(attributes))
    });
    made.map_err(|error| RootfsError::new(what(), explain(fs.as_fd(), error)))
}

fn set_options(fs: BorrowedFd<'_>, source: &str, options: &[(&str, &str)]) -> rustix::io::Result<()> {
    fsconfig_set_string(fs, "source", source)?;
    for (key, value) in options {
        match *value {
            "" => fsconfig_set_flag(fs, *key)?,
            value => fsconfig_set_string(fs, *key, value)?,
        }
    }
    Ok(())
}

fn flags(attributes: MountAttributes) -> MountAttrFlags {
    let MountAttributes { read_only, no_suid, no_dev, no_exec } = attributes;
    let mut flags = MountAttrFlags::empty();
    flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, read_only);
    flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, no_suid);
    flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, no_dev);
    flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, no_exec);
    flags
}

/// The error together with what the kernel has written about it for this file system context.
fn explain(fs: BorrowedFd<'_>, error: rustix::io::Errno) -> String {
    let mut text = error.to_string();
    let mut buffer = [0_u8; 1024];
    while let Ok(read @ 1..) = rustix::io::read(fs, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..read]);
        text = format!("{text}; {}", line.trim_start_matches("e ").trim_end());
    }
    text
}

/// A second mount of what `source` shows, attached nowhere yet, with `attributes` added. A directory comes
/// with the mounts below it.
pub(crate) fn bind(source: &Path, attributes: MountAttributes) -> Result<OwnedFd, RootfsError> {
    let what = || format!("bind {}", source.display());
    let all = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, all).map_err(|e| RootfsError::new(what(), e))?;
    set_mount_attributes(tree.as_fd(), attributes, true).map_err(|e| RootfsError::new(what(), e))?;
    Ok(tree)
}

/// As [`bind`], of what a descriptor shows.
pub(crate) fn bind_descriptor(
    source: BorrowedFd<'_>,
    attributes: MountAttributes,
) -> std::io::Result<OwnedFd> {
    let all = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source, "", all)?;
    set_mount_attributes(tree.as_fd(), attributes, true)?;
    Ok(tree)
}

/// Put the detached mount `mount` on `target`, which is a descriptor, so that no path is looked up.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", by_descriptor)
}
