//! ocistage builds OCI images from Dockerfiles with no daemon.
//!
//! [`Builder`] is the door: a [`BuildRequest`] goes in, events come out while it works, a [`BuildReport`]
//! or an [`Error`] comes back. The library never prints and never reads the environment.
//!
//! Two calls come before it in a process that carries out RUN itself: [`init_if_asked`], because the first
//! process of a step is this program started again, and [`enter`], because namespaces can be entered only
//! while there is one thread.

mod blob;
mod build;
mod builder;
mod cache;
mod check;
mod context;
mod contexts;
mod ctx;
pub mod dockerfile;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod ids;
mod layer;
pub mod oci;
mod output;
mod plan;
mod publish;
mod push;
mod records;
mod registry;
mod request;
mod rootfs;
mod run;
mod setup;
mod sign_in;
mod sys;
mod tar;
pub mod text;
mod tree;

pub use builder::{BuildReport, Builder, PushReport};
pub use check::{
    CheckReport, CheckRequest, CheckRule, CheckVerdict, Outline, OutlineArgument, OutlineMount, Target,
    check, check_rules,
};
pub use ctx::{Event, EventSink, MissReason, OutputStream, Transfer};
pub use error::{Error, ErrorKind};
pub use ids::{StageId, StepId};
pub use publish::PublishedStage;
pub use records::{CacheRecord, PruneReport, RecordDetails, RecordKind};
pub use request::{
    BuildRequest, CachePlace, CacheRequest, ContextRequest, DockerfileRequest, ImageSource, NamedContext,
    NetworkRequest, OutputRequest, Password, PruneRequest, PublishRequest, PushRequest, RecordsRequest,
    RegistryRequest, SecretRequest, SignIn, StagesRequest, StateRequest,
};
pub use run::{BackendChoice, EnterError, Entered, enter, init_if_asked};
pub use sign_in::sign_out;
pub use tokio_util::sync::CancellationToken;
