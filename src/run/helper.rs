//! The builder's side of a step: start the init process, relay the output, stop it when told to.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::init::ARGV0;
use super::request::{Report, Request, STOP};
use super::{RunError, RunOutcome, RunOutput};
use crate::ctx::{Ctx, OutputStream};

/// How often cancellation is looked for while a command is silent.
const TICK: Duration = Duration::from_millis(100);

/// How long a command has to end after it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// How long the end of everything may take after that. It takes milliseconds, if the kernel is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// Output is passed on in pieces of at most this many bytes: what a pipe holds.
const PIECE: usize = 64 << 10;

/// Carry out `request` with `program` (this program itself, as a file) as init process.
pub(super) fn carry_out(
    program: &Path,
    ctx: &Ctx,
    request: &Request,
    output: RunOutput<'_>,
) -> Result<RunOutcome, RunError> {
    if ctx.is_cancelled() {
        return Err(RunError::Cancelled);
    }
    let work = &request.spec.rootfs.work;
    let result = start(program, request).and_then(|mut init| init.follow(ctx, output));
    // Also when the step failed: the directory is handed back as it came.
    let cleaned = empty(work).map_err(|error| setup(format!("clean {}", work.display()), error));
    let outcome = result?;
    cleaned?;
    Ok(outcome)
}

/// The init process and the three things that come from it.
struct Init {
    child: Child,
    control: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
    ended: bool,
}

fn start(program: &Path, request: &Request) -> Result<Init, RunError> {
    let failed = |error: std::io::Error| setup("start the init process of a step", error);
    let (control, theirs) = UnixStream::pair().map_err(failed)?;
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()));
    let ((stdout, out), (stderr, err)) = (pipe()?, pipe()?);
    let child = Command::new(program)
        .arg0(ARGV0)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(out)
        .stderr(err)
        // Ctrl-C in a terminal is for the builder, which then stops the step in order.
        .process_group(0)
        .spawn()
        .map_err(|error| setup(format!("start {} as init process of a step", program.display()), error))?;
    let mut init = Init { child, control, stdout, stderr, ended: false };
    match request.send(&mut init.control) {
        // An init process that ended early has said why, or its end says enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(init),
    }
}

impl Init {
    /// Pass on output until the command and all that it started are gone.
    fn follow(&mut self, ctx: &Ctx, output: RunOutput<'_>) -> Result<RunOutcome, RunError> {
        let mut buffer = vec![0_u8; PIECE];
        let mut reports = Vec::new();
        let mut open = [true; 3];
        let mut stopping: Option<Instant> = None;
        while open.contains(&true) {
            if stopping.is_none() && ctx.is_cancelled() {
                // If it can not be told, it is gone, which the poll will show.
                let _ = self.control.write_all(&[STOP]);
                stopping = Some(Instant::now());
            }
            if stopping.is_some_and(|since| since.elapsed() >= GRACE) {
                break;
            }
            let sources = [self.stdout.as_fd(), self.stderr.as_fd(), self.control.as_fd()];
            let mut waiting: Vec<PollFd<'_>> = Vec::with_capacity(3);
            let mut indices = Vec::with_capacity(3);
            for (index, source) in sources.iter().enumerate().filter(|(index, _)| open[*index]) {
                waiting.push(PollFd::new(source, PollFlags::IN));
                indices.push(index);
            }
            let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
            match poll(&mut waiting, Some(&tick)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(setup("wait for a step", error)),
            }
            let ready: Vec<usize> = indices
                .into_iter()
                .zip(&waiting)
                .filter(|(_, fd)| !fd.revents().is_empty())
                .map(|(index, _)| index)
                .collect();
            for index in ready {
                let read = match index {
                    0 => rustix::io::read(&self.stdout, &mut buffer).map_err(Into::into),
                    1 => rustix::io::read(&self.stderr, &mut buffer).map_err(Into::into),
                    _ => self.control.read(&mut buffer),
                };
                match read {
                    // Its own end was killed with a request unread.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => open[index] = false,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(setup("read the output of a step", error)),
                    Ok(0) => open[index] = false,
                    Ok(count) => match index {
                        0 => output(OutputStream::Stdout, &buffer[..count]),
                        1 => output(OutputStream::Stderr, &buffer[..count]),
                        _ => reports.extend_from_slice(&buffer[..count]),
                    },
                }
            }
        }
        self.end();
        if stopping.is_some() {
            return Err(RunError::Cancelled);
        }
        match Report::first(&reports) {
            Some(report) => Ok(RunOutcome { status: report.into_result()? }),
            None => Err(setup(
                "follow a step",
                "its init process was killed (if not by hand, then for want of memory)",
            )),
        }
    }

    /// See the step gone. Without its socket PID 1 of the step ends, which ends everything in its process
    /// namespace; the init process that we started ends after that. It is killed only if that takes too long,
    /// because the death of the others would then not be waited for.
    fn end(&mut self) {
        // A process that has been waited for has given its id back.
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // Fails only when the other side is gone.
        let _ = self.control.shutdown(Shutdown::Both);
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        {
            let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            while poll(&mut ended, Some(&patience)) == Err(rustix::io::Errno::INTR) {}
        }
        // Fails only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.end();
    }
}

/// Remove what a step's mounts left in its scratch directory.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn setup(what: impl Into<String>, reason: impl std::fmt::Display) -> RunError {
    RunError::Setup { what: what.into(), reason: reason.to_string() }
}
