//! Runs the binary so that a test reads like prose:
//! `Build::of("FROM scratch\nCOPY a /").file("a", "x").output().ok().image()`.
//!
//! Each run has a folder of its own for context, state, home and temporary files, an empty environment, and no terminal.
//! After each run nothing may be left of it: no process, no mount, no temporary file.

use super::{Image, Registry, Scratch, is_root, repository, user, which};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A build or push takes longer than this only when it hangs.
const LIMIT: Duration = Duration::from_secs(180);

pub(crate) struct Build {
    scratch: Scratch,
    words: Vec<OsString>,
    arguments: Vec<OsString>,
    context: bool,
    elsewhere: Option<String>,
    state: Option<PathBuf>,
    environment: Vec<(String, OsString)>,
    stdin: Vec<u8>,
    unprivileged: Option<&'static str>,
}

impl Build {
    /// Any command line: `Build::command(&["version"])`.
    pub(crate) fn command(words: &[&str]) -> Self {
        Self {
            scratch: Scratch::new(),
            words: words.iter().map(OsString::from).collect(),
            arguments: Vec::new(),
            context: false,
            elsewhere: None,
            state: None,
            environment: Vec::new(),
            stdin: Vec::new(),
            unprivileged: None,
        }
    }

    /// Builds this Dockerfile over a context that holds only it and what [`Build::file`] adds.
    pub(crate) fn of(dockerfile: &str) -> Self {
        let build = Self { context: true, ..Self::command(&["build"]) };
        build.file("Dockerfile", dockerfile)
    }

    /// Builds the context at this address.
    pub(crate) fn at(address: &str) -> Self {
        Self { context: true, elsewhere: Some(address.to_owned()), ..Self::command(&["build"]) }
    }

    /// Builds a copy of an example, over the stand-in toolchains of this registry.
    pub(crate) fn example(name: &str, registry: &Registry) -> Self {
        let build = Self { context: true, ..Self::command(&["build"]) };
        build.scratch.copy(&repository().join("testdata/examples").join(name), "context");
        let (argument, base) = match name {
            "stage-tree" => ("BASE", "toolchain/debian:1"),
            "go-layers" => ("GO_IMAGE", "toolchain/go:1"),
            "rust-web" => ("RUST_IMAGE", "toolchain/rust:1"),
            "python-uv" => ("UV_IMAGE", "toolchain/uv:1"),
            _ => ("NODE_IMAGE", "toolchain/node:1"),
        };
        let build = build.build_arg(argument, &registry.at(base));
        if name == "rust-web" {
            build.build_arg("RUNTIME_IMAGE", &registry.at("base/busybox:1"))
        } else {
            build
        }
    }

    /// Builds a case of `testdata/build`: its `Dockerfile` with its `options` over a copy of its `context`, in which its
    /// script `prepare` has made what version control does not keep.
    pub(crate) fn case(folder: &Path, registry: &Registry) -> Self {
        let build = Self { context: true, ..Self::command(&["build"]) };
        if folder.join("context").is_dir() {
            build.scratch.copy(&folder.join("context"), "context");
        }
        let context = build.folder();
        if folder.join("prepare").exists() {
            let done =
                Command::new("sh").args(["-e"]).arg(folder.join("prepare")).current_dir(&context).status();
            assert!(done.is_ok_and(|status| status.success()), "{}/prepare failed", folder.display());
        }
        let options = fs::read_to_string(folder.join("options")).unwrap_or_default();
        let build = options.lines().fold(build, Build::flag);
        let build = build.build_arg("BASE", &registry.at("base/busybox:1"));
        build.option("--file", folder.join("Dockerfile").to_str().unwrap())
    }

    /// Builds the same with buildah, whose storage is to be in `store`, and reads what it made; its errors when it failed.
    pub(crate) fn with_buildah(&self, store: &Path) -> Result<Image, String> {
        let scratch = Scratch::new();
        let name = scratch.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let at = |name: &str| store.join(name).display().to_string();
        let run = |words: &[&OsStr]| {
            let done = Command::new("buildah")
                // The other drivers leave mounts behind when a build fails.
                .args(["--root", &at("root"), "--runroot", &at("run"), "--storage-driver", "vfs"])
                .args(words)
                .env("TMPDIR", scratch.path())
                .stdin(Stdio::null())
                .output()
                .expect("start buildah");
            let said = || String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
            if done.status.success() { Ok(()) } else { Err(said()) }
        };
        let how =
            ["build", "--isolation=chroot", "--layers=false", "--identity-label=false", "--format=docker"];
        let more = ["--tls-verify=false", "--tag", &name];
        let mut words: Vec<&OsStr> = how.iter().chain(&more).map(OsStr::new).collect();
        words.extend(self.arguments.iter().map(OsString::as_os_str));
        let context = self.folder();
        words.push(context.as_os_str());
        run(&words)?;
        let image = scratch.path().join("image");
        run(&["push", &name, &format!("dir:{}", image.display())].map(OsStr::new))?;
        Ok(Image::open_folder(&image))
    }

    /// `ocistage push` in place of `ocistage build`.
    pub(crate) fn push(mut self) -> Self {
        self.words = vec!["push".into()];
        self
    }

    /// Adds a file to the context.
    pub(crate) fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.scratch.write(&format!("context/{name}"), bytes);
        self
    }

    /// Writes a file beside the context and returns the build with its path in hand.
    pub(crate) fn beside(
        self,
        name: &str,
        bytes: impl AsRef<[u8]>,
        then: impl FnOnce(Self, &str) -> Self,
    ) -> Self {
        let path = self.scratch.write(&format!("beside/{name}"), bytes);
        let path = path.to_str().unwrap().to_owned();
        then(self, &path)
    }

    /// The folder of the context, to put into it what is no plain file.
    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.folder("context")
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.into());
        self
    }

    pub(crate) fn option(self, name: &str, value: &str) -> Self {
        self.flag(name).flag(value)
    }

    pub(crate) fn tag(self, reference: &str) -> Self {
        self.option("--tag", reference)
    }

    pub(crate) fn target(self, stage: &str) -> Self {
        self.option("--target", stage)
    }

    pub(crate) fn backend(self, name: &str) -> Self {
        self.option("--backend", name)
    }

    pub(crate) fn build_arg(self, name: &str, value: &str) -> Self {
        self.option("--build-arg", &format!("{name}={value}"))
    }

    /// Writes the image as an OCI layout that [`Outcome::image`] reads.
    pub(crate) fn output(self) -> Self {
        let out = format!("type=oci,dest={}", self.scratch.folder("out").join("image").display());
        self.option("--output", &out)
    }

    pub(crate) fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Keeps its state in this folder instead of a fresh one.
    pub(crate) fn state(mut self, folder: &Path) -> Self {
        self.state = Some(folder.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs as an ordinary user with subordinate ids.
    pub(crate) fn unprivileged(mut self) -> Self {
        self.unprivileged = Some(user());
        self
    }

    /// Runs as an ordinary user who is in no file: without a name, a home or subordinate ids. For root to ask for.
    pub(crate) fn stranger(mut self) -> Self {
        self.unprivileged = Some("64242");
        self
    }

    /// Starts the command and leaves it running.
    pub(crate) fn start(mut self) -> Running {
        for folder in ["home", "tmp", "state"] {
            self.scratch.folder(folder);
        }
        if let Some(user) = self.unprivileged {
            self.scratch.give_away(user);
        }
        let root = self.scratch.path();
        let program = self.program();
        let mut command = if let Some(user) = self.unprivileged.filter(|_| is_root()) {
            // By its path: the environment of the run may have another PATH.
            let mut command = Command::new(which("setpriv").unwrap_or_else(|| "setpriv".into()));
            command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(&self.words).args(&self.arguments);
        if self.context {
            let state = self.state.clone().unwrap_or_else(|| root.join("state"));
            command.arg("--state-dir").arg(state);
            if !self.arguments.iter().any(|argument| argument == "--progress") {
                command.args(["--progress", "plain"]);
            }
            match &self.elsewhere {
                Some(address) => command.arg(address),
                None => command.arg(root.join("context")),
            };
        } else if let Some(state) = &self.state {
            command.arg("--state-dir").arg(state);
        }
        command
            .current_dir(root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", root.join("home"))
            .env("TMPDIR", root.join("tmp"))
            .env("USER", self.unprivileged.unwrap_or("root"))
            .envs(self.environment.drain(..))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let namespaces = namespaces();
        let mut child = command.spawn().expect("start ocistage");
        let mut stdin = child.stdin.take().unwrap();
        let bytes = std::mem::take(&mut self.stdin);
        thread::spawn(move || stdin.write_all(&bytes));
        let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Running {
            child,
            killed: false,
            stdout,
            stderr,
            shown: String::new(),
            scratch: self.scratch,
            began: Instant::now(),
            namespaces,
        }
    }

    /// The binary, copied where the unprivileged user can reach it if it cannot where it is.
    fn program(&self) -> PathBuf {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_ocistage"));
        let open =
            |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
        if self.unprivileged.is_none() || program.ancestors().all(open) {
            return program;
        }
        self.scratch.copy(&program, "ocistage")
    }

    pub(crate) fn run(self) -> Outcome {
        self.start().finish()
    }

    /// Runs, and exit code 0 is expected.
    pub(crate) fn ok(self) -> Outcome {
        self.exits(0)
    }

    /// Runs, and this exit code is expected.
    pub(crate) fn exits(self, code: i32) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.code, Some(code), "exit code; the output was:\n{}", outcome.shown());
        outcome
    }
}

/// The lines of a stream as they come, each with its end.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            match from.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() => break,
                Ok(_) => {}
            }
        }
    });
    receive
}

/// A command that is under way.
pub(crate) struct Running {
    child: Child,
    /// It had no chance to tidy up its files.
    killed: bool,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    shown: String,
    scratch: Scratch,
    began: Instant,
    namespaces: BTreeSet<PathBuf>,
}

impl Running {
    /// Waits until a line with this text is on standard error.
    pub(crate) fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) => self.shown += &line,
                Err(_) => panic!("{text} never came; the output was:\n{}", self.shown),
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Ends it as a machine that runs out of memory does. Its files stay; its processes and mounts may not.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        self.signal(Signal::KILL);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.child);
        kill_process(process, signal).expect("signal the build");
    }

    pub(crate) fn finish(mut self) -> Outcome {
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if self.began.elapsed() > LIMIT => {
                    self.child.kill().unwrap();
                    break self.child.wait().unwrap().code();
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        // A process that outlived the build may hold the pipes: then the lines end only by the time limit.
        let rest = |from: &Receiver<String>| {
            let mut text = String::new();
            while let Ok(line) = from.recv_timeout(Duration::from_secs(5)) {
                text += &line;
            }
            text
        };
        let stdout = rest(&self.stdout);
        let stderr = self.shown + &rest(&self.stderr);
        let outcome = Outcome { code, stdout, stderr, scratch: self.scratch };
        let mut left = outcome.running(&self.namespaces);
        if !self.killed {
            left.extend(
                outcome.temporary_files().iter().map(|path| format!("temporary file {}", path.display())),
            );
        }
        assert!(
            left.is_empty(),
            "the run left behind:\n{}\nits output was:\n{}",
            left.join("\n"),
            outcome.shown()
        );
        outcome
    }
}

/// A command that has ended, with its folder.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    scratch: Scratch,
}

impl Outcome {
    /// All output, for messages.
    pub(crate) fn shown(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Expects each of these texts in the output.
    pub(crate) fn says(&self, texts: &[&str]) -> &Self {
        let shown = self.shown();
        for text in texts {
            assert!(shown.contains(text), "{text:?} is not in the output:\n{shown}");
        }
        self
    }

    /// The image that [`Build::output`] asked for.
    pub(crate) fn image(&self) -> Image {
        Image::open(&self.layout(), None)
    }

    /// The folder of that image.
    pub(crate) fn layout(&self) -> PathBuf {
        self.scratch.path().join("out/image")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Processes and mounts that still name the run's folder.
    fn running(&self, before: &BTreeSet<PathBuf>) -> Vec<String> {
        let root = self.scratch.path().to_str().unwrap();
        let mut left = Vec::new();
        // An ended process may take a moment to leave the table.
        for _ in 0..20 {
            left = processes(root, before);
            if left.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|line| line.contains(root)).map(|line| format!("mount {line}")));
        left
    }

    /// What is in the folders for temporary files, and what is called as if it were there for a moment only.
    pub(crate) fn temporary_files(&self) -> Vec<PathBuf> {
        let names =
            |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<_> =
            names(self.scratch.path().join("tmp")).chain(names(self.state().join("tmp"))).collect();
        // Images and unpacked layers hold names that are not ours to judge.
        let mut open = vec![self.state(), self.scratch.path().join("out")];
        while let Some(folder) = open.pop() {
            for path in names(folder) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if [".tmp", ".ocistage-", "build-"].iter().any(|mark| name.starts_with(mark)) {
                    found.push(path);
                } else if path.is_dir() && !path.is_symlink() && name != "layers" {
                    open.push(path);
                }
            }
        }
        found
    }
}

/// The mount namespaces of all processes.
fn namespaces() -> BTreeSet<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    // One that may not be read gives an empty name, here as in `processes`.
    processes.map(|entry| fs::read_link(entry.path().join("ns/mnt")).unwrap_or_default()).collect()
}

fn processes(root: &str, before: &BTreeSet<PathBuf>) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let own = format!("/proc/{}", std::process::id());
    let names = |process: &Path| {
        let holds = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(root);
        let files = ["cmdline", "environ", "mountinfo"];
        // Mounts of namespaces that were there before the run are found once, in our own.
        let namespace = fs::read_link(process.join("ns/mnt")).unwrap_or_default();
        let files = if before.contains(&namespace) { &files[..2] } else { &files };
        files.iter().any(|file| fs::read(process.join(file)).is_ok_and(holds))
            || ["cwd", "root", "exe"].iter().any(|link| {
                fs::read_link(process.join(link)).is_ok_and(|to| to.to_string_lossy().starts_with(root))
            })
    };
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()))
        .filter(|path| path != Path::new(&own) && names(path))
        .map(|path| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            format!("process {} {}", path.display(), String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}
