//! ocistage builds OCI images from Dockerfiles with no daemon.

mod ctx;
mod ids;
mod layer;
pub mod oci;
mod rootfs;
mod run;
mod sys;
mod tree;

pub use run::{BackendChoice, EnterError, Entered, enter, init_if_asked};
