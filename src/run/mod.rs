//! RUN: carrying out a command inside an image's root.
//!
//! A [`RunBackend`] answers three questions: what it is called, whether it works here (a real probe, not a
//! version check), and what came of a command. Every backend gives the command the same root, environment,
//! user and mounts. Nothing of a step outlives it: no process, mount, file descriptor, cgroup or stub file.
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
