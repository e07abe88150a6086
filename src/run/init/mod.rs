//! The init process of a step: what this program does when it is started under another name.
//!
//! Three processes, each with one thread:
//!
//! ```text
//! builder ─spawn→ outer ─fork→ init (PID 1 of the step) ─fork→ command
//!                 waits         namespaces, root, mounts;      identity, rights, filter, exec
//!                               then reaps
//! ```
//!
//! The outer one exists because a process can not move itself into a new process namespace. Everything of
//! the step lives in the namespaces of init, so its end ends everything: when the command is done, when the
//! builder closes the socket or dies (each process is killed with its parent), when it is killed itself.
//!
//! None of the three can be looked into by the step (not dumpable), which also keeps `/proc/1/exe`, a link
//! to the builder's own program, from being opened. The program can not be written to either way, because it
//! is being executed for as long as a build lasts.

mod command;
mod devices;
mod mounts;
mod reap;
mod root;
mod runtime;
mod sources;
mod start;

pub(super) use sources::Source;
pub(super) use start::ARGV0;
pub use start::init_if_asked;
