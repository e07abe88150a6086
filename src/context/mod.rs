//! Build contexts.

mod archive;
mod glob;
mod ignore;
mod pattern;
mod select;

pub(crate) use archive::{ArchiveEntry, ArchiveError, archive_tree, read_archive};
pub(crate) use glob::PatternError;
pub(crate) use ignore::{IgnoreError, IgnoreFile, IgnoreProblem, Verdict};
pub(crate) use pattern::SourcePattern;
pub(crate) use select::{Pick, Place, SelectError, Selected, select};
