//! Stages as images with names of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::build::{BuildError, BuiltStage, Session, assemble, stage_key};
use crate::error::{Error, ErrorKind};
use crate::ids::StageId;
use crate::layer::Image;
use crate::oci::{Digest, Reference, Repository};
use crate::output::{Output, RegistryOutput};
use crate::plan::Plan;
use crate::registry::Registries;
use crate::request::{BuildRequest, StagesRequest};

/// A stage that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedStage {
    /// Its name, or `stage-N`.
    pub stage: String,
    /// Its manifest.
    pub digest: Digest,
    /// References that name it now.
    pub names: Vec<String>,
}

/// Digits of a stage's key in its tag: enough that no two states of a stage share one.
const DIGITS: usize = 12;
/// Longest name of a stage in a tag. A tag has room for 128 characters.
const NAME: usize = 100;

/// Stages that were built.
type Stages = BTreeMap<StageId, Arc<BuiltStage>>;

/// The stages to publish.
pub(crate) struct Publication {
    registries: Registries,
    /// Where blobs can be mounted from.
    sources: Vec<Repository>,
    named: BTreeMap<StageId, Vec<Reference>>,
    /// Stages that get a tag made of their name and key, and where.
    keyed: Option<(Repository, BTreeSet<StageId>)>,
}

impl Publication {
    /// What `request` says of the stages of `plan`.
    pub(crate) fn new(
        request: &BuildRequest,
        plan: &Plan,
        registries: Registries,
        sources: &BTreeSet<Repository>,
    ) -> Result<Self, Error> {
        let mut named: BTreeMap<StageId, Vec<Reference>> = BTreeMap::new();
        for (name, reference) in &request.publish.named {
            // scan() refused names that no stage has.
            if let Some(id) = find(plan, name) {
                named.entry(id).or_default().push(reference.clone());
            }
        }
        let chosen = |id: &StageId| match request.publish.keyed {
            StagesRequest::None => false,
            StagesRequest::Named => plan.stages[id].name != format!("stage-{id}"),
            StagesRequest::All => true,
        };
        let keyed: BTreeSet<StageId> = plan.stages.keys().copied().filter(chosen).collect();
        let keyed = match (keyed.is_empty(), request.tags.first()) {
            (true, _) => None,
            (false, Some(tag)) => Some((tag.repository.clone(), keyed)),
            (false, None) => {
                let error =
                    Error::new(ErrorKind::Input, "nothing says where to publish stages: no tag was given");
                return Err(error.hint("add -t REGISTRY/NAME:TAG, or name each: --publish-stage NAME=REF"));
            }
        };
        Ok(Self { registries, sources: sources.iter().cloned().collect(), named, keyed })
    }

    /// The stages, each once.
    pub(crate) fn stages(&self) -> BTreeSet<StageId> {
        let keyed = self.keyed.iter().flat_map(|(_, stages)| stages);
        self.named.keys().chain(keyed).copied().collect()
    }

    /// The repositories that they go to.
    pub(crate) fn repositories(&self) -> impl Iterator<Item = &Repository> {
        let named = self.named.values().flatten().map(|reference| &reference.repository);
        named.chain(self.keyed.iter().map(|(repository, _)| repository))
    }

    /// Have the stages, but for the target, which is built anyway. All of them are begun at once.
    pub(crate) async fn build(&self, session: &Arc<Session>) -> Result<Stages, BuildError> {
        let stages = self.stages().into_iter().filter(|id| *id != session.plan.target);
        let running: Vec<_> = stages.map(|id| (id, session.stage(id))).collect();
        let mut built = Stages::new();
        for (id, stage) in running {
            match stage.await {
                Ok(stage) => built.insert(id, stage),
                Err(error) => return Err(session.failure(error).await),
            };
        }
        Ok(built)
    }

    /// Push the images of the stages, which are `built`. The target's is `target`, as it was asked for; the
    /// others' are without what the request adds to that.
    pub(crate) async fn push(
        &self,
        session: &Session,
        built: Stages,
        target: &Image,
    ) -> Result<Vec<PublishedStage>, BuildError> {
        let nothing = BTreeMap::new();
        let image = |id: &StageId, stage: &BuiltStage| {
            assemble(&session.plan.stages[id], &stage.image, &nothing, &nothing)
        };
        let mut images: BTreeMap<StageId, Image> =
            built.iter().map(|(id, stage)| (*id, image(id, stage))).collect();
        if self.stages().contains(&session.plan.target) {
            images.insert(session.plan.target, target.clone());
        }
        try_join_all(images.iter().map(|(id, image)| self.push_one(session, *id, image))).await
    }

    async fn push_one(
        &self,
        session: &Session,
        id: StageId,
        image: &Image,
    ) -> Result<PublishedStage, BuildError> {
        let plan = &session.plan.stages[&id];
        let mut references = self.named.get(&id).cloned().unwrap_or_default();
        if let Some((repository, _)) = self.keyed.as_ref().filter(|(_, stages)| stages.contains(&id)) {
            references.extend(repository.with_tag(&tag(&plan.name, &stage_key(session, plan).hex())).ok());
        }
        let output = RegistryOutput::new(self.registries.clone(), references, self.sources.clone());
        let names = output.export(&session.ctx, image).await?.names;
        Ok(PublishedStage { stage: plan.name.clone(), digest: image.manifest.descriptor().digest, names })
    }
}

/// The stage that `name` means: the last of that name in any case, else the one of that number.
fn find(plan: &Plan, name: &str) -> Option<StageId> {
    let lower = name.to_lowercase();
    let by_name = plan.stages.values().rev().find(|stage| stage.name == lower).map(|stage| stage.id);
    by_name.or_else(|| name.parse().ok().map(StageId).filter(|id| plan.stages.contains_key(id)))
}

/// `builder-0123456789ab`: another state of the stage has another tag.
fn tag(name: &str, key: &str) -> String {
    let name: String = name.chars().take(NAME).collect();
    format!("{name}-{}", key.get(..DIGITS).unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn the_tag_of_a_stage_is_its_name_and_state() {
        assert_eq!(tag("builder", "0123456789abcdef"), "builder-0123456789ab");
        let long = tag(&"x".repeat(300), &"0".repeat(64));
        assert!("r.io/a".parse::<crate::oci::Repository>().unwrap().with_tag(&long).is_ok());
    }
}
