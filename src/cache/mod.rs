//! What was done before, found by the hash of its inputs.
//!
//! A [`CacheKey`] is a hash over named, length-prefixed fields ([`KeyWriter`]), so that no two different
//! inputs share one. A [`Record`] is an OCI manifest under a tag made of the key; a [`CacheBackend`] keeps
//! records in a repository or a folder. The same layout everywhere means that a folder can be pushed and a
//! repository pulled with ordinary tools.
//!
//! | tag              | manifest                                                                     |
//! |------------------|------------------------------------------------------------------------------|
//! | `build-<key>`    | the image of a whole build                                                   |
//! | `stage-<key>`    | the image of one stage                                                       |
//! | `step-<key>`     | an artifact: config = [`StepRecord`], layers = the step's layer, if it made one |
//! | `toc-<diff id>`  | an artifact: one layer blob, a layer's table of contents                      |
//!
//! A cache never fails a build: what can not be read is a miss and a warning, what can not be written is a
//! warning. It never gives a wrong hit: a record says which layers it was made on, and what does not fit is
//! a miss.

mod backend;
mod folder;
mod key;
mod prune;
mod record;
mod repository;
mod shelf;

pub(crate) use backend::{CacheBackend, Caches, Found};
pub(crate) use folder::FolderCache;
pub(crate) use key::{CacheKey, KeyWriter};
pub(crate) use prune::{PruneRule, going};
pub(crate) use record::{Record, RecordBlob, RecordName, StepRecord, TOC_LAYER};
pub(crate) use repository::RepositoryCache;
pub(crate) use shelf::{Entry, SHARED_PREFIX, Shelf, ShelfError, record_of};
