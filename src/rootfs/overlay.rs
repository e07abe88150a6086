//! A stack of layer directories with a writable one on top.

use std::path::PathBuf;

/// The directories of an overlay. Plain data: nothing is mounted by having it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rootfs {
    /// Unpacked layers, bottom first. May be empty (scratch).
    pub(crate) lowers: Vec<PathBuf>,
    /// Receives what the command changes. Exists and is empty.
    pub(crate) upper: PathBuf,
    /// The overlay's own scratch directory, on the same file system as `upper`; fresh for each mount.
    pub(crate) work: PathBuf,
}
