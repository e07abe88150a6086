//! PID 1's waiting: reap everything, pass on the wish to stop, end with the command.

use std::io::Read;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

use super::super::RunStatus;
use super::super::request::{During, Report, STOP};
use crate::sys::ChildSignals;

/// A started command, and the signals that tell of its end (listened for since before it was started).
pub(super) struct Started {
    /// Its id in the step's process namespace.
    pub(super) pid: Pid,
    /// What to poll.
    pub(super) signals: ChildSignals,
}

/// Wait for the command. When the builder is gone, so is the step.
pub(super) fn until_ended(command: &Started, control: &UnixStream) -> Result<RunStatus, Report> {
    loop {
        if let Some(status) = reap(command.pid)? {
            return Ok(status);
        }
        let mut fds = [PollFd::new(&command.signals, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Report::setup("wait for the command", error)),
        }
        let [signal, asked] = fds.map(|fd| !fd.revents().is_empty());
        if signal {
            command.signals.drain();
        }
        if asked {
            let mut byte = [0_u8];
            match (&*control).read(&mut byte) {
                Ok(1) if byte[0] == STOP => tell_all_to_stop(),
                _ => return Err(Report::setup("wait for the command", "the builder is gone")),
            }
        }
    }
}

/// Every process of the step: the command may have started others that it does not care for.
fn tell_all_to_stop() {
    // Group 1 to `kill(-1)` is "all but myself and what I may not signal"; none left is no error.
    let _ = kill_process_group(Pid::INIT, Signal::TERM);
}

/// Collect the processes that have ended; the command's status if it is among them.
fn reap(command: Pid) -> Result<Option<RunStatus>, Report> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == command => ended = status_of(status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok(ended),
            Err(rustix::io::Errno::CHILD) if ended.is_some() => return Ok(ended),
            Err(error) => return Err(error).during(|| "wait for the command".to_owned()),
        }
    }
}

fn status_of(status: WaitStatus) -> Option<RunStatus> {
    status.exit_status().map(RunStatus::Exited).or(status.terminating_signal().map(RunStatus::Signalled))
}
