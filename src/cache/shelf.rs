//! One place of records, looked at as a whole: what lies there, and throwing it away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::blob::{Layout, LayoutError};
use crate::ctx::{Ctx, seconds_of};
use crate::oci::{
    Descriptor, DiffId, Digest, Document, ImageConfig, Index, Manifest, Repository, media_type,
};
use crate::registry::{Registries, RegistryError, RegistryErrorKind};

use super::record::{RecordName, StepRecord, is_step};

/// What a repository's record tags begin with where it also holds images.
pub(crate) const SHARED_PREFIX: &str = "cache-";
/// Requests at a time: what a registry takes from one client without slowing it down.
const AT_ONCE: usize = 16;
/// Largest manifest or config that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// A place of records.
pub(crate) enum Shelf {
    /// A repository, which may hold images too.
    Repository(Registries, Repository),
    /// A folder.
    Folder(Layout),
}

/// A record where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its tag, with the prefix where it has one.
    pub(crate) tag: String,
    /// What it is the record of.
    pub(crate) name: RecordName,
    /// Its manifest.
    pub(crate) manifest: Document<Manifest>,
    /// Its config blob; empty when that is gone.
    pub(crate) config: Arc<[u8]>,
    /// When it was made, in seconds since 1970, as far as can be told.
    pub(crate) recorded: Option<i64>,
}

/// A shelf could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry keeps everything.
    #[error("{0}: the registry does not delete: {1}")]
    KeepsAll(Repository, RegistryError),
    /// The folder failed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// What came of throwing records away.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Tags that are gone.
    pub(crate) gone: BTreeSet<String>,
    /// Tags that stayed, with the tag of an image that would have gone with them.
    pub(crate) stayed: BTreeMap<String, String>,
    /// Bytes that the disk has back; `None` where that is the registry's affair, or blobs are in use.
    pub(crate) freed: Option<u64>,
}

impl Entry {
    /// The record as a step's.
    pub(crate) fn step(&self) -> Option<StepRecord> {
        is_step(self.manifest.value()).then(|| serde_json::from_slice(&self.config).ok()).flatten()
    }

    /// The config of the image that the record is.
    pub(crate) fn image(&self) -> Option<ImageConfig> {
        let is_image = matches!(self.name, RecordName::Build(_) | RecordName::Stage(_));
        is_image.then(|| serde_json::from_slice(&self.config).ok()).flatten()
    }

    /// The bytes of its blobs. Several records may share some of them.
    pub(crate) fn size(&self) -> u64 {
        let manifest = self.manifest.value();
        manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>()
    }
}

/// The record that `tag` is of, with or without the prefix.
pub(crate) fn record_of(tag: &str) -> Option<RecordName> {
    RecordName::parse(tag.strip_prefix(SHARED_PREFIX).unwrap_or(tag))
}

impl Shelf {
    /// All tags, records' and others'.
    pub(crate) async fn tags(&self, ctx: &Ctx) -> Result<Vec<String>, ShelfError> {
        Ok(match self {
            Self::Repository(registries, repository) => registries.tags(ctx, repository).await?,
            Self::Folder(layout) => layout.tags()?.into_iter().map(|(tag, _)| tag).collect(),
        })
    }

    /// The record under `tag`; `None` when there is none, or something else.
    pub(crate) async fn entry(&self, ctx: &Ctx, tag: &str) -> Result<Option<Entry>, ShelfError> {
        let Some(name) = record_of(tag) else { return Ok(None) };
        let Some(manifest) = self.manifest(ctx, tag).await? else { return Ok(None) };
        let config = self.config(ctx, &manifest).await?;
        let mut entry = Entry { tag: tag.to_owned(), name, manifest, config, recorded: None };
        entry.recorded = match name {
            RecordName::Step(_) => entry.step().map(|step| step.recorded),
            RecordName::Toc(_) => None,
            RecordName::Build(_) | RecordName::Stage(_) => {
                entry.image().and_then(|config| seconds_of(config.created.as_deref()?))
            }
        };
        Ok(Some(entry))
    }

    async fn manifest(&self, ctx: &Ctx, tag: &str) -> Result<Option<Document<Manifest>>, ShelfError> {
        Ok(match self {
            Self::Repository(registries, repository) => {
                let raw = registries.manifest(ctx, repository, tag).await?;
                raw.and_then(|raw| Document::parse(&raw.media_type, raw.bytes).ok())
            }
            Self::Folder(layout) => {
                let descriptor = layout.lookup(tag)?;
                descriptor.and_then(|descriptor| {
                    Document::parse(&descriptor.media_type, layout.read(&descriptor, LIMIT).ok()?).ok()
                })
            }
        })
    }

    async fn config(&self, ctx: &Ctx, manifest: &Document<Manifest>) -> Result<Arc<[u8]>, ShelfError> {
        let descriptor = &manifest.value().config;
        Ok(match self {
            Self::Repository(registries, repository) => {
                match registries.blob(ctx, repository, descriptor, LIMIT).await {
                    Err(error) if error.kind() == RegistryErrorKind::NotFound => Arc::default(),
                    other => other?,
                }
            }
            Self::Folder(layout) => layout.read(descriptor, LIMIT).unwrap_or_default().into(),
        })
    }

    /// Whether a blob is there. A folder has no layers of bases.
    pub(crate) async fn has(&self, ctx: &Ctx, descriptor: &Descriptor) -> Result<bool, ShelfError> {
        Ok(match self {
            Self::Repository(registries, repository) => {
                registries.is_readable(ctx, repository, &descriptor.digest).await?
            }
            Self::Folder(layout) => layout.has(descriptor),
        })
    }

    /// The records under `tags`, in the order of these.
    pub(crate) async fn entries(&self, ctx: &Ctx, tags: &[String]) -> Result<Vec<Entry>, ShelfError> {
        let found = stream::iter(tags).map(|tag| self.entry(ctx, tag)).buffered(AT_ONCE);
        let found: Vec<Option<Entry>> = found.try_collect().await?;
        let mut entries: Vec<Entry> = found.into_iter().flatten().collect();
        date(&mut entries);
        Ok(entries)
    }

    /// Throw the records `going` away. `all` are the tags that there are, `entries` the records among them.
    pub(crate) async fn remove(
        &self,
        ctx: &Ctx,
        going: &BTreeSet<String>,
        entries: &[Entry],
        all: &[String],
    ) -> Result<Removal, ShelfError> {
        match self {
            Self::Repository(registries, repository) => {
                let place = Place { ctx, registries, repository };
                let staying = place.staying(going, entries, all).await?;
                place.remove(going, entries, &staying).await
            }
            Self::Folder(layout) => {
                let (layout, going) = (layout.clone(), going.clone());
                ctx.blocking(move || {
                    let freed = layout.untag_all(&going).and_then(|()| sweep(&layout));
                    freed.map(|freed| Removal { gone: going, stayed: BTreeMap::new(), freed })
                })
                .await
                .map_err(ShelfError::Layout)
            }
        }
    }
}

/// Remove the blobs that no name of `layout` leads to; their bytes. `None` while a build uses the layout.
fn sweep(layout: &Layout) -> Result<Option<u64>, LayoutError> {
    let Some(_alone) = layout.claim() else { return Ok(None) };
    let mut used = BTreeSet::new();
    let mut open = layout.index()?.value().manifests.clone();
    while let Some(descriptor) = open.pop() {
        if !used.insert(descriptor.digest) {
            continue;
        }
        let Ok(bytes) = layout.read(&descriptor, LIMIT) else { continue };
        if media_type::is_index(&descriptor.media_type) {
            open.extend(
                serde_json::from_slice::<Index>(&bytes).into_iter().flat_map(|index| index.manifests),
            );
        } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            used.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest));
        }
    }
    let mut freed = 0;
    for digest in layout.digests()? {
        if !used.contains(&digest) {
            freed += layout.size(&digest).unwrap_or(0);
            layout.remove_blob(&digest)?;
        }
    }
    Ok(Some(freed))
}

/// Images have no time of their own recording: their manifest is the image's. An image is at least as young as
/// the youngest step that gave it a layer.
fn date(entries: &mut [Entry]) {
    let mut recorded: BTreeMap<DiffId, i64> = BTreeMap::new();
    for step in entries.iter().filter_map(Entry::step) {
        if let Some(diff_id) = step.diff_id {
            let time = recorded.entry(diff_id).or_insert(step.recorded);
            *time = step.recorded.max(*time);
        }
    }
    for entry in entries {
        let Some(config) = entry.image() else { continue };
        let steps = config.rootfs.diff_ids.iter().filter_map(|diff_id| recorded.get(diff_id).copied());
        entry.recorded = steps.chain(entry.recorded).max();
    }
}

/// A repository that records are taken from.
struct Place<'a> {
    ctx: &'a Ctx,
    registries: &'a Registries,
    repository: &'a Repository,
}

impl Place<'_> {
    /// The digests that tags name that stay. A manifest that one of them names must stay too: registries delete
    /// all tags of a manifest with it.
    async fn staying(
        &self,
        going: &BTreeSet<String>,
        entries: &[Entry],
        all: &[String],
    ) -> Result<BTreeMap<Digest, String>, ShelfError> {
        let known: BTreeSet<&str> = entries.iter().map(|entry| entry.tag.as_str()).collect();
        // Steps and tables of contents are no images, so no image's tag names them.
        let images = entries.iter().any(|entry| going.contains(&entry.tag) && entry.image().is_some());
        let others = all.iter().filter(|tag| images && !known.contains(tag.as_str()));
        let others = stream::iter(others).map(|tag| async move {
            let digest = self.registries.manifest_digest(self.ctx, self.repository, tag).await?;
            Ok::<_, RegistryError>(digest.map(|digest| (digest, tag.clone())))
        });
        let others: Vec<Option<(Digest, String)>> = others.buffered(AT_ONCE).try_collect().await?;
        let staying = entries.iter().filter(|entry| !going.contains(&entry.tag));
        let records = staying.map(|entry| (entry.manifest.descriptor().digest, entry.tag.clone()));
        Ok(records.chain(others.into_iter().flatten()).collect())
    }

    async fn remove(
        &self,
        going: &BTreeSet<String>,
        entries: &[Entry],
        staying: &BTreeMap<Digest, String>,
    ) -> Result<Removal, ShelfError> {
        let mut tags: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| going.contains(&entry.tag)) {
            tags.entry(entry.manifest.descriptor().digest).or_default().push(entry.tag.clone());
        }
        let mut removal = Removal::default();
        let mut selectors = Vec::new();
        for (digest, tags) in tags {
            match staying.get(&digest) {
                None => selectors.push((digest.to_string(), tags, None)),
                Some(other) => selectors
                    .extend(tags.into_iter().map(|tag| (tag.clone(), vec![tag], Some(other.clone())))),
            }
        }
        let outcomes = stream::iter(selectors).map(|(selector, tags, other)| async move {
            let outcome = self.registries.delete_manifest(self.ctx, self.repository, &selector).await;
            match (outcome, other) {
                (Ok(_), _) => Ok((tags, None)),
                // Deleting a tag alone is more than many registries can.
                (Err(error), Some(other)) if error.kind() == RegistryErrorKind::Refused => {
                    Ok((tags, Some(other)))
                }
                (Err(error), None) if error.kind() == RegistryErrorKind::Refused => {
                    Err(ShelfError::KeepsAll(self.repository.clone(), error))
                }
                (Err(error), _) => Err(error.into()),
            }
        });
        let outcomes: Vec<(Vec<String>, Option<String>)> = outcomes.buffered(AT_ONCE).try_collect().await?;
        for (tags, other) in outcomes {
            match other {
                None => removal.gone.extend(tags),
                Some(other) => removal.stayed.extend(tags.into_iter().map(|tag| (tag, other.clone()))),
            }
        }
        Ok(removal)
    }
}
