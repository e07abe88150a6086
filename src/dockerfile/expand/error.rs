//! What can be wrong with a word.

use super::DEPTH;

/// Why a word cannot be expanded. `at` is the offset in the word, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote without its partner.
    #[error("`{quote}` is never closed")]
    OpenQuote {
        /// The quote.
        quote: char,
        /// Where it opens.
        at: usize,
    },
    /// `${` without `}`, or `${v/p` without the second `/`.
    #[error("`${{` is never closed: `{missing}` is missing")]
    OpenBrace {
        /// What should have come.
        missing: char,
        /// Where the substitution begins.
        at: usize,
    },
    /// `${}`, `${:…`, `${{`.
    #[error("bad substitution: no variable name after `${{`")]
    NoName {
        /// Where the substitution begins.
        at: usize,
    },
    /// A form that does not exist, such as `${v=w}` or `${v:1:2}`.
    #[error("unsupported modifier `{modifier}` in the substitution of `{name}`")]
    Modifier {
        /// The variable.
        name: String,
        /// What follows it.
        modifier: String,
        /// Where the substitution begins.
        at: usize,
    },
    /// A pattern with an escape that means nothing.
    #[error("invalid pattern `{pattern}`: `\\{escape}` means nothing; only *, ?, \\, }} and / are escaped")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The character after the backslash.
        escape: String,
        /// Where the substitution begins.
        at: usize,
    },
    /// `${v:?message}` and no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, or a standard one.
        message: String,
        /// Where the substitution begins.
        at: usize,
    },
    /// Substitutions inside substitutions inside …
    #[error("substitutions are nested more than {DEPTH} deep")]
    Depth {
        /// Where the last begins.
        at: usize,
    },
    /// Values of values of values …
    #[error(
        "its variables make it longer than can be used: more than a megabyte for a word, 16 for a heredoc"
    )]
    TooLong {
        /// Where the substitution begins that is too much.
        at: usize,
    },
}

impl ExpandError {
    /// The offset in the word, in bytes.
    pub fn at(&self) -> usize {
        match self {
            ExpandError::OpenQuote { at, .. }
            | ExpandError::OpenBrace { at, .. }
            | ExpandError::NoName { at }
            | ExpandError::Modifier { at, .. }
            | ExpandError::Pattern { at, .. }
            | ExpandError::Required { at, .. }
            | ExpandError::Depth { at }
            | ExpandError::TooLong { at } => *at,
        }
    }
}
