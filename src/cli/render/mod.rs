//! What people and programs see of a build while it runs.
//!
//! The library says what happened, as [`ocistage::Event`]s; a renderer chooses the words. There are four: [`Plain`]
//! (one line after the other, in the `#n` form of BuildKit that people grep for), [`Tty`] (live lines on a terminal),
//! [`RawJson`] (one object a line, with BuildKit's fields) and [`Quiet`] (nothing). A [`Tally`] stands before each of
//! them, counts what was moved and remembers the names of steps, for the summary and the error report at the end.
//!
//! Invariants:
//! - everything goes to standard error; standard output is for data alone;
//! - a renderer never fails and never stops a build: a line that cannot be written is lost;
//! - on a terminal no byte of a RUN's output, a registry's answer or a file's name moves the cursor or changes the
//!   terminal: control characters are shown, not sent. Colours (SGR) are let through in output lines.
//!
//! Not here: what an error looks like (`report`), and anything that decides something about the build.

mod plain;
mod quiet;
mod rawjson;
mod renderer;
mod summary;
mod tally;
mod text;
mod tty;

pub(crate) use plain::Plain;
pub(crate) use quiet::Quiet;
pub(crate) use rawjson::RawJson;
pub(crate) use renderer::{Renderer, choose};
pub(crate) use summary::Summary;
pub(crate) use tally::Tally;
pub(crate) use text::{coloured, size, visible};
pub(crate) use tty::Tty;
