//! The check itself, and what it found.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::context::IgnoreFile;
use crate::dockerfile::{Dockerfile, Parsed, parse};
use crate::oci::Platform;
use crate::plan::{
    LowerSettings, MountSupport, RULES, RemoteSupport, ScanSettings, copied_but_ignored, judge, lint, lower,
    scan,
};
use crate::request::NamedContext;
use crate::text::{Diagnostic, Source};
use crate::tree::ImagePath;

use super::outline::{self, Outline, Target};
use super::request::{CheckRequest, options_of};

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Everything there is to say, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The stages that can be built. Empty when the file is no Dockerfile.
    pub targets: Vec<Target>,
    /// What the target can be given; `None` when there are errors.
    pub outline: Option<Outline>,
    parsed: Parsed,
}

/// What a report comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckVerdict {
    /// No errors; there may be warnings.
    Clean,
    /// Errors: it can not be built, or breaks a rule that it made an error itself.
    Failed,
    /// It can not be read.
    NotADockerfile,
}

/// A rule that checks apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckRule {
    /// Its name: the code of its findings.
    pub name: &'static str,
    /// What it wants, in a sentence.
    pub description: &'static str,
    /// Checked only when asked for: `# check=experimental=NAME`.
    pub experimental: bool,
}

impl CheckReport {
    /// What it comes to.
    pub fn verdict(&self) -> CheckVerdict {
        if self.parsed.has_errors() {
            CheckVerdict::NotADockerfile
        } else if self.diagnostics.iter().any(Diagnostic::is_error) {
            CheckVerdict::Failed
        } else {
            CheckVerdict::Clean
        }
    }

    /// The parsed file as JSON: see [`Parsed::to_json`].
    pub fn ast(&self) -> Value {
        self.parsed.to_json()
    }

    /// The text that the diagnostics point into.
    pub fn source(&self) -> &Source {
        &self.parsed.file.source
    }
}

/// Every rule, by name.
pub fn check_rules() -> Vec<CheckRule> {
    RULES
        .iter()
        .map(|rule| CheckRule {
            name: rule.name,
            description: rule.description,
            experimental: rule.experimental,
        })
        .collect()
}

/// Checks a Dockerfile.
///
/// ```
/// use ocistage::{CheckRequest, CheckVerdict, check, text::Source};
/// let report = check(&CheckRequest::new(Source::new("Dockerfile", "FROM scratch\nMAINTAINER me\n")));
/// assert_eq!(report.verdict(), CheckVerdict::Clean);
/// assert_eq!(report.diagnostics[0].code, "MaintainerDeprecated");
/// ```
pub fn check(request: &CheckRequest) -> CheckReport {
    let parsed = parse(&request.dockerfile);
    let mut report =
        CheckReport { diagnostics: parsed.diagnostics.clone(), targets: Vec::new(), outline: None, parsed };
    // What is missing in a broken file would be missed again by everything that follows.
    if !report.parsed.has_errors() {
        look(request, &mut report);
    }
    report.diagnostics.sort_by_key(Diagnostic::span);
    report
}

fn look(request: &CheckRequest, report: &mut CheckReport) {
    let file = &report.parsed.file;
    let mut findings = std::mem::take(&mut report.diagnostics);
    let settings = ScanSettings {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        also: Vec::new(),
        build_platform: Platform::host(),
        target_platform: request.platform.clone().unwrap_or_else(Platform::host),
        contexts: request
            .named_contexts
            .iter()
            .map(|(name, context)| {
                (name.clone(), matches!(context, NamedContext::Directory(_) | NamedContext::Remote(_)))
            })
            .collect(),
    };
    if let Some(stages) = scan(file, settings, &mut findings) {
        findings.extend(lint(file, &stages));
        let settings = LowerSettings {
            build_args: request.build_args.clone(),
            mounts: MountSupport::ALL,
            remotes: RemoteSupport::ALL,
            network_none: false,
            check: true,
        };
        report.targets = outline::targets(file);
        if let Some(plan) = lower(&stages, &BTreeMap::new(), &settings, &mut findings) {
            match ignore_rules(request) {
                Ok(Some(rules)) => {
                    let is_ignored = |path: &str| rules.excluded(&ImagePath::clamped(path));
                    findings.extend(copied_but_ignored(&stages, &plan, &is_ignored));
                }
                Ok(None) => {}
                Err(finding) => findings.push(finding),
            }
            report.outline = Some(outline::outline(file, &stages, &plan));
        }
    }
    report.diagnostics = judged(file, &request.build_args, findings);
}

/// `findings` weighed as the file and the build arguments want it.
pub(crate) fn judged(
    file: &Dockerfile,
    build_args: &BTreeMap<String, String>,
    mut findings: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let options = options_of(build_args).unwrap_or_else(|part| {
        let message = format!("build argument BUILDKIT_DOCKERFILE_CHECK: invalid check option `{part}`");
        findings.push(Diagnostic::error("invalid-check-directive", message));
        None
    });
    judge(file, options.as_ref(), findings)
}

/// Whether a finding is a rule's, not the language's.
pub(crate) fn is_of_a_rule(finding: &Diagnostic) -> bool {
    RULES.iter().any(|rule| rule.name == finding.code)
}

fn ignore_rules(request: &CheckRequest) -> Result<Option<IgnoreFile>, Diagnostic> {
    let Some(source) = &request.ignore else { return Ok(None) };
    let rules = IgnoreFile::parse(source.name(), source.text().as_bytes());
    rules.map(Some).map_err(|error| Diagnostic::error("bad-ignore-file", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> CheckReport {
        check(&CheckRequest::new(Source::new("Dockerfile", text)))
    }

    fn codes(report: &CheckReport) -> Vec<&'static str> {
        report.diagnostics.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_file_is_clean_failed_or_none() {
        assert_eq!(report("FROM scratch\nWORKDIR app").verdict(), CheckVerdict::Clean);
        assert_eq!(report("# check=error=true\nFROM scratch\nWORKDIR app").verdict(), CheckVerdict::Failed);
        assert_eq!(report("FROM scratch\nCOPY --from=7 a /").verdict(), CheckVerdict::Failed);
        assert_eq!(report("FROM scratch\nNONSENSE").verdict(), CheckVerdict::NotADockerfile);
    }

    #[test]
    fn a_broken_file_is_judged_by_its_grammar_alone() {
        assert_eq!(codes(&report("FROM scratch\nCOPPY a /\nWORKDIR app")), ["unknown-instruction"]);
    }

    #[test]
    fn every_stage_is_checked_and_no_image_is_needed() {
        let text = "FROM nowhere.example/x AS unused\nEXPOSE 80/TCP\nRUN --mount=type=ssh a\n\
                    ADD https://h/x /\nFROM scratch";
        assert_eq!(codes(&report(text)), ["ExposeProtoCasing"]);
    }

    #[test]
    fn the_ignore_file_is_asked() {
        let text = "FROM scratch\nCOPY a/b c /d/";
        let mut request = CheckRequest::new(Source::new("Dockerfile", text));
        request.ignore = Some(Source::new(".dockerignore", "a\n!c\n"));
        assert_eq!(codes(&check(&request)), ["CopyIgnoredFile"]);
        request.ignore = Some(Source::new(".dockerignore", "!\n"));
        let found = check(&request);
        assert_eq!(codes(&found), ["bad-ignore-file"]);
        assert!(found.diagnostics[0].message.starts_with(".dockerignore:1: "));
    }

    #[test]
    fn build_arguments_choose_rules() {
        let mut request = CheckRequest::new(Source::new("Dockerfile", "FROM scratch\nWORKDIR app"));
        let mut with = |value: &str| {
            request.build_args = [("BUILDKIT_DOCKERFILE_CHECK".to_owned(), value.to_owned())].into();
            check(&request)
        };
        assert_eq!(codes(&with("skip=all")), Vec::<&str>::new());
        assert_eq!(with("error=true").verdict(), CheckVerdict::Failed);
        assert!(codes(&with("nonsense")).contains(&"invalid-check-directive"));
    }
}
