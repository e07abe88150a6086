//! The one error of the library's door.

use std::fmt;

use crate::ids::StepId;
use crate::text::{Diagnostic, Source};

/// What kind of failure it was; decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A step or check failed.
    Step,
    /// The request or the Dockerfile is wrong.
    Input,
    /// A registry or the network is unavailable after retries, or an answer could not be trusted.
    Unavailable,
    /// A registry refused the credentials, or none were given.
    Unauthorised,
    /// This environment cannot build.
    Environment,
    /// Out of disk or memory.
    Resources,
    /// The build was interrupted.
    Interrupted,
    /// Our own bug.
    Internal,
}

/// Why a build or push did not come to its end.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    step: Option<StepId>,
    line: Option<usize>,
    diagnostics: Vec<Diagnostic>,
    source: Option<Source>,
    hints: Vec<String>,
    output: Vec<u8>,
}

impl Error {
    /// A failure in one line.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            message: message.into(),
            step: None,
            line: None,
            diagnostics: Vec::new(),
            source: None,
            hints: Vec::new(),
            output: Vec::new(),
        };
        Self { inner: Box::new(inner) }
    }

    /// With findings in a source.
    pub(crate) fn with_diagnostics(mut self, source: &Source, diagnostics: Vec<Diagnostic>) -> Self {
        self.inner.source = Some(source.clone());
        self.inner.diagnostics = diagnostics;
        self
    }

    /// A failure of the build that this source describes: lines are its lines.
    pub(crate) fn of_source(mut self, source: &Source) -> Self {
        self.inner.source.get_or_insert_with(|| source.clone());
        self
    }

    /// At this line of the Dockerfile.
    pub(crate) fn at_line(mut self, line: usize) -> Self {
        self.inner.line = Some(line);
        self
    }

    /// At a step, which stands at this line of the Dockerfile.
    pub(crate) fn at_step(mut self, step: StepId, line: usize) -> Self {
        self.inner.step = Some(step);
        self.inner.line = Some(line);
        self
    }

    /// With a next step for the user.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hints.push(hint.into());
        self
    }

    /// With the last output of the step that failed.
    pub(crate) fn with_output(mut self, output: Vec<u8>) -> Self {
        self.inner.output = output;
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The step that failed, when it was one.
    pub fn step(&self) -> Option<StepId> {
        self.inner.step
    }

    /// The line in the Dockerfile of what failed, from 1.
    pub fn line(&self) -> Option<usize> {
        self.inner.line
    }

    /// Findings in the Dockerfile or another source.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.inner.diagnostics
    }

    /// The text that the line and the diagnostics are of.
    pub fn source_text(&self) -> Option<&Source> {
        self.inner.source.as_ref()
    }

    /// What the user can do next.
    pub fn hints(&self) -> &[String] {
        &self.inner.hints
    }

    /// The last lines that the failed step wrote.
    pub fn output(&self) -> &[u8] {
        &self.inner.output
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {}
