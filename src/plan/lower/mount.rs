//! `RUN --mount`: values expanded, defaults filled in (BuildKit, `convert_runmount.go`).

use crate::dockerfile::{Mount, MountError, MountKind, RunArgs, RunMount};
use crate::plan::model::FileOrigin;
use crate::plan::scan::Sourced;
use crate::text::Diagnostic;

use super::Lowering;

/// Why a mount is not to be had; in both cases it has been or is to be reported.
enum Refused {
    /// The expansion of a value failed and said so.
    Reported,
    /// What the mount says makes no sense.
    Mount(MountError),
}

impl From<MountError> for Refused {
    fn from(error: MountError) -> Self {
        Self::Mount(error)
    }
}

impl Lowering<'_> {
    /// The mounts of a RUN, and where their files are.
    pub(super) fn mounts(&mut self, run: &RunArgs, sourced: &Sourced) -> Vec<(RunMount, FileOrigin)> {
        let origins = self.origins(sourced);
        let mut agents = 0;
        let mut mounts = Vec::new();
        for (mount, origin) in run.mounts.iter().zip(origins) {
            match self.mount(mount, &mut agents) {
                Ok(lowered) => mounts.push((lowered, origin)),
                Err(Refused::Reported) => {}
                Err(Refused::Mount(error)) => {
                    let mut finding = Diagnostic::error("invalid-mount", error.message).at(error.span);
                    finding.help.extend(error.help);
                    self.diagnostics.push(finding);
                }
            }
        }
        mounts
    }

    /// One mount. `agents` counts the ssh mounts of the step.
    fn mount(&mut self, mount: &Mount, agents: &mut usize) -> Result<RunMount, Refused> {
        let mut made = mount.resolve(|value| {
            // The scan has found what `from` means: with global ARGs alone.
            if mount.fields.iter().any(|f| f.key == "from" && f.value.as_ref().is_some_and(|v| v == value)) {
                return Ok(value.text.clone());
            }
            let before = self.diagnostics.len();
            let text = self.text(value);
            let failed = self.diagnostics[before..].iter().any(Diagnostic::is_error);
            if failed { Err(Refused::Reported) } else { Ok(text) }
        })?;
        let kind = made.kind;
        if !self.settings.mounts.has(kind) {
            let message = format!("RUN --mount=type={} is not supported yet", kind.as_str());
            self.diagnostics.push(Diagnostic::error("unsupported-mount", message).at(mount.span));
        }
        let refused = |message: String| Refused::Mount(MountError { message, span: mount.span, help: None });
        let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let written = named(&made.target);
        made.target = match (kind, &written) {
            (MountKind::Secret, None) => {
                let id = named(&made.source).or(named(&made.id)).unwrap_or_default();
                made.env.is_none().then(|| format!("/run/secrets/{}", base_name(&id)))
            }
            // The names by which commands written for `docker build` know the sockets.
            (MountKind::Ssh, None) => Some(format!("/run/buildkit/ssh_agent.{agents}")),
            _ => Some(self.state.absolute(written.as_deref().unwrap_or_default())),
        };
        if made.target.as_deref() == Some("/") {
            return Err(refused(format!("invalid mount target `{}`", written.as_deref().unwrap_or("/"))));
        }
        match kind {
            MountKind::Cache if named(&made.id).is_none() => {
                made.id = Some(clean(written.as_deref().unwrap_or_default()));
            }
            MountKind::Secret => {
                let target = written.as_deref().map(|target| base_name(target).to_owned());
                made.id = named(&made.source).or(named(&made.id)).or(target);
            }
            MountKind::Ssh => {
                if named(&made.source).is_some() {
                    return Err(refused("an ssh mount has no `source`".to_owned()));
                }
                made.id = Some(named(&made.id).unwrap_or_else(|| "default".to_owned()));
                *agents += 1;
            }
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {}
        }
        Ok(made)
    }
}

/// The part after the last slash.
fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// A path without `.`, `..` where it can be, and doubled slashes; relative stays relative.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}
