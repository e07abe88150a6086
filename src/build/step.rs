//! Carrying out one step: what it changes, packed as a layer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cache::CacheKey;
use crate::ctx::{Event, OutputStream};
use crate::layer::{Layer, diff, pack};
use crate::plan::{FileOp, FileOrigin, FileSource, Op, RunOp, StagePlan, Step, WorkdirOp};
use crate::rootfs::Rootfs;
use crate::run::{Network, RunError, RunMount, RunSpec, RunStatus};
use crate::tree::{ChangeSet, Tree, Users};

use super::copy::{CopyOp, Inline, Source, copy};
use super::error::{BuildError, StepPlace};
use super::inputs::select_root;
use super::keys::{self, Input, MountInput};
use super::layers::prepare;
use super::mounts::{mounted, reads};
use super::owner::{Owner, OwnerSpec};
use super::probe::{image_key, selected_files};
use super::remotes::Fetched;
use super::session::Session;
use super::stage::{Progress, other_stage, tree_of};
use super::workdir::workdir;

/// What a step made.
pub(super) struct Made {
    /// `None` when nothing changed.
    pub(super) layer: Option<Layer>,
    /// The newest time in it; of a RUN, its end.
    pub(super) created: Option<i64>,
}

/// Carry out a step that makes a layer.
pub(super) async fn carry_out(
    session: &Arc<Session>,
    step: &Step,
    place: &StepPlace,
    progress: &mut Progress,
) -> Result<Made, BuildError> {
    match &step.op {
        Op::Config => Ok(Made { layer: None, created: None }),
        Op::Workdir(op) => {
            let tree = progress.tree(session).await?;
            let changes = make_directory(op, tree).map_err(|message| refused(place, message, None))?;
            packed(session, place, changes).await
        }
        Op::Files(op) => {
            let changes = copied(session, step, op, place, progress).await?;
            prepare(&changes);
            session.layers.fetch(&session.ctx).await?;
            packed(session, place, changes).await
        }
        Op::Run(op) => ran(session, step, op, place, progress).await,
    }
}

/// The content key of a step: its parent's layers and the files that it copies, in place of the keys that
/// they were planned with.
pub(super) async fn content_key(
    session: &Arc<Session>,
    plan: &StagePlan,
    step: &Step,
    progress: &mut Progress,
) -> Result<CacheKey, BuildError> {
    let diff_ids: Vec<_> = progress.image.layers.iter().map(|layer| layer.diff_id).collect();
    let parent = keys::base(&diff_ids);
    Ok(match &step.op {
        Op::Config => parent,
        Op::Workdir(op) => keys::workdir(&parent, &plan.platform, op),
        Op::Run(op) => {
            let mut trees = Vec::new();
            for (mount, origin) in &op.mounts {
                let tree = match origin {
                    FileOrigin::Stage(_) if reads(mount) => origin_tree(session, origin).await?,
                    _ => Arc::default(),
                };
                trees.push(tree);
            }
            let contexts = session.contexts.select_mounts(op, step)?;
            let mut stages = Vec::new();
            for ((mount, origin), tree) in op.mounts.iter().zip(&trees) {
                let source = mount.source.as_deref().unwrap_or("/");
                stages.push(match origin {
                    FileOrigin::Stage(_) if reads(mount) => {
                        session.contexts.select_path_in(tree, source, step)?
                    }
                    _ => Vec::new(),
                });
            }
            let inputs: Vec<MountInput<'_>> = op
                .mounts
                .iter()
                .zip(contexts.iter().zip(&stages))
                .map(|((mount, origin), (context, stage))| {
                    let files = |matches| Input::Files(selected_files(std::slice::from_ref(matches)));
                    let input = reads(mount).then(|| match origin {
                        FileOrigin::Context(_) => files(context),
                        FileOrigin::Stage(_) => files(stage),
                        FileOrigin::Image(image) => Input::Whole(image_key(&session.images, image)),
                    });
                    MountInput { mount, input }
                })
                .collect();
            keys::run(&parent, &plan.platform, op, &inputs, session.settings.network == Network::None)
        }
        Op::Files(op) => {
            let selected;
            let tree;
            let name;
            let input = match &op.origin {
                FileOrigin::Context(_) => {
                    selected = session.contexts.select(op, step)?;
                    Input::Files(selected_files(&selected))
                }
                FileOrigin::Image(image) => Input::Whole(image_key(&session.images, image)),
                FileOrigin::Stage(_) => {
                    tree = origin_tree(session, &op.origin).await?;
                    name = origin_name(session, op);
                    selected = session.contexts.select_in(&tree, &name, op, step)?;
                    Input::Files(selected_files(&selected))
                }
            };
            keys::files(&parent, &plan.platform, op, &input, &session.remotes.identities(op))
        }
    })
}

pub(super) fn refused(place: &StepPlace, message: String, hint: Option<String>) -> BuildError {
    BuildError::Step { place: place.clone(), message, hint }
}

/// Pack what a step changed. Nothing changed: no layer.
async fn packed(session: &Arc<Session>, place: &StepPlace, changes: ChangeSet) -> Result<Made, BuildError> {
    if changes.is_empty() {
        return Ok(Made { layer: None, created: None });
    }
    let (ctx, options, blobs) = (session.ctx.clone(), session.settings.pack, session.blobs.clone());
    let packed = session.ctx.blocking(move || pack(&ctx, &changes, &options, &blobs)).await;
    let packed = packed.map_err(|source| match source {
        _ if session.ctx.is_cancelled() => BuildError::Cancelled,
        source => BuildError::Pack { place: place.clone(), source },
    })?;
    let contents = Arc::new(packed.toc);
    session.layers.made(&packed.layer, Arc::clone(&contents));
    keep_toc(session, &packed.layer, contents);
    Ok(Made { layer: Some(packed.layer), created: packed.newest })
}

fn keep_toc(session: &Arc<Session>, layer: &Layer, contents: Arc<ChangeSet>) {
    let (inner, diff_id) = (Arc::clone(session), layer.diff_id);
    session.spawn(async move {
        inner.layers.keep_toc(&inner.ctx, diff_id, &contents).await;
        Ok(())
    });
}

fn make_directory(op: &WorkdirOp, tree: &Tree) -> Result<ChangeSet, String> {
    let owner = match op.user.as_str() {
        "" | "root" | "0" => Owner::default(),
        // Names are the image's, as for the RUNs that follow; who is not there yet owns nothing yet.
        user => OwnerSpec::parse(user).and_then(|owner| owner.resolve(&users_of(tree))).unwrap_or_default(),
    };
    workdir(tree, &op.path, owner).map_err(|error| error.to_string())
}

/// The users of an image, from the files that its tree holds.
fn users_of(tree: &Tree) -> Users {
    /// Largest file of users that is read, in bytes.
    const LIMIT: u64 = 10 << 20;
    let read = |path: &str| {
        let path = tree.resolve(&crate::tree::ImagePath::clamped(path), true).ok()?.path;
        tree.get(&path)?.content.as_ref()?.read_up_to(LIMIT).ok()
    };
    Users::parse(&read("etc/passwd").unwrap_or_default(), &read("etc/group").unwrap_or_default())
}

/// The files that a COPY reads from a stage or an image.
async fn origin_tree(session: &Arc<Session>, origin: &FileOrigin) -> Result<Arc<Tree>, BuildError> {
    match origin {
        FileOrigin::Stage(source) => match session.stage(*source).await {
            Ok(built) => built.tree(session).await,
            Err(error) => Err(other_stage(&error)),
        },
        FileOrigin::Image(key) => Ok(Arc::new(tree_of(session, &session.images[key].layers).await?)),
        FileOrigin::Context(_) => Ok(Arc::default()),
    }
}

fn origin_name(session: &Session, op: &FileOp) -> String {
    match &op.origin {
        FileOrigin::Stage(source) => format!("stage {}", session.plan.stages[source].name),
        FileOrigin::Image(key) => format!("image {}", key.name),
        FileOrigin::Context(None) => "the build context".to_owned(),
        FileOrigin::Context(Some(name)) => format!("context {name}"),
    }
}

async fn copied(
    session: &Arc<Session>,
    step: &Step,
    op: &FileOp,
    place: &StepPlace,
    progress: &mut Progress,
) -> Result<ChangeSet, BuildError> {
    let owner = op.chown.as_deref().map(OwnerSpec::parse).transpose();
    let owner = owner.map_err(|error| refused(place, error.to_string(), None))?;
    let chmod = op.chmod.as_deref().map(super::chmod::Chmod::parse).transpose();
    let chmod = chmod.map_err(|error| refused(place, error.to_string(), None))?;
    let origin = origin_tree(session, &op.origin).await?;
    let nothing = Tree::default();
    // With --link only names of users need the image below.
    let image = if op.link && !owner.as_ref().is_some_and(OwnerSpec::needs_users) {
        &nothing
    } else {
        progress.tree(session).await?
    };
    let chown = owner.map(|owner| owner.resolve(&users_of(image))).transpose();
    let chown = chown.map_err(|error| refused(place, error.to_string(), None))?;
    let name = origin_name(session, op);
    let matches = match &op.origin {
        FileOrigin::Context(_) => session.contexts.select(op, step)?,
        _ => session.contexts.select_in(&origin, &name, op, step)?,
    };
    let archives =
        if op.unpack { session.contexts.archives(&session.scratch, &matches, step)? } else { Vec::new() };
    let fetched = session.remotes.fetch(&session.ctx, op, place).await?;
    let mut matches = matches.into_iter();
    let mut archives = archives.iter();
    let mut fetched = fetched.iter();
    let mut sources = Vec::new();
    for source in &op.sources {
        match source {
            FileSource::Inline { name, content } => {
                sources.push(Source::Inline(Inline::heredoc(name, &String::from_utf8_lossy(content))));
            }
            FileSource::Url { .. } | FileSource::Git { .. } => match fetched.next() {
                Some(Fetched::File(file)) => sources.push(Source::Inline(file.clone())),
                Some(Fetched::Archive(archive)) => sources.push(Source::Archive(archive)),
                Some(Fetched::Tree(tree)) => sources.push(Source::Files(select_root(tree, op, step)?)),
                // All of them were fetched.
                None => {}
            },
            FileSource::Path(_) => {
                let selected = matches.next().unwrap_or_default();
                if !op.unpack {
                    sources.push(Source::Files(selected));
                    continue;
                }
                // Of several matches each may be an archive or not.
                for one in selected {
                    match archives.next() {
                        Some(Some(archive)) => sources.push(Source::Archive(archive)),
                        _ => sources.push(Source::Files(vec![one])),
                    }
                }
            }
        }
    }
    let copy_op = CopyOp {
        sources,
        destination: &op.dest,
        workdir: &op.workdir,
        chown,
        chmod: chmod.as_ref(),
        link: op.link,
    };
    copy(image, &copy_op).map_err(|error| refused(place, error.to_string(), None))
}

/// The last output of a command, for its error.
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    /// Bytes that are kept: enough for a compiler's error, not for a log.
    const LIMIT: usize = 16 << 10;

    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(Self::LIMIT)..];
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(Self::LIMIT);
        self.bytes.drain(..excess.min(self.bytes.len()));
        self.bytes.extend(bytes);
    }
}

async fn ran(
    session: &Arc<Session>,
    step: &Step,
    op: &RunOp,
    place: &StepPlace,
    progress: &mut Progress,
) -> Result<Made, BuildError> {
    let backend = session.runner.backend(&session.ctx).await?;
    let lowers = progress.image.layers.iter().map(|layer| session.layers.directory(&session.ctx, layer));
    let lowers = futures_util::future::try_join_all(lowers).await?;
    let directory = |name: &str| {
        session
            .scratch
            .directory(&format!("step-{}-{}/{name}", place.id.stage, place.id.index))
            .map_err(BuildError::io("create a directory for a step"))
    };
    let (upper, work) = (directory("upper")?, directory("work")?);
    let held = mounted(session, step, op, place).await?;
    let mut mounts = held.mounts.clone();
    if let Some(script) = &op.script {
        let source = directory("pipes")?.join("script");
        std::fs::write(&source, &script.content).map_err(BuildError::io("write the script of a heredoc"))?;
        set_mode(&source, 0o755).map_err(BuildError::io("write the script of a heredoc"))?;
        mounts.push(RunMount::Bind { source, target: script.path.clone(), read_only: true });
    }
    let mut env = op.env.clone();
    env.extend(op.proxies.iter().cloned());
    env.extend(held.env.iter().cloned());
    let network = if op.network_none { Network::None } else { session.settings.network };
    let spec = RunSpec {
        rootfs: Rootfs { lowers: lowers.clone(), upper: upper.clone(), work },
        args: op.args.clone(),
        env,
        workdir: op.workdir.clone(),
        user: op.user.clone(),
        network,
        extra_hosts: session.settings.extra_hosts.clone(),
        mounts,
    };
    let (ctx, id) = (session.ctx.clone(), place.id);
    let (outcome, tail) = session
        .ctx
        .waiting(move || {
            let mut tail = Tail { bytes: VecDeque::new() };
            let outcome = backend.run(&ctx, &spec, &mut |stream: OutputStream, bytes: &[u8]| {
                tail.push(bytes);
                ctx.emit(&Event::StepOutput { step: id, stream, bytes: bytes.to_vec() });
            });
            (outcome, Vec::from(tail.bytes))
        })
        .await;
    let outcome = outcome.map_err(|error| match error {
        RunError::Cancelled => BuildError::Cancelled,
        error => refused(place, error.to_string(), None),
    })?;
    // Whoever waits for a cache mount may go on now.
    drop(held);
    session.ctx.check()?;
    if outcome.status != RunStatus::Exited(0) {
        return Err(BuildError::Command { place: place.clone(), status: outcome.status, output: tail });
    }
    let ended = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let ended = i64::try_from(ended).unwrap_or(i64::MAX);
    let clamp = session.settings.pack.clamp;
    let created = Some(clamp.map_or(ended, |clamp| ended.min(clamp)));
    let (from, inner) = (upper.clone(), session.ctx.clone());
    let changes = session
        .ctx
        .blocking(move || diff(&inner, &from, &lowers))
        .await
        .map_err(|error| refused(place, error.to_string(), None))?;
    let Made { layer, .. } = packed(session, place, changes).await?;
    if let Some(layer) = &layer {
        session.layers.made_by_run(layer, upper);
    }
    Ok(Made { layer, created })
}

fn set_mode(path: &std::path::Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
