//! From a plan to an image.
//!
//! [`Resolver`] finds base images, [`Contexts`] reads what instructions select, [`definitions`] computes the
//! keys of all steps. A [`Session`] then builds the stages that are needed, each once and as soon as
//! something waits for it: what is recorded is taken, the rest is carried out and packed. [`assemble`] makes
//! the image's documents of the result.
//!
//! What COPY, ADD and WORKDIR do is decided on trees in memory ([`copy`](copy::copy)): no file is touched
//! until its bytes go into a layer.

mod agent;
mod assemble;
mod chmod;
mod copy;
mod error;
mod extract;
mod inputs;
mod keys;
mod layers;
mod mounts;
mod owner;
mod preflight;
mod probe;
mod remotes;
mod resolve;
mod runner;
mod scratch;
mod session;
mod stage;
mod step;
mod target;
mod workdir;

pub(crate) use assemble::assemble;
pub(crate) use error::BuildError;
pub(crate) use inputs::{ContextPlace, Contexts, read_download};
pub(crate) use layers::{LayerStore, Unpacking};
pub(crate) use mounts::without_absent;
pub(crate) use preflight::Preflight;
pub(crate) use probe::definitions;
pub(crate) use remotes::{Fetcher, Remotes};
pub(crate) use resolve::{BaseImage, Resolver, Substitute};
pub(crate) use runner::{Choose, Runner};
pub(crate) use scratch::Scratch;
pub(crate) use session::{Counts, Running, SecretSource, Session, SessionSettings, built_anew};
pub(crate) use stage::{BuiltStage, build_key, record_stages, recorded_image, stage_key};
