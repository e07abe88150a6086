//! A root made of busybox, and a step in it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::ctx::{Ctx, Event, EventSink, OutputStream};
use crate::rootfs::Rootfs;
use crate::run::{Native, Network, OciRuntime, RunBackend, RunError, RunSpec, RunStatus, RunSupport};

/// One step: a layer with busybox, the directories of an overlay, and a spec to change before running.
pub(super) struct Rig {
    pub(super) backend: Arc<dyn RunBackend>,
    pub(super) spec: RunSpec,
    pub(super) ctx: Ctx,
    directory: TempDir,
}

/// What a step did.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) status: RunStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The own spawner, with this test binary as init process.
pub(super) fn native() -> Result<Arc<dyn RunBackend>, String> {
    usable(Native::new(PathBuf::from("/proc/self/exe"), std::env::temp_dir()))
}

/// runc, inside of the same init process.
pub(super) fn runc() -> Result<Arc<dyn RunBackend>, String> {
    usable(OciRuntime::runc(PathBuf::from("/proc/self/exe"), std::env::temp_dir()))
}

/// crun, likewise.
pub(super) fn crun() -> Result<Arc<dyn RunBackend>, String> {
    usable(OciRuntime::crun(PathBuf::from("/proc/self/exe"), std::env::temp_dir()))
}

fn usable(backend: impl RunBackend + 'static) -> Result<Arc<dyn RunBackend>, String> {
    match backend.probe() {
        RunSupport::Works(_) => Ok(Arc::new(backend)),
        RunSupport::Refused(reason) => Err(reason),
    }
}

struct Silent;

impl EventSink for Silent {
    fn event(&self, _: &Event) {}
}

const APPLETS: [&str; 37] = [
    "sh", "cat", "ls", "id", "env", "pwd", "sleep", "kill", "true", "false", "mkdir", "rm", "rmdir", "touch",
    "grep", "head", "stat", "mount", "umount", "mknod", "chown", "chmod", "ln", "mv", "cp", "readlink", "nc",
    "hostname", "dd", "ps", "seq", "wc", "setsid", "ip", "unshare", "chroot", "su",
];

impl Rig {
    pub(super) fn new(backend: Arc<dyn RunBackend>) -> Self {
        let directory = tempfile::Builder::new().prefix("ocistage-run-").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["layer", "upper", "work", "layer/bin", "layer/etc", "layer/tmp", "layer/root"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        chmod(&path("layer"), 0o755);
        chmod(&path("layer/tmp"), 0o1777);
        std::fs::copy("/bin/busybox", path("layer/bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", path("layer/bin").join(applet)).unwrap();
        }
        std::fs::write(
            path("layer/etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv/web:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(path("layer/etc/group"), "root:x:0:\nwww:x:44:\nstaff:x:50:web\nbin:x:1:root\n")
            .unwrap();
        let spec = RunSpec {
            rootfs: Rootfs { lowers: vec![path("layer")], upper: path("upper"), work: path("work") },
            args: Vec::new(),
            env: vec![("PATH".into(), "/bin".into())],
            workdir: "/".into(),
            user: String::new(),
            network: Network::Host,
            extra_hosts: Vec::new(),
            mounts: Vec::new(),
        };
        let ctx = Ctx::new(Arc::new(Silent), CancellationToken::new(), 1);
        Self { backend, spec, ctx, directory }
    }

    /// A path in the rig's directory: `layer`, `upper`, `work` or one of the test's own.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A name that no other test has.
    pub(super) fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.directory.path().file_name().unwrap().to_str().unwrap())
    }

    pub(super) fn args(&mut self, args: &[&str]) -> &mut Self {
        self.spec.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    /// Run a shell script.
    pub(super) fn sh(&mut self, script: &str) -> Ran {
        self.args(&["/bin/sh", "-c", script]).run().unwrap()
    }

    pub(super) fn run(&self) -> Result<Ran, RunError> {
        let bytes = Mutex::new((Vec::new(), Vec::new()));
        let outcome = self.backend.run(&self.ctx, &self.spec, &mut |stream, piece| {
            let mut bytes = bytes.lock().unwrap();
            match stream {
                OutputStream::Stdout => bytes.0.extend_from_slice(piece),
                OutputStream::Stderr => bytes.1.extend_from_slice(piece),
            }
        })?;
        let (stdout, stderr) = bytes.into_inner().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran { status: outcome.status, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Everything in the upper directory, sorted: `path` and its kind (`d`, `f`, `l`, `c` for a whiteout).
    pub(super) fn changed(&self) -> Vec<String> {
        let mut found = Vec::new();
        let upper = self.path("upper");
        list(&upper, &upper, &mut found);
        found.sort();
        found
    }

    /// Use the upper directory as the topmost layer of the next step.
    pub(super) fn next_step(&mut self) {
        let number = self.spec.rootfs.lowers.len();
        let layer = self.path(&format!("layer{number}"));
        std::fs::rename(self.path("upper"), &layer).unwrap();
        std::fs::create_dir(self.path("upper")).unwrap();
        self.spec.rootfs.lowers.push(layer);
    }
}

pub(super) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn list(directory: &Path, root: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let letter = if kind.is_dir() {
            'd'
        } else if kind.is_symlink() {
            'l'
        } else if kind.is_file() {
            'f'
        } else {
            'c'
        };
        found.push(format!("{} {letter}", entry.path().strip_prefix(root).unwrap().display()));
        if kind.is_dir() {
            list(&entry.path(), root, found);
        }
    }
}
