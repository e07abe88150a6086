//! COPY and ADD of what the ignore file excludes.

use crate::dockerfile::{FileSource as Written, InstructionKind};
use crate::plan::model::{FileOrigin, FileSource, Op, Plan};
use crate::plan::scan::Stages;
use crate::text::Diagnostic;

/// Sources of the main context that `is_ignored` says are excluded. `plan` is what `stages` was lowered to.
pub(crate) fn copied_but_ignored(
    stages: &Stages,
    plan: &Plan,
    is_ignored: &dyn Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for stage in plan.stages.values() {
        let source = stages.get(stage.id);
        for (step, sourced) in stage.steps.iter().zip(&source.instructions) {
            let Op::Files(op) = &step.op else { continue };
            let written = match &sourced.instruction.kind {
                InstructionKind::Copy(copy) => &copy.files.sources,
                InstructionKind::Add(add) => &add.files.sources,
                _ => continue,
            };
            if op.origin != FileOrigin::Context(None) {
                continue;
            }
            for (path, word) in op.sources.iter().zip(written) {
                let (FileSource::Path(path), Written::Path(word)) = (path, word) else { continue };
                let clean = path.trim_start_matches("./").trim_matches('/');
                if !clean.is_empty() && clean != "." && is_ignored(clean) {
                    let verb = sourced.instruction.kind.name();
                    let message = format!("{verb} of `{path}`, which the ignore file excludes");
                    let span = if sourced.trigger { source.span } else { word.span };
                    findings.push(Diagnostic::warning("CopyIgnoredFile", message).at(span));
                }
            }
        }
    }
    findings
}
