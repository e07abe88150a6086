//! RUN: carrying out a command inside an image's root.
//!
//! A [`RunBackend`] answers three questions: what it is called, whether it works here (a real probe, not a
//! version check), and what came of a command. Every backend gives the command the same root, environment,
//! user and mounts. Nothing of a step outlives it: no process, mount, file descriptor, cgroup or stub file.
//!
//! ```text
//! builder:   select → probe ─┐
//!                    native, oci → helper ══ socket, pipes ══╗
//! in a process of its own:   init: root, sources → mounts → command   (native)
//!                                              └→ bundle → runtime    (runc, crun)
//! ```
//!
//! All backends share the init process: it makes the namespaces, mounts the root, finds the user and prepares
//! the mounts, and only then either starts the command itself or hands a bundle to a runtime. So they differ
//! in who applies the rules, not in the rules, which are data: `caps`, `policy`, `seccomp`, `files`. The
//! builder, which has threads, never forks: it starts its own program under another name.
//!
//! `enter` is for the start of the program: with it every mount that is ever made is invisible outside and
//! gone with the last process, and an unprivileged user becomes root of a user namespace.
//!
//! Backends do not know what a Dockerfile is, and do not snapshot: what a command changed is read from the
//! overlay's upper directory by `layer`.

mod backend;
mod bundle;
mod caps;
mod enter;
mod files;
mod helper;
mod init;
mod native;
mod oci;
mod policy;
mod probe;
mod programs;
mod request;
mod seccomp;
mod select;
mod subid;
#[cfg(test)]
mod tests;
mod user;

pub(crate) use backend::{
    Network, RunBackend, RunError, RunMount, RunOutcome, RunOutput, RunSpec, RunStatus, RunSupport,
};
pub use enter::{EnterError, Entered, enter};
pub use init::init_if_asked;
pub(crate) use native::Native;
pub(crate) use oci::OciRuntime;
pub use select::BackendChoice;
pub(crate) use select::select;
