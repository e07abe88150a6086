//! A daemonless OCI image builder.

pub mod dockerfile;
pub mod text;
