//! Mount namespaces and mount attributes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::check;

/// Flags that can be added to a mount (`mount_setattr(2)`, Linux 5.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttributes {
    /// Writes are refused.
    pub(crate) read_only: bool,
    /// Set-id bits mean nothing.
    pub(crate) no_suid: bool,
    /// Device nodes can not be opened.
    pub(crate) no_dev: bool,
    /// Programs can not be executed.
    pub(crate) no_exec: bool,
}

/// Add `attributes` to the mount `fd` and make it private, with all mounts below it if `recursive`. Flags
/// that the mount has already stay.
pub(crate) fn set_mount_attributes(
    fd: BorrowedFd<'_>,
    attributes: MountAttributes,
    recursive: bool,
) -> io::Result<()> {
    let MountAttributes { read_only, no_suid, no_dev, no_exec } = attributes;
    let mut set = 0;
    for (wanted, flag) in [
        (read_only, libc::MOUNT_ATTR_RDONLY),
        (no_suid, libc::MOUNT_ATTR_NOSUID),
        (no_dev, libc::MOUNT_ATTR_NODEV),
        (no_exec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= flag;
        }
    }
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let empty: &CStr = c"";
    // SAFETY: the path is a live C string, `attr` lives through the call, and the size is its own.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            empty.as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Move the calling thread into new namespaces.
///
/// `FILES` is refused: it is the one flag with which safe code could see a file descriptor vanish.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the function is unsafe for the sake of `FILES` alone, which was refused above.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Stop mounts and unmounts from travelling between this mount namespace and the one that it was made from.
pub(crate) fn make_private() -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}
