//! `/dev` of a step.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;

use super::super::policy;
use super::super::request::{During, Report};
use super::mounts::{INERT, attach_at};
use crate::rootfs::{Inside, attach, bind, new_filesystem};
use crate::sys::MountAttributes;

/// The devices that every container has (OCI runtime specification, "Default Devices"), with their numbers.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Mount `/dev` and what is in it.
pub(super) fn mount(inside: &Inside) -> Result<(), Report> {
    let no_suid = MountAttributes { no_suid: true, ..MountAttributes::default() };
    let dev = new_filesystem("tmpfs", &[("mode", "0755"), ("size", "64m")], no_suid)?;
    attach_at(inside, "/dev", &dev)?;
    // The umask must not take anything away from the modes below.
    let umask = rustix::process::umask(Mode::empty());
    let filled = fill(&dev);
    rustix::process::umask(umask);
    filled?;

    attach_at(inside, "/dev/pts", &pts()?)?;
    let shm = new_filesystem("tmpfs", &[("mode", "1777"), ("size", policy::SHM_SIZE)], INERT)?;
    attach_at(inside, "/dev/shm", &shm)?;
    // Not every kernel has message queues.
    if let Ok(queues) = new_filesystem("mqueue", &[], INERT) {
        attach_at(inside, "/dev/mqueue", &queues)?;
    }
    Ok(())
}

fn fill(dev: &OwnedFd) -> Result<(), Report> {
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(dev, name, Mode::from_raw_mode(0o755)).during(|| format!("create /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, dev, name).during(|| format!("create /dev/{name}"))?;
    }
    for (name, major, minor) in NODES {
        let what = || format!("create /dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        match mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor)) {
            // Not to us in a user namespace: show the machine's.
            Err(Errno::PERM) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let stub = openat(dev, name, flags, mode).during(what)?;
                attach(host_node(name)?.as_fd(), stub.as_fd()).during(what)?;
            }
            answer => answer.during(what)?,
        }
    }
    Ok(())
}

/// The machine's device of this name as a mount, if it is what it is called.
pub(super) fn host_node(name: &str) -> Result<OwnedFd, Report> {
    let path = format!("/dev/{name}");
    let what = || format!("bind {path}");
    let node = bind(Path::new(&path), MountAttributes::default())?;
    let stat = fstat(&node).during(what)?;
    let number = NODES.iter().find(|node| node.0 == name).map(|(_, major, minor)| makedev(*major, *minor));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || number != Some(stat.st_rdev) {
        return Err(Report::setup(what(), "it is not the device that it should be"));
    }
    Ok(node)
}

/// Terminals of the step's own. Their group is tty by convention, where that id exists.
fn pts() -> Result<OwnedFd, Report> {
    let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let attributes = MountAttributes { no_suid: true, no_exec: true, ..MountAttributes::default() };
    new_filesystem("devpts", &options, attributes)
        .or_else(|_| new_filesystem("devpts", &options[..3], attributes))
        .map_err(Into::into)
}
