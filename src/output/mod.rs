//! Where a finished image goes.
//!
//! An image is a value; an output brings it somewhere. Registries ([`RegistryOutput`]) take layers as soon as
//! they exist; files are written when the image is whole: an OCI layout in a folder or a tar
//! ([`write_layout`], [`write_archive`]), the tar that `docker load` reads (the same one with a
//! `manifest.json`), or its merged root file system as files or as a tar ([`write_root`],
//! [`write_root_tar`]). Blobs are read through a function that the caller gives, so nothing here knows whether
//! a layer is on this machine or in a registry; what is read is verified before anything is named.
//!
//! Outputs never change an image: the manifest's bytes go out as they are. Blobs come first, names last: who
//! finds a name finds all that it stands for.

mod archive;
mod backend;
mod export;
mod layout;
mod local;
mod names;
mod registry;

pub(crate) use archive::{ArchiveFormat, write_archive};
pub(crate) use backend::{Exported, Output, OutputError};
pub(crate) use export::{Export, OpenBlob, WriteError};
pub(crate) use layout::write_layout;
pub(crate) use local::{write_root, write_root_tar};
<<<<<<< HEAD
pub(crate) use registry::RegistryOutput;
=======

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
    fn root(&self) -> Option<&Descriptor> {
        match self.index {
            Some(index) => Some(index.descriptor()),
            None => self.images.first().map(|image| image.manifest.descriptor()),
        }
    }
}
>>>>>>> layers

#[cfg(test)]
mod tests;
