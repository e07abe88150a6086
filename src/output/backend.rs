//! Where a finished image goes.

use futures_util::future::BoxFuture;

use crate::ctx::Ctx;
use crate::layer::{Image, Layer};

/// A place for images.
pub(crate) trait Output: Send + Sync {
    /// A layer that the image will have: outputs that send bytes begin now.
    fn offer<'a>(&'a self, ctx: &'a Ctx, layer: &'a Layer) -> BoxFuture<'a, Result<(), OutputError>>;

    /// Bring the image there. Blobs first, names last.
    fn export<'a>(&'a self, ctx: &'a Ctx, image: &'a Image) -> BoxFuture<'a, Result<Exported, OutputError>>;
}

/// What an export did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exported {
    /// Names that the image has there: references or paths.
    pub(crate) names: Vec<String>,
}

/// An export failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OutputError {
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// A file or folder could not be written.
    #[error(transparent)]
    Write(#[from] super::WriteError),
    /// The local store or a layout directory failed.
    #[error(transparent)]
    Layout(#[from] crate::blob::LayoutError),
}
