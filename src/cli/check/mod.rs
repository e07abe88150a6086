//! `ocistage check`, and `build --check` and `--call`: what the library says of Dockerfiles, as text, JSON or SARIF.
//!
//! The findings are data and go to standard output, in the order of the text; several files in the order in which they
//! were named. The status is that of the worst file: 0 clean, 1 errors, 2 not a Dockerfile. Warnings are no errors until
//! a file says so itself (`# check=error=true`).
//!
//! Not here: what is a finding, and which count. That is the library's check.

mod json;
mod outline;
mod run;
mod sarif;
mod text;

pub(crate) use run::{Answer, call, check};
