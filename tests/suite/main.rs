//! The behaviour of the binary, against real registries, runtimes and readers. One file per area of behaviour; what they
//! stand on is in `support`.
#![allow(clippy::unwrap_used)]

mod support;

mod selftest;
