//! Base images: manifests and configs, never layers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::blob::Layout;
use crate::ctx::{Ctx, Event};
use crate::layer::{BlobHome, Layer};
use crate::oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Manifest, Platform, Reference, Repository, media_type,
};
use crate::plan::ImageKey;
use crate::registry::Registries;

use super::error::BuildError;

/// Largest config that is read, in bytes (containers/image has the same limit).
const CONFIG_LIMIT: u64 = 4 << 20;
/// Deepest nesting of indexes.
const INDEX_DEPTH: usize = 4;

/// An image whose manifest and config are known.
#[derive(Clone, Debug)]
pub(crate) struct BaseImage {
    /// The manifest.
    pub(crate) manifest: Document<Manifest>,
    /// The config.
    pub(crate) config: Document<ImageConfig>,
    /// The layers, bottom first.
    pub(crate) layers: Vec<Layer>,
}

/// What may stand for an image's name.
#[derive(Clone, Debug)]
pub(crate) enum Substitute {
    /// Another image.
    Image(Reference),
    /// An image of a layout directory, by name or alone.
    Layout(PathBuf, Option<String>),
}

/// Finds images.
pub(crate) struct Resolver {
    /// For images of registries.
    pub(crate) registries: Registries,
    /// `--build-context` images by name.
    pub(crate) substitutes: BTreeMap<String, Substitute>,
    /// The local store, looked up first unless `--pull` says otherwise.
    pub(crate) store: Option<Layout>,
}

/// Where an image's documents are read from.
enum Place {
    Registry(Repository),
    Layout(Layout),
}

impl Resolver {
    /// Manifest and config of all `keys`, at the same time.
    pub(crate) async fn resolve(
        &self,
        ctx: &Ctx,
        keys: impl IntoIterator<Item = ImageKey>,
    ) -> Result<BTreeMap<ImageKey, BaseImage>, (ImageKey, BuildError)> {
        let images = try_join_all(keys.into_iter().map(|key| async move {
            let image = match self.image(ctx, &key).await {
                Ok(image) => image,
                Err(error) => return Err((key, error)),
            };
            ctx.emit(&Event::Resolved {
                reference: key.name.clone(),
                digest: image.manifest.descriptor().digest,
            });
            Ok((key, image))
        }))
        .await?;
        Ok(images.into_iter().collect())
    }

    async fn image(&self, ctx: &Ctx, key: &ImageKey) -> Result<BaseImage, BuildError> {
        let reference = match self.substitutes.get(&key.name) {
            Some(Substitute::Layout(path, name)) => return of_layout(ctx, path, name.as_deref(), key).await,
            Some(Substitute::Image(reference)) => reference.clone(),
            // scan() checked the grammar of names that are no named context.
            None => key
                .name
                .parse()
                .map_err(|error: crate::oci::ReferenceError| missing(error.to_string(), None))?,
        };
        if let Some(store) = &self.store
            && let Some(found) = store.lookup(&reference.to_string())?
        {
            return load(ctx, &Place::Layout(store.clone()), found, key, 0).await;
        }
        let repository = &reference.repository;
        let Some(raw) = self.registries.manifest(ctx, repository, &reference.selector()).await? else {
            let (name, host) = (&key.name, repository.host());
            let message =
                format!("base image {name} does not exist: registry {host} answered 404 for {reference}");
            return Err(missing(message, None));
        };
        let descriptor = Descriptor::of(&*raw.media_type, &raw.bytes);
        let place = Place::Registry(repository.clone());
        from_bytes(ctx, &self.registries, &place, descriptor, raw.bytes, key, 0).await
    }
}

async fn of_layout(
    ctx: &Ctx,
    path: &std::path::Path,
    name: Option<&str>,
    key: &ImageKey,
) -> Result<BaseImage, BuildError> {
    let layout = Layout::open(path)?;
    let found = match name {
        Some(name) => layout.lookup(name)?,
        None => match layout.index()?.value().manifests.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        },
    };
    let Some(found) = found else {
        let what = name
            .map_or_else(|| "more or less than one image".to_owned(), |name| format!("no image {name:?}"));
        return Err(missing(format!("named context {}: {} has {what}", key.name, path.display()), None));
    };
    load(ctx, &Place::Layout(layout), found, key, 0).await
}

fn missing(message: String, hint: Option<String>) -> BuildError {
    BuildError::Image { message, hint }
}

/// Read the document `descriptor` of a layout and go on from there.
async fn load(
    ctx: &Ctx,
    place: &Place,
    descriptor: Descriptor,
    key: &ImageKey,
    depth: usize,
) -> Result<BaseImage, BuildError> {
    let Place::Layout(layout) = place else { return Err(missing("not a layout".to_owned(), None)) };
    let bytes =
        layout.read(&descriptor, CONFIG_LIMIT).map_err(BuildError::io(format!("read image {}", key.name)))?;
    Box::pin(document(ctx, None, place, descriptor, bytes.into(), key, depth)).await
}

async fn from_bytes(
    ctx: &Ctx,
    registries: &Registries,
    place: &Place,
    descriptor: Descriptor,
    bytes: Arc<[u8]>,
    key: &ImageKey,
    depth: usize,
) -> Result<BaseImage, BuildError> {
    document(ctx, Some(registries), place, descriptor, bytes, key, depth).await
}

/// An index leads to the manifest of the platform, a manifest to its config.
async fn document(
    ctx: &Ctx,
    registries: Option<&Registries>,
    place: &Place,
    descriptor: Descriptor,
    bytes: Arc<[u8]>,
    key: &ImageKey,
    depth: usize,
) -> Result<BaseImage, BuildError> {
    let broken = |error: &dyn std::fmt::Display| missing(format!("image {}: {error}", key.name), None);
    if media_type::is_index(&descriptor.media_type) {
        if depth >= INDEX_DEPTH {
            return Err(broken(&format!("indexes are nested more than {INDEX_DEPTH} deep")));
        }
        let index: Document<Index> =
            Document::parse(&descriptor.media_type, bytes).map_err(|error| broken(&error))?;
        let child = choose(index.value(), &key.platform).ok_or_else(|| no_platform(key, index.value()))?;
        return match (place, registries) {
            (Place::Registry(repository), Some(registries)) => {
                let selector = child.digest.to_string();
                let raw = registries.manifest(ctx, repository, &selector).await?;
                let raw = raw.ok_or_else(|| {
                    missing(
                        format!("image {}: its index names {selector}, which is not there", key.name),
                        None,
                    )
                })?;
                let descriptor = Descriptor::of(&*raw.media_type, &raw.bytes);
                Box::pin(document(ctx, Some(registries), place, descriptor, raw.bytes, key, depth + 1)).await
            }
            _ => load(ctx, place, child, key, depth + 1).await,
        };
    }
    let manifest: Document<Manifest> =
        Document::parse(&descriptor.media_type, bytes).map_err(|error| broken(&error))?;
    let wanted = &manifest.value().config;
    let config: Arc<[u8]> = match (place, registries) {
        (Place::Registry(repository), Some(registries)) => {
            registries.blob(ctx, repository, wanted, CONFIG_LIMIT).await?
        }
        (Place::Layout(layout), _) => layout
            .read(wanted, CONFIG_LIMIT)
            .map_err(BuildError::io(format!("read the config of image {}", key.name)))?
            .into(),
        (Place::Registry(_), None) => return Err(broken(&"no registry")),
    };
    let config: Document<ImageConfig> =
        Document::parse(&wanted.media_type, config).map_err(|error| broken(&error))?;
    let diff_ids = &config.value().rootfs.diff_ids;
    let descriptors = &manifest.value().layers;
    if diff_ids.len() != descriptors.len() {
        let (layers, ids) = (descriptors.len(), diff_ids.len());
        return Err(broken(&format!("the manifest has {layers} layers and the config {ids} diff IDs")));
    }
    warn_platform(ctx, key, config.value());
    let layers = descriptors.iter().zip(diff_ids).map(|(descriptor, diff_id)| Layer {
        diff_id: *diff_id,
        descriptor: descriptor.clone(),
        home: match place {
            Place::Registry(repository) => BlobHome::Remote(repository.clone()),
            Place::Layout(layout) => BlobHome::Local(layout.path(&descriptor.digest)),
        },
    });
    let layers = layers.collect();
    Ok(BaseImage { manifest, config, layers })
}

/// A single image of another platform is used as it is, as every builder does.
fn warn_platform(ctx: &Ctx, key: &ImageKey, config: &ImageConfig) {
    let have = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    if !config.os.is_empty() && !config.architecture.is_empty() && key.platform.rank(&have).is_none() {
        ctx.warn(format!("base image {} is for {have}, not for {}", key.name, key.platform));
    }
}

/// The image of an index that serves `platform` best; the first of equals.
fn choose(index: &Index, platform: &Platform) -> Option<Descriptor> {
    let ranked = index.manifests.iter().filter_map(|entry| {
        // Attestations of BuildKit are manifests of an unknown platform.
        let offered = entry.platform.as_ref()?;
        Some((platform.rank(offered)?, entry))
    });
    let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry.clone());
    // An index of one image without a platform is that image.
    best.or_else(|| match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Some(only.clone()),
        _ => None,
    })
}

fn no_platform(key: &ImageKey, index: &Index) -> BuildError {
    let offered: Vec<String> = index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    let message =
        format!("image {} has no image for {}: it has {}", key.name, key.platform, offered.join(", "));
    missing(message, Some("choose one with --platform".to_owned()))
}

/// The digests of the layers of all images: where a cache names a layer that it lacks, it is one of these.
pub(crate) fn homes(images: &BTreeMap<ImageKey, BaseImage>) -> BTreeMap<Digest, BlobHome> {
    images
        .values()
        .flat_map(|image| &image.layers)
        .map(|layer| (layer.descriptor.digest, layer.home.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[Option<&str>]) -> Index {
        let entry = |(position, platform): (usize, &Option<&str>)| {
            let mut entry = Descriptor::of(media_type::OCI_MANIFEST, position.to_string().as_bytes());
            entry.platform = platform.map(|text| text.parse().unwrap());
            entry
        };
        Index {
            schema_version: 2,
            media_type: None,
            manifests: platforms.iter().enumerate().map(entry).collect(),
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    #[test]
    fn the_best_image_for_the_platform_is_chosen_whatever_its_place() {
        let list = index(&[Some("linux/arm/v6"), Some("linux/arm64"), Some("linux/arm/v7"), None]);
        let chosen = |platform: &str| {
            let found = choose(&list, &platform.parse().unwrap())?;
            list.manifests.iter().position(|entry| entry.digest == found.digest)
        };
        assert_eq!(chosen("linux/arm/v7"), Some(2));
        assert_eq!(chosen("linux/arm64"), Some(1));
        assert_eq!(chosen("linux/amd64"), None);
        assert!(choose(&index(&[None]), &"linux/amd64".parse().unwrap()).is_some());
    }
}
