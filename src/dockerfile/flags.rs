//! `--name=value` before the arguments.

use crate::text::{Diagnostic, Span, shortened, suggest};

use super::instruction::Word;
use super::lines::Part;

/// Splits the flags off the beginning of an instruction's arguments: words that begin with `--`, up to the first that
/// does not or a lone `--`. Quotes and backslashes are taken out of them here, whatever the file's escape character.
pub(super) fn split_flags(part: Part<'_>) -> (Vec<Word>, Part<'_>) {
    let text = part.text();
    let mut flags = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let start = chars.peek().map_or(text.len(), |(at, _)| *at);
        if !text[start..].starts_with("--") {
            return (flags, part.sub(start..text.len()).trim());
        }
        let mut flag = String::new();
        let mut quote = None;
        let mut end = text.len();
        while let Some((at, c)) = chars.next() {
            if quote.is_none() && c.is_whitespace() {
                end = at;
                break;
            }
            match c {
                _ if quote == Some(c) => quote = None,
                '\'' | '"' if quote.is_none() => quote = Some(c),
                '\\' => flag.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => flag.push(c),
            }
        }
        if flag == "--" {
            return (flags, part.sub(end..text.len()).trim());
        }
        flags.push(Word { text: flag, span: part.span_of(&(start..end)) });
    }
}

/// The flags of one instruction, taken one by one by those who know them; what is left at the end is unknown.
pub(super) struct Flags<'a> {
    keyword: &'a str,
    given: Vec<Given>,
    known: Vec<&'static str>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

struct Given {
    name: String,
    value: Option<Word>,
    span: Span,
}

impl<'a> Flags<'a> {
    /// The flags `words` of the instruction `keyword`.
    pub(super) fn new(keyword: &'a str, words: &[Word], diagnostics: &'a mut Vec<Diagnostic>) -> Flags<'a> {
        let given = words.iter().map(|word| {
            let body = word.text.strip_prefix("--").unwrap_or(&word.text);
            let (name, value) =
                body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
            let mut span = word.span;
            if word.text.len() == word.span.len() {
                span.start += "--".len() + name.len() + usize::from(value.is_some());
            }
            let value = value.map(|value| Word { text: value.to_owned(), span });
            Given { name: name.to_owned(), value, span: word.span }
        });
        Flags { keyword, given: given.collect(), known: Vec::new(), diagnostics }
    }

    /// Every value of a flag that may be given several times.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<Word> {
        let mut values = Vec::new();
        for given in self.take(name) {
            match given.value {
                Some(value) => values.push(value),
                None => self.missing_value(name, given.span),
            }
        }
        values
    }

    /// The value of a flag that may be given once. An empty value (`--from=`) is the same as no flag.
    pub(super) fn text(&mut self, name: &'static str) -> Option<Word> {
        let given = self.once(name)?;
        if given.value.is_none() {
            self.missing_value(name, given.span);
        }
        given.value.filter(|value| !value.text.is_empty())
    }

    /// A switch: `--link`, `--link=true`, `--link=false`.
    pub(super) fn switch(&mut self, name: &'static str) -> Option<bool> {
        let given = self.once(name)?;
        let Some(value) = given.value else { return Some(true) };
        match value.text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            "" => {
                self.missing_value(name, given.span);
                None
            }
            _ => {
                let message = format!("`--{name}` is true or false, not `{}`", shortened(&value.text));
                self.diagnostics.push(Diagnostic::error("invalid-flag-value", message).at(value.span));
                None
            }
        }
    }

    /// Says that a value is none of those that the flag knows.
    pub(super) fn refuse(&mut self, name: &str, value: &Word, known: &[&str]) {
        let mut diagnostic = Diagnostic::error(
            "invalid-flag-value",
            format!("`{}` is no value of `{} --{name}`", value.text, self.keyword),
        )
        .at(value.span);
        diagnostic = match suggest(&value.text, known.iter().copied()) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!("use one of {}", known.join(", "))),
        };
        self.diagnostics.push(diagnostic);
    }

    /// Reports something about a value.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports what nobody took, and gives the list of findings back.
    pub(super) fn finish(self) -> &'a mut Vec<Diagnostic> {
        for given in self.given {
            let message = format!("unknown flag `--{}` of {}", shortened(&given.name), self.keyword);
            let mut diagnostic = Diagnostic::error("unknown-flag", message).at(given.span);
            if let Some(near) = suggest(&given.name, self.known.iter().copied()) {
                diagnostic = diagnostic.help(format!("did you mean `--{near}`?"));
            } else if self.known.is_empty() {
                diagnostic = diagnostic.help(format!("{} has no flags", self.keyword));
            } else {
                diagnostic = diagnostic.help(format!("{} has --{}", self.keyword, self.known.join(", --")));
            }
            self.diagnostics.push(diagnostic);
        }
        self.diagnostics
    }

    fn take(&mut self, name: &'static str) -> Vec<Given> {
        self.known.push(name);
        self.given.extract_if(.., |given| given.name == name).collect()
    }

    fn once(&mut self, name: &'static str) -> Option<Given> {
        let mut given = self.take(name).into_iter();
        let first = given.next()?;
        for again in given {
            let message = format!("`--{name}` is given twice");
            self.diagnostics.push(
                Diagnostic::error("duplicate-flag", message)
                    .at(again.span)
                    .label(first.span, "first given here"),
            );
        }
        Some(first)
    }

    fn missing_value(&mut self, name: &str, span: Span) {
        let message = format!("`--{name}` needs a value");
        let help = format!("write `--{name}=…`");
        self.diagnostics.push(Diagnostic::error("missing-flag-value", message).at(span).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::lines::Logical;

    fn split(text: &str) -> (Vec<String>, String) {
        let mut line = Logical::default();
        line.push(text, 0);
        let (flags, rest) = split_flags(line.whole());
        (flags.into_iter().map(|flag| flag.text).collect(), rest.text().to_owned())
    }

    fn split_is(text: &str, flags: &[&str], rest: &str) {
        assert_eq!(split(text), (flags.iter().map(|f| (*f).to_owned()).collect(), rest.to_owned()), "{text}");
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        split_is("--a=b --c  d --e", &["--a=b", "--c"], "d --e");
        split_is("d --e", &[], "d --e");
        split_is("", &[], "");
        split_is("--a", &["--a"], "");
        split_is("-a --b", &[], "-a --b");
    }

    #[test]
    fn a_lone_double_dash_ends_them_and_goes() {
        split_is("--a -- --b c", &["--a"], "--b c");
        split_is("--", &[], "");
        split_is("-- --a", &[], "--a");
    }

    #[test]
    fn quotes_and_backslashes_in_flags_are_resolved() {
        split_is("--a='b c' --d=\"e f\"g h", &["--a=b c", "--d=e fg"], "h");
        split_is("--a=b\\ c d", &["--a=b c"], "d");
        split_is("--a=\\", &["--a="], "");
    }
}
