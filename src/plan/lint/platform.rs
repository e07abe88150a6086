//! `FROM --platform`.

use crate::dockerfile::Word;
use crate::oci::Platform;
use crate::text::Diagnostic;

use super::Subject;

/// `--platform=$TARGETPLATFORM`.
pub(super) fn redundant_target(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for word in subject.froms().filter_map(|(_, from)| from.platform.as_ref()) {
        if matches!(word.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = format!("--platform={} is redundant: it is what FROM does anyway", word.text);
            findings.push(Diagnostic::warning("RedundantTargetPlatform", message).at(word.span));
        }
    }
}

/// `--platform=linux/amd64`, unless the stage's name says that it is a stage for that platform.
pub(super) fn constant(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    let is_constant = |word: &&Word| !word.text.contains('$');
    for (_, from) in subject.froms() {
        let Some(word) = from.platform.as_ref().filter(is_constant) else { continue };
        let Ok(platform) = word.text.parse::<Platform>() else { continue };
        let name = from.alias.as_ref().map(|alias| alias.text.to_lowercase()).unwrap_or_default();
        if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let message = format!("FROM --platform should not be the constant `{}`", word.text);
            findings.push(Diagnostic::warning("FromPlatformFlagConstDisallowed", message).at(word.span));
        }
    }
}
