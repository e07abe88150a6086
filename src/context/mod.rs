//! Build contexts: what COPY, ADD and bind mounts can name, as trees.
//!
//! A context becomes a [`Tree`](crate::tree::Tree), the same value that a stage or a base image is, so
//! whoever copies from it need not know what it was: a directory of this machine ([`walk`](fn@walk)) or a tar stream
//! ([`read_archive`], [`archive_tree`]). What an instruction's sources choose in any such tree is
//! [`select`](fn@select)'s to say, under an [`IgnoreFile`]'s rules where there is one.
//!
//! Three rules hold everywhere. **Nothing leaves the root**: a directory is opened once and every path below
//! it without following links; links are followed by reading them, as in a chroot; names from archives never
//! become names on this machine. **Only what is selected is read**: directories that no source needs and
//! that the ignore file leaves out are not listed, and contents are opened by [`hash_files`] and by whoever
//! packs a layer. **Nothing of the machine shows**: everything belongs to root, sockets and extended
//! attributes other than file capabilities are left out, and whether a file is the same is decided by its
//! bytes alone.
//!
//! Contexts fetched over the network are brought to one of the two forms by their fetchers. Nothing here
//! remembers anything between builds.

mod archive;
mod content;
mod glob;
mod hash;
mod ignore;
mod pattern;
mod remote;
mod root;
mod select;
mod walk;

pub(crate) use archive::{ArchiveEntry, ArchiveError, archive_tree, open_archive, read_archive};
pub(crate) use glob::PatternError;
pub(crate) use hash::hash_files;
pub(crate) use ignore::IgnoreFile;
pub(crate) use pattern::SourcePattern;
pub(crate) use remote::{
    Checkout, Commit, Download, Downloader, Git, GitAsked, GitSource, RemoteError, RemoteErrorKind,
    RemoteSecrets, UrlSource,
};
pub(crate) use root::Root;
pub(crate) use select::{Place, Selected, select};
pub(crate) use walk::walk;
