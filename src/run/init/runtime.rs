//! Handing a prepared root to a runtime.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::super::RunStatus;
use super::super::bundle::{self, Places};
use super::super::request::{During, Report, Request, RuntimeKind};
use super::mounts::{self, INERT, write_file};
use super::reap::{self, Started};
use super::root::Prepared;
use crate::rootfs::{attach, bind, new_filesystem};
use crate::sys::{
    ChildSignals, Forked, MountAttributes, close_on_exec_from, default_signals, execute, exit_now, fork,
};

/// What a container is called. Each is alone in its process namespace and its state directory.
const NAME: &str = "step";

/// Let the runtime at `program` carry out the step, and wait for it.
pub(super) fn run(
    kind: RuntimeKind,
    program: &Path,
    request: &Request,
    root: &Prepared,
    control: &UnixStream,
) -> Result<RunStatus, Report> {
    surroundings(kind)?;
    let bundle = root.memory.join("bundle");
    let log = root.memory.join("log");
    let state = root.memory.join("state");
    for directory in [&bundle, &state] {
        let what = || format!("create {}", directory.display());
        DirBuilder::new().mode(0o700).create(directory).during(what)?;
    }
    write_config(&bundle, request, root)?;
    // Cgroups are the builder's: nothing is made, nothing is left.
    let cgroups = match kind {
        RuntimeKind::Runc => "--rootless=true",
        RuntimeKind::Crun => "--cgroup-manager=disabled",
    };
    let arguments: [PathBuf; 11] = [
        kind.name().into(),
        cgroups.into(),
        "--root".into(),
        state,
        "--log".into(),
        log.clone(),
        "--log-format=json".into(),
        "run".into(),
        "--bundle".into(),
        bundle,
        NAME.into(),
    ];
    let signals = ChildSignals::listen().during(|| "listen for signals".to_owned())?;
    let pid = match fork().during(|| "fork".to_owned())? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            let Err(report) = start(program, &arguments);
            let _ = report.send(control);
            exit_now(127)
        }
    };
    let status = reap::until_ended(&Started { pid, signals }, control)?;
    match (status, complaint(&log)) {
        (RunStatus::Exited(0), _) | (_, None) => Ok(status),
        (_, Some(message)) => Err(refusal(request, &message)),
    }
}

/// What the runtime sees of the machine: processes of this namespace, and no cgroup to write to.
fn surroundings(kind: RuntimeKind) -> Result<(), Report> {
    let proc = new_filesystem("proc", &[], INERT).map_err(|error| mounts::proc_refused(&error))?;
    let at = |path: &str| File::open(path).during(|| format!("open {path}"));
    attach(proc.as_fd(), at("/proc")?.as_fd()).during(|| "mount /proc".to_owned())?;
    let cgroups = Path::new("/sys/fs/cgroup");
    if cgroups.exists() {
        let read_only = MountAttributes { read_only: true, ..INERT };
        let cover = match kind {
            // It looks its cgroups up, and lives with not being able to make one.
            RuntimeKind::Runc => bind(cgroups, read_only)?,
            // It refuses machines that mix both versions of cgroups, even when it is to use none.
            RuntimeKind::Crun => new_filesystem("tmpfs", &[("size", "4k")], read_only)?,
        };
        attach(cover.as_fd(), at("/sys/fs/cgroup")?.as_fd())
            .during(|| "write-protect /sys/fs/cgroup".to_owned())?;
    }
    Ok(())
}

fn write_config(bundle: &Path, request: &Request, root: &Prepared) -> Result<(), Report> {
    let what = || "describe the step to the runtime".to_owned();
    let files = mounts::write_files(request, root)?;
    let fresh_sysfs = new_filesystem("sysfs", &[], INERT).is_ok();
    let places = Places { root: &root.at, files: &files, mounts: &root.mounts, fresh_sysfs };
    let spec = bundle::spec(request, &root.identity, &places).during(what)?;
    write_file(&bundle::config_path(bundle), &serde_json::to_vec(&spec).during(what)?)
}

fn start(program: &Path, arguments: &[PathBuf]) -> Result<Infallible, Report> {
    use std::os::unix::ffi::OsStrExt;
    let what = || format!("start {}", program.display());
    let string = |path: &Path| CString::new(path.as_os_str().as_bytes()).during(what);
    let arguments = arguments.iter().map(|path| string(path)).collect::<Result<Vec<_>, _>>()?;
    default_signals();
    rustix::process::setsid().during(what)?;
    close_on_exec_from(3).during(what)?;
    execute(&string(program)?, &arguments, &[]).during(what)
}

/// The last error in the runtime's log: there is one only when it failed itself, not when the command did.
fn complaint(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|entry| matches!(entry["level"].as_str(), Some("error" | "fatal")))
        .filter_map(|entry| Some(entry["msg"].as_str()?.to_owned()))
        .next_back()
}

/// What the runtime's words mean. (Both pass on what the kernel said, in their own frames.)
fn refusal(request: &Request, message: &str) -> Report {
    let program = request.spec.args.first().cloned().unwrap_or_default();
    let said = message.to_lowercase();
    let about_program =
        ["executable", "exec: ", "exec ", "exec `", "stat "].iter().any(|words| said.contains(words));
    let reason = if !about_program {
        None
    } else if said.contains("exec format error") {
        Some("not a program for this machine (exec format error); a script needs a #! line")
    } else if said.contains("permission denied") {
        Some("permission denied (not executable, or not for this user)")
    } else if said.contains("no such file or directory") && program.contains('/') {
        Some("no such file in the image")
    } else if said.contains("not found in $path") {
        Some("not found in PATH")
    } else if said.contains("no such file or directory") {
        Some("its interpreter or loader is not in the image")
    } else {
        None
    };
    match reason {
        Some(reason) => Report::Program { program, reason: reason.to_owned() },
        None => Report::setup("carry out the step with the runtime", message),
    }
}
