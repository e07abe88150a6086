//! Live lines on a terminal.
//!
//! What is over is printed once and scrolls away; below it stand the steps that run, each with its time and its last
//! lines of output, and one line that counts. Never more than the terminal's height, never redrawn more than ten times
//! a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::{Term, style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocistage::{Event, EventSink, OutputStream, StepId};

use super::Renderer;
use super::tally::Moved;
use super::text;

/// Draws.
pub(crate) struct Tty(Mutex<State>);

struct State {
    term: Term,
    screen: MultiProgress,
    footer: ProgressBar,
    steps: BTreeMap<StepId, Running>,
    moved: Moved,
    planned: usize,
    cached: usize,
    done: usize,
}

struct Running {
    name: String,
    head: ProgressBar,
    /// Lines of output below `head`, top first.
    tail: Vec<ProgressBar>,
    lines: VecDeque<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Most lines of output shown of one step.
const TAIL: usize = 6;
/// Redraws in a second.
const RATE: u8 = 10;
/// A line is cut here before it is looked at: no terminal is this wide.
const LINE_LIMIT: usize = 4096;

/// A style whose template is fixed in this file.
fn bar_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Tty {
    /// Draws on standard error.
    pub(crate) fn new() -> Tty {
        let term = Term::stderr();
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::term(term.clone(), RATE));
        let footer = screen.add(ProgressBar::new_spinner());
        footer.set_style(bar_style("   {wide_msg:.dim} {elapsed:.dim}"));
        footer.enable_steady_tick(Duration::from_secs(1) / u32::from(RATE));
        Tty(Mutex::new(State {
            term,
            screen,
            footer,
            steps: BTreeMap::new(),
            moved: Moved::default(),
            planned: 0,
            cached: 0,
            done: 0,
        }))
    }
}

impl EventSink for Tty {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    }
}

impl Renderer for Tty {
    fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running: Vec<StepId> = state.steps.keys().copied().collect();
        for step in running {
            if let Some(running) = state.end(step) {
                state.print(&style("◌").yellow().for_stderr().to_string(), &running.name, "stopped");
            }
        }
        state.footer.finish_and_clear();
        let _ = state.screen.clear();
    }
}

impl State {
    fn event(&mut self, event: &Event) {
        self.moved.note(event);
        match event {
            Event::Resolved { reference, digest } => {
                self.info(&format!("[base] {reference}"), &text::short(digest));
            }
            Event::ContextScanned { name, files, bytes } => {
                self.info(&text::context(name), &text::scanned(*files, *bytes));
            }
            Event::Fetched { source, identity, size } => {
                self.info(&format!("[fetch] {source}"), &text::fetched(identity, *size));
            }
            Event::IsolationChosen { backend, reason } => {
                self.info(&format!("[isolation] {backend}: {reason}"), "");
            }
            Event::Planned { steps, skipped } => {
                self.planned = *steps;
                if !skipped.is_empty() {
                    self.info(&format!("[plan] not needed: {}", skipped.join(", ")), "");
                }
            }
            Event::BuildCached { digest } => self.good(&format!("[build] {digest}"), "CACHED"),
            Event::StageCached { stage } => self.good(&format!("[stage {stage}]"), "CACHED"),
            Event::StepCached { name, .. } => {
                self.cached += 1;
                self.good(name, "CACHED");
            }
            Event::StepStarted { step, name, .. } => self.start(*step, name),
            Event::StepOutput { step, stream, bytes } => self.output(*step, *stream, bytes),
            Event::StepFinished { step, elapsed, .. } => {
                if let Some(running) = self.end(*step) {
                    self.done += 1;
                    self.good(&running.name, &text::seconds(*elapsed));
                }
            }
            Event::StepFailed { step, elapsed } => {
                if let Some(running) = self.end(*step) {
                    let mark = style("✘").red().for_stderr().to_string();
                    self.print(&mark, &running.name, &text::seconds(*elapsed));
                }
            }
            Event::Warning { message } => {
                let word = style("warning:").yellow().bold().for_stderr();
                let _ = self.screen.println(format!("{word} {}", text::visible(message)));
            }
            _ => {}
        }
        self.count();
    }

    fn good(&self, name: &str, note: &str) {
        self.print(&style("✔").green().for_stderr().to_string(), name, note);
    }

    fn info(&self, name: &str, note: &str) {
        self.print(&style("·").dim().for_stderr().to_string(), name, note);
    }

    /// A line that stays: mark, name, and a note at its end, in one row.
    fn print(&self, mark: &str, name: &str, note: &str) {
        let columns = usize::from(self.term.size().1);
        let note = text::visible(note);
        let room = columns.saturating_sub(console::measure_text_width(&note) + 6).max(20);
        let name = text::visible(name);
        let name = console::truncate_str(&name, room, "…");
        let _ = self.screen.println(format!(" {mark} {name}  {}", style(note).dim().for_stderr()));
    }

    /// The line at the bottom.
    fn count(&self) {
        let mut words = Vec::new();
        if self.planned > 0 {
            words.push(format!(
                "{}: {} cached, {} run",
                text::count(self.planned, "step"),
                self.cached,
                self.done
            ));
        }
        let moved = super::summary::moved(&self.moved);
        if !moved.is_empty() {
            words.push(moved);
        }
        self.footer.set_message(words.join("   "));
    }

    fn start(&mut self, step: StepId, name: &str) {
        let head = self.screen.insert_before(&self.footer, ProgressBar::new_spinner());
        head.set_style(bar_style(" {spinner:.cyan} {wide_msg} {elapsed}"));
        head.set_message(text::visible(name));
        head.enable_steady_tick(Duration::from_secs(1) / u32::from(RATE));
        let running = Running {
            name: name.to_owned(),
            head,
            tail: Vec::new(),
            lines: VecDeque::new(),
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        self.steps.insert(step, running);
        self.fit();
    }

    fn end(&mut self, step: StepId) -> Option<Running> {
        let mut running = self.steps.remove(&step)?;
        for line in running.tail.drain(..).chain([running.head.clone()]) {
            line.finish_and_clear();
            self.screen.remove(&line);
        }
        self.fit();
        Some(running)
    }

    fn output(&mut self, step: StepId, stream: OutputStream, bytes: &[u8]) {
        let Some(running) = self.steps.get_mut(&step) else { return };
        let open = match stream {
            OutputStream::Stdout => &mut running.stdout,
            OutputStream::Stderr => &mut running.stderr,
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_LIMIT.saturating_sub(open.len());
            let whole = piece.ends_with(b"\n");
            open.extend_from_slice(&piece[..piece.len().min(room)]);
            // A bar that rewrites its line without ever ending it is shown as it goes.
            if whole || piece.contains(&b'\r') {
                let line = text::last_rewrite(open.strip_suffix(b"\n").unwrap_or(open));
                // A tab has no width of its own.
                let line = text::uncoloured(&String::from_utf8_lossy(line)).replace('\t', "    ");
                if !line.trim().is_empty() {
                    running.lines.push_back(line);
                }
                open.clear();
            }
        }
        while running.lines.len() > TAIL {
            running.lines.pop_front();
        }
        self.fit();
    }

    /// Gives each running step as many lines of output as the terminal has room for.
    fn fit(&mut self) {
        let rows = usize::from(self.term.size().0);
        // One row each, the footer, and two that are left free so that nothing scrolls.
        let free = rows.saturating_sub(self.steps.len() + 3);
        let share = free.checked_div(self.steps.len()).unwrap_or(0).min(TAIL);
        for running in self.steps.values_mut() {
            let wanted = running.lines.len().min(share);
            while running.tail.len() > wanted {
                if let Some(line) = running.tail.pop() {
                    line.finish_and_clear();
                    self.screen.remove(&line);
                }
            }
            while running.tail.len() < wanted {
                let above = running.tail.last().unwrap_or(&running.head);
                let line = self.screen.insert_after(above, ProgressBar::new_spinner());
                line.set_style(bar_style("   │ {wide_msg:.dim}"));
                running.tail.push(line);
            }
            let newest = running.lines.iter().skip(running.lines.len() - wanted);
            for (line, text) in running.tail.iter().zip(newest) {
                line.set_message(text.clone());
                line.tick();
            }
        }
    }
}
