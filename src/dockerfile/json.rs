//! The exec form: a JSON array of strings.
//!
//! Text that is no valid JSON array silently is shell form (`CMD ['a']`); a valid array that holds anything but strings
//! is an error, because its author meant the exec form.

use std::iter::Peekable;
use std::str::CharIndices;

use super::instruction::Word;
use super::lines::Part;

/// What a text is.
pub(super) enum Json {
    /// Not a JSON array.
    Not,
    /// A JSON array with an element that is not a string.
    Mixed,
    /// A JSON array of strings, decoded.
    Strings(Vec<Word>),
}

/// Reads the exec form.
pub(super) fn parse_json(part: Part<'_>) -> Json {
    let text = part.text();
    if !text.trim_start().starts_with('[') {
        return Json::Not;
    }
    match strings(part) {
        Some(words) => Json::Strings(words),
        None if serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_ok() => Json::Mixed,
        None => Json::Not,
    }
}

/// The elements when all are strings. A hand-written reader: elements need their places, and a lone surrogate
/// (`"\ud800"`) is accepted as U+FFFD, which serde_json refuses.
fn strings(part: Part<'_>) -> Option<Vec<Word>> {
    let mut chars = part.text().char_indices().peekable();
    let mut words = Vec::new();
    skip_space(&mut chars);
    chars.next_if(|(_, c)| *c == '[')?;
    skip_space(&mut chars);
    if chars.next_if(|(_, c)| *c == ']').is_none() {
        loop {
            skip_space(&mut chars);
            let (start, _) = chars.next_if(|(_, c)| *c == '"')?;
            let (text, end) = string(&mut chars)?;
            words.push(Word { text, span: part.span_of(&(start..end)) });
            skip_space(&mut chars);
            match chars.next()?.1 {
                ',' => {}
                ']' => break,
                _ => return None,
            }
        }
    }
    skip_space(&mut chars);
    chars.next().is_none().then_some(words)
}

fn skip_space(chars: &mut Peekable<CharIndices<'_>>) {
    while chars.next_if(|(_, c)| matches!(c, ' ' | '\t' | '\r' | '\n')).is_some() {}
}

/// The rest of a string after its opening quote, and the offset after its closing quote.
fn string(chars: &mut Peekable<CharIndices<'_>>) -> Option<(String, usize)> {
    let mut text = String::new();
    loop {
        let (at, c) = chars.next()?;
        match c {
            '"' => return Some((text, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'b' => text.push('\x08'),
                'f' => text.push('\x0c'),
                c @ ('"' | '\\' | '/') => text.push(c),
                'u' => text.push(unicode(chars)?),
                _ => return None,
            },
            c if c < ' ' => return None,
            c => text.push(c),
        }
    }
}

/// The character of `\uXXXX`, or of two of them that make a surrogate pair.
fn unicode(chars: &mut Peekable<CharIndices<'_>>) -> Option<char> {
    let high = hex4(chars)?;
    if let Some(c) = char::from_u32(high) {
        return Some(c);
    }
    let mut ahead = chars.clone();
    let follows = ahead.next().is_some_and(|(_, c)| c == '\\') && ahead.next().is_some_and(|(_, c)| c == 'u');
    if follows && high < 0xDC00 {
        let low = hex4(&mut ahead)?;
        if (0xDC00..0xE000).contains(&low) {
            *chars = ahead;
            return char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
        }
    }
    Some(char::REPLACEMENT_CHARACTER)
}

fn hex4(chars: &mut Peekable<CharIndices<'_>>) -> Option<u32> {
    let mut value = 0;
    for _ in 0..4 {
        value = value * 16 + chars.next()?.1.to_digit(16)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::lines::Logical;

    /// The strings joined by `|`, `not`, or `mixed`.
    fn read(text: &str) -> String {
        let mut line = Logical::default();
        line.push(text, 0);
        match parse_json(line.whole()) {
            Json::Not => "not".to_owned(),
            Json::Mixed => "mixed".to_owned(),
            Json::Strings(words) => words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join("|"),
        }
    }

    #[test]
    fn an_array_of_strings_is_decoded() {
        assert_eq!(read(r#"["a", "b c" ,"\n\u00e9\ud83d\ude00\/"]"#), "a|b c|\n\u{e9}\u{1f600}/");
        assert_eq!(read("  [ ]  "), "");
        assert_eq!(read(r#"["\ud800x"]"#), "\u{fffd}x");
    }

    #[test]
    fn what_is_no_json_array_is_left_alone() {
        for text in
            ["['a']", "[\"a\"", "[\"a\",]", "[\"a\"] x", "[a]", "\"a\"", "", "[\"\\x\"]", "[ -f x ] && y"]
        {
            assert_eq!(read(text), "not", "{text}");
        }
    }

    #[test]
    fn an_array_of_other_things_is_told_apart() {
        for text in ["[1]", "[\"a\", 2]", "[null]", "[[\"a\"]]", "[{}]"] {
            assert_eq!(read(text), "mixed", "{text}");
        }
    }
}
