//! Layers and images as values.

use std::path::PathBuf;

use crate::oci::{Descriptor, DiffId, Document, ImageConfig, Manifest, Repository};

/// Where a blob can be had from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlobHome {
    /// A file on this machine.
    Local(PathBuf),
    /// A repository of a registry; another repository of the same registry can mount it from there.
    Remote(Repository),
}

/// A layer: its blob and the digest of its tar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    /// The digest of the uncompressed tar.
    pub(crate) diff_id: DiffId,
    /// Media type, digest and size of the blob.
    pub(crate) descriptor: Descriptor,
    /// Where the blob is.
    pub(crate) home: BlobHome,
}

/// An image with its layers, bottom first.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The manifest, whose bytes are the image.
    pub(crate) manifest: Document<Manifest>,
    /// The config.
    pub(crate) config: Document<ImageConfig>,
    /// As many as the manifest lists, in its order.
    pub(crate) layers: Vec<Layer>,
}
