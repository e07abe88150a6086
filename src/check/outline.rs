//! What a file can be asked for.

use std::collections::BTreeMap;

use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, MountKind, RunMount};
use crate::plan::{Op, Plan, Stages};

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name, or its number.
    pub name: String,
    /// The comment above its FROM that begins with its name.
    pub description: Option<String>,
    /// What its FROM names, as written.
    pub base: String,
    /// Whether it is built when no target is asked for.
    pub is_default: bool,
    /// The line of its FROM, from 1.
    pub line: usize,
}

/// What a target can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, or `stage-N`.
    pub name: String,
    /// The comment above its FROM that begins with its name.
    pub description: Option<String>,
    /// ARGs before the first FROM, then those of the stages that the target needs, each name once.
    pub arguments: Vec<OutlineArgument>,
    /// Secrets that steps mount, by id.
    pub secrets: Vec<OutlineMount>,
    /// ssh agents that steps mount, by id.
    pub agents: Vec<OutlineMount>,
    /// Cache mounts of steps, by id.
    pub caches: Vec<OutlineMount>,
}

/// An ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// The value that it has now.
    pub value: Option<String>,
    /// The comment above it that begins with its name.
    pub description: Option<String>,
    /// Its line, from 1.
    pub line: usize,
}

/// Something that a step mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether a step fails without it.
    pub required: bool,
    /// The line of the first step that mounts it, from 1.
    pub line: usize,
}

/// The stages of `file`.
pub(super) fn targets(file: &Dockerfile) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for instruction in &file.instructions {
        let InstructionKind::From(from) = &instruction.kind else { continue };
        let name = match &from.alias {
            Some(alias) => alias.text.to_lowercase(),
            None => targets.len().to_string(),
        };
        targets.push(Target {
            name,
            description: description(instruction),
            base: from.image.text.clone(),
            is_default: false,
            line: instruction.lines.first,
        });
    }
    if let Some(last) = targets.last_mut() {
        last.is_default = true;
    }
    targets
}

/// The doc comment of a named stage.
fn description(instruction: &Instruction) -> Option<String> {
    let InstructionKind::From(from) = &instruction.kind else { return None };
    let alias = &from.alias.as_ref()?.text;
    instruction.doc_comment(alias).or_else(|| instruction.doc_comment(&alias.to_lowercase()))
}

/// The outline of the plan's target.
pub(super) fn outline(file: &Dockerfile, stages: &Stages, plan: &Plan) -> Outline {
    let mut froms = file.instructions.iter().filter(|i| matches!(i.kind, InstructionKind::From(_)));
    let target = plan.target();
    let (mut secrets, mut agents, mut caches) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for id in stages.needed() {
        for step in plan.stages.get(&id).into_iter().flat_map(|stage| &stage.steps) {
            let Op::Run(run) = &step.op else { continue };
            for (mount, _) in &run.mounts {
                match mount.kind {
                    MountKind::Secret => note(&mut secrets, mount, step.line),
                    MountKind::Ssh => note(&mut agents, mount, step.line),
                    MountKind::Cache => note(&mut caches, mount, step.line),
                    MountKind::Bind | MountKind::Tmpfs => {}
                }
            }
        }
    }
    Outline {
        name: target.name.clone(),
        description: froms.nth(target.id.0).and_then(description),
        arguments: arguments(file, stages, plan),
        secrets: secrets.into_values().collect(),
        agents: agents.into_values().collect(),
        caches: caches.into_values().collect(),
    }
}

fn note(list: &mut BTreeMap<String, OutlineMount>, mount: &RunMount, line: usize) {
    let id = mount.id.clone().unwrap_or_default();
    let known = list.entry(id.clone()).or_insert(OutlineMount { id, required: false, line });
    known.required |= mount.required;
}

fn arguments(file: &Dockerfile, stages: &Stages, plan: &Plan) -> Vec<OutlineArgument> {
    let mut list: Vec<OutlineArgument> = Vec::new();
    let mut add = |instruction: &Instruction, value: &dyn Fn(&str) -> Option<String>| {
        let InstructionKind::Arg(items) = &instruction.kind else { return };
        for item in items {
            let name = &item.name.text;
            match list.iter_mut().find(|known| known.name == *name) {
                // `ARG X` brings the global one in; with a default it is one of its own.
                Some(known) if item.default.is_some() || known.value.is_none() => known.value = value(name),
                Some(_) => {}
                None => list.push(OutlineArgument {
                    name: name.clone(),
                    value: value(name),
                    description: item.comment.clone(),
                    line: instruction.lines.first,
                }),
            }
        }
    };
    for instruction in &file.instructions {
        if matches!(instruction.kind, InstructionKind::From(_)) {
            break;
        }
        add(instruction, &|name| stages.global(name).map(str::to_owned));
    }
    for id in stages.needed() {
        let Some(stage) = plan.stages.get(&id) else { continue };
        let value = |name: &str| {
            stage.arguments.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone())
        };
        for sourced in &stages.get(id).instructions {
            add(&sourced.instruction, &value);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use crate::check::{CheckRequest, check};
    use crate::text::Source;

    const TEXT: &str = "\
# VERSION of the tools
ARG VERSION=1
# build compiles
FROM tools:$VERSION AS Build
ARG VERSION
# FLAGS for the compiler
ARG FLAGS=-v$VERSION DEBUG
RUN --mount=type=secret,id=token --mount=type=cache,target=/c a
RUN --mount=type=ssh --mount=type=secret,id=token,required b
FROM scratch AS other
ARG OTHER
FROM scratch
COPY --from=build /x /x
";

    #[test]
    fn targets_have_names_or_numbers_and_descriptions() {
        let report = check(&CheckRequest::new(Source::new("f", TEXT)));
        let shown: Vec<_> = report
            .targets
            .iter()
            .map(|target| (target.name.as_str(), target.description.as_deref(), target.line))
            .collect();
        assert_eq!(shown, [("build", Some("compiles"), 4), ("other", None, 10), ("2", None, 12)]);
        assert!(report.targets[2].is_default && !report.targets[0].is_default);
        assert_eq!(report.targets[0].base, "tools:$VERSION");
    }

    #[test]
    fn an_outline_has_what_the_target_needs() {
        let mut request = CheckRequest::new(Source::new("f", TEXT));
        request.build_args = [("DEBUG".to_owned(), "1".to_owned())].into();
        let outline = check(&request).outline.unwrap();
        let arguments: Vec<_> = outline
            .arguments
            .iter()
            .map(|a| (a.name.as_str(), a.value.as_deref(), a.description.as_deref(), a.line))
            .collect();
        assert_eq!(
            arguments,
            [
                ("VERSION", Some("1"), Some("of the tools"), 2),
                ("FLAGS", Some("-v1"), Some("for the compiler"), 7),
                ("DEBUG", Some("1"), None, 7),
            ]
        );
        let secrets: Vec<_> = outline.secrets.iter().map(|s| (s.id.as_str(), s.required, s.line)).collect();
        assert_eq!(secrets, [("token", true, 8)]);
        assert_eq!((outline.agents[0].id.as_str(), outline.caches[0].id.as_str()), ("default", "/c"));
        request.target = Some("other".to_owned());
        let outline = check(&request).outline.unwrap();
        assert_eq!(outline.name, "other");
        assert_eq!(outline.arguments.len(), 2);
        assert!(outline.secrets.is_empty());
    }
}
