//! Forking, executing, and what a process hands on.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::Pid;

use super::check;

/// Which side of a fork one is on.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one; the child's id as seen here.
    Parent(Pid),
}

/// Make a copy of this process. Refused when it has more than one thread: the copy would hold the locks of
/// threads that it does not have.
pub(crate) fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("fork in a process with several threads"));
    }
    // SAFETY: there is one thread, so the child has all threads that the parent had, and no lock is left
    // without an owner.
    let pid = check(unsafe { libc::fork() }.into())?;
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Ok(Pid::from_raw(pid).map_or(Forked::Child, Forked::Parent))
}

/// Replace this process by `program`. Returns only if that failed.
pub(crate) fn execute(program: &CStr, args: &[CString], env: &[CString]) -> io::Result<Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: all strings outlive the call and are terminated; both arrays end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// End this process at once: no destructor, no exit handler, no flushing. For forked children, which must
/// not do their parent's ending work.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: always defined; that nothing is cleaned up is what it is for.
    unsafe { libc::_exit(status) }
}

/// Mark every file descriptor from `first` on as to be closed by the next exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: integers only. Descriptors stay open, so no owner of one is deceived.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Give this process a session keyring of its own, so that it does not see the keys of the caller's.
pub(crate) fn join_session_keyring() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring; no memory of ours is touched.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    })?;
    Ok(())
}

/// Make `fd` what this process has as standard input (0), output (1) or error (2).
pub(crate) fn set_standard(fd: BorrowedFd<'_>, number: u8) -> io::Result<()> {
    if number > 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the three standard descriptors have no owner in Rust, so none sees its file change.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number.into()) }.into())?;
    Ok(())
}
