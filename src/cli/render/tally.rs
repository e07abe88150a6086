//! Counts and remembers, for what is said at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ocistage::{Event, EventSink, StepId, Transfer};

use super::Renderer;

/// Blobs of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blobs {
    /// How many.
    pub(crate) number: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Blobs {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.number += 1;
        self.bytes += bytes;
    }
}

/// What went over the network, or did not have to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Sent.
    pub(crate) uploaded: Blobs,
    /// Taken by the registry from another of its repositories.
    pub(crate) mounted: Blobs,
    /// Already there.
    pub(crate) present: Blobs,
    /// Fetched.
    pub(crate) pulled: Blobs,
}

impl Moved {
    /// Takes note of an event.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::BlobPushed { size, how, .. } => match how {
                Transfer::Uploaded => self.uploaded.add(*size),
                Transfer::Mounted => self.mounted.add(*size),
                Transfer::Present => self.present.add(*size),
            },
            Event::BlobPulled { size, .. } => self.pulled.add(*size),
            _ => {}
        }
    }
}

/// An event sink that counts, and passes on to a renderer.
pub(crate) struct Tally {
    renderer: Arc<dyn Renderer>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    moved: Moved,
    steps: BTreeMap<StepId, String>,
}

impl Tally {
    /// Stands before `renderer`.
    pub(crate) fn new(renderer: Arc<dyn Renderer>) -> Tally {
        Tally { renderer, seen: Mutex::default() }
    }

    /// What was moved so far.
    pub(crate) fn moved(&self) -> Moved {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).moved
    }

    /// What a step is called, when it was heard of.
    pub(crate) fn step_name(&self, step: StepId) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).steps.get(&step).cloned()
    }
}

impl EventSink for Tally {
    fn event(&self, event: &Event) {
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.moved.note(event);
            if let Event::StepStarted { step, name, .. } | Event::StepCached { step, name } = event {
                seen.steps.insert(*step, name.clone());
            }
        }
        self.renderer.event(event);
    }
}

#[cfg(test)]
mod tests {
    use ocistage::oci::Digest;
    use ocistage::{MissReason, StageId};

    use super::super::Quiet;
    use super::*;

    #[test]
    fn blobs_are_counted_by_how_they_came() {
        let tally = Tally::new(Arc::new(Quiet));
        for (size, how) in [(5, Transfer::Uploaded), (7, Transfer::Mounted), (7, Transfer::Mounted)] {
            let (repository, digest) = ("r".to_owned(), Digest::of(b""));
            tally.event(&Event::BlobPushed { repository, digest, size, how });
        }
        let moved = tally.moved();
        assert_eq!(moved.uploaded, Blobs { number: 1, bytes: 5 });
        assert_eq!(moved.mounted, Blobs { number: 2, bytes: 14 });
        assert_eq!(moved.present, Blobs::default());
    }

    #[test]
    fn names_of_steps_are_remembered() {
        let tally = Tally::new(Arc::new(Quiet));
        let step = StepId { stage: StageId(1), index: 2 };
        tally.event(&Event::StepStarted {
            step,
            name: "[a 2/3] RUN x".to_owned(),
            reason: MissReason::NotRecorded,
        });
        assert_eq!(tally.step_name(step).as_deref(), Some("[a 2/3] RUN x"));
    }
}
