//! The `git` program, kept on a short leash.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::GitSource;
use crate::context::remote::{RemoteError, RemoteErrorKind};
use crate::ctx::Ctx;
use crate::http::{Attempts, Next, Schedule, printable};
use crate::text::without_userinfo;

/// Runs git.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    /// Its name, or a path.
    program: PathBuf,
    /// All that it sees of the environment.
    environment: Vec<(String, String)>,
    schedule: Schedule,
}

/// How git is to behave, whatever the user's own settings say.
const SETTINGS: [&str; 21] = [
    // Nothing that a repository, a template or a habit brings is run.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.ext.allow=never",
    "protocol.file.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    // Files are what the commit says, on every machine.
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.fileMode=true",
    "core.attributesFile=/dev/null",
    "core.sparseCheckout=false",
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
    "init.defaultBranch=master",
    "advice.detachedHead=false",
    "core.quotePath=false",
    // Slow is fine, standing still is not.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
];
/// The only transports, for submodules too.
const TRANSPORTS: &str = "http:https:git:ssh";
/// What a command prints at most; the refs of the largest repositories come to some MB.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// What is kept of what it says on standard error.
const ERROR_LIMIT: usize = 8 << 10;
/// The longest that one command may take: a whole history over a slow line.
const TIME_LIMIT: Duration = Duration::from_secs(3600);
/// Variables through which the credential helper is told its answer.
const USER: &str = "OCISTAGE_GIT_USER";
const PASSWORD: &str = "OCISTAGE_GIT_PASSWORD";
/// The helper: a function of git's own shell, so that the secret is in no argument.
const HELPER: &str = "!f() { if test \"$1\" = get; then printf 'username=%s\\npassword=%s\\n' \
                      \"$OCISTAGE_GIT_USER\" \"$OCISTAGE_GIT_PASSWORD\"; fi; }; f";

/// A command that failed.
pub(super) struct Failed {
    /// What it said last.
    pub(super) said: String,
    /// What that means.
    pub(super) kind: RemoteErrorKind,
}

impl Git {
    /// Git with `environment` and nothing else of it.
    pub(crate) fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment = environment.into_iter().collect();
        Self { program: PathBuf::from("git"), environment, schedule: Schedule::default() }
    }

    /// The same by another name.
    #[cfg(test)]
    pub(in crate::context::remote) fn with(mut self, program: &str, schedule: Schedule) -> Self {
        (self.program, self.schedule) = (PathBuf::from(program), schedule);
        self
    }

    /// Run a command that talks to the other side: again, when that may help.
    pub(super) async fn talk(
        &self,
        ctx: &Ctx,
        source: &GitSource,
        place: &Place<'_>,
        arguments: &[&str],
    ) -> Result<Result<Vec<u8>, Failed>, RemoteError> {
        let mut attempts = Attempts::new(&self.schedule);
        loop {
            let failed = match self.run(ctx, source, place, arguments).await? {
                Err(failed) if failed.kind == RemoteErrorKind::Unavailable => failed,
                settled => return Ok(settled),
            };
            let Next::Wait(wait) = attempts.failed(None) else { return Ok(Err(failed)) };
            tokio::select! {
                () = ctx.cancelled() => return Err(RemoteError::Cancelled),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Run a command that must succeed; what it prints.
    pub(super) async fn must(
        &self,
        ctx: &Ctx,
        source: &GitSource,
        place: &Place<'_>,
        arguments: &[&str],
    ) -> Result<Vec<u8>, RemoteError> {
        let failed = match self.run(ctx, source, place, arguments).await? {
            Ok(output) => return Ok(output),
            Err(failed) => failed,
        };
        Err(failed.into_error(source))
    }

    /// Run a command once; what it prints.
    pub(super) async fn run(
        &self,
        ctx: &Ctx,
        source: &GitSource,
        place: &Place<'_>,
        arguments: &[&str],
    ) -> Result<Result<Vec<u8>, Failed>, RemoteError> {
        let mut child = self.command(source, place, arguments).spawn().map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "was not found in the search path".to_owned(),
                _ => format!("cannot be started: {error}"),
            };
            RemoteError::NoGit { remote: source.shown(), reason }
        })?;
        let group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (output, said) = futures_util::future::join(whole(stdout), tail(stderr)).await;
            Ok::<_, io::Error>((output?, said?, child.wait().await?))
        };
        let finished = tokio::select! {
            () = ctx.cancelled() => return Err(RemoteError::Cancelled),
            finished = tokio::time::timeout(TIME_LIMIT, work) => finished,
        };
        let (output, said, status) = match finished {
            Ok(Ok(finished)) => finished,
            Ok(Err(error)) => return Err(RemoteError::Disk { what: source.shown(), source: error }),
            Err(_) => {
                let said = format!("git was not done within {} s", TIME_LIMIT.as_secs());
                return Ok(Err(Failed { said, kind: RemoteErrorKind::Unavailable }));
            }
        };
        group.ended();
        if output.len() as u64 > OUTPUT_LIMIT {
            let said = format!("git printed more than {OUTPUT_LIMIT} bytes");
            return Ok(Err(Failed { said, kind: RemoteErrorKind::Wrong }));
        }
        if status.success() {
            return Ok(Ok(output));
        }
        Ok(Err(Failed::of(&String::from_utf8_lossy(&said), status)))
    }

    fn command(&self, source: &GitSource, place: &Place<'_>, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", TRANSPORTS)
            .env("GCM_INTERACTIVE", "never")
            // Its words are read.
            .env("LC_ALL", "C");
        if !self.environment.iter().any(|(name, _)| name == "GIT_SSH_COMMAND" || name == "GIT_SSH") {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        // Of a redirect's answer only the first counts. A header would be said to whom it leads, so then none.
        let redirects = if source.header.is_some() { "false" } else { "initial" };
        command.arg("-c").arg(format!("http.followRedirects={redirects}"));
        if let Some(header) = &source.header {
            // By the environment, which others cannot read.
            command.env("GIT_CONFIG_COUNT", "1");
            command.env("GIT_CONFIG_KEY_0", format!("http.{}/.extraHeader", source.origin()));
            command.env("GIT_CONFIG_VALUE_0", format!("Authorization: {}", header.expose()));
        }
        if let Some((user, password)) = &source.login {
            let origin = source.origin();
            // The user's own helpers are not asked for what the address says.
            for setting in
                ["helper=".to_owned(), format!("{origin}.helper="), format!("{origin}.helper={HELPER}")]
            {
                command.arg("-c").arg(format!("credential.{setting}"));
            }
            command.env(USER, user.expose()).env(PASSWORD, password.expose());
        }
        if let Some(repository) = place.repository {
            command.arg(argument("--git-dir=", repository));
        }
        if let Some(files) = place.files {
            command.arg(argument("--work-tree=", files)).current_dir(files);
        } else {
            command.current_dir("/");
        }
        command.arg("--literal-pathspecs").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its children, too, end with the build.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// Where a command works.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// The repository.
    pub(super) repository: Option<&'a Path>,
    /// The files that are checked out.
    pub(super) files: Option<&'a Path>,
}

fn argument(flag: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(flag);
    argument.push(path);
    argument
}

impl Failed {
    fn of(said: &str, status: std::process::ExitStatus) -> Self {
        let said = without_userinfo(said);
        let kind = kind(&said);
        let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
        // The first complaint is the cause; what follows repeats or advises.
        let told = lines().find_map(|line| line.strip_prefix("fatal: ").or(line.strip_prefix("error: ")));
        let told = told.or_else(|| lines().next_back()).map_or_else(|| status.to_string(), str::to_owned);
        Self { said: printable(&told, 300), kind }
    }

    /// The failure as an error about `source`.
    pub(super) fn into_error(self, source: &GitSource) -> RemoteError {
        RemoteError::Git { remote: source.shown(), said: self.said, kind: self.kind }
    }
}

/// What git's words mean. It has no other way to say it.
fn kind(said: &str) -> RemoteErrorKind {
    let has = |any: &[&str]| any.iter().any(|part| said.contains(part));
    if has(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied (",
        "returned error: 401",
        "returned error: 403",
        "Host key verification failed",
    ]) {
        RemoteErrorKind::Unauthorised
    } else if has(&[
        "Could not resolve host",
        "Failed to connect",
        "Couldn't connect",
        "Could not connect",
        "unable to connect",
        "Connection refused",
        "Connection reset",
        "Connection timed out",
        "Operation timed out",
        "Operation too slow",
        "early EOF",
        "unexpected disconnect",
        "hung up unexpectedly",
        "Recv failure",
        "Send failure",
        "returned error: 429",
        "returned error: 5",
        "No route to host",
        "Network is unreachable",
        "Temporary failure in name resolution",
    ]) {
        RemoteErrorKind::Unavailable
    } else if has(&["No space left on device", "Disk quota exceeded", "Read-only file system"]) {
        RemoteErrorKind::Disk
    } else {
        RemoteErrorKind::Wrong
    }
}

/// A child's process group, which is killed unless the child ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn whole(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut limited = stream.take(OUTPUT_LIMIT + 1);
        limited.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The beginning is cut off when there is much of it.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = VecDeque::new();
    let Some(mut stream) = stream else { return Ok(Vec::new()) };
    let mut block = [0; 4096];
    loop {
        let count = stream.read(&mut block).await?;
        if count == 0 {
            return Ok(kept.into());
        }
        kept.extend(&block[..count]);
        let excess = kept.len().saturating_sub(ERROR_LIMIT);
        kept.drain(..excess);
    }
}
