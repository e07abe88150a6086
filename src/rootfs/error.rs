//! What goes wrong when a root is mounted or looked at.

use std::fmt::Display;

/// Something that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub(crate) struct RootfsError {
    /// What was being done, with the object's name.
    pub(crate) what: String,
    /// What the system answered.
    pub(crate) reason: String,
}

impl RootfsError {
    /// `what` was answered by `reason`.
    pub(crate) fn new(what: impl Into<String>, reason: impl Display) -> Self {
        Self { what: what.into(), reason: reason.to_string() }
    }
}
