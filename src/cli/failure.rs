//! What goes wrong before the library is asked or after it has answered.

use ocistage::ErrorKind;

/// A failure of the command line's own: the same three things that the library's error has.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whose fault it was; decides the exit status.
    pub(crate) kind: ErrorKind,
    /// One line, lower case, naming the object.
    pub(crate) message: String,
    /// What the user can do next, one step each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// A failure of `kind`.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), hints: Vec::new() }
    }

    /// The command line, or a file that it names, is wrong.
    pub(crate) fn input(message: impl Into<String>) -> Failure {
        Failure::new(ErrorKind::Input, message)
    }

    /// With a next step for the user.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }
}

/// ` (did you mean …?)`, or nothing when no candidate is near.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match ocistage::text::suggest(word, candidates) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}
