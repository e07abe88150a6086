//! The own spawner: namespaces, overlay, `pivot_root`, no other program.

use std::path::PathBuf;

use super::request::{Request, Starter};
use super::{RunBackend, RunError, RunOutcome, RunOutput, RunSpec, RunSupport, files, helper, probe};
use crate::ctx::Ctx;

/// `--backend native`.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    program: PathBuf,
    scratch: PathBuf,
}

impl Native {
    /// With `program` as init process of steps: a file that calls
    /// [`init_if_asked`](super::init_if_asked) first of all, usually `/proc/self/exe`. Probes happen in
    /// `scratch`, a directory on the file system where upper directories will be.
    pub(crate) fn new(program: PathBuf, scratch: PathBuf) -> Self {
        Self { program, scratch }
    }
}

impl RunBackend for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn probe(&self) -> RunSupport {
        probe::probe(self, &self.scratch)
    }

    fn run(&self, ctx: &Ctx, spec: &RunSpec, output: RunOutput<'_>) -> Result<RunOutcome, RunError> {
        let request = Request {
            resolv_conf: files::resolv_conf(spec.network),
            hosts: files::hosts(spec),
            spec: spec.clone(),
            starter: Starter::Own,
        };
        helper::carry_out(&self.program, ctx, &request, output)
    }
}
