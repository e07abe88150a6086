//! File trees of images as values: paths, entries, merged trees, change sets, and the users in them.
//!
//! A [`Tree`] is what a container would see after some layers; a [`ChangeSet`] is what one layer changes.
//! Both hold metadata only; the bytes of a file are behind a [`Content`], which is opened when a layer is
//! packed. Paths are byte strings relative to the image's root and can not leave it, because an
//! [`ImagePath`] has no `..`.
//!
//! Nothing here touches a disk.

mod change;
mod entry;
mod follow;
mod merged;
mod path;
mod users;

pub(crate) use change::{Change, ChangeSet};
pub(crate) use entry::{Content, ContentHash, ContentSource, Entry, Kind, Metadata};
pub(crate) use follow::follow;
pub(crate) use merged::{Node, Tree, TreeError};
pub(crate) use path::ImagePath;
pub(crate) use users::Users;
