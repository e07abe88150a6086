//! From a plan to an image.

mod chmod;
mod copy;
mod extract;
mod owner;
mod target;
mod workdir;

pub(crate) use chmod::{Chmod, ChmodError};
pub(crate) use copy::{CopyError, CopyOp, Inline, Source, copy};
pub(crate) use extract::Archive;
pub(crate) use owner::{Owner, OwnerError, OwnerSpec};
pub(crate) use workdir::workdir;
