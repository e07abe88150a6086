//! Dockerfiles as text, through parser, scan and lowering. Base images are given as configs; what must come
//! out is written by hand.

mod arguments;
mod config;
mod files;
mod mounts;
mod onbuild;
mod rig;
mod run;
mod stages;
