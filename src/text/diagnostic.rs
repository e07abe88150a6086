//! What is wrong with a text, as data.

use std::fmt::Write as _;

use super::{Source, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the text is still understood.
    Warning,
    /// The text cannot be used.
    Error,
}

impl Severity {
    /// The word shown: `warning` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A place in the text and what to say beside it (may be empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; empty when the message says it all.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind of finding: `unknown-instruction`, or BuildKit's rule name where it has one.
    pub code: &'static str,
    /// One line, lower case, naming the object.
    pub message: String,
    /// Places; the first is the place of the finding.
    pub labels: Vec<Label>,
    /// What to do about it, one step each.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error without places yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A warning without places yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// The same with one more place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// The same with a place that needs no words.
    #[must_use]
    pub fn at(self, span: Span) -> Diagnostic {
        self.label(span, "")
    }

    /// The same with one more next step.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(text.into());
        self
    }

    /// Whether the text cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding's own place: its first label.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }

    /// The finding for a plain terminal or a log: header, place, line with carets, help. Ends with a line end.
    ///
    /// ```text
    /// error[unknown-instruction]: unknown instruction `COPPY`
    ///   --> Dockerfile:2:1
    ///    |
    ///  2 | COPPY a /b
    ///    | ^^^^^
    ///    = help: did you mean `COPY`?
    /// ```
    pub fn render_plain(&self, source: &Source) -> String {
        let message: String = self.message.chars().map(printable).collect();
        let mut out = format!("{}[{}]: {message}\n", self.severity.as_str(), self.code);
        let width = self
            .labels
            .iter()
            .map(|label| source.line_of(label.span.start).to_string().len())
            .max()
            .unwrap_or(1);
        for (index, label) in self.labels.iter().enumerate() {
            if index == 0 {
                let place = source.position(label.span.start);
                let _ = writeln!(out, "{:width$}--> {}:{}:{}", "", source.name(), place.line, place.column);
                let _ = writeln!(out, "{:width$} |", "");
            }
            excerpt(&mut out, source, label, width, if index == 0 { '^' } else { '-' });
        }
        for help in &self.help {
            let help: String = help.chars().map(printable).collect();
            let _ = writeln!(out, "{:width$} = help: {help}", "");
        }
        out
    }
}

/// Most characters of a line that are shown; Dockerfiles hold base64 lines of a megabyte.
const SHOWN: usize = 160;

/// Writes the first line of a label with `mark`s under its part.
fn excerpt(out: &mut String, source: &Source, label: &Label, width: usize, mark: char) {
    let line = source.line_of(label.span.start);
    let whole = source.line_span(line);
    let start = label.span.start.clamp(whole.start, whole.end);
    let before = source.slice(Span::new(whole.start, start));
    let rest = source.slice(Span::new(start, whole.end));
    let marked = source.slice(Span::new(start, label.span.end.clamp(start, whole.end)));
    let marked = marked.chars().take(SHOWN).count();
    // The window begins a little before the mark when the line is too long to be shown whole. Characters are counted
    // no further than they are shown: a file may have thousands of findings in one line of a megabyte.
    let cut = match before.char_indices().rev().nth(SHOWN - marked.min(SHOWN - 1)) {
        Some(_) => before.char_indices().rev().nth(SHOWN / 4).map_or(0, |(at, _)| at),
        None => 0,
    };
    let ellipsis = if cut > 0 { "…" } else { "" };
    let before = &before[cut..];
    let lead = before.chars().count();
    let indent = ellipsis.chars().count() + lead;
    let shown: String = before.chars().chain(rest.chars()).take(SHOWN).map(printable).collect();
    let marks: String = std::iter::repeat_n(mark, marked.min(SHOWN - lead).max(1)).collect();
    let _ = writeln!(out, "{line:>width$} | {ellipsis}{}", shown.trim_end());
    let _ = writeln!(out, "{}", format!("{:width$} | {:indent$}{marks} {}", "", "", label.text).trim_end());
}

/// One column for every character: a tab or an escape sequence would move the carets, or the user's terminal.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_drawn_with_line_carets_and_help() {
        let source = Source::new("Dockerfile", "FROM scratch\nCOPPY a /b\n");
        let finding = Diagnostic::error("unknown-instruction", "unknown instruction `COPPY`")
            .at(Span::new(13, 18))
            .help("did you mean `COPY`?");
        assert_eq!(
            finding.render_plain(&source),
            "error[unknown-instruction]: unknown instruction `COPPY`\n \
             --> Dockerfile:2:1\n  |\n2 | COPPY a /b\n  | ^^^^^\n  = help: did you mean `COPY`?\n"
        );
    }

    #[test]
    fn a_long_line_is_shown_around_the_mark() {
        let text = format!("RUN {}!{}", "a".repeat(5000), "b".repeat(5000));
        let source = Source::new("f", text);
        let drawn = Diagnostic::error("x", "m").at(Span::new(5004, 5005)).render_plain(&source);
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 200));
        let caret = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().nth(caret), Some('!'));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let source = Source::new("f", "\x1b[2J x");
        let drawn = Diagnostic::error("x", "unknown `\x1b[2J`")
            .at(Span::new(0, 4))
            .help("\x1b")
            .render_plain(&source);
        assert!(!drawn.contains('\x1b'));
    }

    #[test]
    fn a_place_outside_the_text_does_not_panic() {
        let source = Source::new("f", "é");
        for (start, end) in [(0, 9), (1, 1), (7, 9)] {
            Diagnostic::error("x", "m").at(Span::new(start, end)).render_plain(&source);
        }
    }
}
