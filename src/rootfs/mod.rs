//! Image layers on disk as one mountable root.
//!
//! Each layer is a directory of its own; a [`Rootfs`] stacks some of them under a fresh upper directory. No
//! merged copy is made where the kernel can overlay.

mod overlay;

pub(crate) use overlay::Rootfs;
