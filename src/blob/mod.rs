//! Blobs: bytes under their digest, in an OCI image-layout directory.
//!
//! A [`Layout`] is such a directory. The embedded local store, a cache in a local folder and the output of
//! `type=oci` are all the same thing and all this type, so any of them can be read by any OCI tool. A blob
//! is written to a partial file beside its final place, hashed while it is written, and renamed: it is there
//! whole or not at all, and two processes that write the same blob do each other no harm. Names live in
//! `index.json`, which is replaced whole under a file lock.
//!
//! [`LayerWriter`] takes a layer's tar and makes its blob in one pass on a few threads: diff ID, compression
//! and blob digest go on at the same time, in bounded memory. gzip is one member whose blocks are cut by
//! input offset, so the bytes do not depend on the number of threads.
//!
//! Nothing is flushed to the platter: deleting a store loses only time. What a blob means is not known here.

mod codec;
mod gzip;
mod layer_writer;
mod read_ahead;
mod store;
mod verify;
mod writer;

pub(crate) use codec::{decoder, sniff_decoder};
pub(crate) use layer_writer::{CompressOptions, LayerWriter};
pub(crate) use read_ahead::ReadAhead;
pub(crate) use store::{ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Layout, LayoutError, LayoutLock};
pub(crate) use verify::{Hashing, Verified};
pub(crate) use writer::BlobWriter;

#[cfg(test)]
mod tests;
