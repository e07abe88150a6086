//! Text and the things said about it.
//!
//! A [`Source`] is a file's name and text, shared and never changed. A [`Span`] is a range of its bytes: everything the
//! front end makes carries one, so that whoever finds a fault later (an unknown stage, a missing file) can still point
//! at the place in the user's file. A [`Diagnostic`] is what is wrong, as data: code, severity, message, places, help.
//!
//! Invariants:
//! - spans are byte offsets of one source; a span never outlives its meaning because sources are immutable;
//! - lines and columns start at 1 and a column counts characters, as editors do;
//! - a diagnostic holds no colour and no terminal width. [`Diagnostic::render_plain`] is the plain form; other forms
//!   (coloured, JSON, SARIF) are made from the same data elsewhere.
//!
//! Not here: anything that knows what a Dockerfile is.

mod diagnostic;
mod source;
mod span;
mod suggest;
mod userinfo;

pub use diagnostic::{Diagnostic, Label, Severity};
pub use source::Source;
pub use span::{LineRange, Position, Span};
pub use suggest::{shortened, suggest};
pub use userinfo::without_userinfo;
