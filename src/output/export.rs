//! What is written down, and why it could not be.

use std::io::{self, Read};

use crate::layer::{Image, Layer, ReadLayerError};
use crate::oci::{Descriptor, Digest, Document, Index};

/// Opens a layer's blob for reading, as it is stored.
pub(crate) type OpenBlob<'a> = dyn Fn(&Layer) -> io::Result<Box<dyn Read + Send>> + 'a;

/// What is written down: one image, or an index with the images of several platforms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export<'a> {
    /// The images; exactly one when there is no index.
    pub(crate) images: &'a [Image],
    /// The index over them.
    pub(crate) index: Option<&'a Document<Index>>,
    /// Whole references or plain tags to put it under; may be empty.
    pub(crate) names: &'a [String],
}

/// An image could not be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// A layer could not be read.
    #[error("read layer {digest}: {source}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A layer could not be unpacked.
    #[error("unpack layer {digest}: {source}")]
    Unpack {
        /// The blob.
        digest: Digest,
        /// Why.
        source: ReadLayerError,
    },
    /// The destination.
    #[error("write {what}: {source}")]
    Write {
        /// Which file or part.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The destination is a layout that can not be written to.
    #[error(transparent)]
    Layout(#[from] crate::blob::LayoutError),
    /// The format holds one platform.
    #[error("{0} holds images of one platform: build one with --platform, or choose an OCI layout")]
    OnePlatform(&'static str),
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] crate::ctx::Cancelled),
}

impl Export<'_> {
    /// What the names stand for.
    pub(super) fn root(&self) -> Option<&Descriptor> {
        match self.index {
            Some(index) => Some(index.descriptor()),
            None => self.images.first().map(|image| image.manifest.descriptor()),
        }
    }
}
