//! Becoming another user.

use std::io;

use super::check;

/// Set real, effective and saved ids and the supplementary groups of the calling thread: groups first,
/// because the right to set them goes with the user id.
///
/// `groups` is `None` where the kernel forbids setting them (a user namespace with `setgroups` denied).
pub(crate) fn set_ids(uid: u32, gid: u32, groups: Option<&[u32]>) -> io::Result<()> {
    if let Some(groups) = groups {
        // SAFETY: the pointer and the length are those of one live slice, which the call only reads.
        check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    }
    // SAFETY: plain integers. The raw call changes the calling thread only; our callers have just one.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}
