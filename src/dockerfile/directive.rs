//! The `# key=value` lines at the top of the file.
//!
//! They come first or not at all: any other comment, an empty line or an instruction ends them for good. Keys ignore
//! case; a key twice is an error. A `#!` line may stand before `syntax` and `check`, so that a Dockerfile can be
//! executable.

use crate::text::{Diagnostic, Span};

use super::instruction::Word;

/// What the directives say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `# escape=`: `\` or a backtick.
    pub escape: char,
    /// `# syntax=`: the front end that the file was written for.
    pub syntax: Option<Word>,
    /// `# check=`
    pub check: Option<CheckOptions>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { escape: '\\', syntax: None, check: None }
    }
}

/// `# check=skip=Rule,…;error=true`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Rules not to report.
    pub skip: Vec<String>,
    /// `skip=all`
    pub skip_all: bool,
    /// Findings fail the build.
    pub error: bool,
    /// Experimental rules to report.
    pub experimental: Vec<String>,
    /// `experimental=all`
    pub experimental_all: bool,
}

impl CheckOptions {
    /// Reads the directive's value. The error is the part that is wrong.
    pub fn parse(value: &str) -> Result<CheckOptions, String> {
        let mut options = CheckOptions::default();
        // Comments in use: `check=skip=Rule // because …`
        let value = value.split(" //").next().unwrap_or_default().trim();
        for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(part)?;
            match key.trim() {
                "skip" => (options.skip, options.skip_all) = rules(value),
                "experimental" => (options.experimental, options.experimental_all) = rules(value),
                "error" => options.error = parse_bool(value.trim()).ok_or(part)?,
                _ => return Err(part.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Rule names, or whether it is all of them. What follows a name after a blank is a remark.
fn rules(list: &str) -> (Vec<String>, bool) {
    let names = list.split(',').filter_map(|name| name.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let all = names.iter().any(|name| name == "all");
    (if all { Vec::new() } else { names }, all)
}

/// A truth value as Go's `strconv.ParseBool` reads it.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `key = value` of a comment line: key in lower case, and the offset of the value in `line`. `line` begins with `#`.
pub(super) fn key_value(line: &str) -> Option<(String, usize)> {
    let body = line.strip_prefix('#')?.trim_start();
    let (key, value) = body.split_once('=')?;
    let key = key.trim_end();
    let is_key =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    let value = value.trim();
    (is_key && !value.is_empty()).then(|| (key.to_ascii_lowercase(), line.trim_end().len() - value.len()))
}

/// Reads directives line by line until something else comes.
#[derive(Debug, Default)]
pub(super) struct DirectiveReader {
    /// Keys seen.
    seen: Vec<String>,
    /// The block has ended.
    done: bool,
    /// A `#!` line came first: `escape` no longer counts, `syntax` and `check` do.
    shebang: bool,
    pub(super) found: Directives,
}

impl DirectiveReader {
    /// Takes the next physical line, without white space at its beginning (which is at `offset`), if it is a directive.
    pub(super) fn take(&mut self, line: &str, offset: usize, diagnostics: &mut Vec<Diagnostic>) -> bool {
        if self.done {
            return false;
        }
        if self.seen.is_empty() && !self.shebang && line.starts_with("#!") {
            self.shebang = true;
            return false;
        }
        let Some((key, at)) = key_value(line).filter(|(key, _)| {
            matches!(key.as_str(), "syntax" | "check") || (key == "escape" && !self.shebang)
        }) else {
            self.done = true;
            return false;
        };
        let whole = Span::new(offset, offset + line.trim_end().len());
        if self.seen.contains(&key) {
            let message = format!("only one `{key}` directive can be used");
            diagnostics
                .push(Diagnostic::error("duplicate-directive", message).at(whole).help("remove this line"));
            return true;
        }
        let value = Word { text: line[at..].trim_end().to_owned(), span: Span::new(offset + at, whole.end) };
        match key.as_str() {
            "escape" => self.escape(&value, diagnostics),
            "check" => match CheckOptions::parse(&value.text) {
                Ok(options) => self.found.check = Some(options),
                Err(part) => {
                    let message = format!("invalid check option `{part}`");
                    diagnostics.push(
                        Diagnostic::error("invalid-check-directive", message)
                            .at(value.span)
                            .help("write `# check=skip=Rule,Rule;error=true`"),
                    );
                }
            },
            _ => self.syntax(&value, diagnostics),
        }
        self.seen.push(key);
        true
    }

    fn escape(&mut self, value: &Word, diagnostics: &mut Vec<Diagnostic>) {
        match value.text.as_str() {
            "\\" => self.found.escape = '\\',
            "`" => self.found.escape = '`',
            text => {
                let message = format!("invalid escape character `{text}`");
                diagnostics.push(
                    Diagnostic::error("invalid-escape-directive", message).at(value.span).help("use \\ or `"),
                );
            }
        }
    }

    fn syntax(&mut self, value: &Word, diagnostics: &mut Vec<Diagnostic>) {
        let text = value.text.split(' ').next().unwrap_or_default();
        let name = text.strip_prefix("docker.io/").unwrap_or(text);
        let name = name.split(['@', ':']).next().unwrap_or_default();
        if !matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile") {
            let message = format!("the front end `{text}` is not used: the file is read as a Dockerfile");
            diagnostics.push(
                Diagnostic::warning("foreign-syntax", message)
                    .at(value.span)
                    .help("ocistage understands what docker/dockerfile does, nothing else"),
            );
        }
        self.found.syntax = Some(Word { text: text.to_owned(), span: value.span });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Directives, Vec<&'static str>) {
        let mut reader = DirectiveReader::default();
        let mut diagnostics = Vec::new();
        for line in lines {
            reader.take(line, 0, &mut diagnostics);
        }
        (reader.found, diagnostics.iter().map(|d| d.code).collect())
    }

    #[test]
    fn directives_are_read_in_any_case_and_spacing() {
        let (found, codes) =
            read(&["# Syntax = docker/dockerfile:1 x", "#ESCAPE=`", "# check = skip=A, B;error=true"]);
        assert_eq!(found.syntax.unwrap().text, "docker/dockerfile:1");
        assert_eq!(found.escape, '`');
        let check = found.check.unwrap();
        assert_eq!((check.skip, check.error), (vec!["A".to_owned(), "B".to_owned()], true));
        assert!(codes.is_empty());
    }

    #[test]
    fn anything_else_ends_them() {
        for line in ["# a comment", "", "FROM scratch", "# unknown=1", "#", "# escape ="] {
            assert_eq!(read(&[line, "# escape=`"]).0.escape, '\\', "{line}");
        }
    }

    #[test]
    fn a_repeated_or_wrong_directive_is_an_error() {
        assert_eq!(read(&["# escape=`", "# escape=\\"]).1, ["duplicate-directive"]);
        assert_eq!(read(&["# escape=x"]).1, ["invalid-escape-directive"]);
        assert_eq!(read(&["# check=nonsense"]).1, ["invalid-check-directive"]);
        assert_eq!(read(&["# syntax=example.com/other:1"]).1, ["foreign-syntax"]);
    }

    #[test]
    fn a_shebang_may_stand_before_syntax_and_check() {
        let (found, _) = read(&["#!/usr/bin/env build", "# syntax=docker/dockerfile:1", "# check=skip=all"]);
        assert!(found.syntax.is_some() && found.check.unwrap().skip_all);
    }

    #[test]
    fn remarks_after_rules_are_no_rules() {
        let options = CheckOptions::parse("skip=RuleA // local, to this line").unwrap();
        assert_eq!(options.skip, ["RuleA"]);
    }
}
