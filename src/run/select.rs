//! Choosing a backend.
//!
//! A backend that was asked for by name works or is refused with what is missing; nothing else is tried.
//! `auto` takes the first of the strongest class that a probe shows to work. The backends that exist are all of
//! one class (namespaces, dropped capabilities, a filter); a weaker class is never chosen by itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::{Native, OciRuntime, RunBackend, RunSupport};

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The strongest that works.
    #[default]
    Auto,
    /// The own spawner.
    Native,
    /// `runc`.
    Runc,
    /// `crun`.
    Crun,
}

impl BackendChoice {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Runc, Self::Crun];

    /// As written on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|choice| choice.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown backend {text:?}; there are {names}")
        })
    }
}

/// No backend works, or not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no way to carry out RUN here: {}", .refused.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; "))]
pub(crate) struct NoBackend {
    /// What was tried, in order, and why it was refused.
    pub(crate) refused: Vec<(&'static str, String)>,
}

/// Probe what was asked for. On success the backend and, in a few words, why it.
///
/// `init` is this program as a file (see [`Native::new`]); `scratch` an existing directory on the file system
/// where upper directories will be. Blocks for some milliseconds.
pub(crate) fn select(
    choice: BackendChoice,
    init: PathBuf,
    scratch: PathBuf,
) -> Result<(Arc<dyn RunBackend>, String), NoBackend> {
    let native: Arc<dyn RunBackend> = Arc::new(Native::new(init.clone(), scratch.clone()));
    let runc: Arc<dyn RunBackend> = Arc::new(OciRuntime::runc(init.clone(), scratch.clone()));
    let crun: Arc<dyn RunBackend> = Arc::new(OciRuntime::crun(init, scratch));
    let candidates = match choice {
        BackendChoice::Auto => vec![native, runc, crun],
        BackendChoice::Native => vec![native],
        BackendChoice::Runc => vec![runc],
        BackendChoice::Crun => vec![crun],
    };
    let mut refused: Vec<(&'static str, String)> = Vec::new();
    for backend in candidates {
        match backend.probe() {
            RunSupport::Works(found) => {
                let others: Vec<String> =
                    refused.iter().map(|(name, why)| format!("; not {name}: {why}")).collect();
                return Ok((backend, format!("{found}{}", others.concat())));
            }
            RunSupport::Refused(why) => refused.push((backend.name(), why)),
        }
    }
    Err(NoBackend { refused })
}
