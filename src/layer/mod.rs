//! Layers: change sets as tar blobs, and blobs as change sets or directories.
//!
//! [`pack`] writes a change set as a layer in one pass (tar → diff ID → compressor → digest → blob);
//! [`unpack`] lays a layer's tar out as a directory for an overlay; [`diff`] reads what a RUN changed from
//! the overlay's upper directory; [`toc`] keeps a layer's metadata without its bytes. Layers are
//! deterministic: the same change set gives the same bytes, whatever the machine or the number of threads.
//!
//! Layers know nothing of registries, images' configs or steps.

mod diff;
mod extract;
mod image;
mod members;
mod pack;
pub(crate) mod rooted;
mod source;
pub(crate) mod toc;
mod unpack;

pub(crate) use diff::diff;
pub(crate) use extract::{FileVisit, each_file, extract};
pub(crate) use image::{BlobHome, Image, Layer};
pub(crate) use members::{Limits, ReadLayerError};
pub(crate) use pack::{PackError, PackOptions, pack};
pub(crate) use rooted::Rooted;
pub(crate) use source::{ImageFile, Loaded, load};
pub(crate) use unpack::{OverlayStyle, Owners, UnpackOptions, unpack};

#[cfg(test)]
mod tests;
