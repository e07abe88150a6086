//! From the first instruction to the two processes.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior,
    set_parent_process_death_signal, waitpid,
};
use rustix::thread::UnshareFlags;

use super::super::request::{During, Report, Request, Starter};
use super::super::{Network, RunStatus, files};
use super::{command, mounts, reap, root, runtime};
use crate::sys::{Forked, exit_now, fork, make_private, raise_loopback, set_standard, unshare};

/// The name under which this program is the init process of a step.
pub(in super::super) const ARGV0: &str = "ocistage-init";

/// If this program was started as the init process of a step, be that, and answer with the exit status with
/// which to end. To be called before anything else, with no other thread.
pub fn init_if_asked() -> Option<i32> {
    (std::env::args_os().next()? == ARGV0).then(|| match outer() {
        Ok(()) => 0,
        Err(_) => 1,
    })
}

/// Receive the request, fork init into a new process namespace, wait for it. The error was reported.
fn outer() -> Result<(), ()> {
    // The socket is our standard input; take it away from there before anything else is opened.
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(drop)?;
    let control = UnixStream::from(control);
    let forked = protect()
        .and_then(|()| Request::receive(&control).during(|| "receive a step".to_owned()))
        .and_then(|request| {
            unshare(UnshareFlags::NEWPID).during(|| "make a process namespace".to_owned())?;
            Ok((fork().during(|| "fork the init process".to_owned())?, request))
        });
    match forked {
        Ok((Forked::Child, request)) => exit_now(inner(&control, &request)),
        Ok((Forked::Parent(pid), _)) => {
            drop(control);
            let null = open_null().map_err(drop)?;
            // Only the step holds the output now, so its end shows when the step is gone.
            for number in 0..3 {
                set_standard(null.as_fd(), number).map_err(drop)?;
            }
            wait(pid);
            Ok(())
        }
        // A builder that is gone needs no report.
        Err(report) => report.send(&control).map_err(drop).and(Err(())),
    }
}

/// Die with the parent, and be closed to other processes.
fn protect() -> Result<(), Report> {
    set_parent_process_death_signal(Some(Signal::KILL)).during(|| "bind to the parent's life".to_owned())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(|| "protect the init process".to_owned())
}

/// Be PID 1 of the step.
fn inner(control: &UnixStream, request: &Request) -> i32 {
    let report = protect().and_then(|()| carry_out(control, request)).map_or_else(|r| r, Report::Ended);
    i32::from(report.send(control).is_err())
}

fn carry_out(control: &UnixStream, request: &Request) -> Result<RunStatus, Report> {
    let null = open_null().during(|| "open /dev/null".to_owned())?;
    set_standard(null.as_fd(), 0).during(|| "set the standard input".to_owned())?;
    namespaces(request)?;
    let prepared = root::prepare(request)?;
    match &request.starter {
        Starter::Own => {
            mounts::mount_all(request, &prepared)?;
            mounts::enter(&prepared)?;
            let command = command::start(request, &prepared, control)?;
            reap::until_ended(&command, control)
        }
        Starter::Runtime { kind, program } => runtime::run(*kind, program, request, &prepared, control),
    }
}

/// What a step has of its own. The cgroup namespace only hides names, so a kernel without it will do.
fn namespaces(request: &Request) -> Result<(), Report> {
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if request.spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    unshare(flags).during(|| "make the namespaces of a step".to_owned())?;
    make_private().during(|| "make mounts private".to_owned())?;
    let _ = unshare(UnshareFlags::NEWCGROUP);
    if request.spec.network == Network::None {
        raise_loopback().during(|| "bring up the loopback interface".to_owned())?;
    }
    rustix::system::sethostname(files::HOSTNAME.as_bytes()).during(|| "set the host name".to_owned())
}

fn open_null() -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Wait for one child, whatever interrupts.
fn wait(pid: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) => return Some(status),
            Ok(None) | Err(_) => return None,
        }
    }
}
