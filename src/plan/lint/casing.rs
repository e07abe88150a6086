//! Upper and lower case.

use crate::text::{Diagnostic, Span};

use super::Subject;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Mixed,
}

fn case_of(word: &str) -> Case {
    if word == word.to_ascii_uppercase() {
        Case::Upper
    } else if word == word.to_ascii_lowercase() {
        Case::Lower
    } else {
        Case::Mixed
    }
}

/// Keywords follow the majority of the file; upper case when there is none.
pub(super) fn instructions(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    let count = |case| subject.in_stages().filter(|i| case_of(&i.keyword.text) == case).count();
    let (wanted, name) = match count(Case::Lower) > count(Case::Upper) {
        true => (Case::Lower, "lower case"),
        false => (Case::Upper, "upper case"),
    };
    for instruction in subject.in_stages() {
        let keyword = &instruction.keyword;
        if case_of(&keyword.text) != wanted {
            let message = format!("`{}` should match the case of most instructions ({name})", keyword.text);
            findings.push(Diagnostic::warning("ConsistentInstructionCasing", message).at(keyword.span));
        }
    }
}

/// `from x AS y`. A FROM of mixed case is the other rule's.
pub(super) fn from_as(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for (instruction, from) in subject.froms() {
        let Some(alias) = &from.alias else { continue };
        // The keyword stands between image and name; with a continuation, so does more.
        let between = subject.file.source.slice(Span::new(from.image.span.end, alias.span.start));
        let Some(word) = between.split_whitespace().find(|word| word.eq_ignore_ascii_case("as")) else {
            continue;
        };
        let keyword = &instruction.keyword.text;
        if case_of(keyword) != Case::Mixed && case_of(word) != case_of(keyword) {
            let message = format!("the case of `{word}` and `{keyword}` does not match");
            let at = between.find(word).unwrap_or_default() + from.image.span.end;
            let finding = Diagnostic::warning("FromAsCasing", message);
            findings.push(finding.at(Span::new(at, at + word.len())));
        }
    }
}

/// Stage names mean the same in any case; only lower case says so.
pub(super) fn stage_names(subject: &Subject<'_>, findings: &mut Vec<Diagnostic>) {
    for alias in subject.froms().filter_map(|(_, from)| from.alias.as_ref()) {
        let lower = alias.text.to_lowercase();
        if lower != alias.text {
            let message = format!("stage name `{}` should be in lower case", alias.text);
            let finding = Diagnostic::warning("StageNameCasing", message).at(alias.span);
            findings.push(finding.help(format!("write `{lower}`")));
        }
    }
}
