//! Users: becoming another one, and whether ids are the machine's own.

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

/// The inode number of the first user namespace (`PROC_USER_INIT_INO`, the same on every machine).
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;

/// Whether this process is in the user namespace that the machine started with. What the id map says does not
/// tell: a namespace can map every id to itself.
pub(crate) fn in_first_user_namespace() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() == FIRST_USER_NAMESPACE)
}
