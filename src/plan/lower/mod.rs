//! Instructions to steps: every variable expanded, every effect on the config applied.
//!
//! One state per stage is what later instructions of the stage see. `FROM stage` begins with that stage's
//! final state, as if the two were written in one.
//!
//! What the engine can not carry out is refused here by name and line, as [`LowerSettings`] says: nothing
//! is dropped silently. Findings about style that depend on what a stage is at that point (an unset
//! variable, a relative WORKDIR) are made on the way; the rules themselves are in [`lint`](super::lint).
//!
//! Not here: whether a file or an image exists.

mod config;
mod files;
mod history;
mod mount;
mod remote;
mod run;
mod settings;
mod stage;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use remote::{Remote, remote};
pub(crate) use settings::{LowerSettings, MountSupport, RemoteSupport};
pub(crate) use stage::lower;

use stage::Lowering;
