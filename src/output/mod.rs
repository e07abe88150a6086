//! Bringing a finished image where it should go.
//!
//! An [`Output`] takes layers as soon as they exist and the whole image at the end. Registries are one;
//! files are written when the image is whole. Blobs come first, names last: who finds a name finds all that
//! it stands for.

mod backend;
mod registry;
pub(crate) mod write;

pub(crate) use backend::{Exported, Output, OutputError};
pub(crate) use registry::RegistryOutput;
