//! The documents and names of the OCI specifications, as values.
//!
//! Everything here is pure: no file, no network. Three rules hold throughout:
//!
//! - **Bytes are kept.** A [`Document`] carries the exact bytes that were received or will be sent beside
//!   the parsed value; a digest is always of those bytes, never of a re-encoding.
//! - **Unknown fields survive.** Image configs of other builders carry Docker's extensions (`Healthcheck`,
//!   `OnBuild`, `Shell`, …) and whatever comes next; they are flattened into ordered maps and written back.
//! - **Wrong values cannot be said.** A [`Digest`] is 32 checked bytes, a [`DiffId`] is not a [`Digest`], a
//!   [`Repository`] has a host and a path that passed the grammar.
//!
//! It does not fetch, store or decide anything.

mod compression;
mod config;
mod descriptor;
mod digest;
mod document;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use compression::Compression;
pub use config::{Healthcheck, HistoryEntry, ImageConfig, RootFs, RuntimeConfig};
pub use descriptor::Descriptor;
pub use digest::{ChainId, DiffId, Digest, DigestError, Digester};
pub use document::{Document, DocumentError};
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, RegistryHost, Repository};
