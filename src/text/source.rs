//! A named text with a line index.

use std::fmt;
use std::sync::Arc;

use super::{LineRange, Position, Span};

/// A file's name and text. Cheap to clone: all clones share one text.
#[derive(Clone)]
pub struct Source(Arc<Inner>);

struct Inner {
    name: String,
    text: String,
    /// Offset of the first byte of each line; the first entry is 0.
    line_starts: Vec<usize>,
    /// Where bytes that were not UTF-8 stood (each now U+FFFD), in order.
    replaced: Vec<Span>,
}

impl Source {
    /// A source of `text`, shown to people as `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Source {
        Source::build(name.into(), text.into(), Vec::new())
    }

    /// A source of bytes as read from a file. Bytes that are not UTF-8 become U+FFFD and are remembered in
    /// [`replaced`](Source::replaced), so that the reader of the text can say so.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Source {
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => return Source::new(name, text),
            Err(error) => error.into_bytes(),
        };
        let mut text = String::with_capacity(bytes.len() + 16);
        let mut replaced = Vec::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                let start = text.len();
                text.push(char::REPLACEMENT_CHARACTER);
                replaced.push(Span::new(start, text.len()));
            }
        }
        Source::build(name.into(), text, replaced)
    }

    fn build(name: String, text: String, replaced: Vec<Span>) -> Source {
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1))
            .collect();
        Source(Arc::new(Inner { name, text, line_starts, replaced }))
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Where bytes that were not UTF-8 stood, in order.
    pub fn replaced(&self) -> &[Span] {
        &self.0.replaced
    }

    /// The text of `span`; empty when the span is not one of this source.
    pub fn slice(&self, span: Span) -> &str {
        self.0.text.get(span.range()).unwrap_or_default()
    }

    /// The line, from 1, in which the byte at `offset` lies. Offsets after the end lie in the last line.
    pub fn line_of(&self, offset: usize) -> usize {
        self.0.line_starts.partition_point(|start| *start <= offset)
    }

    /// Line and column of the byte at `offset`.
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line_of(offset);
        let start = self.0.line_starts[line - 1];
        let before = self.0.text.get(start..offset.min(self.0.text.len())).unwrap_or_default();
        Position { line, column: before.chars().count() + 1 }
    }

    /// The lines that `span` touches.
    pub fn lines(&self, span: Span) -> LineRange {
        let last = if span.is_empty() { span.start } else { span.end - 1 };
        LineRange { first: self.line_of(span.start), last: self.line_of(last) }
    }

    /// Number of lines; the empty text has one.
    pub fn line_count(&self) -> usize {
        self.0.line_starts.len()
    }

    /// The span of line `line` (from 1) without its line end; empty at the end of the text when there is no such line.
    pub fn line_span(&self, line: usize) -> Span {
        let text = &self.0.text;
        let Some(start) = line.checked_sub(1).and_then(|index| self.0.line_starts.get(index)).copied() else {
            return Span::at(text.len());
        };
        let end = self.0.line_starts.get(line).map_or(text.len(), |next| next - 1);
        let end = if end > start && text.as_bytes()[end - 1] == b'\r' { end - 1 } else { end };
        Span::new(start, end)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}, {} bytes)", self.0.name, self.0.text.len())
    }
}

/// Sources are equal when name and text are.
impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.name == other.0.name && self.0.text == other.0.text)
    }
}

impl Eq for Source {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("f", "ab\nµx\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(3), Position { line: 2, column: 1 });
        assert_eq!(source.position(5), Position { line: 2, column: 2 });
        assert_eq!(source.position(99), Position { line: 3, column: 1 });
    }

    #[test]
    fn a_line_span_leaves_out_the_line_end() {
        let source = Source::new("f", "one\r\ntwo\n");
        assert_eq!(source.slice(source.line_span(1)), "one");
        assert_eq!(source.slice(source.line_span(2)), "two");
        assert_eq!(source.slice(source.line_span(3)), "");
        assert_eq!(source.slice(source.line_span(9)), "");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_remembered() {
        let source = Source::from_bytes("f", b"a\xffb\xc3".to_vec());
        assert_eq!(source.text(), "a\u{fffd}b\u{fffd}");
        assert_eq!(source.replaced(), [Span::new(1, 4), Span::new(5, 8)]);
    }
}
