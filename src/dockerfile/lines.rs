//! Physical lines joined to logical ones, with the way back to the source.

use std::ops::Range;

use crate::text::Span;

use super::instruction::Word;

/// A logical line: physical lines joined at their continuation characters, comments and empty lines between left out.
#[derive(Debug, Default)]
pub(super) struct Logical {
    text: String,
    /// Where each joined piece begins: offset in `text`, offset in the source. Ascending in both.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Appends the bytes of the source at `offset`.
    pub(super) fn push(&mut self, piece: &str, offset: usize) {
        if self.pieces.is_empty() || !piece.is_empty() {
            self.pieces.push((self.text.len(), offset));
        }
        self.text.push_str(piece);
    }

    /// The whole line.
    pub(super) fn whole(&self) -> Part<'_> {
        Part { line: self, start: 0, end: self.text.len() }
    }

    /// The source's bytes from which `range` of this line was made.
    fn span(&self, range: &Range<usize>) -> Span {
        let start = self.offset(range.start);
        if range.is_empty() { Span::at(start) } else { Span::new(start, self.offset(range.end - 1) + 1) }
    }

    /// The offset in the source of the byte at `at`.
    fn offset(&self, at: usize) -> usize {
        let index = self.pieces.partition_point(|(begins, _)| *begins <= at).saturating_sub(1);
        self.pieces.get(index).map_or(0, |(begins, source)| source + (at - begins))
    }
}

/// A part of a logical line that knows where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    line: &'a Logical,
    start: usize,
    end: usize,
}

impl<'a> Part<'a> {
    /// The text.
    pub(super) fn text(self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    /// The place in the source.
    pub(super) fn span(self) -> Span {
        self.line.span(&(self.start..self.end))
    }

    /// The place in the source of `range` of this part.
    pub(super) fn span_of(self, range: &Range<usize>) -> Span {
        self.line.span(&(self.start + range.start..self.start + range.end))
    }

    /// Whether there is no text.
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes `range` of this part.
    pub(super) fn sub(self, range: Range<usize>) -> Part<'a> {
        Part { line: self.line, start: self.start + range.start, end: self.start + range.end }
    }

    /// Without white space at both ends.
    pub(super) fn trim(self) -> Part<'a> {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.sub(start..start + text.trim().len())
    }

    /// From the beginning of this part to the end of `other`, a later part of the same line.
    pub(super) fn through(self, other: Part<'a>) -> Part<'a> {
        Part { end: other.end.max(self.start), ..self }
    }

    /// As a word.
    pub(super) fn word(self) -> Word {
        Word { text: self.text().to_owned(), span: self.span() }
    }

    /// Up to the first blank, and what follows the blanks; `None` when there is no blank.
    pub(super) fn split_blank(self) -> (Part<'a>, Option<Part<'a>>) {
        let text = self.text();
        let Some(end) = text.find(is_blank) else { return (self, None) };
        let rest = text[end..].find(|c| !is_blank(c)).map_or(text.len(), |skip| end + skip);
        (self.sub(0..end), Some(self.sub(rest..text.len())))
    }

    /// The parts between blanks. Blanks at an end give an empty part there, as BuildKit's splitting does.
    pub(super) fn blank_separated(self) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        if self.is_empty() {
            return parts;
        }
        let mut rest = Some(self);
        while let Some(part) = rest {
            let (first, after) = part.split_blank();
            parts.push(first);
            rest = after;
        }
        parts
    }
}

/// What separates keyword, flags and words. Line ends are not among them: a logical line has none.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0b' | '\x0c' | '\r')
}

/// The line without its continuation character, if it ends with one: the escape character, then only spaces and tabs,
/// and no other escape character before it (`foo \\` ends the instruction).
pub(super) fn continued(line: &str, escape: char) -> Option<&str> {
    let body = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!body.ends_with(escape)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_finds_its_way_back_across_joined_lines() {
        let source = "RUN a \\\n# comment\n  b";
        let mut line = Logical::default();
        line.push("RUN a ", 0);
        line.push("  b", 18);
        let part = line.whole();
        assert_eq!(part.text(), "RUN a   b");
        assert_eq!(part.sub(8..9).span(), Span::new(20, 21));
        assert_eq!(&source[part.sub(4..9).span().range()], "a \\\n# comment\n  b");
        assert_eq!(part.sub(9..9).span(), Span::at(21));
    }

    #[test]
    fn only_a_lone_escape_character_continues() {
        assert_eq!(continued("a \\", '\\'), Some("a "));
        assert_eq!(continued("a \\ \t", '\\'), Some("a "));
        assert_eq!(continued("\\", '\\'), Some(""));
        assert_eq!(continued("a \\\\", '\\'), None);
        assert_eq!(continued("a \\", '`'), None);
        assert_eq!(continued("a `", '`'), Some("a "));
    }
}
