//! What a cache is asked, and asking several.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, join_all};

use crate::ctx::{Ctx, now};
use crate::layer::BlobHome;
use crate::oci::{Descriptor, Document, Manifest};

use super::record::{self, Record, RecordName, StepRecord};

/// A place for records.
pub(crate) trait CacheBackend: Send + Sync {
    /// How people know it: a repository, a path.
    fn name(&self) -> String;

    /// The record of this name; `None` when there is none.
    fn lookup<'a>(
        &'a self,
        ctx: &'a Ctx,
        name: &'a RecordName,
    ) -> BoxFuture<'a, Result<Option<Document<Manifest>>, CacheError>>;

    /// Keep a record. Doing it twice is the same as doing it once.
    fn store<'a>(
        &'a self,
        ctx: &'a Ctx,
        name: &'a RecordName,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<(), CacheError>>;

    /// A small blob of a record, verified; refused when larger than `limit` bytes.
    fn read<'a>(
        &'a self,
        ctx: &'a Ctx,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Arc<[u8]>, CacheError>>;

    /// Where a record's blob is; `None` when the cache does not have it. Nobody is asked, so a blob that was
    /// taken away since is given a home all the same.
    fn home(&self, descriptor: &Descriptor) -> Option<BlobHome>;

    /// Where a record's blob is, having looked.
    fn seen<'a>(&'a self, ctx: &'a Ctx, descriptor: &'a Descriptor) -> BoxFuture<'a, Option<BlobHome>>;

    /// Whether records may be kept, found out without keeping one.
    fn check<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(), CacheError>> {
        let _ = ctx;
        Box::pin(async { Ok(()) })
    }

    /// Make what was stored visible to other builds, where storing alone does not.
    fn flush(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

/// A cache could not be read or written. Never fatal: a miss, or a warning.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CacheError(pub(crate) String);

/// A record that was found, and where.
#[derive(Clone)]
pub(crate) struct Found {
    /// The manifest.
    pub(crate) manifest: Document<Manifest>,
    /// Who has it.
    pub(crate) backend: Arc<dyn CacheBackend>,
}

/// What is done with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Read,
    Write,
}

/// All caches of a build.
#[derive(Clone, Default)]
pub(crate) struct Caches {
    readers: Vec<Arc<dyn CacheBackend>>,
    writers: Vec<Arc<dyn CacheBackend>>,
    /// Caches that failed, by name and by what failed; each is reported once and left alone in this build. A
    /// cache that may not be written can still be read.
    failed: Arc<Mutex<BTreeSet<(String, Way)>>>,
    /// Older records are misses, in seconds.
    ttl: Option<i64>,
}

impl Caches {
    /// Look up in `readers` in their order, write to all `writers`. Records older than `ttl` seconds serve
    /// nobody.
    pub(crate) fn new(
        readers: Vec<Arc<dyn CacheBackend>>,
        writers: Vec<Arc<dyn CacheBackend>>,
        ttl: Option<i64>,
    ) -> Self {
        Self { readers, writers, failed: Arc::default(), ttl }
    }

    /// Whether a record is too old to serve. Of an image `time` is when its newest part was made, which is
    /// never later than its recording: an image that is young by it is a young record.
    pub(crate) fn is_expired(&self, time: Option<i64>) -> bool {
        is_expired(self.ttl, time, now())
    }

    /// The record of this name in the first cache that has it.
    pub(crate) async fn lookup(&self, ctx: &Ctx, name: &RecordName) -> Option<Found> {
        for backend in &self.readers {
            if self.has_failed(backend.as_ref(), Way::Read) {
                continue;
            }
            match backend.lookup(ctx, name).await {
                Ok(Some(manifest)) => return Some(Found { manifest, backend: Arc::clone(backend) }),
                Ok(None) => {}
                Err(error) => self.fail(ctx, backend.as_ref(), Way::Read, &error),
            }
        }
        None
    }

    /// Keep a record in all caches that are written to.
    pub(crate) async fn store(&self, ctx: &Ctx, name: &RecordName, record: &Record) {
        join_all(self.working_writers().map(|backend| async move {
            if let Err(error) = backend.store(ctx, name, record).await {
                self.fail(ctx, backend.as_ref(), Way::Write, &error);
            }
        }))
        .await;
    }

    /// Find out whether records can be kept, so that whoever waits for them hears of it early.
    pub(crate) async fn check(&self, ctx: &Ctx) {
        join_all(self.working_writers().map(|backend| async move {
            if let Err(error) = backend.check(ctx).await {
                self.fail(ctx, backend.as_ref(), Way::Write, &error);
            }
        }))
        .await;
    }

    /// Make what was stored visible to other builds. Called once, whatever the build came to.
    pub(crate) fn flush(&self, ctx: &Ctx) {
        for backend in &self.writers {
            if let Err(error) = backend.flush() {
                self.fail(ctx, backend.as_ref(), Way::Write, &error);
            }
        }
    }

    /// Whether anything is written.
    pub(crate) fn is_written(&self) -> bool {
        !self.writers.is_empty()
    }

    fn working_writers(&self) -> impl Iterator<Item = &Arc<dyn CacheBackend>> {
        self.writers.iter().filter(|backend| !self.has_failed(backend.as_ref(), Way::Write))
    }

    fn has_failed(&self, backend: &dyn CacheBackend, way: Way) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).contains(&(backend.name(), way))
    }

    fn fail(&self, ctx: &Ctx, backend: &dyn CacheBackend, way: Way, error: &CacheError) {
        if ctx.is_cancelled() {
            return;
        }
        let name = backend.name();
        let first = self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert((name.clone(), way));
        if first {
            let what = match way {
                Way::Read => "read",
                Way::Write => "written",
            };
            ctx.warn(format!("cache {name} can not be {what} and is left alone: {error}"));
        }
    }
}

/// Whether `time` is more than `ttl` before `now`. Nothing is known of a time that was never stated, or is not
/// yet: that is expired too.
fn is_expired(ttl: Option<i64>, time: Option<i64>, now: i64) -> bool {
    /// Clocks of two machines differ.
    const SKEW: i64 = 300;
    let age = |time: i64| now.saturating_sub(time);
    ttl.is_some_and(|ttl| time.is_none_or(|time| age(time) > ttl || age(time) < -SKEW))
}

impl Found {
    /// The record as a step's; `None` when it is something else or damaged.
    pub(crate) async fn step(&self, ctx: &Ctx) -> Option<StepRecord> {
        /// Inputs of a step may list many files; a record larger than this is not ours.
        const LIMIT: u64 = 16 << 20;
        if !record::is_step(self.manifest.value()) {
            return None;
        }
        let bytes = self.backend.read(ctx, &self.manifest.value().config, LIMIT).await.ok()?;
        let step: StepRecord = serde_json::from_slice(&bytes).ok()?;
        (step.diff_id.is_some() == (self.manifest.value().layers.len() == 1)).then_some(step)
    }

    /// A small blob of the record.
    pub(crate) async fn blob(
        &self,
        ctx: &Ctx,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Arc<[u8]>, CacheError> {
        self.backend.read(ctx, descriptor, limit).await
    }

    /// Where a blob of the record is; `None` when the cache does not have it.
    pub(crate) fn home(&self, descriptor: &Descriptor) -> Option<BlobHome> {
        self.backend.home(descriptor)
    }

    /// The same, having looked: a record outlives its blobs.
    pub(crate) async fn seen(&self, ctx: &Ctx, descriptor: &Descriptor) -> Option<BlobHome> {
        self.backend.seen(ctx, descriptor).await
    }
}

#[cfg(test)]
mod tests {
    use super::is_expired;

    #[test]
    fn records_expire_after_their_time_and_never_without_a_limit() {
        let (now, day) = (1_000_000, 86_400);
        for (ttl, time, expected) in [
            (None, None, false),
            (None, Some(0), false),
            (Some(day), Some(now), false),
            (Some(day), Some(now - day), false),
            (Some(day), Some(now - day - 1), true),
            (Some(day), Some(now + 60), false),
            // A file from the future makes no image young for ever.
            (Some(day), Some(now + day), true),
            (Some(day), None, true),
            (Some(0), Some(now - 1), true),
        ] {
            assert_eq!(is_expired(ttl, time, now), expected, "{ttl:?} {time:?}");
        }
    }
}
