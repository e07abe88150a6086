//! ocistage builds OCI images from Dockerfiles with no daemon.

mod blob;
mod build;
mod context;
mod ctx;
pub mod dockerfile;
mod ids;
mod layer;
pub mod oci;
mod output;
mod rootfs;
mod run;
mod tar;
pub mod text;
mod tree;
