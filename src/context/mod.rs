//! Build contexts.

mod glob;
mod ignore;

pub(crate) use glob::PatternError;
pub(crate) use ignore::{IgnoreError, IgnoreFile, IgnoreProblem, Verdict};
