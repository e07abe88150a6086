//! Words that may be quoted, and `key=value` pairs of them. Quotes and escapes stay in the words: they mean something
//! to the expansion later.

use super::instruction::Word;
use super::lines::Part;

/// The words of `part`, separated by white space outside quotes.
pub(super) fn quoted_words(part: Part<'_>, escape: char) -> Vec<Word> {
    let text = part.text();
    let mut words = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        let mut word = String::new();
        let mut quote = None;
        let mut current = Some((start, c));
        let mut end = start;
        while let Some((at, c)) = current {
            if quote.is_none() && c.is_whitespace() {
                break;
            }
            end = at + c.len_utf8();
            if quote == Some(c) {
                quote = None;
            } else if quote.is_none() && (c == '\'' || c == '"') {
                quote = Some(c);
            }
            // Nothing can be escaped between single quotes.
            if c == escape && quote != Some('\'') {
                // An escape character that ends the text escapes nothing and is dropped.
                if let Some((at, escaped)) = chars.next() {
                    word.push(c);
                    word.push(escaped);
                    end = at + escaped.len_utf8();
                }
            } else {
                word.push(c);
            }
            current = chars.next();
        }
        if !word.is_empty() {
            words.push(Word { text: word, span: part.span_of(&(start..end)) });
        }
    }
    words
}

/// Splits a word at its first `=`.
pub(super) fn split_pair(word: &Word) -> Option<(Word, Word)> {
    let (key, value) = word.text.split_once('=')?;
    // When something was dropped between, or lines were joined, the parts have no exact place of their own.
    let exact = word.span.len() == word.text.len();
    let mut spans = (word.span, word.span);
    if exact {
        spans.0.end = spans.0.start + key.len();
        spans.1.start = spans.0.end + 1;
    }
    Some((Word { text: key.to_owned(), span: spans.0 }, Word { text: value.to_owned(), span: spans.1 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::lines::Logical;

    fn words(text: &str, escape: char) -> Vec<String> {
        let mut line = Logical::default();
        line.push(text, 0);
        quoted_words(line.whole(), escape).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_join_and_stay() {
        assert_eq!(words("a=\"b c\" d='e f'g  h", '\\'), ["a=\"b c\"", "d='e f'g", "h"]);
        assert_eq!(words("'' \"\"", '\\'), ["''", "\"\""]);
    }

    #[test]
    fn escapes_join_and_stay() {
        assert_eq!(words(r"a=b\ c d=\'e f", '\\'), [r"a=b\ c", r"d=\'e", "f"]);
        assert_eq!(words(r#"a="b\" c" d"#, '\\'), [r#"a="b\" c""#, "d"]);
        assert_eq!(words(r"a='b\' c", '\\'), [r"a='b\'", "c"]);
        assert_eq!(words("a=b` c", '`'), ["a=b` c"]);
    }

    #[test]
    fn an_escape_character_at_the_end_is_dropped() {
        assert_eq!(words("a=b\\", '\\'), ["a=b"]);
        assert_eq!(words("\\", '\\'), Vec::<String>::new());
    }

    #[test]
    fn a_word_knows_its_place() {
        let mut line = Logical::default();
        line.push("a \"é b\" c", 10);
        let spans: Vec<_> =
            quoted_words(line.whole(), '\\').iter().map(|w| (w.span.start, w.span.end)).collect();
        assert_eq!(spans, [(10, 11), (12, 18), (19, 20)]);
    }
}
