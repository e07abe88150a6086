//! Files and repositories of other machines: ADD's remote sources, and contexts that are fetched.
//!
//! Each has two questions, asked apart. *What is it?* is asked before any key is computed: a URL's digest, a
//! repository's commit. *Give it to me* is asked only by a step that must be carried out. A `--checksum`
//! answers the first without the network, an unchanged entity tag nearly so, and a step that is in the cache
//! never asks the second.
//!
//! What is fetched is somebody else's. It is bounded in size, time and redirects; link-local addresses and
//! clouds' metadata services are not asked, whatever name or redirect leads there (loopback and private
//! addresses are: people build from their own servers); credentials go to the server that they were written
//! for and into no message. Bytes land in files without names until they are whole and are what they should
//! be, so a download that fails leaves nothing behind.
//!
//! Nothing here knows of steps, and nothing is unpacked: an archive is read as every archive is.

mod auth;
mod error;
mod git;
mod http;
mod memory;
mod part;
mod url;

pub(crate) use auth::RemoteSecrets;
pub(crate) use error::{RemoteError, RemoteErrorKind};
pub(crate) use git::{Checkout, Commit, Git, GitAsked, GitSource};
pub(crate) use http::{Download, Downloader};
pub(crate) use url::UrlSource;

#[cfg(test)]
mod tests;
