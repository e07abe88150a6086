//! Rules of style and safety, under the names that BuildKit gave them.
//!
//! ```text
//! parse, scan, lower ─┐
//! lint(file, stages) ─┼→ findings ─judge(file)→ what is reported, and how gravely
//! copied_but_ignored ─┘
//! ```
//!
//! [`RULES`] has one entry for each rule: name, description, and how it is checked. Most look at the file and
//! its stages. Some can only be seen where the thing happens: an empty continuation line by the parser, a
//! variable without a value by the expansion, a relative WORKDIR by the lowering. Those are found there, once,
//! and nowhere else; what they say is in [`found`].
//!
//! No finding is weighed where it is made. [`judge`] does it for all: it drops what `# check=skip=…` of the
//! file or of one instruction names and the experimental rules that nobody asked for, and turns warnings into
//! errors under `error=true`.
//!
//! Not here: what makes a build impossible. That is never a matter of rules.

mod casing;
mod files;
mod found;
mod instructions;
mod judge;
mod platform;
mod rules;
mod stages;
#[cfg(test)]
mod tests;

pub(crate) use files::copied_but_ignored;
pub(super) use found::{base_platform, expose, json_recommended, multiple_instructions, relative_workdir};
pub(crate) use judge::judge;
pub(crate) use rules::{RULES, lint};

use rules::Subject;
