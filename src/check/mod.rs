//! Checking a Dockerfile without building it: no registry is asked, no file is read.
//!
//! Every stage is parsed, scanned and lowered as for a build, whether or not the target needs it, and the
//! rules are applied. What only a base image could tell (its variables, its platform, its triggers) is not
//! known here: what depends on it is left to the build. Everything that the engine might refuse is taken as
//! good, since the file is judged and not the machine.
//!
//! The same look at the file tells what it can be asked for: its targets, and a target's arguments, secrets
//! and agents.

mod outline;
mod report;
mod request;

pub use outline::{Outline, OutlineArgument, OutlineMount, Target};
pub use report::{CheckReport, CheckRule, CheckVerdict, check, check_rules};
pub(crate) use report::{is_of_a_rule, judged};
pub use request::CheckRequest;
