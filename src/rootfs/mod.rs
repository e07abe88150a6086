//! Image layers on disk as one mountable root.
//!
//! Each layer is a directory of its own; a [`Rootfs`] stacks some of them under a fresh upper directory. No
//! merged copy is made where the kernel can overlay.
//!
//! A mounted root is known by a file descriptor, never by a path: a mount is made detached, looked at and
//! attached by descriptor. Everything that looks at paths *inside* an image goes through [`Inside`], where
//! links are followed as the image means them and can not lead out.
//!
//! Mounts are made in the mount namespace of the caller, who sees to it that it is a private one. Nothing
//! here knows what runs in a root.

mod error;
mod filesystem;
mod inside;
mod overlay;

pub(crate) use error::RootfsError;
pub(crate) use filesystem::{attach, bind, bind_descriptor, new_filesystem};
pub(crate) use inside::{Inside, Place};
pub(crate) use overlay::Rootfs;
