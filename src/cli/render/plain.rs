//! One line after the other, in the `#n` form of BuildKit.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ocistage::{Event, EventSink, OutputStream, StepId, Transfer};

use super::Renderer;
use super::tally::Moved;
use super::text;

/// Writes lines.
pub(crate) struct Plain(Mutex<State>);

struct State {
    out: Box<dyn Write + Send>,
    /// Whether lines are read by a terminal, which obeys control characters.
    terminal: bool,
    /// The highest number given so far.
    last: usize,
    steps: BTreeMap<StepId, Running>,
    /// Numbers of the repositories that blobs went to or came from, and what was moved.
    transfers: BTreeMap<(Way, String), (usize, Moved)>,
}

/// A step that is carried out.
struct Running {
    number: usize,
    since: Instant,
    /// Beginnings of lines whose end has not come yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Pull,
    Push,
}

/// A line longer than this is written in pieces, so that output without line ends does not fill the memory.
const LINE_LIMIT: usize = 64 << 10;
/// Blobs smaller than this are counted and not listed: configs and records would hide the layers.
const LISTED: u64 = 1_000_000;

impl Plain {
    /// Writes to `out`. `terminal`: show control characters instead of sending them.
    pub(crate) fn new(out: Box<dyn Write + Send>, terminal: bool) -> Plain {
        Plain(Mutex::new(State {
            out,
            terminal,
            last: 0,
            steps: BTreeMap::new(),
            transfers: BTreeMap::new(),
        }))
    }
}

impl EventSink for Plain {
    fn event(&self, event: &Event) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.event(event);
        let _ = state.out.flush();
    }
}

impl Renderer for Plain {
    fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let steps: Vec<StepId> = state.steps.keys().copied().collect();
        for step in steps {
            // Still open: the build was stopped while it ran.
            if let Some(number) = state.end_of_output(step) {
                state.line(number, "CANCELED");
            }
        }
        state.end_of_transfers();
        let _ = state.out.flush();
    }
}

impl State {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Resolved { reference, digest } => self.note(&format!("[base] {reference} is {digest}")),
            Event::ContextScanned { name, files, bytes } => {
                self.note(&format!("{} {}", text::context(name), text::scanned(*files, *bytes)));
            }
            Event::Fetched { source, identity, size } => {
                self.note(&format!("[fetch] {source}: {}", text::fetched(identity, *size)));
            }
            Event::IsolationChosen { backend, reason } => {
                self.note(&format!("[isolation] {backend}: {reason}"));
            }
            Event::Planned { steps, skipped } => {
                let skipped = match skipped.as_slice() {
                    [] => String::new(),
                    names => format!("; not needed: {}", names.join(", ")),
                };
                self.note(&format!("[plan] {}{skipped}", text::count(*steps, "step")));
            }
            Event::BuildCached { digest } => self.cached(&format!("[build] {digest}")),
            Event::StageCached { stage } => self.cached(&format!("[stage {stage}]")),
            Event::StepCached { name, .. } => self.cached(name),
            Event::StepStarted { step, name, reason } => {
                let number = self.header(name);
                self.line(number, text::miss(reason));
                let running =
                    Running { number, since: Instant::now(), stdout: Vec::new(), stderr: Vec::new() };
                self.steps.insert(*step, running);
            }
            Event::StepOutput { step, stream, bytes } => self.output(*step, *stream, bytes),
            Event::StepFinished { step, elapsed, layer } => {
                if let Some(number) = self.end_of_output(*step) {
                    if let Some(bytes) = layer {
                        self.line(number, &format!("layer {}", text::size(*bytes)));
                    }
                    self.line(number, &format!("DONE {}", text::seconds(*elapsed)));
                }
            }
            Event::StepFailed { step, elapsed } => {
                if let Some(number) = self.end_of_output(*step) {
                    self.line(number, &format!("ERROR: failed after {}", text::seconds(*elapsed)));
                }
            }
            Event::BlobPushed { repository, digest, size, how } => {
                let number = self.transfer(Way::Push, repository, event);
                let how = match how {
                    Transfer::Uploaded => "pushed",
                    Transfer::Mounted => "mounted",
                    Transfer::Present => "already there",
                };
                if *size >= LISTED {
                    self.line(number, &format!("{how} {} {}", text::short(digest), text::size(*size)));
                }
            }
            Event::BlobPulled { repository, digest, size } => {
                let number = self.transfer(Way::Pull, repository, event);
                if *size >= LISTED {
                    self.line(number, &format!("pulled {} {}", text::short(digest), text::size(*size)));
                }
            }
            Event::Tagged { name, digest } => self.note(&format!("[name] {name} is {digest}")),
            Event::Warning { message } => {
                let _ = writeln!(self.out, "warning: {}", text::visible(message));
            }
            _ => {}
        }
    }

    fn number(&mut self) -> usize {
        self.last += 1;
        self.last
    }

    /// A fact that needs one line.
    fn note(&mut self, words: &str) {
        let number = self.number();
        self.line(number, words);
    }

    fn cached(&mut self, name: &str) {
        let number = self.header(name);
        self.line(number, "CACHED");
    }

    fn header(&mut self, name: &str) -> usize {
        let number = self.number();
        let _ = writeln!(self.out);
        self.line(number, name);
        number
    }

    fn line(&mut self, number: usize, words: &str) {
        let _ = writeln!(self.out, "#{number} {}", text::visible(words));
    }

    fn transfer(&mut self, way: Way, repository: &str, event: &Event) -> usize {
        let key = (way, repository.to_owned());
        if !self.transfers.contains_key(&key) {
            let verb = if way == Way::Push { "push to" } else { "pull from" };
            let number = self.header(&format!("[registry] {verb} {repository}"));
            self.transfers.insert(key.clone(), (number, Moved::default()));
        }
        let (number, moved) = self.transfers.entry(key).or_default();
        moved.note(event);
        *number
    }

    fn end_of_transfers(&mut self) {
        for (number, moved) in std::mem::take(&mut self.transfers).into_values() {
            let words = super::summary::moved(&moved);
            self.line(number, &format!("DONE {words}"));
        }
    }

    fn output(&mut self, step: StepId, stream: OutputStream, bytes: &[u8]) {
        let Some(running) = self.steps.get_mut(&step) else { return };
        let at = running.since.elapsed().as_secs_f64();
        let number = running.number;
        let open = match stream {
            OutputStream::Stdout => &mut running.stdout,
            OutputStream::Stderr => &mut running.stderr,
        };
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(piece);
            if open.ends_with(b"\n") || open.len() >= LINE_LIMIT {
                whole.push(std::mem::take(open));
            }
        }
        for line in whole {
            self.output_line(number, at, &line);
        }
    }

    fn output_line(&mut self, number: usize, at: f64, line: &[u8]) {
        let line = text::last_rewrite(line.strip_suffix(b"\n").unwrap_or(line));
        let _ = write!(self.out, "#{number} {at:.3} ");
        let _ = if self.terminal {
            writeln!(self.out, "{}", text::coloured(&String::from_utf8_lossy(line)))
        } else {
            // A log gets what the step wrote, byte by byte.
            self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"))
        };
    }

    /// Writes what is left of a step's output and forgets the step; its number, if it was known.
    fn end_of_output(&mut self, step: StepId) -> Option<usize> {
        let running = self.steps.remove(&step)?;
        let at = running.since.elapsed().as_secs_f64();
        for rest in [running.stdout, running.stderr] {
            if !rest.is_empty() {
                self.output_line(running.number, at, &rest);
            }
        }
        Some(running.number)
    }
}

#[cfg(test)]
mod tests;
