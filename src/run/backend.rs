//! What a backend is asked and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ctx::{Ctx, OutputStream};
use crate::rootfs::Rootfs;

/// One command to carry out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunSpec {
    /// The root, as directories for an overlay.
    pub(crate) rootfs: Rootfs,
    /// The program and its arguments; the program is looked up in the image's PATH.
    pub(crate) args: Vec<String>,
    /// The environment, in order, names unique. HOME is added by the backend unless it is here.
    pub(crate) env: Vec<(String, String)>,
    /// The working directory inside the image, absolute. Created if missing.
    pub(crate) workdir: String,
    /// `USER` as in the image's config: `name`, `uid`, `name:group`, …; empty is root.
    pub(crate) user: String,
    /// The network.
    pub(crate) network: Network,
    /// `name ip` pairs that are added to /etc/hosts.
    pub(crate) extra_hosts: Vec<(String, String)>,
    /// Mounts in order, after those that every step has.
    pub(crate) mounts: Vec<RunMount>,
}

/// The network that a command sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Network {
    /// The host's.
    #[default]
    Host,
    /// Loopback only.
    None,
}

/// A mount of one command. Targets are paths inside the image, absolute; missing targets are created for
/// the step and removed after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunMount {
    /// A file or directory of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the image.
        target: String,
        /// Whether writes are refused.
        read_only: bool,
    },
    /// A file or directory of a tree that is not the step's own: of the context (one directory) or of an image
    /// or stage (its layers). Links in it stay in it.
    Part {
        /// The tree's layers, bottom first.
        lowers: Vec<PathBuf>,
        /// In the tree; `/` is all of it.
        source: String,
        /// In the image.
        target: String,
        /// Whether the step may write. What it writes is forgotten.
        writable: bool,
    },
    /// A read-only file that is only in memory: a secret.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// In the image.
        target: String,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// In the image.
        target: String,
        /// Limit in bytes.
        size: Option<u64>,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunStatus {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunOutcome {
    /// How it ended.
    pub(crate) status: RunStatus,
}

/// Whether a backend works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunSupport {
    /// It does; in a few words, what was tried (`user namespace, overlay`).
    Works(String),
    /// It does not: what was tried, what the system answered, and what would mend it.
    Refused(String),
}

/// Why a command could not be started or followed. A command that fails by itself is a [`RunOutcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RunError {
    /// The build was told to stop.
    #[error("interrupted")]
    Cancelled,
    /// The image has no such user or group.
    #[error("user {user:?}: {reason}")]
    User {
        /// As in USER.
        user: String,
        /// What is missing.
        reason: String,
    },
    /// The program is not in the image, or is not executable.
    #[error("{program}: {reason}")]
    Program {
        /// As asked for.
        program: String,
        /// What the kernel said.
        reason: String,
    },
    /// Setting up the root, a mount or the process failed.
    #[error("{what}: {reason}")]
    Setup {
        /// What was being done.
        what: String,
        /// What the system answered.
        reason: String,
    },
}

/// Where a command's output goes, as it comes.
pub(crate) type RunOutput<'a> = &'a mut dyn FnMut(OutputStream, &[u8]);

/// Something that can carry out commands.
pub(crate) trait RunBackend: Send + Sync {
    /// `native`, `runc`, …
    fn name(&self) -> &'static str;

    /// Whether it works here, found out by doing it.
    fn probe(&self) -> RunSupport;

    /// Carry out one command and wait for it. Blocks; stops the command when `ctx` is cancelled.
    fn run(&self, ctx: &Ctx, spec: &RunSpec, output: RunOutput<'_>) -> Result<RunOutcome, RunError>;
}
