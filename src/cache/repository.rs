//! Records in a repository of a registry.

use std::sync::Arc;

use futures_util::future::{BoxFuture, try_join_all};

use crate::ctx::Ctx;
use crate::layer::BlobHome;
use crate::oci::{Descriptor, Document, Manifest, Repository, media_type};
use crate::registry::{Registries, RegistryError, RegistryErrorKind, from_bytes, from_file};

use super::backend::{CacheBackend, CacheError};
use super::record::{Record, RecordBlob, RecordName};

/// A repository whose tags are records.
pub(crate) struct RepositoryCache {
    registries: Registries,
    repository: Repository,
    /// Before each tag, where the repository also holds images.
    prefix: &'static str,
}

impl RepositoryCache {
    /// The records of `repository`.
    pub(crate) fn new(registries: Registries, repository: Repository, prefix: &'static str) -> Self {
        Self { registries, repository, prefix }
    }

    fn tag(&self, name: &RecordName) -> String {
        format!("{}{}", self.prefix, name.tag())
    }

    async fn push(&self, ctx: &Ctx, blob: &RecordBlob) -> Result<(), RegistryError> {
        let (registries, target, descriptor) = (&self.registries, &self.repository, blob.descriptor());
        match blob {
            RecordBlob::Bytes(_, bytes) => {
                // A record says when it was made, so its own bytes are new: asking first would be in vain.
                if descriptor.media_type != media_type::OCI_EMPTY {
                    registries.distrust(target, &descriptor.digest).await;
                }
                let source = from_bytes(Arc::clone(bytes));
                registries.push_blob(ctx, target, descriptor, &[], Some(source)).await?;
            }
            RecordBlob::Home(_, BlobHome::Local(path)) => {
                let source = from_file(path.clone());
                registries.push_blob(ctx, target, descriptor, &[], Some(source)).await?;
            }
            RecordBlob::Home(_, BlobHome::Remote(from)) => {
                registries.copy_blob(ctx, from, target, descriptor).await?;
            }
        }
        Ok(())
    }
}

impl CacheBackend for RepositoryCache {
    fn name(&self) -> String {
        self.repository.to_string()
    }

    fn lookup<'a>(
        &'a self,
        ctx: &'a Ctx,
        name: &'a RecordName,
    ) -> BoxFuture<'a, Result<Option<Document<Manifest>>, CacheError>> {
        Box::pin(async move {
            let found = self.registries.manifest(ctx, &self.repository, &self.tag(name)).await?;
            let Some(raw) = found else { return Ok(None) };
            // Whatever else stands under our tag is not a record of ours.
            Ok(Document::parse(&raw.media_type, raw.bytes).ok())
        })
    }

    fn store<'a>(
        &'a self,
        ctx: &'a Ctx,
        name: &'a RecordName,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<(), CacheError>> {
        Box::pin(async move {
            // What can only be had by carrying it from another registry is not worth a record: a base would
            // travel for nobody.
            let elsewhere = |blob: &RecordBlob| match blob {
                RecordBlob::Home(_, BlobHome::Remote(from)) => from.host() != self.repository.host(),
                _ => false,
            };
            if record.blobs.iter().any(elsewhere) {
                return Ok(());
            }
            try_join_all(record.blobs.iter().map(|blob| self.push(ctx, blob))).await?;
            let manifest = &record.manifest;
            let media_type = &manifest.descriptor().media_type;
            let tag = self.tag(name);
            self.registries.put_manifest(ctx, &self.repository, &tag, media_type, manifest.bytes()).await?;
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        ctx: &'a Ctx,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Arc<[u8]>, CacheError>> {
        Box::pin(async move { Ok(self.registries.blob(ctx, &self.repository, descriptor, limit).await?) })
    }

    fn check<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(), CacheError>> {
        Box::pin(async move {
            match self.registries.check_push(ctx, &self.repository).await {
                // Away now is not away when there is something to keep.
                Err(error) if error.kind() == RegistryErrorKind::Unavailable => Ok(()),
                other => Ok(other?),
            }
        })
    }

    fn home(&self, _descriptor: &Descriptor) -> Option<BlobHome> {
        // The registry took the manifest, so it had the blobs.
        Some(BlobHome::Remote(self.repository.clone()))
    }

    fn seen<'a>(&'a self, ctx: &'a Ctx, descriptor: &'a Descriptor) -> BoxFuture<'a, Option<BlobHome>> {
        Box::pin(async move {
            let readable = self.registries.is_readable(ctx, &self.repository, &descriptor.digest).await;
            // A failure to look is not a blob that is there.
            readable.is_ok_and(|readable| readable).then(|| self.home(descriptor)).flatten()
        })
    }
}

impl From<RegistryError> for CacheError {
    fn from(error: RegistryError) -> Self {
        Self(error.to_string())
    }
}
