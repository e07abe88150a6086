//! Installing a seccomp filter.

use std::io;

use super::check;

/// One instruction of classic BPF, laid out as the kernel's `sock_filter`.
pub(crate) type BpfInstruction = libc::sock_filter;

/// Filter the system calls of this thread and of what it executes from now on.
///
/// Without `no_new_privs` (so that `sudo` works in a step), which the kernel allows to a thread that has
/// CAP_SYS_ADMIN in its user namespace.
pub(crate) fn install_filter(program: &[BpfInstruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, whose pointer and length are those of a live slice, and writes
    // nothing to it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
    Ok(())
}
