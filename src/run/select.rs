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
#[error("no way to carry out RUN here: {}", said(.refused))]
pub(crate) struct NoBackend {
    /// What was tried, in order, and why it was refused.
    pub(crate) refused: Vec<(&'static str, String)>,
}

/// Each reason once, with the names of those that it holds for.
fn said(refused: &[(&'static str, String)]) -> String {
    let mut reasons: Vec<(Vec<&str>, &str)> = Vec::new();
    for (name, reason) in refused {
        match reasons.iter_mut().find(|(_, known)| known == reason) {
            Some((names, _)) => names.push(name),
            None => reasons.push((vec![name], reason)),
        }
    }
    let lines: Vec<String> =
        reasons.iter().map(|(names, reason)| format!("{}: {reason}", names.join(", "))).collect();
    lines.join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_holds_for_several_is_said_once() {
        let refused = [("native", "no overlay"), ("runc", "not installed"), ("crun", "no overlay")];
        let refused = NoBackend { refused: refused.map(|(name, why)| (name, why.to_owned())).to_vec() };
        assert_eq!(
            refused.to_string(),
            "no way to carry out RUN here: native, crun: no overlay; runc: not installed"
        );
    }

    #[test]
    fn choices_are_read_as_they_are_written() {
        assert_eq!("runc".parse(), Ok(BackendChoice::Runc));
        assert_eq!(BackendChoice::default().to_string(), "auto");
        assert_eq!(
            "docker".parse::<BackendChoice>(),
            Err("unknown backend \"docker\"; there are auto, native, runc, crun".to_owned())
        );
    }
}
