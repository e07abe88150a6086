//! Building one stage: what is recorded is taken, the rest is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::OnceCell;

use crate::cache::{CacheKey, Found, Record, RecordBlob, RecordName, StepRecord};
use crate::ctx::{Event, MissReason, now, seconds_of};
use crate::ids::StageId;
use crate::layer::Layer;
use crate::oci::{ChainId, Document, ImageConfig};
use crate::plan::{Base, FileOrigin, Op, StagePlan, Step};
use crate::tree::Tree;

use super::assemble::{StageImage, assemble, history_entry, labelled};
use super::error::{BuildError, StepPlace};
use super::keys::{self, Form};
use super::session::Session;
use super::step::{Made, carry_out, content_key};

/// A stage that exists now.
pub(crate) struct BuiltStage {
    /// Its layers and history.
    pub(crate) image: StageImage,
    /// It was found as a whole.
    pub(crate) found: bool,
    tree: OnceCell<Arc<Tree>>,
}

impl BuiltStage {
    /// The files of the stage.
    pub(crate) async fn tree(&self, session: &Session) -> Result<Arc<Tree>, BuildError> {
        let make = || async { Ok(Arc::new(tree_of(session, &self.image.layers).await?)) };
        self.tree.get_or_try_init(make).await.cloned()
    }
}

/// The merged view of some layers.
pub(super) async fn tree_of(session: &Session, layers: &[Layer]) -> Result<Tree, BuildError> {
    let mut tree = Tree::default();
    let changes = layers.iter().map(|layer| session.layers.changes(&session.ctx, layer));
    for changes in futures_util::future::try_join_all(changes).await? {
        tree.apply(&changes);
    }
    Ok(tree)
}

/// A stage in the making.
pub(super) struct Progress {
    pub(super) image: StageImage,
    tree: Tree,
    applied: usize,
}

impl Progress {
    /// The files as they are now.
    pub(super) async fn tree(&mut self, session: &Session) -> Result<&Tree, BuildError> {
        let open = &self.image.layers[self.applied..];
        let changes = open.iter().map(|layer| session.layers.changes(&session.ctx, layer));
        for changes in futures_util::future::try_join_all(changes).await? {
            self.tree.apply(&changes);
            self.applied += 1;
        }
        Ok(&self.tree)
    }

    /// The layers as they are now.
    pub(super) fn chain(&self) -> Option<ChainId> {
        ChainId::of(self.image.layers.iter().map(|layer| &layer.diff_id))
    }

    fn add(&mut self, step: &Step, layer: Option<Layer>, created: Option<i64>) {
        if created > self.image.created {
            self.image.created = created;
        }
        let created = created.or(self.image.created);
        self.image.history.push(history_entry(&step.created_by, created, layer.is_none()));
        self.image.layers.extend(layer);
    }
}

/// A step's record with its layer.
struct Hit {
    record: StepRecord,
    layer: Option<Layer>,
}

/// Build stage `id`.
pub(super) async fn build_stage(session: &Arc<Session>, id: StageId) -> Result<BuiltStage, BuildError> {
    let plan = &session.plan.stages[&id];
    let looked_up = session.looks_up(plan);
    if !session.is_anew(id)
        && let Some(image) = stage_record(session, plan).await
    {
        session.ctx.emit(&Event::StageCached { stage: plan.name.clone() });
        session.counts.add_cached(plan.steps.iter().filter(|step| step.op.makes_layer()).count());
        return Ok(BuiltStage { image, found: true, tree: OnceCell::new() });
    }
    // The base's own steps and our lookups have nothing to do with each other.
    let hits =
        join_all(plan.steps.iter().zip(&session.definitions[&id].steps).map(|(step, key)| async move {
            // A key of a stage that is built anew says nothing of what that will hold.
            let known = step.op.origins().into_iter().all(|origin| match origin {
                FileOrigin::Stage(source) => !session.is_anew(*source),
                FileOrigin::Context(_) | FileOrigin::Image(_) => true,
            });
            if looked_up && known && step.op.makes_layer() { find(session, *key).await } else { None }
        }));
    let (base, mut hits) = futures_util::future::join(begin(session, plan), hits).await;
    let mut progress = base?;
    prefetch(session, plan, &hits);
    for (index, step) in plan.steps.iter().enumerate() {
        session.ctx.check()?;
        if !step.op.makes_layer() {
            progress.add(step, None, None);
            continue;
        }
        match look(session, plan, step, hits[index].take(), &mut progress).await? {
            Look::Found(hit) => {
                session.counts.add_cached(1);
                session.ctx.emit(&Event::StepCached { step: step.id, name: place(plan, step).name });
                progress.add(step, hit.layer, Some(hit.record.created));
            }
            Look::Missed { keys, reason } => make(session, plan, step, &keys, reason, &mut progress).await?,
        }
    }
    Ok(BuiltStage { image: progress.image, found: false, tree: OnceCell::new() })
}

/// What looking a step up came to.
enum Look {
    /// A record that serves here.
    Found(Box<Hit>),
    /// None; the keys that the step is to be recorded under.
    Missed { keys: Vec<CacheKey>, reason: MissReason },
}

/// Whether a record of `step` serves on what the stage is now. A layer of COPY --link says nothing of what
/// is below it; every other was made on certain layers.
fn serves(step: &Step, hit: &Hit, progress: &Progress) -> bool {
    let linked = matches!(&step.op, Op::Files(op) if op.link);
    linked || hit.record.parent == progress.chain()
}

fn is_expired(session: &Session, hit: &Hit) -> bool {
    session.caches.is_expired(Some(hit.record.recorded))
}

/// Look for a record by what was found under the definition key, then by the content key.
async fn look(
    session: &Arc<Session>,
    plan: &StagePlan,
    step: &Step,
    found: Option<Hit>,
    progress: &mut Progress,
) -> Result<Look, BuildError> {
    let definition = &session.definitions[&plan.id];
    let key = definition.steps[step.id.index];
    let looked_up = session.looks_up(plan);
    let mut reason = match (&found, looked_up) {
        (_, false) => MissReason::CacheDisabled,
        (Some(hit), _) if is_expired(session, hit) => MissReason::Expired,
        (Some(_), _) => MissReason::OtherParent,
        (None, _) => MissReason::NotRecorded,
    };
    let serves = |hit: &Hit, progress: &Progress| serves(step, hit, progress) && !is_expired(session, hit);
    if let Some(hit) = found.filter(|hit| serves(hit, progress)) {
        return Ok(Look::Found(Box::new(hit)));
    }
    if !definition.fed[step.id.index] {
        return Ok(Look::Missed { keys: vec![key], reason });
    }
    let content = content_key(session, plan, step, progress).await?;
    if looked_up && let Some(hit) = find(session, content).await {
        if serves(&hit, progress) {
            // The next build with the same definition need not look at contents.
            record(session, &[key], hit.record.clone(), hit.layer.as_ref(), false);
            return Ok(Look::Found(Box::new(hit)));
        }
        reason = if is_expired(session, &hit) { MissReason::Expired } else { MissReason::OtherParent };
    }
    Ok(Look::Missed { keys: vec![key, content], reason })
}

/// Carry a step out and record it under `keys`.
async fn make(
    session: &Arc<Session>,
    plan: &StagePlan,
    step: &Step,
    keys: &[CacheKey],
    reason: MissReason,
    progress: &mut Progress,
) -> Result<(), BuildError> {
    let place = place(plan, step);
    session.preflight();
    session.ctx.emit(&Event::StepStarted { step: step.id, name: place.name.clone(), reason });
    let started = std::time::Instant::now();
    let parent = progress.chain();
    let made = carry_out(session, step, &place, progress).await;
    let elapsed = started.elapsed();
    let Made { layer, created } = match made {
        Ok(made) => made,
        Err(error) => {
            session.ctx.emit(&Event::StepFailed { step: step.id, elapsed });
            return Err(error);
        }
    };
    let size = layer.as_ref().map(|layer| layer.descriptor.size);
    session.ctx.emit(&Event::StepFinished { step: step.id, elapsed, layer: size });
    session.counts.add_executed();
    let step_record = StepRecord {
        parent,
        diff_id: layer.as_ref().map(|layer| layer.diff_id),
        created: created.or(progress.image.created).unwrap_or(0),
        recorded: now(),
        duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        instruction: step.title.clone(),
        inputs: BTreeMap::new(),
    };
    let created = Some(step_record.created);
    record(session, keys, step_record, layer.as_ref(), session.is_final(plan.id));
    progress.add(step, layer, created);
    Ok(())
}

/// The stage before its first step.
async fn begin(session: &Arc<Session>, plan: &StagePlan) -> Result<Progress, BuildError> {
    let image = match &plan.base {
        Base::Scratch => StageImage::default(),
        Base::Image(key) => {
            let base = &session.images[key];
            let config = base.config.value();
            StageImage {
                layers: base.layers.clone(),
                history: config.history.clone(),
                created: config.created.as_deref().and_then(seconds_of),
            }
        }
        Base::Stage(parent) => match session.stage(*parent).await {
            Ok(built) => built.image.clone(),
            Err(error) => return Err(other_stage(&error)),
        },
    };
    Ok(Progress { image, tree: Tree::default(), applied: 0 })
}

/// The error of a stage that waits for one that failed. The failed one's own error is shown.
pub(super) fn other_stage(error: &BuildError) -> BuildError {
    match error {
        BuildError::Cancelled => BuildError::Cancelled,
        _ => BuildError::OtherStage,
    }
}

/// Begin what the steps that were not found will need: other stages, directories of the base.
fn prefetch(session: &Arc<Session>, plan: &StagePlan, hits: &[Option<Hit>]) {
    for (step, _) in plan.steps.iter().zip(hits).filter(|(step, hit)| step.op.makes_layer() && hit.is_none())
    {
        for origin in step.op.origins() {
            if let FileOrigin::Stage(source) = origin {
                drop(session.stage(*source));
            }
        }
    }
}

async fn find(session: &Session, key: CacheKey) -> Option<Hit> {
    let found = session.caches.lookup(&session.ctx, &RecordName::Step(key)).await?;
    let record = found.step(&session.ctx).await?;
    let layer = match (record.diff_id, found.manifest.value().layers.as_slice()) {
        (Some(diff_id), [descriptor]) => {
            let home = found.seen(&session.ctx, descriptor).await?;
            Some(Layer { diff_id, descriptor: descriptor.clone(), home })
        }
        (None, []) => None,
        _ => return None,
    };
    Some(Hit { record, layer })
}

/// Record a step under `keys` beside the build, then offer its layer to the outputs.
fn record(session: &Arc<Session>, keys: &[CacheKey], step: StepRecord, layer: Option<&Layer>, offer: bool) {
    let layer = layer.cloned();
    let keys = keys.to_vec();
    let inner = Arc::clone(session);
    session.spawn(async move {
        let session = inner;
        let blob = layer.as_ref().map(|layer| (layer.descriptor.clone(), layer.home.clone()));
        let record = Record::of_step(&step, blob);
        for key in keys {
            session.caches.store(&session.ctx, &RecordName::Step(key), &record).await;
        }
        if let Some(layer) = layer.filter(|_| offer) {
            for output in &session.outputs {
                output.offer(&session.ctx, &layer).await?;
            }
        }
        Ok(())
    });
}

/// The name by which people know a step: `[builder 2/5] RUN make`. FROM is the first.
pub(super) fn place(plan: &StagePlan, step: &Step) -> StepPlace {
    let counted = |steps: &[Step]| steps.iter().filter(|step| step.op.makes_layer()).count();
    let (number, total) = (counted(&plan.steps[..=step.id.index]) + 1, counted(&plan.steps) + 1);
    let name = format!("[{} {number}/{total}] {}", plan.name, step.title);
    StepPlace { id: step.id, name, line: step.line }
}

/// The key of a stage's image.
pub(crate) fn stage_key(session: &Session, plan: &StagePlan) -> CacheKey {
    let config = serde_json::to_vec(&plan.config).unwrap_or_default();
    let form = form(session);
    keys::stage(&session.definitions[&plan.id].last, &config, &plan.platform, &form_of(&form, session))
}

/// What of the request is in the keys of images.
pub(crate) fn form(session: &Session) -> String {
    let pack = &session.settings.pack;
    format!("{:?} {:?}", pack.compression, pack.level)
}

/// The same as the keys want it.
pub(crate) fn form_of<'a>(compression: &'a str, session: &Session) -> Form<'a> {
    Form { compression, epoch: session.settings.pack.clamp }
}

/// The image recorded for a stage.
async fn stage_record(session: &Session, plan: &StagePlan) -> Option<StageImage> {
    let found = session.caches.lookup(&session.ctx, &RecordName::Stage(stage_key(session, plan))).await?;
    let (_, image) = recorded_image(session, &found).await?;
    // What is built upon must be there.
    let seen = join_all(image.layers.iter().map(|layer| async {
        match found.home(&layer.descriptor) {
            Some(_) => found.seen(&session.ctx, &layer.descriptor).await.is_some(),
            // A layer of a base, where the base is.
            None => true,
        }
    }));
    seen.await.into_iter().all(|seen| seen).then_some(image)
}

/// The image of a record: its config, and its layers with where they are. `None` when a layer is nowhere.
pub(crate) async fn recorded_image(
    session: &Session,
    found: &Found,
) -> Option<(Document<ImageConfig>, StageImage)> {
    /// Largest config that is read, in bytes.
    const LIMIT: u64 = 4 << 20;
    let manifest = found.manifest.value();
    let bytes = found.blob(&session.ctx, &manifest.config, LIMIT).await.ok()?;
    let config: Document<ImageConfig> = Document::parse(&manifest.config.media_type, bytes).ok()?;
    let created = config.value().created.as_deref().and_then(seconds_of);
    if session.caches.is_expired(created) {
        return None;
    }
    let diff_ids = &config.value().rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return None;
    }
    let bases = super::resolve::homes(&session.images);
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
        let home = found.home(descriptor).or_else(|| bases.get(&descriptor.digest).cloned())?;
        layers.push(Layer { diff_id: *diff_id, descriptor: descriptor.clone(), home });
    }
    let image = StageImage { layers, history: config.value().history.clone(), created };
    Some((config, image))
}

/// The key of the whole build's image.
pub(crate) fn build_key(
    session: &Session,
    plan: &StagePlan,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> CacheKey {
    let config = serde_json::to_vec(&labelled(&plan.config, labels)).unwrap_or_default();
    let form = form(session);
    keys::build(&stage_key(session, plan), &config, annotations, &form_of(&form, session))
}

/// Record the images of all stages that were built. The layers of the target are where `rehome` says.
pub(crate) async fn record_stages(session: &Session, rehome: impl Fn(&Layer) -> Layer) {
    let nothing = BTreeMap::new();
    let stages = session.built().await;
    join_all(stages.iter().filter(|(_, built)| !built.found).map(|(id, built)| {
        let plan = &session.plan.stages[id];
        let image = assemble(plan, &built.image, &nothing, &nothing);
        let config = RecordBlob::Bytes(image.config.descriptor().clone(), Arc::clone(image.config.bytes()));
        let layers = image.layers.iter().map(|layer| {
            let home = if session.is_final(*id) { rehome(layer).home } else { layer.home.clone() };
            RecordBlob::Home(layer.descriptor.clone(), home)
        });
        let blobs = std::iter::once(config).chain(layers).collect();
        let record = Record { manifest: image.manifest.clone(), blobs };
        async move {
            session.caches.store(&session.ctx, &RecordName::Stage(stage_key(session, plan)), &record).await;
        }
    }))
    .await;
}
