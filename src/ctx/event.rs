//! Facts that a build reports.

use std::time::Duration;

use crate::ids::StepId;
use crate::oci::Digest;

/// Something that happened. Renderers choose the words.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A base image's manifest and config are known.
    Resolved {
        /// As written in the Dockerfile.
        reference: String,
        /// The manifest's digest.
        digest: Digest,
    },
    /// The build context was read.
    ContextScanned {
        /// Its name: `context` or a named context.
        name: String,
        /// Files that instructions select.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A file or a repository was fetched from another machine.
    Fetched {
        /// Its address, without secrets.
        source: String,
        /// Its digest, or its commit.
        identity: String,
        /// Its bytes, of a file.
        size: Option<u64>,
    },
    /// How RUN steps are isolated, and why so.
    IsolationChosen {
        /// The backend's name.
        backend: String,
        /// What the probe found.
        reason: String,
    },
    /// The plan is closed: how many steps the needed stages have.
    Planned {
        /// Steps that make or may make a layer, of all needed stages.
        steps: usize,
        /// Names of the stages that no instruction needs.
        skipped: Vec<String>,
    },
    /// The whole build was found in the cache.
    BuildCached {
        /// The manifest.
        digest: Digest,
    },
    /// A stage as a whole was found in the cache.
    StageCached {
        /// Name or number.
        stage: String,
    },
    /// A step's result was found in the cache.
    StepCached {
        /// Which.
        step: StepId,
        /// `stage name`, `n/m`, and the instruction: `[builder 2/5] RUN make`.
        name: String,
    },
    /// A step is carried out.
    StepStarted {
        /// Which.
        step: StepId,
        /// As in [`Event::StepCached`].
        name: String,
        /// Why the cache did not have it.
        reason: MissReason,
    },
    /// A RUN wrote something.
    StepOutput {
        /// Which.
        step: StepId,
        /// Where to.
        stream: OutputStream,
        /// What, as it came (not necessarily whole lines, not necessarily UTF-8).
        bytes: Vec<u8>,
    },
    /// A step was carried out.
    StepFinished {
        /// Which.
        step: StepId,
        /// How long it took.
        elapsed: Duration,
        /// The layer's compressed size; `None` when nothing changed.
        layer: Option<u64>,
    },
    /// A step could not be carried out. The error follows as the build's result.
    StepFailed {
        /// Which.
        step: StepId,
        /// How long it took.
        elapsed: Duration,
    },
    /// A blob reached a registry, or was found to be there.
    BlobPushed {
        /// The repository.
        repository: String,
        /// The blob.
        digest: Digest,
        /// Its bytes.
        size: u64,
        /// How.
        how: Transfer,
    },
    /// A blob was fetched from a registry.
    BlobPulled {
        /// The repository.
        repository: String,
        /// The blob.
        digest: Digest,
        /// Its bytes.
        size: u64,
    },
    /// A tag names the image now.
    Tagged {
        /// The reference, or the path of a file or folder.
        name: String,
        /// The manifest or index.
        digest: Digest,
    },
    /// Something that the user should know and that does not stop the build.
    Warning {
        /// One line.
        message: String,
    },
}

/// Why a step was not in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissReason {
    /// No record has this key.
    NotRecorded,
    /// `--no-cache` or `--no-cache-filter` asked for it.
    CacheDisabled,
    /// The record was made on top of layers that are not the present ones.
    OtherParent,
    /// The record is older than `--cache-ttl` allows.
    Expired,
}

/// Where a RUN wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a blob came to be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// Who listens. Called in order, never at the same time for one build.
pub trait EventSink: Send + Sync {
    /// Take note of `event`.
    fn event(&self, event: &Event);
}
