//! Nothing but errors.

use ocistage::{Event, EventSink};

use super::{Renderer, Summary};

/// Shows nothing; what a build printed when it failed is part of the error.
pub(crate) struct Quiet;

impl EventSink for Quiet {
    fn event(&self, _: &Event) {}
}

impl Renderer for Quiet {
    fn close(&self) {}

    fn summary(&self, _: &Summary) {}
}
