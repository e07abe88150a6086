//! The table of rules.

use crate::dockerfile::{Dockerfile, From, Instruction, InstructionKind};
use crate::plan::scan::Stages;
use crate::text::Diagnostic;

use super::{casing, instructions, platform, stages};

/// A rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Its name, which is the code of its findings.
    pub(crate) name: &'static str,
    /// What it wants, in a sentence.
    pub(crate) description: &'static str,
    /// Checked only when asked for.
    pub(crate) experimental: bool,
    /// How it is checked; `None` when parser, scan or lowering find it on their way.
    check: Option<Check>,
}

type Check = fn(&Subject<'_>, &mut Vec<Diagnostic>);

/// What rules look at.
pub(super) struct Subject<'a> {
    /// The file.
    pub(super) file: &'a Dockerfile,
    /// Its stages.
    pub(super) stages: &'a Stages,
}

/// Every rule, by name.
pub(crate) const RULES: [Rule; 22] = [
    rule(
        "ConsistentInstructionCasing",
        "keywords of instructions are all in upper case or all in lower case",
        Some(casing::instructions),
    ),
    rule("CopyIgnoredFile", "what the ignore file excludes can not be copied", None),
    rule("DuplicateStageName", "each stage has a name of its own", Some(stages::duplicate_names)),
    rule("ExposeInvalidFormat", "EXPOSE names ports, not addresses of the host", None),
    rule("ExposeProtoCasing", "protocols in EXPOSE are in lower case", None),
    rule("FromAsCasing", "AS is in the case of its FROM", Some(casing::from_as)),
    rule(
        "FromPlatformFlagConstDisallowed",
        "FROM --platform names no fixed platform: the image could not be built for another",
        Some(platform::constant),
    ),
    rule("InvalidBaseImagePlatform", "the base image is for the platform that is built for", None),
    rule(
        "InvalidDefaultArgInFrom",
        "with the defaults of its ARGs every FROM names an image",
        Some(stages::invalid_defaults),
    ),
    Rule {
        experimental: true,
        ..rule(
            "InvalidDefinitionDescription",
            "a comment directly above a named stage or an ARG begins with its name and describes it",
            Some(instructions::descriptions),
        )
    },
    rule("JSONArgsRecommended", "CMD and ENTRYPOINT are JSON arrays: a shell does not pass signals on", None),
    rule(
        "LegacyKeyValueFormat",
        "ENV and LABEL are written `key=value`, not `key value`",
        Some(instructions::legacy_pairs),
    ),
    rule(
        "MaintainerDeprecated",
        "MAINTAINER is deprecated: a label names the author",
        Some(instructions::maintainer),
    ),
    rule(
        "MultipleInstructionsDisallowed",
        "a stage has one CMD, one ENTRYPOINT and one HEALTHCHECK: of several only the last counts",
        None,
    ),
    rule("NoEmptyContinuation", "no empty line in the continuation of an instruction", None),
    rule(
        "RedundantTargetPlatform",
        "FROM --platform=$TARGETPLATFORM is what FROM does anyway",
        Some(platform::redundant_target),
    ),
    rule(
        "ReservedStageName",
        "no stage is called `scratch` or `context`: these mean something else",
        Some(stages::reserved_names),
    ),
    rule(
        "SecretsUsedInArgOrEnv",
        "no secret is in an ARG or ENV: both are in the image for everyone to read",
        Some(instructions::secrets),
    ),
    rule("StageNameCasing", "names of stages are in lower case", Some(casing::stage_names)),
    rule("UndefinedArgInFrom", "variables in FROM are declared by an ARG before the first FROM", None),
    rule("UndefinedVar", "variables are defined before they are used", None),
    rule("WorkdirRelativePath", "a relative WORKDIR comes after an absolute one of the same file", None),
];

const fn rule(name: &'static str, description: &'static str, check: Option<Check>) -> Rule {
    Rule { name, description, experimental: false, check }
}

/// The findings of all rules that look at the file and its stages, in no particular order.
pub(crate) fn lint(file: &Dockerfile, stages: &Stages) -> Vec<Diagnostic> {
    let subject = Subject { file, stages };
    let mut findings = Vec::new();
    for check in RULES.iter().filter_map(|rule| rule.check) {
        check(&subject, &mut findings);
    }
    findings
}

impl<'a> Subject<'a> {
    /// The FROMs in file order.
    pub(super) fn froms(&self) -> impl Iterator<Item = (&'a Instruction, &'a From)> {
        self.file.instructions.iter().filter_map(|instruction| match &instruction.kind {
            InstructionKind::From(from) => Some((instruction, from)),
            _ => None,
        })
    }

    /// The instructions from the first FROM on.
    pub(super) fn in_stages(&self) -> impl Iterator<Item = &'a Instruction> {
        let is_from = |instruction: &&Instruction| matches!(instruction.kind, InstructionKind::From(_));
        self.file.instructions.iter().skip_while(move |instruction| !is_from(instruction))
    }
}
