//! What every operation carries along: where events go, whether to stop, and how CPU and disk work is run.
//!
//! A [`Ctx`] is a cheap clone. Calls go down and only events go up: a module never returns something for a
//! person to read, it emits an [`Event`], a past-tense fact without colour or wording for a screen. The
//! sink is called in place and in order, so a slow terminal slows the emitter down and nothing queues up.
//!
//! It holds no settings: each operation takes those as its own arguments.

mod clock;
mod event;
mod task;

pub(crate) use clock::{now, rfc3339, seconds_of};
pub use event::{Event, EventSink, MissReason, OutputStream, Transfer};
pub(crate) use task::{Cancelled, Ctx};
