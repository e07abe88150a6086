//! From a parsed Dockerfile to a closed plan.
//!
//! [`scan`](scan()) groups the instructions into stages, expands what only global ARGs may change, and says
//! which base images are needed. Once their configs are known, [`lower`](lower()) walks the stages that the
//! target needs, expands every variable, applies ONBUILD triggers and turns each instruction into a
//! [`Step`]. RUN can not change an image's config, so the result is closed: nothing is expanded while the
//! plan is carried out, and the config of every stage is known before anything runs.
//!
//! Pure: no file is read, no registry asked. What is wrong is a list of diagnostics with places in the
//! Dockerfile.

mod graph;
mod lint;
mod lower;
mod model;
mod scan;
mod scope;

pub(crate) use lint::{RULES, copied_but_ignored, judge, lint};
pub(crate) use lower::{LowerSettings, MountSupport, Remote, RemoteSupport, lower, remote};
pub(crate) use model::{
    Base, FileOp, FileOrigin, FileSource, ImageKey, Op, Plan, RunOp, StagePlan, Step, WorkdirOp,
};
pub(crate) use scan::{ScanSettings, Stages, scan};
