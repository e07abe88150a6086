//! Signals: waiting for children without a handler, and a clean slate for a new program.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// SIGCHLD as something to poll. While it lives the signal is blocked in this thread.
pub(crate) struct ChildSignals {
    fd: OwnedFd,
}

impl ChildSignals {
    /// Block SIGCHLD and listen for it.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set that it is given; the other calls only read or extend
        // an initialised set, and a null pointer for the old mask is allowed.
        let fd = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
            check(libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()).into())?;
            check(libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?
        };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Take the signals that have come. Several children may stand behind one.
    pub(crate) fn drain(&self) {
        let mut buffer = [0_u8; 8 * size_of::<libc::signalfd_siginfo>()];
        // Nothing to read is the ordinary end; other errors would only mean a spurious wake-up later.
        while rustix::io::read(&self.fd, &mut buffer[..]).is_ok_and(|n| n > 0) {}
    }
}

impl AsFd for ChildSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Set every signal to its default and block none: what a program expects when it starts. (Rust programs
/// ignore SIGPIPE, and `nohup` makes its children ignore SIGHUP.)
pub(crate) fn default_signals() {
    // The kernel's own call, because libc keeps two signals to itself and hands them on as ignored.
    // All zeroes is "default, no flags" in the kernel's structure on every architecture.
    let default = [0_u64; 8];
    let mask_size = 8_usize;
    for signal in 1..=64 {
        // SAFETY: the structure is longer than any architecture's, and is only read; numbers that can not be
        // set answer with an error that does not matter.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                mask_size,
            )
        };
    }
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set before it is read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}
