//! What a renderer is, and which one a user gets.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use ocistage::{Error, EventSink};

use super::{Plain, Quiet, RawJson, Summary, Tty};
use crate::cli::args::ProgressName;
use crate::cli::environment::Environment;
use crate::cli::report;

/// Shows a build.
pub(crate) trait Renderer: EventSink {
    /// Nothing more will happen: lines that are still open are closed, live lines vanish.
    fn close(&self);

    /// The build or push came to a good end. Called after [`Renderer::close`].
    fn summary(&self, summary: &Summary) {
        let _ = io::stderr().lock().write_all(summary.lines().as_bytes());
    }

    /// It did not. `step` is what the failed step is called. Called after [`Renderer::close`].
    fn error(&self, error: &Error, step: Option<&str>) {
        report::error(error, step);
    }
}

/// The renderer for `--progress` and `--quiet`. Without either, `BUILDKIT_PROGRESS` decides, then the surroundings: live
/// lines for a person at a terminal, plain ones for logs.
pub(crate) fn choose(
    progress: Option<ProgressName>,
    quiet: bool,
    environment: &Environment,
) -> Arc<dyn Renderer> {
    let terminal = io::stderr().is_terminal();
    match kind(progress, quiet, terminal, environment) {
        ProgressName::Quiet => Arc::new(Quiet),
        ProgressName::Rawjson => Arc::new(RawJson::new(Box::new(io::stderr()))),
        ProgressName::Tty => Arc::new(Tty::new()),
        ProgressName::Auto | ProgressName::Plain => Arc::new(Plain::new(Box::new(io::stderr()), terminal)),
    }
}

fn kind(
    progress: Option<ProgressName>,
    quiet: bool,
    terminal: bool,
    environment: &Environment,
) -> ProgressName {
    if quiet {
        return ProgressName::Quiet;
    }
    let asked = progress.or_else(|| match environment.get("BUILDKIT_PROGRESS")? {
        "plain" => Some(ProgressName::Plain),
        "tty" => Some(ProgressName::Tty),
        "quiet" | "none" => Some(ProgressName::Quiet),
        "rawjson" => Some(ProgressName::Rawjson),
        _ => None,
    });
    // Live lines need a terminal that can move its cursor.
    let live = terminal && environment.get("TERM").is_none_or(|name| name != "dumb");
    let ci = environment.filled("CI").is_some_and(|value| value != "false" && value != "0");
    match asked.unwrap_or(ProgressName::Auto) {
        ProgressName::Tty if live => ProgressName::Tty,
        ProgressName::Auto if live && !ci => ProgressName::Tty,
        ProgressName::Tty | ProgressName::Auto => ProgressName::Plain,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_lines_are_for_people_at_terminals() {
        let none = Environment::default();
        let ci = Environment::of(&[("CI", "true")]);
        let dumb = Environment::of(&[("TERM", "dumb")]);
        let buildkit = Environment::of(&[("BUILDKIT_PROGRESS", "rawjson")]);
        assert_eq!(kind(None, false, true, &none), ProgressName::Tty);
        assert_eq!(kind(None, false, false, &none), ProgressName::Plain);
        assert_eq!(kind(None, false, true, &ci), ProgressName::Plain);
        assert_eq!(kind(None, false, true, &dumb), ProgressName::Plain);
        assert_eq!(kind(Some(ProgressName::Tty), false, true, &ci), ProgressName::Tty);
        assert_eq!(kind(Some(ProgressName::Tty), false, false, &none), ProgressName::Plain);
        assert_eq!(kind(None, false, true, &buildkit), ProgressName::Rawjson);
        assert_eq!(kind(Some(ProgressName::Plain), true, true, &none), ProgressName::Quiet);
    }
}
