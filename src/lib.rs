//! ocistage builds OCI images from Dockerfiles with no daemon.
//!
//! [`Builder`] is the door: a [`BuildRequest`] goes in, events come out while it works, a [`BuildReport`]
//! or an [`Error`] comes back. The library never prints and never reads the environment.

mod build;
mod builder;
mod context;
mod blob;
mod ctx;
pub mod dockerfile;
mod error;
mod ids;
mod layer;
pub mod oci;
mod plan;
mod request;
mod http;
mod registry;
mod rootfs;
mod run;
pub mod text;
mod output;
mod tar;
mod tree;

pub use builder::{BuildReport, Builder, PushReport};
pub use ctx::{Event, EventSink, MissReason, OutputStream, Transfer};
pub use error::{Error, ErrorKind};
pub use ids::{StageId, StepId};
pub use request::{
    BackendChoice, BuildRequest, CachePlace, CacheRequest, ContextRequest, ImageSource, NamedContext,
    NetworkRequest, OutputRequest, PushRequest, RegistryRequest, StateRequest,
};
pub use tokio_util::sync::CancellationToken;
mod sys;

pub use run::init_if_asked;
pub use run::{BackendChoice, EnterError, Entered, enter, init_if_asked};
pub use registry::{
    Anonymous, Credential, CredentialError, CredentialSource, DockerConfig, FirstOf, FixedCredential, Secret,
};
