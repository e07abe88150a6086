//! Images into registries.

use std::sync::Arc;

use futures_util::future::{BoxFuture, try_join_all};

use crate::ctx::{Ctx, Event};
use crate::layer::{BlobHome, Image, Layer};
use crate::oci::{Descriptor, Digest, Reference, Repository};
use crate::registry::{Registries, RegistryError, from_bytes, from_file};

use super::backend::{Exported, Output, OutputError};

/// Pushes to some references.
pub(crate) struct RegistryOutput {
    registries: Registries,
    references: Vec<Reference>,
    /// Where the blobs of a record found in the cache may be mounted from, besides their own homes.
    mount_from: Vec<Repository>,
}

impl RegistryOutput {
    /// Push under all of `references`.
    pub(crate) fn new(
        registries: Registries,
        references: Vec<Reference>,
        mount_from: Vec<Repository>,
    ) -> Self {
        Self { registries, references, mount_from }
    }

    /// Each repository once.
    fn repositories(&self) -> Vec<&Repository> {
        let mut list: Vec<&Repository> =
            self.references.iter().map(|reference| &reference.repository).collect();
        list.sort();
        list.dedup();
        list
    }

    async fn send(
        &self,
        ctx: &Ctx,
        target: &Repository,
        descriptor: &Descriptor,
        content: &Content,
    ) -> Result<(), RegistryError> {
        let on_host = |repository: &&Repository| repository.host() == target.host() && *repository != target;
        let sources: Vec<Repository> = self.mount_from.iter().filter(on_host).cloned().collect();
        let source = match content {
            Content::Bytes(bytes) => from_bytes(Arc::clone(bytes)),
            Content::Home(BlobHome::Local(path)) => from_file(path.clone()),
            Content::Home(BlobHome::Remote(from)) => {
                // Within a registry this is a mount, or, where it does not mount, through this machine.
                self.registries.copy_blob(ctx, from, target, descriptor).await?;
                return Ok(());
            }
        };
        self.registries.push_blob(ctx, target, descriptor, &sources, Some(source)).await?;
        Ok(())
    }

    async fn send_all(&self, ctx: &Ctx, target: &Repository, image: &Image) -> Result<(), RegistryError> {
        let config = Content::Bytes(Arc::clone(image.config.bytes()));
        let config = self.send(ctx, target, image.config.descriptor(), &config);
        let layers = try_join_all(image.layers.iter().map(|layer| async move {
            self.send(ctx, target, &layer.descriptor, &Content::Home(layer.home.clone())).await
        }));
        let (config, layers) = futures_util::future::join(config, layers).await;
        config?;
        layers?;
        Ok(())
    }

    /// Have all blobs of `image` in `target`. What was mounted, or said to be there, must be readable: a
    /// registry's word that it has a blob may be older than the blob's end.
    async fn bring(&self, ctx: &Ctx, target: &Repository, image: &Image) -> Result<(), RegistryError> {
        self.send_all(ctx, target, image).await?;
        let lost = try_join_all(blobs(image).map(|blob| self.is_lost(ctx, target, &blob.digest))).await?;
        if lost.contains(&true) {
            self.send_all(ctx, target, image).await?;
        }
        Ok(())
    }

    /// Whether the blob can not be read from `target`; then it will be sent the next time, whatever the
    /// registry says.
    async fn is_lost(&self, ctx: &Ctx, target: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let readable = self.registries.is_readable(ctx, target, digest).await?;
        if !readable {
            self.registries.distrust(target, digest).await;
        }
        Ok(!readable)
    }

    /// Tag the image in one repository. Where the tag names it already, no blob is asked for: the registry
    /// looks for them itself when it is given the manifest once more.
    async fn tag(&self, ctx: &Ctx, reference: &Reference, image: &Image) -> Result<(), RegistryError> {
        let manifest = &image.manifest;
        let digest = manifest.descriptor().digest;
        // A digest of its own is how the images of an index are pushed.
        let selector = reference.tag.clone().unwrap_or_else(|| reference.selector());
        let target = &reference.repository;
        if self.registries.manifest_digest(ctx, target, &selector).await? != Some(digest) {
            self.bring(ctx, target, image).await?;
        }
        let media_type = &manifest.descriptor().media_type;
        let put = || self.registries.put_manifest(ctx, target, &selector, media_type, manifest.bytes());
        match put().await {
            // What was said to be present is not: forget that, send again, once.
            Err(RegistryError::BlobsUnknown { digests, .. }) => {
                let unknown = |blob: &&Descriptor| digests.is_empty() || digests.contains(&blob.digest);
                for blob in blobs(image).filter(unknown) {
                    self.registries.distrust(target, &blob.digest).await;
                }
                self.bring(ctx, target, image).await?;
                put().await?;
            }
            other => _ = other?,
        }
        ctx.emit(&Event::Tagged { name: reference.to_string(), digest });
        Ok(())
    }
}

/// The blobs that the manifest of `image` names.
fn blobs(image: &Image) -> impl Iterator<Item = &Descriptor> {
    std::iter::once(image.config.descriptor()).chain(image.layers.iter().map(|layer| &layer.descriptor))
}

/// Where a blob's bytes are.
enum Content {
    Bytes(Arc<[u8]>),
    Home(BlobHome),
}

impl Output for RegistryOutput {
    fn offer<'a>(&'a self, ctx: &'a Ctx, layer: &'a Layer) -> BoxFuture<'a, Result<(), OutputError>> {
        Box::pin(async move {
            for target in self.repositories() {
                self.send(ctx, target, &layer.descriptor, &Content::Home(layer.home.clone())).await?;
            }
            Ok(())
        })
    }

    fn export<'a>(&'a self, ctx: &'a Ctx, image: &'a Image) -> BoxFuture<'a, Result<Exported, OutputError>> {
        Box::pin(async move {
            let mut names = Vec::new();
            for reference in &self.references {
                self.tag(ctx, reference, image).await?;
                names.push(reference.to_string());
            }
            Ok(Exported { names })
        })
    }
}
