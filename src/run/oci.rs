//! `runc` and `crun`, given a bundle.
//!
//! The runtime runs inside of the step's init process, in its process and mount namespaces: so its state is
//! in memory that goes with them, no cgroup is made, and the container ends with the builder, neither of
//! which a runtime does by itself.

use std::path::PathBuf;

use super::request::{Request, RuntimeKind, Starter};
use super::{
    RunBackend, RunError, RunOutcome, RunOutput, RunSpec, RunSupport, files, helper, probe, programs,
};
use crate::ctx::Ctx;

/// `--backend runc`, `--backend crun`.
#[derive(Clone, Debug)]
pub(crate) struct OciRuntime {
    init: PathBuf,
    scratch: PathBuf,
    kind: RuntimeKind,
    program: Option<PathBuf>,
}

impl OciRuntime {
    /// The installed runc; `init` and `scratch` as for [`Native`](super::Native).
    pub(crate) fn runc(init: PathBuf, scratch: PathBuf) -> Self {
        Self::new(RuntimeKind::Runc, init, scratch)
    }

    /// The installed crun.
    pub(crate) fn crun(init: PathBuf, scratch: PathBuf) -> Self {
        Self::new(RuntimeKind::Crun, init, scratch)
    }

    fn new(kind: RuntimeKind, init: PathBuf, scratch: PathBuf) -> Self {
        Self { init, scratch, kind, program: programs::find(kind.name()) }
    }

    fn missing(&self) -> String {
        format!("{0} is not installed (package {0})", self.kind.name())
    }
}

impl RunBackend for OciRuntime {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn probe(&self) -> RunSupport {
        if self.program.is_none() {
            return RunSupport::Refused(self.missing());
        }
        probe::probe(self, &self.scratch)
    }

    fn run(&self, ctx: &Ctx, spec: &RunSpec, output: RunOutput<'_>) -> Result<RunOutcome, RunError> {
        let Some(program) = self.program.clone() else {
            return Err(RunError::Setup { what: "start a runtime".to_owned(), reason: self.missing() });
        };
        let request = Request {
            resolv_conf: files::resolv_conf(spec.network),
            hosts: files::hosts(spec),
            spec: spec.clone(),
            starter: Starter::Runtime { kind: self.kind, program },
        };
        helper::carry_out(&self.init, ctx, &request, output)
    }
}
