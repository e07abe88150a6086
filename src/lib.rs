//! ocistage builds OCI images from Dockerfiles with no daemon.

mod build;
mod context;
mod ctx;
mod ids;
mod layer;
pub mod oci;
mod rootfs;
mod run;
mod tree;
