//! Looking at a cache, and making room in it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::blob::Layout;
use crate::build::BuildError;
use crate::cache::{Entry, PruneRule, RecordName, SHARED_PREFIX, Shelf, ShelfError, going, record_of};
use crate::ctx::{Ctx, now};
use crate::error::{Error, ErrorKind};
use crate::oci::Digest;
use crate::request::{CachePlace, PruneRequest, RecordsRequest};
use crate::setup::{cache_path, registries};

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// A whole build.
    Build,
    /// A stage.
    Stage,
    /// A step.
    Step,
    /// The table of contents of a layer.
    Contents,
}

/// A record of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    /// What it is of.
    pub kind: RecordKind,
    /// Its key, 64 hexadecimal digits; of a table of contents, the layer's diff ID.
    pub key: String,
    /// Its tag.
    pub tag: String,
    /// Its manifest.
    pub digest: Digest,
    /// The bytes of its blobs; other records may share some of them.
    pub size: u64,
    /// When it was made, in seconds since 1970; `None` when that cannot be told.
    pub recorded: Option<i64>,
    /// The instruction of a step, the platform of an image.
    pub about: String,
}

/// A record with its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDetails {
    /// The record.
    pub record: CacheRecord,
    /// Its manifest, as it is stored.
    pub manifest: String,
    /// Its config, as it is stored; empty when that is gone.
    pub config: String,
    /// Its layers that are not there: it is a miss. A folder has no layers of bases, which is none.
    pub missing: Vec<Digest>,
}

/// What pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Records that are gone, or would be.
    pub removed: Vec<CacheRecord>,
    /// Records that had to stay, each with the tag of an image that would have gone with it.
    pub stayed: Vec<(CacheRecord, String)>,
    /// How many records were not to go.
    pub kept: usize,
    /// Bytes that the disk has back; `None` for a repository, for a dry run, and when a build uses the folder.
    pub freed: Option<u64>,
}

impl RecordKind {
    /// Its name, as in tags: `build`, `stage`, `step`, `toc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Stage => "stage",
            Self::Step => "step",
            Self::Contents => "toc",
        }
    }
}

/// The records, the youngest first.
pub(crate) async fn list(ctx: &Ctx, request: &RecordsRequest) -> Result<Vec<CacheRecord>, Error> {
    let Some(shelf) = shelf(request)? else { return Ok(Vec::new()) };
    let (_, entries) = entries(ctx, &shelf).await?;
    let mut records: Vec<CacheRecord> = entries.iter().map(described).collect();
    records.sort_by(|a, b| (b.recorded, a.kind, &a.tag).cmp(&(a.recorded, b.kind, &b.tag)));
    Ok(records)
}

/// The one record that `key` means: its tag, the beginning of that, or the beginning of its key.
pub(crate) async fn inspect(ctx: &Ctx, request: &RecordsRequest, key: &str) -> Result<RecordDetails, Error> {
    let absent = || Error::new(ErrorKind::Input, format!("no record `{key}` in {}", name(request)));
    let shelf = shelf(request)?.ok_or_else(absent)?;
    let tags = shelf.tags(ctx).await.map_err(failed)?;
    let is_meant = |tag: &&String| {
        let hex = tag.rsplit_once('-').map_or("", |(_, hex)| hex);
        let bare = tag.strip_prefix(SHARED_PREFIX).unwrap_or(tag);
        record_of(tag).is_some() && [tag.as_str(), bare, hex].iter().any(|name| name.starts_with(key))
    };
    let mut meant: Vec<&String> = tags.iter().filter(is_meant).collect();
    meant.sort();
    let tag = match meant.as_slice() {
        [] => return Err(absent().hint("`ocistage cache ls` shows what is there")),
        [tag] => tag,
        [first, second, ..] => {
            let message = format!("`{key}` is {} records, {first} and {second} among them", meant.len());
            return Err(Error::new(ErrorKind::Input, message).hint("give more digits"));
        }
    };
    let entry = shelf.entry(ctx, tag).await.map_err(failed)?;
    let entry =
        entry.ok_or_else(|| Error::new(ErrorKind::Input, format!("{tag} is no record of ocistage")))?;
    let mut missing = Vec::new();
    for layer in &entry.manifest.value().layers {
        if !shelf.has(ctx, layer).await.map_err(failed)? {
            missing.push(layer.digest);
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(RecordDetails {
        record: described(&entry),
        manifest: text(entry.manifest.bytes()),
        config: text(&entry.config),
        missing,
    })
}

/// Throw away what `rule` does not keep.
pub(crate) async fn prune(
    ctx: &Ctx,
    request: &RecordsRequest,
    rule: &PruneRequest,
) -> Result<PruneReport, Error> {
    let Some(shelf) = shelf(request)? else { return Ok(PruneReport::default()) };
    let (tags, entries) = entries(ctx, &shelf).await?;
    let seconds = rule.older_than.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    let rule_of_cache = PruneRule { older_than: seconds, keep: rule.keep, keep_tags: rule.keep_tags.clone() };
    let going = going(&entries, &rule_of_cache, now());
    let kept = entries.len() - going.len();
    let of = |gone: &BTreeSet<String>| {
        entries.iter().filter(|entry| gone.contains(&entry.tag)).map(described).collect()
    };
    if rule.dry_run {
        return Ok(PruneReport { removed: of(&going), kept, ..PruneReport::default() });
    }
    let removal = shelf.remove(ctx, &going, &entries, &tags).await.map_err(failed)?;
    let stayed =
        entries.iter().filter_map(|entry| Some((described(entry), removal.stayed.get(&entry.tag)?.clone())));
    Ok(PruneReport { removed: of(&removal.gone), stayed: stayed.collect(), kept, freed: removal.freed })
}

async fn entries(ctx: &Ctx, shelf: &Shelf) -> Result<(Vec<String>, Vec<Entry>), Error> {
    let tags = shelf.tags(ctx).await.map_err(failed)?;
    let entries = shelf.entries(ctx, &tags).await.map_err(failed)?;
    Ok((tags, entries))
}

/// The place; `None` for a folder that nothing was put into yet.
fn shelf(request: &RecordsRequest) -> Result<Option<Shelf>, Error> {
    let folder = |path: &Path| -> Result<Option<Shelf>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let layout = Layout::open(path).map_err(|error| failed(error.into()))?;
        Ok(Some(Shelf::Folder(layout)))
    };
    match &request.place {
        Some(CachePlace::Repository(repository)) => {
            Ok(Some(Shelf::Repository(registries(&request.registries)?, repository.clone())))
        }
        Some(CachePlace::Folder(path)) => folder(path),
        None => folder(&cache_path(&request.state)),
    }
}

fn name(request: &RecordsRequest) -> String {
    match &request.place {
        Some(CachePlace::Repository(repository)) => repository.to_string(),
        Some(CachePlace::Folder(path)) => path.display().to_string(),
        None => cache_path(&request.state).display().to_string(),
    }
}

fn described(entry: &Entry) -> CacheRecord {
    let key = match &entry.name {
        RecordName::Build(key) | RecordName::Stage(key) | RecordName::Step(key) => key.hex(),
        RecordName::Toc(diff_id) => diff_id.0.hex(),
    };
    let about = match (entry.step(), entry.image()) {
        (Some(step), _) => step.instruction,
        (None, Some(config)) => format!("{}/{}", config.os, config.architecture),
        (None, None) => String::new(),
    };
    let kind = match entry.name {
        RecordName::Build(_) => RecordKind::Build,
        RecordName::Stage(_) => RecordKind::Stage,
        RecordName::Step(_) => RecordKind::Step,
        RecordName::Toc(_) => RecordKind::Contents,
    };
    CacheRecord {
        kind,
        key,
        tag: entry.tag.clone(),
        digest: entry.manifest.descriptor().digest,
        size: entry.size(),
        recorded: entry.recorded,
        about,
    }
}

fn failed(error: ShelfError) -> Error {
    match error {
        ShelfError::Registry(error) => BuildError::from(error).into(),
        ShelfError::Layout(error) => BuildError::from(error).into(),
        ShelfError::KeepsAll(..) => Error::new(ErrorKind::Unavailable, error.to_string()).hint(
            "allow deletion there (docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true), or use the registry's own retention rules",
        ),
    }
}
