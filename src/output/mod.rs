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
pub(crate) use backend::{Output, OutputError};
pub(crate) use export::{Export, OpenBlob, WriteError};
pub(crate) use layout::write_layout;
pub(crate) use local::{write_root, write_root_tar};
pub(crate) use registry::RegistryOutput;

#[cfg(test)]
mod tests;
