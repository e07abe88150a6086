//! Small identifiers that several floors share: which stage, which step.

use std::fmt;

/// A stage of the Dockerfile, by its position (0 is the first `FROM`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub usize);

/// A step: the stage and the position of the step in it (0 is the first step after `FROM`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The stage that the step belongs to.
    pub stage: StageId,
    /// The position in the stage.
    pub index: usize,
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stage, self.index)
    }
}
