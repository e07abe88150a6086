//! The behaviour of the binary, against real registries, runtimes and readers. One file per area of behaviour; what they
//! stand on is in `support`.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod cache;
mod cases;
mod cli;
mod examples;
mod fine_points;
mod interrupt;
mod publish;
mod push;
mod readers;
mod records;
mod remote;
mod rootless;
mod run;
mod selftest;
mod support;
