//! The door: build an image, push an image.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ctx::EventSink;
use crate::error::{Error, ErrorKind};
use crate::oci::{Descriptor, Digest, Platform};
use crate::request::{BuildRequest, PushRequest};

/// Builds and pushes images.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    cancel: CancellationToken,
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// The manifest.
    pub manifest: Descriptor,
    /// The config blob.
    pub config_digest: Digest,
    /// The image's platform.
    pub platform: Platform,
    /// Names that it has now: references, paths.
    pub names: Vec<String>,
    /// Steps found in the cache.
    pub cached_steps: usize,
    /// Steps carried out.
    pub executed_steps: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct PushReport {
    /// The manifest or index.
    pub manifest: Descriptor,
    /// References that name it now.
    pub names: Vec<String>,
}

impl Builder {
    /// A builder that stops when `cancel` fires.
    pub fn new(cancel: CancellationToken) -> Self {
        Self { cancel }
    }

    /// Build an image and bring it where the request says.
    ///
    /// # Errors
    ///
    /// [`Error::kind`] tells whose fault it was; nothing half-written is left behind.
    pub async fn build(
        &self,
        request: BuildRequest,
        events: Arc<dyn EventSink>,
    ) -> Result<BuildReport, Error> {
        let _ = (request, events, &self.cancel);
        Err(Error::new(ErrorKind::Internal, "the engine is not connected"))
    }

    /// Send an image that exists to registries, its bytes as they are.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub async fn push(&self, request: PushRequest, events: Arc<dyn EventSink>) -> Result<PushReport, Error> {
        let _ = (request, events, &self.cancel);
        Err(Error::new(ErrorKind::Internal, "the engine is not connected"))
    }
}
