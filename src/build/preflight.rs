//! What is asked of registries before the first step is carried out.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::Caches;
use crate::ctx::Ctx;
use crate::oci::Repository;
use crate::registry::{Registries, RegistryError, RegistryErrorKind};

/// The question whether the results may be pushed, asked once. A build that finds everything never asks it.
pub(crate) struct Preflight {
    registries: Registries,
    targets: Vec<Repository>,
    begun: AtomicBool,
}

impl Preflight {
    /// Images will be pushed to `targets`.
    pub(crate) fn new(registries: Registries, targets: Vec<Repository>) -> Self {
        Self { registries, targets, begun: AtomicBool::new(false) }
    }

    /// Whether it is time to ask: true for the first who wants to know.
    pub(super) fn is_due(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed)
    }

    /// Ask. A target that will refuse the image is an error now instead of after the build; a cache that will
    /// refuse records is a warning. A registry that is away may be back until it is needed.
    pub(super) async fn ask(&self, ctx: &Ctx, caches: &Caches) -> Result<(), RegistryError> {
        for target in &self.targets {
            match self.registries.check_push(ctx, target).await {
                Err(error) if error.kind() != RegistryErrorKind::Unavailable => return Err(error),
                _ => {}
            }
        }
        caches.check(ctx).await;
        Ok(())
    }
}
