//! The door: the river from a request to an image, and from an image to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::build::{
    BaseImage, BuildError, Contexts, Counts, Fetcher, LayerStore, Preflight, Remotes, Resolver, Runner,
    Running, Scratch, SecretSource, Session, SessionSettings, assemble, build_key, built_anew, definitions,
    record_stages, recorded_image, without_absent,
};
use crate::cache::{CacheKey, Record, RecordBlob, RecordName};
use crate::check::{is_of_a_rule, judged};
use crate::contexts::{self, Opened};
use crate::ctx::{Ctx, Event, EventSink};
use crate::dockerfile::parse;
use crate::error::{Error, ErrorKind};
use crate::ids::StageId;
use crate::layer::{Image, PackOptions};
use crate::oci::{Descriptor, Digest, ImageConfig, Platform, Repository};
use crate::plan::{
    ImageKey, LowerSettings, MountSupport, Plan, RemoteSupport, ScanSettings, lint, lower, scan,
};
use crate::publish::{Publication, PublishedStage};
use crate::records::{CacheRecord, PruneReport, RecordDetails};
use crate::request::{
    BuildRequest, NamedContext, NetworkRequest, PruneRequest, PushRequest, RecordsRequest, RegistryRequest,
    SecretRequest, SignIn,
};
use crate::run::Network;
use crate::setup::{Destinations, Setup};
use crate::text::{Diagnostic, Source};

/// Builds and pushes images.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    cancel: CancellationToken,
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// The manifest.
    pub manifest: Descriptor,
    /// The config blob.
    pub config_digest: Digest,
    /// The image's platform.
    pub platform: Platform,
    /// Names that it has now: references, paths.
    pub names: Vec<String>,
    /// Stages that were pushed under names of their own.
    pub published: Vec<PublishedStage>,
    /// Steps found in the cache.
    pub cached_steps: usize,
    /// Steps carried out.
    pub executed_steps: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct PushReport {
    /// The manifest or index.
    pub manifest: Descriptor,
    /// References that name it now.
    pub names: Vec<String>,
}

impl Builder {
    /// A builder that stops when `cancel` fires.
    pub fn new(cancel: CancellationToken) -> Self {
        Self { cancel }
    }

    /// Build an image and bring it where the request says.
    ///
    /// # Errors
    ///
    /// [`Error::kind`] tells whose fault it was; nothing half-written is left behind.
    pub async fn build(
        &self,
        request: BuildRequest,
        events: Arc<dyn EventSink>,
    ) -> Result<BuildReport, Error> {
        let started = Instant::now();
        let jobs = request.jobs.unwrap_or_else(processors).max(1);
        // A failure stops the rest of the build, not the caller.
        let ctx = Ctx::new(events, self.cancel.child_token(), jobs);
        let result = self.carry_out(&ctx, &request, jobs).await;
        ctx.cancel();
        let built = result.map_err(|error| self.named(error))?;
        Ok(BuildReport { elapsed: started.elapsed(), ..built })
    }

    /// Send an image that exists to registries, its bytes as they are.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub async fn push(&self, request: PushRequest, events: Arc<dyn EventSink>) -> Result<PushReport, Error> {
        let ctx = Ctx::new(events, self.cancel.child_token(), processors());
        let result = crate::push::push(&ctx, &request).await;
        ctx.cancel();
        result.map_err(|error| self.named(error))
    }

    /// The records of a cache, the youngest first.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub async fn records(
        &self,
        request: RecordsRequest,
        events: Arc<dyn EventSink>,
    ) -> Result<Vec<CacheRecord>, Error> {
        let ctx = Ctx::new(events, self.cancel.child_token(), processors());
        crate::records::list(&ctx, &request).await.map_err(|error| self.named(error))
    }

    /// One record, found by its tag or the first digits of its key.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`]; [`ErrorKind::Input`] when no record, or more than one, is meant by `key`.
    pub async fn record(
        &self,
        request: RecordsRequest,
        key: &str,
        events: Arc<dyn EventSink>,
    ) -> Result<RecordDetails, Error> {
        let ctx = Ctx::new(events, self.cancel.child_token(), processors());
        crate::records::inspect(&ctx, &request, key).await.map_err(|error| self.named(error))
    }

    /// Throw records of a cache away.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub async fn prune(
        &self,
        request: RecordsRequest,
        rule: PruneRequest,
        events: Arc<dyn EventSink>,
    ) -> Result<PruneReport, Error> {
        let ctx = Ctx::new(events, self.cancel.child_token(), processors());
        crate::records::prune(&ctx, &request, &rule).await.map_err(|error| self.named(error))
    }

    /// Keep a registry's credential in the file at `path`, having seen that the registry takes it.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`]. Then the file is as it was.
    pub async fn sign_in(
        &self,
        who: SignIn,
        path: &Path,
        registries: RegistryRequest,
        events: Arc<dyn EventSink>,
    ) -> Result<(), Error> {
        let ctx = Ctx::new(events, self.cancel.child_token(), processors());
        crate::sign_in::sign_in(&ctx, who, path, registries).await.map_err(|error| self.named(error))
    }

    /// An interruption is told as one, whatever it made fail.
    fn named(&self, error: Error) -> Error {
        if self.cancel.is_cancelled() { Error::new(ErrorKind::Interrupted, "interrupted") } else { error }
    }

    async fn carry_out(&self, ctx: &Ctx, request: &BuildRequest, jobs: usize) -> Result<BuildReport, Error> {
        let setup = Setup::new(request)?;
        let scratch = Arc::new(Scratch::create(&setup.temporary).map_err(|error| setup.unusable(&error))?);
        let fetcher = setup.fetcher(request, &scratch)?;
        let opened = contexts::open(ctx, request, &fetcher, &scratch).await?;
        let dockerfile = opened.dockerfile.clone();
        let built = self.build_opened(ctx, request, jobs, (setup, scratch, fetcher, opened)).await;
        built.map_err(|error| error.of_source(&dockerfile))
    }

    async fn build_opened(
        &self,
        ctx: &Ctx,
        request: &BuildRequest,
        jobs: usize,
        (setup, scratch, fetcher, opened): (Setup, Arc<Scratch>, Fetcher, Opened),
    ) -> Result<BuildReport, Error> {
        let (mut plan, images) = plan(ctx, request, &opened.dockerfile, &setup).await?;
        let secrets = secrets(request);
        without_absent(&mut plan, &secrets, &request.ssh);
        let threads = NonZero::new(jobs).unwrap_or(NonZero::<usize>::MIN);
        let network = network(request.network);
        let mut places = contexts::named(ctx, request, &plan, &fetcher, &scratch).await?;
        places.insert(None, opened.context);
        let plan = Arc::new(plan);
        let (inner, read, kept) = (ctx.clone(), Arc::clone(&plan), Arc::clone(&scratch));
        let contexts = ctx.blocking(move || Contexts::read(&inner, &read, &places, &kept, threads));
        // The network answers while the disk is read.
        let (contexts, remotes) =
            futures_util::future::join(contexts, Remotes::learn(ctx, &plan, fetcher)).await;
        let (contexts, remotes) = (contexts?, remotes?);
        let plan = Arc::unwrap_or_clone(plan);
        let definitions = definitions(&plan, &images, &contexts, &remotes, network)?;
        let caches = setup.caches(request)?;
        let blobs = setup.blobs(request, &scratch)?;
        let sources = caches_repositories(request);
        let destinations = Destinations::new(request, &setup, &sources)?;
        let publication = Publication::new(request, &plan, setup.registries.clone(), &sources)?;
        let layers = LayerStore::new(
            setup.registries.clone(),
            caches.clone(),
            Arc::clone(&scratch),
            setup.kept.clone(),
            setup.unpacking,
            destinations.blobs(&blobs),
        );
        let pack = PackOptions {
            compression: request.compression,
            level: request.compression_level,
            clamp: request.source_date_epoch,
            threads: jobs,
        };
        let mounts = setup.mounts(scratch.path());
        let settings = SessionSettings {
            pack,
            no_cache: request.cache.disabled,
            no_cache_stages: request.cache.disabled_stages.iter().map(|name| name.to_lowercase()).collect(),
            network,
            mounts,
            secrets,
            agents: request.ssh.clone(),
            extra_hosts: request.extra_hosts.clone(),
        };
        let session = Arc::new(Session {
            ctx: ctx.clone(),
            anew: built_anew(&plan, &settings),
            plan,
            images,
            contexts,
            remotes,
            definitions,
            caches,
            layers,
            runner: Runner::new(setup.choose_backend(request.backend, request.isolation_note.clone())),
            outputs: destinations.early(),
            preflight: Preflight::new(setup.registries.clone(), targets(&destinations, &publication)),
            blobs,
            scratch,
            settings,
            counts: Counts::default(),
            running: Running::default(),
        });
        let result = bring(&session, request, &destinations, &publication).await;
        // Records of steps that were done are kept even when a later one failed.
        if result.is_err() {
            ctx.cancel();
        }
        let finished = session.finish().await;
        session.caches.flush(ctx);
        match (result, finished) {
            // What ran beside the build stopped it: that is the cause.
            (Err(error), Err(cause)) if error.is_consequence() => Err(cause.into()),
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(report), Ok(())) => Ok(report),
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn network(request: NetworkRequest) -> Network {
    match request {
        NetworkRequest::Host => Network::Host,
        NetworkRequest::None => Network::None,
    }
}

/// Parse, scan, resolve, lower. Base images may bring triggers, triggers may need more images.
async fn plan(
    ctx: &Ctx,
    request: &BuildRequest,
    source: &Source,
    setup: &Setup,
) -> Result<(Plan, BTreeMap<ImageKey, BaseImage>), Error> {
    let refused = |diagnostics: Vec<Diagnostic>| {
        let errors: Vec<Diagnostic> = diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        let message = match errors.as_slice() {
            [only] => format!("{}: {}", source.name(), only.message),
            errors => format!("{}: {} errors", source.name(), errors.len()),
        };
        // A file may make its rules errors; it can be read all the same.
        let kind = match errors.iter().all(is_of_a_rule) {
            true => ErrorKind::Step,
            false => ErrorKind::Input,
        };
        Error::new(kind, message).with_diagnostics(source, errors)
    };
    let parsed = parse(source);
    let mut diagnostics = parsed.diagnostics;
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(refused(diagnostics));
    }
    let settings = ScanSettings {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        also: request.publish.named.iter().map(|(name, _)| name.clone()).collect(),
        build_platform: Platform::host(),
        target_platform: request.platform.clone().unwrap_or_else(Platform::host),
        contexts: request
            .named_contexts
            .iter()
            .map(|(name, context)| {
                (name.clone(), matches!(context, NamedContext::Directory(_) | NamedContext::Remote(_)))
            })
            .collect(),
    };
    let Some(mut stages) = scan(&parsed.file, settings, &mut diagnostics) else {
        return Err(refused(diagnostics));
    };
    diagnostics.extend(lint(&parsed.file, &stages));
    let resolver = Resolver {
        registries: setup.registries.clone(),
        substitutes: contexts::substitutes(request),
        store: if request.pull { None } else { setup.existing_store() },
    };
    let mut images: BTreeMap<ImageKey, BaseImage> = BTreeMap::new();
    loop {
        let open: Vec<ImageKey> =
            stages.images().into_iter().filter(|key| !images.contains_key(key)).collect();
        let done = open.is_empty();
        let found = resolver.resolve(ctx, open).await.map_err(|(key, error)| {
            let error = match stages.line_naming(&key) {
                Some(line) => Error::from(error).at_line(line),
                None => Error::from(error),
            };
            match stages.near_stage(&key.name) {
                Some(near) => error.hint(format!("did you mean the stage `{near}`?")),
                // A short name may have been meant as a stage's.
                None if !key.name.contains(['/', '.', ':']) && stages.list.len() > 1 => error
                    .hint(format!("no stage above has the name `{}`, so it is taken for an image", key.name)),
                None => error,
            }
        })?;
        images.extend(found);
        let triggered = stages.apply_triggers(&configs(&images), &mut diagnostics);
        if done && !triggered {
            break;
        }
    }
    let settings = LowerSettings {
        build_args: request.build_args.clone(),
        mounts: MountSupport { bind: true, cache: true, tmpfs: true, secret: true, ssh: true },
        network_none: request.network == NetworkRequest::None,
        remotes: RemoteSupport::ALL,
        ..LowerSettings::default()
    };
    let plan = lower(&stages, &configs(&images), &settings, &mut diagnostics);
    let diagnostics = judged(&parsed.file, &request.build_args, diagnostics);
    let Some(plan) = plan.filter(|_| !diagnostics.iter().any(Diagnostic::is_error)) else {
        return Err(refused(diagnostics));
    };
    for warning in diagnostics.iter().filter(|finding| !finding.is_error()) {
        ctx.warn(match warning.span() {
            Some(span) => {
                let line = source.line_of(span.start);
                format!("{}:{line}: {}: {}", source.name(), warning.code, warning.message)
            }
            None => warning.message.clone(),
        });
    }
    let steps =
        plan.stages.values().flat_map(|stage| &stage.steps).filter(|step| step.op.makes_layer()).count();
    ctx.emit(&Event::Planned { steps, skipped: stages.skipped() });
    Ok((plan, images))
}

fn configs(images: &BTreeMap<ImageKey, BaseImage>) -> BTreeMap<ImageKey, ImageConfig> {
    images.iter().map(|(key, image)| (key.clone(), image.config.value().clone())).collect()
}

fn secrets(request: &BuildRequest) -> BTreeMap<String, SecretSource> {
    let source = |secret: &SecretRequest| match secret {
        SecretRequest::File(path) => SecretSource::File(path.clone()),
        SecretRequest::Value(value) => SecretSource::Value(value.as_slice().into()),
    };
    request.secrets.iter().map(|(id, secret)| (id.clone(), source(secret))).collect()
}

/// The repositories that records come from: their blobs can be mounted from there.
fn caches_repositories(request: &BuildRequest) -> BTreeSet<Repository> {
    let places = request.cache.from.iter().chain(&request.cache.to).filter_map(|place| match place {
        crate::request::CachePlace::Repository(repository) => Some(repository.clone()),
        crate::request::CachePlace::Folder(_) => None,
    });
    request.cache.repository.iter().cloned().chain(places).collect()
}

/// Build what is missing, assemble, export, record.
async fn bring(
    session: &Arc<Session>,
    request: &BuildRequest,
    destinations: &Destinations,
    publication: &Publication,
) -> Result<BuildReport, BuildError> {
    let plan = session.plan.target();
    let key = build_key(session, plan, &request.labels, &request.annotations);
    let looked_up = !session.settings.no_cache && session.settings.no_cache_stages.is_empty();
    let known = if looked_up { known_build(session, key).await } else { None };
    if let Some(image) = known {
        session.ctx.emit(&Event::BuildCached { digest: image.manifest.descriptor().digest });
        let stages = publication.build(session).await?;
        match destinations.export(session, &image).await {
            Ok(names) => {
                let published = publication.push(session, stages, &image).await?;
                record_stages(session, |layer| destinations.rehomed_layer(layer)).await;
                count_the_rest(session).await;
                return Ok(report(session, &image, names, published));
            }
            // The record outlived its layers; they are looked for one by one, or made.
            Err(error) if error.is_absence() => {
                session.ctx.warn(format!("the cache knows this image but has lost a part of it: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    // They start now, and beside the target.
    let target = session.stage(session.plan.target);
    let stages = publication.build(session).await?;
    let built = match target.await {
        Ok(built) => built,
        Err(error) => return Err(session.failure(error).await),
    };
    let image = assemble(plan, &built.image, &request.labels, &request.annotations);
    let names = destinations.export(session, &image).await?;
    let published = publication.push(session, stages, &image).await?;
    record_build(session, key, &destinations.rehomed(&image)).await;
    record_stages(session, |layer| destinations.rehomed_layer(layer)).await;
    Ok(report(session, &image, names, published))
}

/// The repositories that images are pushed to, each once.
fn targets(destinations: &Destinations, publication: &Publication) -> Vec<Repository> {
    let all: BTreeSet<Repository> =
        destinations.repositories().chain(publication.repositories()).cloned().collect();
    all.into_iter().collect()
}

/// The steps of stages that were not even looked at count as found.
async fn count_the_rest(session: &Session) {
    let looked_at: BTreeSet<StageId> = session.built().await.into_iter().map(|(id, _)| id).collect();
    let rest = session.plan.stages.iter().filter(|(id, _)| !looked_at.contains(id));
    let steps = rest.flat_map(|(_, stage)| &stage.steps).filter(|step| step.op.makes_layer()).count();
    session.counts.add_cached(steps);
}

/// The image that is recorded for the whole build.
async fn known_build(session: &Session, key: CacheKey) -> Option<Image> {
    let found = session.caches.lookup(&session.ctx, &RecordName::Build(key)).await?;
    let (config, stage) = recorded_image(session, &found).await?;
    Some(Image { manifest: found.manifest.clone(), config, layers: stage.layers })
}

fn report(
    session: &Session,
    image: &Image,
    names: Vec<String>,
    published: Vec<PublishedStage>,
) -> BuildReport {
    let (cached_steps, executed_steps) = session.counts.get();
    let config = image.config.value();
    BuildReport {
        manifest: image.manifest.descriptor().clone(),
        config_digest: image.config.descriptor().digest,
        platform: Platform::new(&config.os, &config.architecture, config.variant.as_deref()),
        names,
        published,
        cached_steps,
        executed_steps,
        elapsed: Duration::ZERO,
    }
}

async fn record_build(session: &Session, key: CacheKey, image: &Image) {
    let config = RecordBlob::Bytes(image.config.descriptor().clone(), Arc::clone(image.config.bytes()));
    let layers =
        image.layers.iter().map(|layer| RecordBlob::Home(layer.descriptor.clone(), layer.home.clone()));
    let record =
        Record { manifest: image.manifest.clone(), blobs: std::iter::once(config).chain(layers).collect() };
    session.caches.store(&session.ctx, &RecordName::Build(key), &record).await;
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        describe(&error)
    }
}

/// Kind, message, place and hints of a build's error.
fn describe(error: &BuildError) -> Error {
    {
        use crate::registry::RegistryErrorKind as Registry;
        let message = error.to_string();
        let registry = |kind: Registry| match kind {
            Registry::Unauthorised => ErrorKind::Unauthorised,
            Registry::Cancelled => ErrorKind::Interrupted,
            Registry::Local => ErrorKind::Resources,
            Registry::Unavailable | Registry::NotFound | Registry::Invalid | Registry::Refused => {
                ErrorKind::Unavailable
            }
        };
        match error {
            BuildError::Cancelled => Error::new(ErrorKind::Interrupted, message),
            BuildError::Registry(error) => Error::new(registry(error.kind()), message),
            BuildError::Output(crate::output::OutputError::Registry(error)) => {
                Error::new(registry(error.kind()), message)
            }
            BuildError::Output(_) | BuildError::Io { .. } => Error::new(ErrorKind::Resources, message),
            BuildError::Image { hint, .. } => {
                let error = Error::new(ErrorKind::Input, message);
                hint.iter().cloned().fold(error, Error::hint)
            }
            BuildError::Command { place, output, .. } => {
                Error::new(ErrorKind::Step, message).at_step(place.id, place.line).with_output(output.clone())
            }
            BuildError::Step { place, hint, .. } => {
                let error = Error::new(ErrorKind::Step, message).at_step(place.id, place.line);
                hint.iter().cloned().fold(error, Error::hint)
            }
            BuildError::Pack { place, .. } => {
                Error::new(ErrorKind::Step, message).at_step(place.id, place.line)
            }
            BuildError::Remote { place, source } => {
                use crate::context::RemoteErrorKind as Remote;
                let kind = match source.kind() {
                    Remote::Wrong if place.is_some() => ErrorKind::Step,
                    Remote::Wrong => ErrorKind::Input,
                    Remote::Unavailable => ErrorKind::Unavailable,
                    Remote::Unauthorised => ErrorKind::Unauthorised,
                    Remote::Environment => ErrorKind::Environment,
                    Remote::Disk => ErrorKind::Resources,
                    Remote::Cancelled => ErrorKind::Interrupted,
                };
                let error = Error::new(kind, message);
                let error = place.iter().fold(error, |error, place| error.at_step(place.id, place.line));
                source.hint().into_iter().fold(error, Error::hint)
            }
            BuildError::Context(_) => Error::new(ErrorKind::Input, message),
            BuildError::Layer { .. } => Error::new(ErrorKind::Unavailable, message),
            BuildError::Environment(_) => Error::new(ErrorKind::Environment, message),
            BuildError::OtherStage => Error::new(ErrorKind::Internal, message),
            BuildError::Shared(error) => describe(error),
        }
    }
}
