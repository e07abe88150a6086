//! Stage by stage, instruction by instruction.

use std::collections::BTreeMap;

use crate::dockerfile::{InstructionKind, Word};
use crate::ids::{StageId, StepId};
use crate::oci::ImageConfig;
use crate::plan::lint;
use crate::plan::model::{Base, ImageKey, Op, Plan, StagePlan, Step};
use crate::plan::scan::{BaseName, Sourced, StageSource, Stages};
use crate::plan::scope::{Expander, Undefined, Variables, is_proxy};
use crate::text::{Diagnostic, without_userinfo};

use super::settings::LowerSettings;
use super::state::State;

/// Close the plan. `configs` has every image of [`Stages::images`]. Warnings are added to `diagnostics`;
/// `None` when there are errors among them.
pub(crate) fn lower(
    stages: &Stages,
    configs: &BTreeMap<ImageKey, ImageConfig>,
    settings: &LowerSettings,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Plan> {
    let first = diagnostics.len();
    let mut states: BTreeMap<StageId, State> = BTreeMap::new();
    let mut plans = BTreeMap::new();
    let needed = stages.needed();
    for stage in stages.list.iter().filter(|stage| settings.check || needed.contains(&stage.id)) {
        let mut state = match &stage.base {
            BaseName::Stage(parent) => State::of_stage(&states[parent]),
            BaseName::Scratch => State::scratch(&stage.platform),
            BaseName::Image(name) => match stages.base_image(stage).and_then(|key| configs.get(&key)) {
                Some(config) => {
                    diagnostics.extend(lint::base_platform(name, config, &stage.platform, stage.span));
                    State::of_image(config.clone(), &stage.platform)
                }
                None => State::of_unknown(&stage.platform),
            },
        };
        let mut steps = Vec::new();
        for sourced in &stage.instructions {
            let found_before = diagnostics.len();
            let mut lowering = Lowering { stages, stage, settings, state: &mut state, diagnostics };
            let (op, mut created_by) = lowering.instruction(sourced);
            if matches!(op, Op::Files(_) | Op::Run(_)) {
                // Readers of histories take this for what tells `docker build`'s lines from a command's own.
                created_by.push_str(" # buildkit");
            }
            if sourced.trigger {
                // A trigger's text is in the base image; the FROM is the place that the user can see.
                for finding in &mut diagnostics[found_before..] {
                    finding.labels.iter_mut().for_each(|label| label.span = stage.span);
                    finding.message = format!("in an ONBUILD trigger of the base: {}", finding.message);
                }
            }
            let instruction = &sourced.instruction;
            steps.push(Step {
                id: StepId { stage: stage.id, index: steps.len() },
                op,
                created_by,
                title: title(&instruction.original),
                line: if sourced.trigger { stage.line } else { instruction.lines.first },
            });
        }
        let base = match &stage.base {
            BaseName::Scratch => Base::Scratch,
            BaseName::Stage(parent) => Base::Stage(*parent),
            BaseName::Image(name) => {
                Base::Image(ImageKey { name: name.clone(), platform: stage.platform.clone() })
            }
        };
        plans.insert(
            stage.id,
            StagePlan {
                id: stage.id,
                name: stage.name.clone(),
                base,
                steps,
                arguments: state.arguments.clone(),
                config: state.config(),
                platform: stage.platform.clone(),
            },
        );
        states.insert(stage.id, state);
    }
    diagnostics.extend(unconsumed(stages, settings));
    let failed = diagnostics[first..].iter().any(Diagnostic::is_error);
    (!failed).then_some(Plan { stages: plans, target: stages.target })
}

/// Build arguments that no ARG of the file names, in one warning.
fn unconsumed(stages: &Stages, settings: &LowerSettings) -> Option<Diagnostic> {
    let declared = |name: &String| {
        let is_declared = |sourced: &Sourced| match &sourced.instruction.kind {
            InstructionKind::Arg(items) => items.iter().any(|item| item.name.text == *name),
            _ => false,
        };
        stages.list.iter().flat_map(|stage| &stage.instructions).any(is_declared)
    };
    let names: Vec<&str> = settings
        .build_args
        .keys()
        .filter(|name| !is_proxy(name) && !is_builders(name))
        // Platform arguments are there without an ARG, for FROM.
        .filter(|name| !stages.globals.is_declared(name) && stages.globals.get(name).is_none())
        .filter(|name| !declared(name))
        .map(String::as_str)
        .collect();
    let message = format!("[Warning] One or more build-args [{}] were not consumed", names.join(" "));
    (!names.is_empty()).then(|| Diagnostic::warning("unconsumed-build-args", message))
}

/// Arguments that are for the builder itself.
fn is_builders(name: &str) -> bool {
    name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// An instruction on one line of readable length.
fn title(original: &str) -> String {
    /// Characters of an instruction that progress shows.
    const LIMIT: usize = 200;
    let mut line = String::new();
    let original = without_userinfo(original);
    for word in original.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(LIMIT) {
            return format!("{}…", &line[..end]);
        }
    }
    line
}

/// One instruction of one stage being lowered.
pub(super) struct Lowering<'a> {
    pub(super) stages: &'a Stages,
    pub(super) stage: &'a StageSource,
    pub(super) settings: &'a LowerSettings,
    pub(super) state: &'a mut State,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Lowering<'_> {
    /// The operation and the history line.
    fn instruction(&mut self, sourced: &Sourced) -> (Op, String) {
        let instruction = &sourced.instruction;
        match &instruction.kind {
            InstructionKind::Copy(copy) => self.copy(copy, sourced),
            InstructionKind::Add(add) => self.add(add),
            InstructionKind::Run(run) => self.run(run, sourced),
            InstructionKind::Workdir(path) => self.workdir(path),
            _ => (Op::Config, self.config(instruction)),
        }
    }

    /// What expands words here, and against what.
    pub(super) fn expander(&mut self) -> (Expander<'_>, &Variables) {
        let globals = &self.stages.globals;
        let undefined = match self.state.unknown_base {
            true => Undefined::UnknownBase(globals),
            false => Undefined::InStage(globals),
        };
        let expander =
            Expander { escape: self.stages.escape, undefined, diagnostics: &mut *self.diagnostics };
        (expander, &self.state.variables)
    }

    pub(super) fn text(&mut self, word: &Word) -> String {
        let (mut expander, variables) = self.expander();
        expander.text(word, variables)
    }

    pub(super) fn optional(&mut self, word: Option<&Word>) -> Option<String> {
        word.map(|word| self.text(word))
    }

    pub(super) fn refuse(&mut self, code: &'static str, message: &str, word: &Word) {
        self.diagnostics.push(Diagnostic::error(code, message).at(word.span));
    }
}
