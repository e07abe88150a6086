//! Single instructions.

use crate::dockerfile::{Instruction, InstructionKind};
use crate::text::{Diagnostic, Span};

use super::Subject;

/// MAINTAINER.
pub(super) fn maintainer(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for instruction in subject.in_stages() {
        if let InstructionKind::Maintainer(word) = &instruction.kind {
            let finding = Diagnostic::warning("MaintainerDeprecated", "MAINTAINER is deprecated");
            let label = format!("write `LABEL org.opencontainers.image.authors=\"{}\"`", word.text);
            findings.push(finding.at(instruction.keyword.span).help(label));
        }
    }
}

/// `ENV key value`.
pub(super) fn legacy_pairs(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for instruction in subject.in_stages() {
        let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) = &instruction.kind else {
            continue;
        };
        if pairs.legacy {
            let name = instruction.kind.name();
            let message = format!("`{name} key=value` should be used instead of `{name} key value`");
            findings.push(Diagnostic::warning("LegacyKeyValueFormat", message).at(instruction.span));
        }
    }
}

/// Names that say that the value is secret.
pub(super) fn secrets(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for instruction in subject.in_stages() {
        let names: Vec<(&str, Span)> = match &instruction.kind {
            InstructionKind::Arg(items) => {
                items.iter().map(|item| (item.name.text.as_str(), item.name.span)).collect()
            }
            InstructionKind::Env(pairs) => {
                pairs.items.iter().map(|(name, _)| (name.text.as_str(), name.span)).collect()
            }
            _ => continue,
        };
        for (name, span) in names.into_iter().filter(|(name, _)| is_secret(name)) {
            let message = format!("secret `{name}` in {}: everyone can read it", instruction.kind.name());
            let finding = Diagnostic::warning("SecretsUsedInArgOrEnv", message).at(span);
            findings.push(finding.help("use `RUN --mount=type=secret`"));
        }
    }
}

/// One of its words is a word for secrets; not so when it is public, or a file's name or a version.
fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split('_').collect();
    words.iter().any(|word| SECRET.contains(word))
        && !words.contains(&"public")
        && !matches!(words.last(), Some(&("file" | "version")))
}

/// The comment directly above a named FROM or an ARG describes it, or an empty line stands between.
pub(super) fn descriptions(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for instruction in &subject.file.instructions {
        let names: Vec<&str> = match &instruction.kind {
            InstructionKind::From(from) => from.alias.iter().map(|alias| alias.text.as_str()).collect(),
            InstructionKind::Arg(items) => items.iter().map(|item| item.name.text.as_str()).collect(),
            _ => continue,
        };
        let Some(comment) = comment_above(subject, instruction) else { continue };
        let first = comment.split_whitespace().next().unwrap_or_default();
        if names.is_empty() || names.contains(&first) {
            continue;
        }
        let example = match names.as_slice() {
            [name] => *name,
            _ => "<name>",
        };
        let message = format!(
            "comment for {} should follow the format `# {example} <description>`",
            instruction.kind.name()
        );
        let finding = Diagnostic::warning("InvalidDefinitionDescription", message);
        findings.push(
            finding
                .at(instruction.span)
                .help("when the comment is no description, put an empty line or `#` below it"),
        );
    }
}

/// The comment on the line above; one with options for rules is none.
fn comment_above<'a>(subject: &Subject<'a>, instruction: &Instruction) -> Option<&'a str> {
    let source = &subject.file.source;
    let line = source.slice(source.line_span(instruction.lines.first.checked_sub(1)?));
    let comment = line.trim().strip_prefix('#')?.trim();
    let is_option = comment.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim().to_ascii_lowercase();
        matches!(key.as_str(), "check" | "syntax" | "escape")
    });
    (!comment.is_empty() && !is_option).then_some(comment)
}
