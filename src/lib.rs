//! ocistage builds OCI images from Dockerfiles with no daemon.

mod ctx;
mod http;
mod ids;
mod layer;
pub mod oci;
mod registry;
mod rootfs;
mod run;
mod tree;

pub use registry::{
    Anonymous, Credential, CredentialError, CredentialSource, DockerConfig, FirstOf, FixedCredential, Secret,
};
