//! Which findings are reported, and how gravely.

use crate::dockerfile::{CheckOptions, Dockerfile};
use crate::text::{Diagnostic, Severity};

use super::RULES;

/// `findings` without those that nobody wants, under the file's `# check=…` and those of single
/// instructions. `request` stands in the place of the file's own options. What is no rule's finding stays
/// as it is.
pub(crate) fn judge(
    file: &Dockerfile,
    request: Option<&CheckOptions>,
    findings: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let none = CheckOptions::default();
    let options = request.or(file.directives.check.as_ref()).unwrap_or(&none);
    findings.into_iter().filter_map(|finding| weigh(file, options, finding)).collect()
}

fn weigh(file: &Dockerfile, options: &CheckOptions, mut finding: Diagnostic) -> Option<Diagnostic> {
    let Some(rule) = RULES.iter().find(|rule| rule.name == finding.code) else { return Some(finding) };
    let own = finding.span().and_then(|span| {
        let after = file.instructions.partition_point(|instruction| instruction.span.start <= span.start);
        file.instructions.get(after.checked_sub(1)?)?.check.as_ref()
    });
    let mut wanted = !rule.experimental;
    for options in std::iter::once(options).chain(own) {
        let names = |list: &[String]| list.iter().any(|name| name == rule.name);
        wanted |= rule.experimental && (options.experimental_all || names(&options.experimental));
        if options.skip_all || names(&options.skip) {
            return None;
        }
        if options.error {
            finding.severity = Severity::Error;
        }
    }
    wanted.then_some(finding)
}
