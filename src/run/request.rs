//! What the builder and the init process of a step say to each other.
//!
//! One socket, both ways: the builder sends a [`Request`] (its length as eight bytes, then JSON), later at
//! most one byte that asks to stop; the other side sends [`Report`]s, one JSON document a line. The first
//! report counts. The socket's end tells each that the other is gone.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{RunError, RunSpec, RunStatus};
use crate::rootfs::RootfsError;

/// The byte that asks the init process to tell the command to stop.
pub(super) const STOP: u8 = b'T';

/// One step to carry out.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// What to run and in what.
    pub(super) spec: RunSpec,
    /// Who starts the command.
    pub(super) starter: Starter,
    /// The bytes of /etc/resolv.conf.
    pub(super) resolv_conf: String,
    /// The bytes of /etc/hosts.
    pub(super) hosts: String,
}

/// Who starts the command in the prepared root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Starter {
    /// The init process itself.
    Own,
    /// An OCI runtime, given a bundle.
    Runtime {
        /// Which.
        kind: RuntimeKind,
        /// The program.
        program: PathBuf,
    },
}

/// A runtime that takes bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RuntimeKind {
    /// runc, 1.0 or later.
    Runc,
    /// crun, 1.0 or later.
    Crun,
}

impl RuntimeKind {
    /// Its name, also as a program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command ended.
    Ended(RunStatus),
    /// As [`RunError::User`].
    User {
        /// As in USER.
        user: String,
        /// What is missing.
        reason: String,
    },
    /// As [`RunError::Program`].
    Program {
        /// As asked for.
        program: String,
        /// What the kernel said.
        reason: String,
    },
    /// As [`RunError::Setup`].
    Setup {
        /// What was being done.
        what: String,
        /// What the system answered.
        reason: String,
    },
}

impl Report {
    /// The report of something that the system refused.
    pub(super) fn setup(what: impl Into<String>, reason: impl Display) -> Self {
        Self::Setup { what: what.into(), reason: reason.to_string() }
    }

    /// As the backend's answer.
    pub(super) fn into_result(self) -> Result<RunStatus, RunError> {
        match self {
            Self::Ended(status) => Ok(status),
            Self::User { user, reason } => Err(RunError::User { user, reason }),
            Self::Program { program, reason } => Err(RunError::Program { program, reason }),
            Self::Setup { what, reason } => Err(RunError::Setup { what, reason }),
        }
    }

    /// Send it. In one write, so that reports of two processes do not mix.
    pub(super) fn send(&self, mut to: impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        to.write_all(&line)
    }

    /// The first report in what was received.
    pub(super) fn first(received: &[u8]) -> Option<Self> {
        let line = received.split_inclusive(|b| *b == b'\n').next()?;
        serde_json::from_slice(line).ok()
    }
}

impl From<RootfsError> for Report {
    fn from(error: RootfsError) -> Self {
        Self::Setup { what: error.what, reason: error.reason }
    }
}

/// Say what was being done when a call failed.
pub(super) trait During<T> {
    /// The value, or a [`Report::Setup`] with these words.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Report>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Report> {
        self.map_err(|error| Report::setup(what(), error))
    }
}

impl Request {
    /// Send it.
    pub(super) fn send(&self, mut to: impl Write) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let mut message = (json.len() as u64).to_le_bytes().to_vec();
        message.extend(json);
        to.write_all(&message)
    }

    /// Receive one.
    pub(super) fn receive(mut from: impl Read) -> io::Result<Self> {
        let mut length = [0_u8; 8];
        from.read_exact(&mut length)?;
        let mut json = Vec::new();
        from.take(u64::from_le_bytes(length)).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}
