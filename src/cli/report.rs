//! Errors as people read them: what went wrong, where, what the step said last, what to do next.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use console::style;
use ocistage::Error;

use super::failure::Failure;
use super::render::visible;

/// Most lines of a failed step's output that are repeated.
const LINES: usize = 20;

/// Writes to standard error; a closed one is no reason to do anything else.
pub(crate) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Shows a failure of the command line.
pub(crate) fn failure(failure: &Failure) {
    say(&failure_lines(failure));
}

/// Shows a failure of the library. `step` is what the failed step is called.
pub(crate) fn error(error: &Error, step: Option<&str>) {
    say(&error_lines(error, step));
}

fn failure_lines(failure: &Failure) -> String {
    let mut out = headline(&failure.message);
    hints(&mut out, &failure.hints);
    out
}

fn error_lines(error: &Error, step: Option<&str>) -> String {
    let message = error.to_string();
    let mut out = String::new();
    let findings = error.source_text().map_or_else(Vec::new, |source| {
        error.diagnostics().iter().map(|finding| finding.render_plain(source)).collect()
    });
    for finding in &findings {
        out.push_str(&drawn(finding));
    }
    // One finding tells the story; several are counted where the eye ends up.
    if findings.len() != 1 {
        out.push_str(&headline(&message));
    }
    if let Some(step) = step.filter(|step| !message.contains(step)) {
        let _ = writeln!(out, "  in {}", visible(step));
    }
    if let (Some(source), Some(line)) = (error.source_text(), error.line()) {
        let _ = writeln!(out, "  at {}:{line}", visible(source.name()));
    }
    if !error.output().is_empty() {
        out.push_str("last output of the step:\n");
        out.push_str(&last_lines(error.output(), io::stderr().is_terminal()));
    }
    hints(&mut out, error.hints());
    out
}

/// A finding with its place: `error[code]` is coloured as a headline is.
fn drawn(finding: &str) -> String {
    let (kind, rest) = finding.split_once(": ").unwrap_or(("", finding));
    let mut out = format!("{} ", style(format!("{kind}:")).red().bold().for_stderr());
    out.extend(rest.lines().map(|line| visible(line) + "\n"));
    out
}

fn headline(message: &str) -> String {
    format!("{} {}\n", style("error:").red().bold().for_stderr(), visible(message))
}

fn hints(out: &mut String, hints: &[String]) {
    for hint in hints {
        let _ = writeln!(out, "{} {}", style("hint:").cyan().bold().for_stderr(), visible(hint));
    }
}

/// The last lines of an output, indented.
fn last_lines(output: &[u8], terminal: bool) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let mut out = String::new();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
        let _ = match terminal {
            true => writeln!(out, "  | {}", super::render::coloured(line)),
            false => writeln!(out, "  | {line}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_its_hints() {
        console::set_colors_enabled_stderr(false);
        let shown = failure_lines(&Failure::input("no context").hint("for this directory: ocistage build ."));
        assert_eq!(shown, "error: no context\nhint: for this directory: ocistage build .\n");
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        console::set_colors_enabled_stderr(false);
        assert_eq!(failure_lines(&Failure::input("a\x1b[2Jb\nc")), "error: a\\x1b[2Jb\\x0ac\n");
    }

    #[test]
    fn the_last_lines_of_a_step_are_repeated() {
        let output: String = (1..=30).map(|number| format!("line {number}\r\n")).collect();
        let shown = last_lines(output.as_bytes(), false);
        assert_eq!(shown.lines().count(), 20);
        assert!(shown.starts_with("  | line 11\n") && shown.ends_with("  | line 30\n"), "{shown}");
        assert_eq!(last_lines(b"10%\r90%\n\x1b[2Jx\n", true), "  | 90%\n  | \\x1b[2Jx\n");
    }
}
