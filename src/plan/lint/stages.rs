//! Names of stages, and what FROM names.

use std::collections::BTreeSet;

use crate::oci::Reference;
use crate::plan::scan::BaseName;
use crate::text::Diagnostic;

use super::Subject;

/// The second of two stages with one name: the first can no longer be named.
pub(super) fn duplicate_names(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for alias in subject.froms().filter_map(|(_, from)| from.alias.as_ref()) {
        if !seen.insert(alias.text.to_lowercase()) {
            let message = format!("duplicate stage name `{}`: stage names should be unique", alias.text);
            findings.push(Diagnostic::warning("DuplicateStageName", message).at(alias.span));
        }
    }
}

/// `scratch` is the empty image, `context` the build context.
pub(super) fn reserved_names(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for alias in subject.froms().filter_map(|(_, from)| from.alias.as_ref()) {
        if matches!(alias.text.to_lowercase().as_str(), "scratch" | "context") {
            let message = format!("stage name `{}` is reserved", alias.text);
            findings.push(Diagnostic::warning("ReservedStageName", message).at(alias.span));
        }
    }
}

/// FROMs that name nothing without `--build-arg`.
pub(super) fn invalid_defaults(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for ((_, from), stage) in subject.froms().zip(&subject.stages.list) {
        // A FROM without variables that is wrong has been refused.
        if stage.base == BaseName::Scratch || !from.image.text.contains('$') {
            continue;
        }
        let Some(image) = subject.stages.default_image(from) else { continue };
        if image.parse::<Reference>().is_err() {
            let message = format!("the defaults of ARGs make no image name of `{}`", from.image.text);
            let finding = Diagnostic::warning("InvalidDefaultArgInFrom", message).at(from.image.span);
            findings.push(finding.help("give each ARG in it a default before the first FROM"));
        }
    }
}
