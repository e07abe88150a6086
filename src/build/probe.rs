//! The definition keys of all steps: known before anything runs.

use std::collections::BTreeMap;

use crate::cache::CacheKey;
use crate::ids::StageId;
use crate::plan::{Base, FileOrigin, ImageKey, Op, Plan};
use crate::run::Network;

use super::error::BuildError;
use super::inputs::Contexts;
use super::keys::{self, Input, SelectedFile};
use super::mounts;
use super::remotes::Remotes;
use super::resolve::BaseImage;

/// The keys of one stage.
#[derive(Clone, Debug)]
pub(crate) struct StageDefinition {
    /// The key of what the stage is after each step; a config step has that of the step before.
    pub(crate) steps: Vec<CacheKey>,
    /// The key of what the stage is in the end.
    pub(crate) last: CacheKey,
    /// For each step: whether it or one before copies from another stage. Only then has it a content key of
    /// its own.
    pub(crate) fed: Vec<bool>,
}

/// The keys of all stages of a plan.
pub(crate) type Definitions = BTreeMap<StageId, StageDefinition>;

/// Compute them.
pub(crate) fn definitions(
    plan: &Plan,
    images: &BTreeMap<ImageKey, BaseImage>,
    contexts: &Contexts,
    remotes: &Remotes,
    network: Network,
) -> Result<Definitions, BuildError> {
    let mut all = Definitions::new();
    for (id, stage) in &plan.stages {
        let (mut key, mut fed) = match &stage.base {
            Base::Scratch => (keys::base(&[]), false),
            Base::Image(image) => (image_key(images, image), false),
            Base::Stage(parent) => (all[parent].last, all[parent].fed.last().copied().unwrap_or(false)),
        };
        let mut definition =
            StageDefinition { steps: Vec::new(), last: key, fed: Vec::with_capacity(stage.steps.len()) };
        for step in &stage.steps {
            match &step.op {
                Op::Config => {}
                Op::Workdir(op) => key = keys::workdir(&key, &stage.platform, op),
                Op::Run(op) => {
                    fed |= op.mounts.iter().any(|(mount, origin)| {
                        mounts::reads(mount) && matches!(origin, FileOrigin::Stage(_))
                    });
                    let selected = contexts.select_mounts(op, step)?;
                    let inputs = mounts::definition_inputs(op, &selected, images, &all);
                    key = keys::run(&key, &stage.platform, op, &inputs, network == Network::None);
                }
                Op::Files(op) => {
                    let selected;
                    let input = match &op.origin {
                        FileOrigin::Context(_) => {
                            selected = contexts.select(op, step)?;
                            Input::Files(selected_files(&selected))
                        }
                        FileOrigin::Stage(source) => {
                            fed = true;
                            Input::Whole(all[source].last)
                        }
                        FileOrigin::Image(image) => Input::Whole(image_key(images, image)),
                    };
                    key = keys::files(&key, &stage.platform, op, &input, &remotes.identities(op));
                }
            }
            definition.steps.push(key);
            definition.fed.push(fed);
        }
        definition.last = key;
        all.insert(*id, definition);
    }
    Ok(all)
}

/// The key of an image as a base.
pub(crate) fn image_key(images: &BTreeMap<ImageKey, BaseImage>, key: &ImageKey) -> CacheKey {
    let diff_ids: Vec<_> =
        images.get(key).into_iter().flat_map(|image| &image.layers).map(|l| l.diff_id).collect();
    keys::base(&diff_ids)
}

/// Selected files as they enter a key: the matches of each source in order, each with what is below it.
pub(crate) fn selected_files<'a>(matches: &'a [Vec<crate::context::Selected<'_>>]) -> Vec<SelectedFile<'a>> {
    let mut files = Vec::new();
    for selected in matches.iter().flatten() {
        files.extend(selected.node.map(|node| SelectedFile {
            path: &selected.root,
            entry: &node.entry,
            hash: node.hash,
        }));
        files.extend(selected.picks.iter().filter(|pick| pick.chosen).map(|pick| SelectedFile {
            path: &pick.path,
            entry: &pick.node.entry,
            hash: pick.node.hash,
        }));
    }
    files
}
