//! Registries: our own client of the OCI distribution specification.
//!
//! The protocol is what this project is for, so it is spoken here and not by a library. [`Registries`] is one
//! per build: it remembers how each registry wants to be spoken to ([`Endpoint`](endpoint), tokens, the way of
//! uploading that worked) and which blobs are known to be where.
//!
//! What holds:
//!
//! - **Nothing is believed that can be checked.** Manifests and blobs are compared with their digests before
//!   anybody sees them ([`BlobReader`] withholds the end of a blob whose digest is wrong); a document that can
//!   be read as an image and as an index is refused.
//! - **Nothing is sent that is there.** A push asks for the blob, then asks the registry to mount it from
//!   where it is known to be, and only then uploads; once per repository and blob, however many ask.
//! - **A refusal is not the end of an optimisation's purpose.** A mount that is refused in any way becomes an
//!   upload, a HEAD that is not supported becomes a GET, a way of uploading that is not supported becomes the
//!   next one.
//! - **An answer that was lost is looked up, not guessed.** When the end of an upload is ambiguous, a HEAD
//!   decides.
//! - **Credentials stay where they belong**: see [`auth`] and [`crate::http`].
//! - Operations stop promptly when the build is cancelled, and never wait without limit.
//!
//! A loopback host is spoken to in plain HTTP. A host of [`RegistrySettings::insecure`] is tried with TLS and an
//! unverified certificate, and with plain HTTP where nothing speaks TLS; no other host ever sees plain HTTP.
//!
//! It does not choose a platform, does not know what an image is made of, and decides nothing about caching.

mod auth;
mod cells;
mod client;
mod download;
mod endpoint;
mod error;
mod kind;
mod pull;
mod push;
mod reader;
mod upload;
mod wire;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use upload::BlobSource;

pub(crate) use crate::http::Secret;
pub(crate) use auth::{
    Credential, CredentialError, CredentialSource, DockerConfig, FirstOf, FixedCredential, sign_in, sign_out,
};
pub(crate) use client::{Registries, RegistrySettings};
pub(crate) use error::{RegistryError, RegistryErrorKind};
pub(crate) use reader::BlobReader;
pub(crate) use upload::{from_bytes, from_file};
