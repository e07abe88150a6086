//! Records in a folder: an OCI image layout whose names are record tags.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use crate::blob::{Layout, LayoutLock};
use crate::ctx::Ctx;
use crate::layer::BlobHome;
use crate::oci::{Descriptor, Document, Manifest};

use super::backend::{CacheBackend, CacheError};
use super::record::{Record, RecordBlob, RecordName};

/// Largest manifest that is read, in bytes: what registries accept at least.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// A folder of records.
pub(crate) struct FolderCache {
    layout: Layout,
    /// The folder's names, read once. Other processes' later records are seen by the next build.
    known: Mutex<Option<BTreeMap<String, Descriptor>>>,
    /// Names whose blobs are in the folder already. Each rewrites the folder's index, so they are written
    /// together by `flush`.
    pending: Mutex<BTreeMap<String, Descriptor>>,
    /// Blobs that were found or put here are to stay until the build is done with them.
    _lock: Option<LayoutLock>,
}

impl FolderCache {
    /// The records of `layout`.
    pub(crate) fn new(layout: Layout) -> Self {
        let lock = layout.share();
        Self { layout, known: Mutex::default(), pending: Mutex::default(), _lock: lock }
    }

    fn find(&self, tag: &str) -> Result<Option<Descriptor>, CacheError> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).get(tag).cloned();
        if pending.is_some() {
            return Ok(pending);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let names = match &mut *known {
            Some(names) => names,
            None => known.insert(self.layout.tags()?.into_iter().collect()),
        };
        Ok(names.get(tag).cloned())
    }

    fn load(&self, tag: &str) -> Result<Option<Document<Manifest>>, CacheError> {
        let Some(descriptor) = self.find(tag)? else { return Ok(None) };
        let Ok(bytes) = self.layout.read(&descriptor, MANIFEST_LIMIT) else { return Ok(None) };
        Ok(Document::parse(&descriptor.media_type, bytes).ok())
    }

    fn keep(layout: &Layout, record: &Record) -> Result<(), CacheError> {
        for blob in &record.blobs {
            match blob {
                RecordBlob::Bytes(_, bytes) => _ = layout.put(bytes)?,
                RecordBlob::Home(descriptor, BlobHome::Local(path)) => adopt(layout, descriptor, path)?,
                // Layers of bases stay where they are: `home` says that they are not here.
                RecordBlob::Home(_, BlobHome::Remote(_)) => {}
            }
        }
        layout.put(record.manifest.bytes())?;
        Ok(())
    }
}

/// Have the blob in `layout`: by a second name of the file where the disk allows, else by its bytes.
fn adopt(layout: &Layout, descriptor: &Descriptor, path: &Path) -> Result<(), CacheError> {
    let target = layout.path(&descriptor.digest);
    if target == path || layout.has(descriptor) || std::fs::hard_link(path, &target).is_ok() {
        return Ok(());
    }
    layout.put_stream(descriptor, &mut std::fs::File::open(path)?)?;
    Ok(())
}

impl CacheBackend for FolderCache {
    fn name(&self) -> String {
        self.layout.root().display().to_string()
    }

    fn lookup<'a>(
        &'a self,
        ctx: &'a Ctx,
        name: &'a RecordName,
    ) -> BoxFuture<'a, Result<Option<Document<Manifest>>, CacheError>> {
        let _ = ctx;
        // A few small reads of files that were just written or are in the page cache.
        Box::pin(async move { self.load(&name.tag()) })
    }

    fn store<'a>(
        &'a self,
        ctx: &'a Ctx,
        name: &'a RecordName,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<(), CacheError>> {
        Box::pin(async move {
            let (layout, kept) = (self.layout.clone(), record.clone());
            ctx.blocking(move || Self::keep(&layout, &kept)).await?;
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.insert(name.tag(), record.manifest.descriptor().clone());
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        ctx: &'a Ctx,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Arc<[u8]>, CacheError>> {
        let _ = ctx;
        Box::pin(async move { Ok(self.layout.read(descriptor, limit)?.into()) })
    }

    fn home(&self, descriptor: &Descriptor) -> Option<BlobHome> {
        self.layout.has(descriptor).then(|| BlobHome::Local(self.layout.path(&descriptor.digest)))
    }

    fn seen<'a>(&'a self, ctx: &'a Ctx, descriptor: &'a Descriptor) -> BoxFuture<'a, Option<BlobHome>> {
        let _ = ctx;
        Box::pin(async move { self.home(descriptor) })
    }

    fn flush(&self) -> Result<(), CacheError> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if !pending.is_empty() {
            self.layout.tag_all(&pending)?;
        }
        Ok(())
    }
}

impl From<crate::blob::LayoutError> for CacheError {
    fn from(error: crate::blob::LayoutError) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for CacheError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
