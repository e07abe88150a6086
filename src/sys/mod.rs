//! System calls that rustix does not offer as safe functions, and nothing else. The only place of `unsafe`.
//!
//! Each function here is one call, or one idea that needs several, with a safe signature; the reason why it
//! is safe stands at its block. Nothing here knows what a container is. Errors are [`std::io::Error`] as
//! the kernel gives them; the caller says what was being done.
//!
//! Forking deserves a word. Between `fork` and `exec` a process with several threads may only make
//! async-signal-safe calls, so [`fork`] refuses to work in one: it is for the builder before its first
//! thread and for the init process of a step, which never has a second.
#![allow(unsafe_code)]

mod id;
mod mount;
mod network;
mod process;
mod seccomp;
mod signal;
#[cfg(test)]
mod start;

pub(crate) use id::{in_first_user_namespace, set_ids};
pub(crate) use mount::{MountAttributes, make_private, set_mount_attributes, unshare};
pub(crate) use network::raise_loopback;
pub(crate) use process::{
    Forked, close_on_exec_from, execute, exit_now, fork, join_session_keyring, set_standard,
};
pub(crate) use seccomp::{BpfInstruction, install_filter};
pub(crate) use signal::{ChildSignals, default_signals};
#[cfg(test)]
pub(crate) use start::{TEST_ENTER, TEST_REFUSE, at_start};

use std::io;

/// The result of a call that answers −1 and sets errno.
fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
