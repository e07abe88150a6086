//! What the tests stand on: real registries behind a counting proxy, base images written by hand, the binary run in
//! folders of its own, and readers that share no code with it.
//!
//! Nothing here is a mock of the code under test, and nothing is decided here: expected values stand in the tests.

mod base;
mod build;
mod files;
mod image;
mod layout;
mod proxy;
mod registry;
mod scratch;
mod server;
mod tools;
mod world;

pub(crate) use base::{bases, busybox, debian, plain, which};
pub(crate) use build::{Build, Outcome, Running};
pub(crate) use files::Files;
pub(crate) use image::{Image, Node};
pub(crate) use layout::{Entry, Layout, NewImage, sha256};
pub(crate) use proxy::{Exchange, Fault, Proxy};
pub(crate) use registry::Registry;
pub(crate) use scratch::Scratch;
pub(crate) use server::Server;
pub(crate) use tools::{copy_image, have, inspect, run_image, sh};
pub(crate) use world::{
    base64, base64_decode, can_be_unprivileged, is_root, needs_root, repository, skip, user,
};
