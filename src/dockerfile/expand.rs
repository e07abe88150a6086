//! Variables, quotes and escapes of a word.
//!
//! The forms are those of BuildKit's Dockerfile front end, a subset of the shell's:
//!
//! | form                | meaning                                                             |
//! |---------------------|---------------------------------------------------------------------|
//! | `$v` `${v}`         | the value, empty when unset                                         |
//! | `${v:-w}` `${v-w}`  | `w` when unset (with `:` also when empty)                           |
//! | `${v:+w}` `${v+w}`  | `w` when set (with `:` and not empty), else nothing                 |
//! | `${v:?w}` `${v?w}`  | an error with the message `w` when unset (with `:` also when empty) |
//! | `${v#p}` `${v##p}`  | without the shortest, longest beginning that matches the pattern    |
//! | `${v%p}` `${v%%p}`  | without the shortest, longest end that matches                      |
//! | `${v/p/r}` `${v//p/r}` | the first, every match replaced                                  |
//!
//! Between single quotes nothing means anything; between double quotes `$` does, and the escape character before
//! `"`, `$` and itself. A `$` before anything that is no name stays. Digits and `@ * # ? - $ !` are names as the
//! shell's special parameters are: nothing sets them.

mod error;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::CharIndices;

pub use error::ExpandError;

use super::pattern::Pattern;

/// What is done with quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quotes {
    /// They quote, and go: the words of instructions.
    #[default]
    Remove,
    /// They are characters like any other: the bodies of heredocs.
    Keep,
}

/// An expanded word and what it used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion<T> {
    /// The text, or the words.
    pub text: T,
    /// Names that had no value and nothing in their place (`$v`, `${v}`, `${v#p}` …), each once, in order.
    pub unset: Vec<String>,
    /// Names that had no value where the form says what then (`${v:-w}`, `${v:+w}`), each once, in order.
    pub defaulted: Vec<String>,
}

/// Deepest nesting of `${a:-${b:-…}}`: far beyond use, far below the end of the stack.
const DEPTH: usize = 64;

/// Most bytes that values add to a word: ten lines of `ENV a=$a$a` would otherwise make a thousand of each byte, and
/// forty exhaust any machine. No program can be started with a variable of this size.
const WORD_ROOM: usize = 1 << 20;
/// The same for the body of a heredoc, which is a file.
const BODY_ROOM: usize = 16 << 20;

/// Expands `word` to one text. `escape` is the file's escape character, `\` for heredoc bodies.
///
/// ```
/// use ocistage::dockerfile::{Quotes, expand};
/// let lookup = |name: &str| (name == "v").then(|| "1.2".to_owned());
/// let expanded = expand("\"lib ${v%.*}\"-$w", '\\', &lookup, Quotes::Remove)?;
/// assert_eq!(expanded.text, "lib 1-");
/// assert_eq!(expanded.unset, ["w"]);
/// # Ok::<(), ocistage::dockerfile::ExpandError>(())
/// ```
pub fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
    quotes: Quotes,
) -> Result<Expansion<String>, ExpandError> {
    let mut run = Run::new(word, escape, lookup);
    run.quotes = quotes;
    if quotes == Quotes::Keep {
        run.room += BODY_ROOM;
    }
    let text = run.until(None, false, 0)?.text;
    Ok(Expansion { text, unset: run.unset.names, defaulted: run.defaulted.names })
}

/// Expands `word` and splits it at white space that is not quoted, that of variables' values included. Words that are
/// empty vanish.
pub fn expand_words(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expansion<Vec<String>>, ExpandError> {
    let mut run = Run::new(word, escape, lookup);
    let text = run.until(None, false, 0)?.words.finish();
    Ok(Expansion { text, unset: run.unset.names, defaulted: run.defaulted.names })
}

/// Splits `text` into words as [`expand_words`] does but keeps everything as written: escapes, variables and, when
/// `quotes`, quotes. `<<` and the blanks after it belong to the word that follows.
pub(super) fn raw_words(text: &str, quotes: bool, escapes: bool) -> Result<Vec<String>, ExpandError> {
    let mut run = Run::new(text, '\\', &|_| None);
    run.raw_quotes = quotes;
    run.raw_variables = true;
    Ok(run.until(None, escapes, 0)?.words.finish())
}

struct Run<'a> {
    chars: Peekable<CharIndices<'a>>,
    len: usize,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    quotes: Quotes,
    raw_quotes: bool,
    /// Variables without a value stay as written.
    raw_variables: bool,
    /// Bytes that values may still add.
    room: usize,
    unset: Noted,
    defaulted: Noted,
}

/// Names, each once, in the order of their first use.
#[derive(Default)]
struct Noted {
    names: Vec<String>,
    seen: BTreeSet<String>,
}

impl Noted {
    fn note(&mut self, name: String) {
        if self.seen.insert(name.clone()) {
            self.names.push(name);
        }
    }
}

/// A text and its words, made side by side.
#[derive(Default)]
struct Made {
    text: String,
    words: Words,
}

/// Words under construction.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    /// Text in which white space separates.
    fn add(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

impl<'a> Run<'a> {
    fn new(word: &'a str, escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Run<'a> {
        Run {
            chars: word.char_indices().peekable(),
            len: word.len(),
            escape,
            lookup,
            quotes: Quotes::Remove,
            raw_quotes: false,
            raw_variables: false,
            room: word.len() + WORD_ROOM,
            unset: Noted::default(),
            defaulted: Noted::default(),
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn next(&mut self) -> Option<char> {
        self.chars.next().map(|(_, c)| c)
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.len, |(at, _)| *at)
    }

    /// Everything up to `stop` (which is consumed), or to the end when there is no `stop`. The caller that gives a
    /// `stop` learns from [`Run::closed`] whether it came.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool, depth: usize) -> Result<Made, ExpandError> {
        let mut made = Made::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                break;
            }
            match c {
                '$' => {
                    let value = self.dollar(raw_escapes, depth)?;
                    made.text.push_str(&value);
                    made.words.add(&value);
                }
                '\'' | '"' if self.quotes == Quotes::Remove => {
                    let value = if c == '"' {
                        self.double_quoted(raw_escapes, depth)?
                    } else {
                        self.single_quoted()?
                    };
                    made.text.push_str(&value);
                    made.words.word.push_str(&value);
                }
                '<' => {
                    let value = self.heredoc_mark();
                    made.text.push_str(&value);
                    made.words.word.push_str(&value);
                }
                _ => {
                    self.next();
                    if c != self.escape {
                        made.text.push(c);
                        made.words.add(c.encode_utf8(&mut [0; 4]));
                        continue;
                    }
                    if raw_escapes {
                        made.text.push(c);
                        made.words.word.push(c);
                    }
                    if let Some(c) = self.next() {
                        made.text.push(c);
                        made.words.word.push(c);
                    }
                }
            }
        }
        Ok(made)
    }

    /// Consumes `stop`, or says that it is missing.
    fn closed(&mut self, stop: char, at: usize) -> Result<(), ExpandError> {
        match self.next() {
            Some(_) => Ok(()),
            None => Err(ExpandError::OpenBrace { missing: stop, at }),
        }
    }

    /// `<`, or `<<` with the blanks after it: those separate a heredoc's delimiter no more than in the shell.
    fn heredoc_mark(&mut self) -> String {
        let mut mark = String::from("<");
        self.next();
        if self.peek() == Some('<') {
            self.next();
            mark.push('<');
            while let Some(c) = self.peek().filter(|c| matches!(c, ' ' | '\t' | '\r')) {
                self.next();
                mark.push(c);
            }
        }
        mark
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let at = self.at();
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('\'') => break,
                Some(c) => text.push(c),
                None => return Err(ExpandError::OpenQuote { quote: '\'', at }),
            }
        }
        Ok(if self.raw_quotes { format!("'{text}'") } else { text })
    }

    fn double_quoted(&mut self, raw_escapes: bool, depth: usize) -> Result<String, ExpandError> {
        let at = self.at();
        self.next();
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(ExpandError::OpenQuote { quote: '"', at }),
                Some('$') => {
                    text.push_str(&self.dollar(raw_escapes, depth)?);
                    continue;
                }
                Some('"') => {
                    self.next();
                    break;
                }
                Some(c) => {
                    self.next();
                    let escaped = self.peek().filter(|e| *e == '"' || *e == '$' || *e == self.escape);
                    if c != self.escape {
                        text.push(c);
                    } else if let Some(escaped) = escaped {
                        self.next();
                        if raw_escapes {
                            text.push(c);
                        }
                        text.push(escaped);
                    } else if self.peek().is_some() {
                        text.push(c);
                    }
                }
            }
        }
        Ok(if self.raw_quotes { format!("\"{text}\"") } else { text })
    }

    fn dollar(&mut self, raw_escapes: bool, depth: usize) -> Result<String, ExpandError> {
        let at = self.at();
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            let value = self.value(&name, at)?;
            return Ok(value.unwrap_or_else(|| self.missing(name, |name| format!("${name}"))));
        }
        self.next();
        if depth == DEPTH {
            return Err(ExpandError::Depth { at });
        }
        match self.peek() {
            None => return Err(ExpandError::OpenBrace { missing: '}', at }),
            Some('{' | '}' | ':') => return Err(ExpandError::NoName { at }),
            Some(_) => {}
        }
        let name = self.name();
        let Some(modifier) = self.next() else { return Err(ExpandError::OpenBrace { missing: '}', at }) };
        match modifier {
            '}' => {
                let value = self.value(&name, at)?;
                Ok(value.unwrap_or_else(|| self.missing(name, |name| format!("${{{name}}}"))))
            }
            '/' => self.replace(name, at, depth),
            '#' | '%' => self.trim(name, modifier, at, depth),
            '-' | '+' | '?' => self.otherwise(name, modifier, false, at, raw_escapes, depth),
            ':' => match self.next() {
                Some(modifier @ ('-' | '+' | '?')) => {
                    self.otherwise(name, modifier, true, at, raw_escapes, depth)
                }
                Some(c) => Err(ExpandError::Modifier { name, modifier: format!(":{c}"), at }),
                None => Err(ExpandError::OpenBrace { missing: '}', at }),
            },
            c => Err(ExpandError::Modifier { name, modifier: c.to_string(), at }),
        }
    }

    /// `${v-w}`, `${v+w}`, `${v?w}` and with `:`. `w` is expanded even when it is not used: its errors are the file's.
    fn otherwise(
        &mut self,
        name: String,
        modifier: char,
        colon: bool,
        at: usize,
        raw_escapes: bool,
        depth: usize,
    ) -> Result<String, ExpandError> {
        // Only a text that is kept as written keeps the escapes here.
        let word = self.until(Some('}'), raw_escapes && self.raw_variables, depth + 1)?.text;
        self.closed('}', at)?;
        let value = self.value(&name, at)?;
        let colon_text = if colon { ":" } else { "" };
        if self.raw_variables && value.is_none() {
            return Ok(format!("${{{name}{colon_text}{modifier}{word}}}"));
        }
        if value.is_none() && modifier != '?' {
            self.defaulted.note(name.clone());
        }
        let is_set = value.is_some();
        let usable = value.filter(|value| !(colon && value.is_empty()));
        match modifier {
            '-' => Ok(usable.unwrap_or(word)),
            '+' => Ok(if usable.is_some() { word } else { String::new() }),
            _ => usable.ok_or_else(|| {
                let standard =
                    if is_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { standard.to_owned() } else { word };
                ExpandError::Required { name, message, at }
            }),
        }
    }

    /// `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`.
    fn trim(&mut self, name: String, modifier: char, at: usize, depth: usize) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true, depth + 1)?.text;
        self.closed('}', at)?;
        let pattern = word.strip_prefix(modifier);
        let longest = pattern.is_some();
        let value = self.value(&name, at)?;
        if self.raw_variables && value.is_none() {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let compiled = compile(pattern.unwrap_or(&word), at)?;
        let value = value.unwrap_or_else(|| self.missing(name, |_| String::new()));
        Ok(if modifier == '#' {
            compiled.trim_start(&value, longest)
        } else {
            compiled.trim_end(&value, longest)
        })
    }

    /// `${v/p/r}`, `${v//p/r}`.
    fn replace(&mut self, name: String, at: usize, depth: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.until(Some('/'), true, depth + 1)?.text;
        self.closed('/', at)?;
        let replacement = self.until(Some('}'), true, depth + 1)?.text;
        self.closed('}', at)?;
        let value = self.value(&name, at)?;
        if self.raw_variables && value.is_none() {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{replacement}}}"));
        }
        let compiled = compile(&pattern, at)?;
        let value = value.unwrap_or_else(|| self.missing(name, |_| String::new()));
        let replaced =
            compiled.replace(&value, &replacement, all, self.room).ok_or(ExpandError::TooLong { at })?;
        self.take_room(replaced.len(), at)?;
        Ok(replaced)
    }

    /// A name: letters, digits and `_`; or digits alone; or one special parameter. Empty when there is none.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    self.next();
                    name.push(c);
                }
            }
            Some(c @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.next();
                name.push(c);
            }
            _ => {
                while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    self.next();
                    name.push(c);
                }
            }
        }
        name
    }

    fn value(&mut self, name: &str, at: usize) -> Result<Option<String>, ExpandError> {
        let value = (self.lookup)(name);
        self.take_room(value.as_ref().map_or(0, String::len), at)?;
        Ok(value)
    }

    fn take_room(&mut self, bytes: usize, at: usize) -> Result<(), ExpandError> {
        self.room = self.room.checked_sub(bytes).ok_or(ExpandError::TooLong { at })?;
        Ok(())
    }

    /// The text of a variable without a value: nothing, or as it was written.
    fn missing(&mut self, name: String, written: impl Fn(&str) -> String) -> String {
        let text = if self.raw_variables { written(&name) } else { String::new() };
        self.unset.note(name);
        text
    }
}

fn compile(pattern: &str, at: usize) -> Result<Pattern, ExpandError> {
    Pattern::new(pattern).map_err(|escape| ExpandError::Pattern { pattern: pattern.to_owned(), escape, at })
}

#[cfg(test)]
mod tests;
