//! RUN --mount: from what the plan says to what a backend mounts.
//!
//! Files of a context become a directory first, with the owners and without the files that the ignore rules
//! leave out, just as COPY would see them. Stages and images are mounted from their layers' directories.
//! What a command writes to a bind mount is forgotten; what it writes to a cache mount stays in the state
//! directory and is never part of a layer.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::blob::Layout;
use crate::cache::KeyWriter;
use crate::context::Selected;
use crate::dockerfile::{MountKind, RunMount as Planned, Sharing};
use crate::layer::{PackOptions, pack};
use crate::oci::Compression;
use crate::plan::{FileOrigin, Op, Plan, RunOp, Step};
use crate::run::RunMount;
use crate::tree::Tree;

use super::agent::{Access, AgentSocket};
use super::copy::{CopyOp, Source, copy};
use super::error::{BuildError, StepPlace};
use super::keys::{Input, MountInput};
use super::layers::prepare;
use super::probe::{Definitions, image_key, selected_files};
use super::resolve::BaseImage;
use super::session::{SecretSource, Session};
use super::stage::other_stage;
use super::step::refused;

/// Where the files of a context part are put below its directory.
const PART: &str = "/part";

/// The mounts of one step, and what must be held while it runs.
#[derive(Default)]
pub(super) struct Mounted {
    /// For the backend, in order.
    pub(super) mounts: Vec<RunMount>,
    /// Variables that mounts bring.
    pub(super) env: Vec<(String, String)>,
    /// Locks of cache mounts; let go of by dropping.
    _locks: Vec<File>,
    /// Sockets for ssh agents; closed by dropping.
    _agents: Vec<AgentSocket>,
}

/// What the mounts of a step read, as it enters its definition key.
pub(super) fn definition_inputs<'a>(
    op: &'a RunOp,
    selected: &'a [Vec<Selected<'a>>],
    images: &BTreeMap<crate::plan::ImageKey, BaseImage>,
    definitions: &Definitions,
) -> Vec<MountInput<'a>> {
    let read = |(mount, matches): (&'a (Planned, FileOrigin), &'a Vec<Selected<'a>>)| {
        let input = reads(&mount.0).then(|| match &mount.1 {
            FileOrigin::Context(_) => Input::Files(selected_files(std::slice::from_ref(matches))),
            FileOrigin::Stage(stage) => Input::Whole(definitions[stage].last),
            FileOrigin::Image(image) => Input::Whole(image_key(images, image)),
        });
        MountInput { mount: &mount.0, input }
    };
    op.mounts.iter().zip(selected).map(read).collect()
}

/// Whether a mount reads files from somewhere: binds do, caches when they begin with some.
pub(super) fn reads(mount: &Planned) -> bool {
    match mount.kind {
        MountKind::Bind => true,
        MountKind::Cache => mount.from.as_deref().is_some_and(|from| !from.is_empty()),
        MountKind::Tmpfs | MountKind::Secret | MountKind::Ssh => false,
    }
}

/// Take optional secrets and agents that were not given out of the plan: a command that runs without one is
/// another command. A required one stays, so that a recorded step still serves where nobody has the secret.
pub(crate) fn without_absent(
    plan: &mut Plan,
    secrets: &BTreeMap<String, SecretSource>,
    agents: &BTreeMap<String, PathBuf>,
) {
    let is_there = |mount: &Planned| {
        let id = mount.id.as_deref().unwrap_or_default();
        match mount.kind {
            MountKind::Secret => mount.required || secrets.contains_key(id),
            MountKind::Ssh => mount.required || agents.contains_key(id),
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => true,
        }
    };
    for step in plan.stages.values_mut().flat_map(|stage| &mut stage.steps) {
        if let Op::Run(op) = &mut step.op {
            op.mounts.retain(|(mount, _)| is_there(mount));
        }
    }
}

/// Have everything at hand that the mounts of `op` need.
pub(super) async fn mounted(
    session: &Arc<Session>,
    step: &Step,
    op: &RunOp,
    place: &StepPlace,
) -> Result<Mounted, BuildError> {
    let mut all = Mounted::default();
    for (index, (mount, origin)) in op.mounts.iter().enumerate() {
        let target = mount.target.clone().unwrap_or_default();
        match mount.kind {
            MountKind::Bind => {
                let (lowers, source) = part(session, step, mount, origin, place, index).await?;
                all.mounts.push(RunMount::Part { lowers, source, target, writable: !mount.read_only });
            }
            MountKind::Tmpfs => all.mounts.push(RunMount::Tmpfs { target, size: mount.size }),
            MountKind::Cache => {
                let (source, lock) = cache(session, step, mount, origin, place, index).await?;
                all.mounts.push(RunMount::Bind { source, target, read_only: mount.read_only });
                all._locks.extend(lock);
            }
            MountKind::Secret => secret(session, mount, place, &mut all)?,
            MountKind::Ssh => {
                let directory = format!("agent-{}-{}-{index}", place.id.stage, place.id.index);
                ssh(session, op, mount, place, &directory, &mut all)?;
            }
        }
    }
    Ok(all)
}

/// Directories that hold the files of a mount, bottom first, and where in them its source is.
async fn part(
    session: &Arc<Session>,
    step: &Step,
    mount: &Planned,
    origin: &FileOrigin,
    place: &StepPlace,
    index: usize,
) -> Result<(Vec<PathBuf>, String), BuildError> {
    let source = mount.source.clone().unwrap_or_else(|| "/".to_owned());
    let layers = match origin {
        FileOrigin::Context(name) => return context_part(session, step, name, &source, place, index).await,
        FileOrigin::Stage(stage) => match session.stage(*stage).await {
            Ok(built) => built.image.layers.clone(),
            Err(error) => return Err(other_stage(&error)),
        },
        FileOrigin::Image(key) => session.images[key].layers.clone(),
    };
    let directories = layers.iter().map(|layer| session.layers.directory(&session.ctx, layer));
    Ok((futures_util::future::try_join_all(directories).await?, source))
}

/// Lay what `source` selects in a context out as a directory.
async fn context_part(
    session: &Arc<Session>,
    step: &Step,
    name: &Option<String>,
    source: &str,
    place: &StepPlace,
    index: usize,
) -> Result<(Vec<PathBuf>, String), BuildError> {
    let selected = session.contexts.select_path(name, source, step)?;
    let file = selected.first().filter(|one| !one.is_directory()).map(|one| one.name.clone());
    let destination = format!("{PART}/");
    let op = CopyOp {
        sources: vec![Source::Files(selected)],
        destination: &destination,
        workdir: "/",
        chown: None,
        chmod: None,
        link: false,
    };
    let changes = copy(&Tree::default(), &op).map_err(|error| refused(place, error.to_string(), None))?;
    prepare(&changes);
    let failed = |what: &str| BuildError::io(format!("{what} for a mount of {}", place.name));
    let directory = format!("mount-{}-{}-{index}", place.id.stage, place.id.index);
    let blobs = session.scratch.directory(&directory).map_err(failed("create a directory"))?;
    let (ctx, place) = (session.ctx.clone(), place.clone());
    let packed = session.ctx.blocking(move || {
        // A layer is the one form in which files get their owners on every kind of disk and id map.
        let options = PackOptions { compression: Compression::None, level: None, clamp: None, threads: 1 };
        let layout = Layout::create(blobs)?;
        pack(&ctx, &changes, &options, &layout).map_err(|source| BuildError::Pack { place, source })
    });
    let layer = packed.await?.layer;
    let directory = session.layers.temporary_directory(&session.ctx, &layer).await?;
    let source = match file {
        Some(name) => format!("{PART}/{}", String::from_utf8_lossy(&name)),
        None => PART.to_owned(),
    };
    Ok((vec![directory], source))
}

/// The directory of a cache mount, made and filled on first use, and its lock.
async fn cache(
    session: &Arc<Session>,
    step: &Step,
    mount: &Planned,
    origin: &FileOrigin,
    place: &StepPlace,
    index: usize,
) -> Result<(PathBuf, Option<File>), BuildError> {
    let failed = || BuildError::io(format!("use a cache mount for {}", place.name));
    // An id is a user's text: hashed, it can not lead out of the directory. Other owners or modes are another
    // cache, because they hold only for a new one.
    let mut key = KeyWriter::new("ocistage.mount.v1");
    key.field("id", mount.id.as_deref().unwrap_or_default());
    key.list("owner", [mount.uid, mount.gid, mount.mode].map(|n| format!("{n:?}")));
    key.list("begins", mount.from.as_deref().filter(|_| reads(mount)));
    let parent = session.settings.mounts.join(key.finish().hex());
    for attempt in 0_u32.. {
        session.ctx.check()?;
        let directory = if attempt == 0 { parent.join("0") } else { parent.join(attempt.to_string()) };
        std::fs::create_dir_all(&parent).map_err(failed())?;
        let lock = File::create(directory.with_extension("lock")).map_err(failed())?;
        let lock = match mount.sharing {
            Sharing::Shared => {
                wait_for(session, &lock, FlockOperation::NonBlockingLockShared).await?;
                lock
            }
            Sharing::Locked => {
                wait_for(session, &lock, FlockOperation::NonBlockingLockExclusive).await?;
                lock
            }
            // Another user of a private cache gets one of its own.
            Sharing::Private => match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => lock,
                Err(_) => continue,
            },
        };
        if !directory.is_dir() {
            fill(session, step, mount, origin, place, index, &directory).await?;
        }
        return Ok((directory, Some(lock)));
    }
    Err(refused(place, "no cache mount is free".to_owned(), None))
}

async fn wait_for(session: &Session, lock: &File, how: FlockOperation) -> Result<(), BuildError> {
    /// Between two tries: a step that holds the lock runs for seconds.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
    while flock(lock, how).is_err() {
        session.ctx.check()?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Make a cache mount's directory, with the files that it begins with.
async fn fill(
    session: &Arc<Session>,
    step: &Step,
    mount: &Planned,
    origin: &FileOrigin,
    place: &StepPlace,
    index: usize,
    directory: &std::path::Path,
) -> Result<(), BuildError> {
    let failed = || BuildError::io(format!("make a cache mount for {}", place.name));
    let fresh = tempfile::tempdir_in(session.scratch.path()).map_err(failed())?;
    if reads(mount) {
        let (lowers, source) = part(session, step, mount, origin, place, index).await?;
        for lower in lowers {
            let from = lower.join(source.trim_start_matches('/'));
            if from.is_dir() {
                let status =
                    std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(fresh.path()).status();
                if !status.map_err(failed())?.success() {
                    return Err(refused(place, format!("copy {source} into the cache mount failed"), None));
                }
            }
        }
    }
    let mode = std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o755));
    std::fs::set_permissions(fresh.path(), mode).map_err(failed())?;
    if mount.uid.is_some() || mount.gid.is_some() {
        let ids = (Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)));
        std::os::unix::fs::chown(fresh.path(), ids.0, ids.1).map_err(failed())?;
    }
    match std::fs::rename(fresh.keep(), directory) {
        Err(_) if directory.is_dir() => Ok(()),
        other => other.map_err(failed()),
    }
}

fn secret(
    session: &Session,
    mount: &Planned,
    place: &StepPlace,
    all: &mut Mounted,
) -> Result<(), BuildError> {
    let id = mount.id.clone().unwrap_or_default();
    let content = match session.settings.secrets.get(&id) {
        Some(SecretSource::Value(value)) => value.to_vec(),
        Some(SecretSource::File(path)) => std::fs::read(path)
            .map_err(|error| refused(place, format!("secret {id}: {}: {error}", path.display()), None))?,
        None if mount.required => {
            let hint = format!("pass it with --secret id={id},src=FILE or --secret id={id},env=NAME");
            return Err(refused(place, format!("secret {id} was not given"), Some(hint)));
        }
        None => return Ok(()),
    };
    if let Some(name) = &mount.env {
        let value = String::from_utf8(content.clone()).map_err(|_| {
            refused(place, format!("secret {id} is not text and can not be in a variable"), None)
        })?;
        all.env.push((name.clone(), value));
    }
    if let Some(target) = &mount.target {
        let (mode, uid, gid) = (mount.mode.unwrap_or(0o400), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        all.mounts.push(RunMount::File { content, target: target.clone(), mode, uid, gid });
    }
    Ok(())
}

/// A socket of ours for the agent, which a variable names unless the Dockerfile sets it; the first of several.
fn ssh(
    session: &Session,
    op: &RunOp,
    mount: &Planned,
    place: &StepPlace,
    directory: &str,
    all: &mut Mounted,
) -> Result<(), BuildError> {
    const VARIABLE: &str = "SSH_AUTH_SOCK";
    let id = mount.id.clone().unwrap_or_default();
    let Some(agent) = session.settings.agents.get(&id) else {
        if !mount.required {
            return Ok(());
        }
        let hint = format!("pass it with --ssh {id} (the agent of SSH_AUTH_SOCK) or --ssh {id}=SOCKET");
        return Err(refused(place, format!("ssh agent {id} was not given"), Some(hint)));
    };
    let failed = || BuildError::io(format!("open a socket for ssh agent {id}"));
    let directory = session.scratch.directory(directory).map_err(failed())?;
    let (mode, uid, gid) = (mount.mode.unwrap_or(0o600), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
    let socket = AgentSocket::open(&directory, agent, Access { uid, gid, mode }).map_err(failed())?;
    let target = mount.target.clone().unwrap_or_default();
    if !op.env.iter().chain(&all.env).any(|(name, _)| name == VARIABLE) {
        all.env.push((VARIABLE.to_owned(), target.clone()));
    }
    all.mounts.push(RunMount::Bind { source: socket.path().to_owned(), target, read_only: false });
    all._agents.push(socket);
    Ok(())
}
