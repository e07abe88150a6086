//! Everything that the stages of one build share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::JoinSet;

use crate::blob::Layout;
use crate::cache::Caches;
use crate::ctx::Ctx;
use crate::ids::StageId;
use crate::layer::PackOptions;
use crate::output::Output;
use crate::plan::{Base, FileOrigin, ImageKey, Plan, StagePlan};
use crate::run::Network;

use super::error::BuildError;
use super::inputs::Contexts;
use super::layers::LayerStore;
use super::preflight::Preflight;
use super::probe::Definitions;
use super::remotes::Remotes;
use super::resolve::BaseImage;
use super::runner::Runner;
use super::scratch::Scratch;
use super::stage::{BuiltStage, build_stage};

/// One build being carried out.
pub(crate) struct Session {
    /// Events, cancellation, work limits.
    pub(crate) ctx: Ctx,
    /// What is to be done.
    pub(crate) plan: Plan,
    /// The images that the plan names.
    pub(crate) images: BTreeMap<ImageKey, BaseImage>,
    /// The build contexts.
    pub(crate) contexts: Contexts,
    /// ADD's remote sources.
    pub(crate) remotes: Remotes,
    /// The definition keys.
    pub(crate) definitions: Definitions,
    /// Where records are.
    pub(crate) caches: Caches,
    /// The layers.
    pub(crate) layers: LayerStore,
    /// Carries out RUN.
    pub(crate) runner: Runner,
    /// Told of layers as soon as they exist.
    pub(crate) outputs: Vec<Arc<dyn Output>>,
    /// Asked before the first step is carried out.
    pub(crate) preflight: Preflight,
    /// New layers' blobs.
    pub(crate) blobs: Layout,
    /// Temporary files.
    pub(crate) scratch: Arc<Scratch>,
    /// What the request says of steps.
    pub(crate) settings: SessionSettings,
    /// What was found and what was done.
    pub(crate) counts: Counts,
    /// Stages of which something is built whatever is recorded.
    pub(crate) anew: BTreeSet<StageId>,
    /// What is going on.
    pub(crate) running: Running,
}

/// The stages and tasks of a session that were begun.
#[derive(Default)]
pub(crate) struct Running {
    stages: Mutex<BTreeMap<StageId, StageFuture>>,
    tasks: Mutex<JoinSet<Result<(), BuildError>>>,
}

/// What the request says of how steps are carried out.
#[derive(Clone, Debug)]
pub(crate) struct SessionSettings {
    /// How layers are packed.
    pub(crate) pack: PackOptions,
    /// No step is looked up.
    pub(crate) no_cache: bool,
    /// Steps of these stages are not looked up (lower case names).
    pub(crate) no_cache_stages: BTreeSet<String>,
    /// The network of RUN steps that do not choose one.
    pub(crate) network: Network,
    /// Where cache mounts are.
    pub(crate) mounts: PathBuf,
    /// Secrets by id.
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    /// Sockets of ssh agents by id.
    pub(crate) agents: BTreeMap<String, PathBuf>,
    /// Further lines of /etc/hosts in RUN steps.
    pub(crate) extra_hosts: Vec<(String, String)>,
}

/// Where a secret comes from.
#[derive(Clone)]
pub(crate) enum SecretSource {
    /// A file, read when a step needs it.
    File(PathBuf),
    /// Its bytes.
    Value(Arc<[u8]>),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

impl SessionSettings {
    fn looks_up(&self, stage: &StagePlan) -> bool {
        !self.no_cache && !self.no_cache_stages.contains(&stage.name)
    }
}

/// The stages that are not looked up, and those that are made from them.
pub(crate) fn built_anew(plan: &Plan, settings: &SessionSettings) -> BTreeSet<StageId> {
    let mut anew = BTreeSet::new();
    // A stage comes after those that it is made from.
    for (id, stage) in &plan.stages {
        let origins = stage.steps.iter().flat_map(|step| step.op.origins());
        let from = |origin: &FileOrigin| matches!(origin, FileOrigin::Stage(from) if anew.contains(from));
        let on = matches!(&stage.base, Base::Stage(parent) if anew.contains(parent));
        if on || !settings.looks_up(stage) || origins.into_iter().any(from) {
            anew.insert(*id);
        }
    }
    anew
}

/// How many steps were found, how many carried out.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    cached: AtomicUsize,
    executed: AtomicUsize,
}

/// A stage that is being built, once, whoever waits for it.
type StageFuture = Shared<BoxFuture<'static, Result<Arc<BuiltStage>, Arc<BuildError>>>>;

impl Counts {
    /// Steps were found.
    pub(crate) fn add_cached(&self, steps: usize) {
        self.cached.fetch_add(steps, Ordering::Relaxed);
    }

    /// A step was carried out.
    pub(crate) fn add_executed(&self) {
        self.executed.fetch_add(1, Ordering::Relaxed);
    }

    /// Found and carried out.
    pub(crate) fn get(&self) -> (usize, usize) {
        (self.cached.load(Ordering::Relaxed), self.executed.load(Ordering::Relaxed))
    }
}

impl Session {
    /// The stage `id`, built on first need. Starts at once, whether or not the answer is awaited.
    pub(crate) fn stage(self: &Arc<Self>, id: StageId) -> StageFuture {
        let mut stages = self.running.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let session = Arc::clone(self);
        stages
            .entry(id)
            .or_insert_with(|| {
                let task =
                    tokio::spawn(
                        async move { build_stage(&session, id).await.map(Arc::new).map_err(Arc::new) },
                    );
                async move {
                    match task.await {
                        Ok(result) => result,
                        Err(error) => match error.try_into_panic() {
                            Ok(panic) => std::panic::resume_unwind(panic),
                            Err(_) => Err(Arc::new(BuildError::Cancelled)),
                        },
                    }
                }
                .boxed()
                .shared()
            })
            .clone()
    }

    /// The stages that were built.
    pub(crate) async fn built(&self) -> Vec<(StageId, Arc<BuiltStage>)> {
        let stages: Vec<(StageId, StageFuture)> = {
            let stages = self.running.stages.lock().unwrap_or_else(PoisonError::into_inner);
            stages.iter().map(|(id, stage)| (*id, stage.clone())).collect()
        };
        let mut built = Vec::new();
        for (id, stage) in stages {
            built.extend(stage.await.ok().map(|stage| (id, stage)));
        }
        built
    }

    /// The error to show when a stage failed: its own, not that of those who waited for another.
    pub(crate) async fn failure(&self, seen: Arc<BuildError>) -> BuildError {
        // The others stop at their next step.
        self.ctx.cancel();
        let stages: Vec<StageFuture> = {
            let stages =
                std::mem::take(&mut *self.running.stages.lock().unwrap_or_else(PoisonError::into_inner));
            stages.into_values().collect()
        };
        let mut causes = vec![seen];
        for stage in stages {
            causes.extend(stage.await.err());
        }
        let cause = causes.iter().position(|error| !error.is_consequence()).unwrap_or(0);
        let cause = causes.swap_remove(cause);
        drop(causes);
        Arc::try_unwrap(cause).unwrap_or_else(BuildError::Shared)
    }

    /// Whether records of the stage's steps are looked for.
    pub(crate) fn looks_up(&self, stage: &StagePlan) -> bool {
        self.settings.looks_up(stage)
    }

    /// Whether stage `id`, or one that it is made from, is built whatever is recorded.
    pub(crate) fn is_anew(&self, id: StageId) -> bool {
        self.anew.contains(&id)
    }

    /// Whether the layers of stage `id` are layers of the result.
    pub(crate) fn is_final(&self, id: StageId) -> bool {
        let mut stage = self.plan.target;
        loop {
            if stage == id {
                return true;
            }
            match self.plan.stages[&stage].base {
                Base::Stage(parent) => stage = parent,
                Base::Scratch | Base::Image(_) => return false,
            }
        }
    }

    /// Do something beside the build that must be done before it ends. A failure stops the build.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        work: impl Future<Output = Result<(), BuildError>> + Send + 'static,
    ) {
        let ctx = self.ctx.clone();
        let watched = async move {
            let result = work.await;
            if result.is_err() {
                ctx.cancel();
            }
            result
        };
        self.running.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(watched);
    }

    /// A step is about to be carried out: find out beside it whether its result can be kept.
    pub(super) fn preflight(self: &Arc<Self>) {
        if self.preflight.is_due() {
            let session = Arc::clone(self);
            self.spawn(async move { Ok(session.preflight.ask(&session.ctx, &session.caches).await?) });
        }
    }

    /// Wait for all that was spawned; the first failure.
    pub(crate) async fn finish(&self) -> Result<(), BuildError> {
        let mut first = Ok(());
        loop {
            // Taken out, so that the lock is not held while waiting; more may be spawned meanwhile.
            let mut tasks =
                std::mem::take(&mut *self.running.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            if tasks.is_empty() {
                return first;
            }
            while let Some(result) = tasks.join_next().await {
                let result = match result {
                    Ok(result) => result,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Err(BuildError::Cancelled),
                    },
                };
                // A failure cancels its neighbours; theirs say nothing.
                if first.as_ref().err().is_none_or(BuildError::is_consequence) && result.is_err() {
                    first = result;
                }
            }
        }
    }
}
