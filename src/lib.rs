//! ocistage builds OCI images from Dockerfiles with no daemon.

mod blob;
mod ctx;
mod ids;
mod layer;
pub mod oci;
mod output;
mod rootfs;
mod run;
mod tar;
mod tree;
