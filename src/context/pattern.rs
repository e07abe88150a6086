//! The source of a COPY or ADD as written, taken apart.

use super::PatternError;
use super::glob::{Glob, has_wildcard};
use super::ignore::clean;
use crate::tree::ImagePath;

/// A source path: names to be walked through (links followed), then wildcards (links not followed).
///
/// A leading slash and `..` stop at the root, as in a chroot. With `--parents` the part up to a `/./` pivot is
/// the source directory, and the rest, which may have `**`, chooses what is below it.
#[derive(Clone, Debug)]
pub(crate) struct SourcePattern {
    text: String,
    names: Vec<Vec<u8>>,
    globs: Vec<Glob>,
    below: Option<Glob>,
    wildcard: bool,
}

impl SourcePattern {
    /// Take `text` apart.
    pub(crate) fn parse(text: &str, parents: bool) -> Result<Self, PatternError> {
        let (source, below) = match text.split_once("/./") {
            Some((source, below)) if parents => (source, Some(below)),
            None if parents => ("", Some(text)),
            _ => (text, None),
        };
        let path = ImagePath::clamped(source);
        let mut names: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let first = names.iter().position(|name| has_wildcard(name)).unwrap_or(names.len());
        let globs: Vec<Glob> =
            names.split_off(first).iter().map(|name| Glob::component(name)).collect::<Result<_, _>>()?;
        let below = match below.map(|below| clean(format!("/{below}").as_bytes())) {
            // A pivot with nothing behind it takes everything.
            None => None,
            Some(below) if below == b"/" => None,
            Some(below) => Some(Glob::path(below.strip_prefix(b"/").unwrap_or(&below))?),
        };
        Ok(Self { text: text.to_owned(), wildcard: has_wildcard(text.as_bytes()), names, globs, below })
    }

    /// As written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has a wildcard; then it may match nothing.
    pub(crate) fn has_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Its names before the first wildcard.
    pub(super) fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// Its components from the first wildcard on.
    pub(super) fn globs(&self) -> &[Glob] {
        &self.globs
    }

    /// With `--parents`: what to choose below the source directory. `None` is everything.
    pub(super) fn below(&self) -> Option<&Glob> {
        self.below.as_ref()
    }
}

/// The spellings of a plain name to try in turn: as written, then with its escapes taken out.
pub(super) fn spellings(name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    let escaped = plain != name && !plain.is_empty() && plain != b"." && plain != b"..";
    std::iter::once(name.to_vec()).chain(escaped.then_some(plain))
}
