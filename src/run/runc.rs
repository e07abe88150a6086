//! `runc`, given a bundle.
//!
//! runc runs inside of the step's init process, in its process and mount namespaces: so its state is in
//! memory that goes with them, no cgroup is made, and the container ends with the builder, neither of which
//! runc does by itself.

use std::path::PathBuf;

use super::request::{Request, Starter};
use super::{
    RunBackend, RunError, RunOutcome, RunOutput, RunSpec, RunSupport, files, helper, probe, programs,
};
use crate::ctx::Ctx;

/// `--backend runc`.
#[derive(Clone, Debug)]
pub(crate) struct Runc {
    init: PathBuf,
    scratch: PathBuf,
    program: Option<PathBuf>,
}

impl Runc {
    /// With the installed runc; `init` and `scratch` as for [`Native`](super::Native).
    pub(crate) fn new(init: PathBuf, scratch: PathBuf) -> Self {
        Self { init, scratch, program: programs::find("runc") }
    }
}

impl RunBackend for Runc {
    fn name(&self) -> &'static str {
        "runc"
    }

    fn probe(&self) -> RunSupport {
        if self.program.is_none() {
            return RunSupport::Refused("runc is not installed (package runc)".to_owned());
        }
        probe::probe(self, &self.scratch)
    }

    fn run(&self, ctx: &Ctx, spec: &RunSpec, output: RunOutput<'_>) -> Result<RunOutcome, RunError> {
        let Some(program) = self.program.clone() else {
            return Err(RunError::Setup {
                what: "start runc".to_owned(),
                reason: "it is not installed (package runc)".to_owned(),
            });
        };
        let request = Request {
            resolv_conf: files::resolv_conf(spec.network),
            hosts: files::hosts(spec),
            spec: spec.clone(),
            starter: Starter::Runc { program },
        };
        helper::carry_out(&self.init, ctx, &request, output)
    }
}
