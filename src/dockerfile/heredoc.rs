//! Heredocs: files and scripts written in the Dockerfile.

use crate::text::Span;

/// One heredoc: `<<EOF`, its lines, `EOF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes: the name of the file that a COPY makes of it.
    pub name: String,
    /// Whether variables in the body are expanded (COPY and ADD only): no part of the delimiter is quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are dropped from each line, see [`content`](Heredoc::content).
    pub chomp: bool,
    /// The file descriptor: 3 for `3<<EOF`, 0 without number.
    pub fd: u32,
    /// The lines between, as written, each with its line end as `\n`.
    pub body: String,
    /// The word `<<EOF`.
    pub span: Span,
    /// The lines of the body in the source.
    pub body_span: Span,
}

impl Heredoc {
    /// The body as it is meant: leading tabs dropped when `<<-`.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}
