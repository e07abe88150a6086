//! The command line: words in, words out, on top of the library's public door.
//!
//! Three floors of its own. `args` is what was typed, as clap reads it; `request` turns it, with the environment, into
//! what is asked of the library; `job` asks, shows what happens through a renderer of `render`, and turns the answer
//! into files (`results`), words (`report`) and an exit status (`exit`).
//!
//! Invariants:
//! - the library never reads the environment or the home directory: whatever it is to know stands in a request;
//! - standard output has data only (a digest, an archive, a version, a completion script); all else is standard error;
//! - a flag whose loss would change the image or weaken security is honoured or refused by name (`foreign`);
//! - until `job::carry_out`, the process has one thread: it may still enter namespaces.
//!
//! Not here: anything that another program using the library would want too.

mod args;
mod cache;
mod check;
mod context;
mod csv;
mod duration;
mod environment;
mod errand;
mod exit;
mod failure;
mod foreign;
mod interrupt;
mod job;
mod output;
mod panic;
mod records;
mod render;
mod report;
mod request;
mod results;
mod secret;
mod sign_in;
mod spool;

pub(crate) use job::{Job, cannot_start, carry_out, prepare, runs_commands};
pub(crate) use panic::{guard, watch};
