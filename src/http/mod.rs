//! HTTP as this project needs it: one exchange that is bounded in time, size and trust.
//!
//! [`Client::exchange`] carries one request to one answer. Four rules hold for every exchange:
//!
//! - **Credentials belong to an origin** (scheme, host, port). An [`Authorization`] names its origin and is
//!   attached by the client only where the request goes to exactly that; redirects are followed here, at
//!   most five, so no library copies headers along on the way.
//! - **Nothing waits for ever.** Ten seconds to connect, a limit until the first byte of an answer, and a
//!   progress rule for bodies in both directions: slow is fine, standing still is not.
//! - **Nothing is unbounded.** A body is either read whole under a limit or streamed through a bounded channel.
//! - **Nothing leaks.** [`SafeUrl`] and [`Secret`] cannot print what must not be printed, and what a server
//!   says is printed bounded and without control characters.
//!
//! Network code is async and everything that works on bytes is sync; a body crosses once, through
//! [`BodyReader`] (in) or [`Payload::Stream`] (out).
//!
//! [`Schedule`] and [`Attempts`] say when to try again, they do not try: what may be repeated, and from where,
//! only the caller knows. This module knows nothing of registries, reads no environment variable, keeps no
//! cookies and never decompresses.

mod body;
mod client;
mod error;
mod guard;
mod origin;
mod redact;
mod retry;

pub(crate) use body::{BodyReader, Chunks, Payload, SourceFault, StreamSource};
pub(crate) use client::{Authorization, Client, ClientSettings, Exchange, ProxySettings, Reply, Timeouts};
pub(crate) use error::HttpError;
pub(crate) use guard::names_metadata;
pub(crate) use origin::{Origin, is_private, may_go};
pub(crate) use redact::Secret;
pub(crate) use redact::{SafeUrl, printable};
pub(crate) use retry::{Attempts, Next, Schedule, is_transient, retry_after};
