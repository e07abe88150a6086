//! Instructions to steps: every variable expanded, every effect on the config applied.
//!
//! One [`State`] per stage is what later instructions of the stage see. `FROM stage` begins with that
//! stage's final state, as if the two were written in one.

mod config;
mod files;
mod run;
mod state;

use std::collections::BTreeMap;

use crate::dockerfile::InstructionKind;
use crate::ids::{StageId, StepId};
use crate::oci::ImageConfig;
use crate::text::Diagnostic;

use super::model::{Base, ImageKey, Op, Plan, StagePlan, Step};
use super::scan::{BaseName, Sourced, StageSource, Stages};
use super::scope::Expander;

use state::State;

/// What the request says that lowering needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct LowerSettings {
    /// `--build-arg` and proxies of the environment.
    pub(crate) build_args: BTreeMap<String, String>,
}

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
    for id in stages.needed() {
        let stage = stages.get(id);
        let mut state = match &stage.base {
            BaseName::Scratch => State::scratch(&stage.platform),
            BaseName::Stage(parent) => State::of_stage(&states[parent]),
            BaseName::Image(_) => {
                let config = stages.base_image(stage).and_then(|key| configs.get(&key));
                State::of_image(config.cloned().unwrap_or_default(), &stage.platform)
            }
        };
        let mut steps = Vec::new();
        for sourced in &stage.instructions {
            let found_before = diagnostics.len();
            let mut lowering = Lowering { stages, stage, settings, state: &mut state, diagnostics };
            let (op, created_by) = lowering.instruction(sourced);
            if sourced.trigger {
                // A trigger's text is in the base image; the FROM is the place that the user can see.
                for finding in &mut diagnostics[found_before..] {
                    finding.labels.iter_mut().for_each(|label| label.span = stage.span);
                    finding.message = format!("in an ONBUILD trigger of the base: {}", finding.message);
                }
            }
            let instruction = &sourced.instruction;
            steps.push(Step {
                id: StepId { stage: id, index: steps.len() },
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
            id,
            StagePlan {
                id,
                name: stage.name.clone(),
                base,
                steps,
                config: state.config.clone(),
                platform: stage.platform.clone(),
            },
        );
        states.insert(id, state);
    }
    let failed = diagnostics[first..].iter().any(Diagnostic::is_error);
    (!failed).then_some(Plan { stages: plans, target: stages.target })
}

/// An instruction on one line of readable length.
fn title(original: &str) -> String {
    /// Characters of an instruction that progress shows.
    const LIMIT: usize = 200;
    let words: Vec<&str> = original.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// One instruction of one stage being lowered.
struct Lowering<'a> {
    stages: &'a Stages,
    stage: &'a StageSource,
    settings: &'a LowerSettings,
    state: &'a mut State,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Lowering<'_> {
    /// The operation and the history line.
    fn instruction(&mut self, sourced: &Sourced) -> (Op, String) {
        let instruction = &sourced.instruction;
        match &instruction.kind {
            InstructionKind::Copy(copy) => self.copy(copy, sourced),
            InstructionKind::Add(add) => self.add(add, sourced),
            InstructionKind::Run(run) => self.run(run, sourced),
            InstructionKind::Workdir(path) => self.workdir(path),
            _ => (Op::Config, self.config(instruction)),
        }
    }

    fn expander(&mut self) -> Expander<'_> {
        Expander { escape: self.stages.escape, diagnostics: self.diagnostics }
    }
}
