//! The mounts of a step under the own spawner, and the change into its root.
//!
//! Everything is mounted by descriptor: targets are looked up inside the root, sources were opened by us.
//! All of it happens before the command exists, so nothing changes under our hands.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::super::request::{During, Report, Request};
use super::super::{Network, policy};
use super::devices;
use super::root::{FILES, Prepared};
use super::sources::Source;
use crate::rootfs::{Inside, RootfsError, attach, bind, new_filesystem};
use crate::sys::MountAttributes;

/// Nothing of it is to be executed, set-id or a device.
pub(super) const INERT: MountAttributes =
    MountAttributes { read_only: false, no_suid: true, no_dev: true, no_exec: true };

const INERT_READ_ONLY: MountAttributes = MountAttributes { read_only: true, ..INERT };

/// Mounts of users: programs in a cache may be executed.
const FOREIGN: MountAttributes =
    MountAttributes { read_only: false, no_suid: true, no_dev: true, no_exec: false };

/// Mount everything of `request` in its root.
pub(super) fn mount_all(request: &Request, root: &Prepared) -> Result<(), Report> {
    let inside = &root.inside;
    let proc = new_filesystem("proc", &[], INERT).map_err(|error| proc_refused(&error))?;
    attach_at(inside, "/proc", &proc)?;
    devices::mount(inside)?;
    attach_at(inside, "/sys", &sys(request)?)?;

    for (file, target) in write_files(request, root)? {
        attach_at(inside, target, &bind(&file, INERT_READ_ONLY)?)?;
    }
    for (target, source) in &root.mounts {
        foreign(inside, target, source)?;
    }
    protect(inside)
}

/// Write the given files into the step's memory; where they are and where they belong.
pub(super) fn write_files(
    request: &Request,
    root: &Prepared,
) -> Result<Vec<(PathBuf, &'static str)>, Report> {
    let mut files = Vec::new();
    for ((name, target), text) in FILES.into_iter().zip([&request.resolv_conf, &request.hosts]) {
        if root.files.contains(&target) {
            let file = root.memory.join(name);
            write_file(&file, text.as_bytes())?;
            files.push((file, target));
        }
    }
    Ok(files)
}

/// A fresh sysfs shows the network namespace of whoever mounts it, and needs rights over that; without them
/// the one that we see is shown.
fn sys(request: &Request) -> Result<OwnedFd, Report> {
    if let Ok(sys) = new_filesystem("sysfs", &[], INERT_READ_ONLY) {
        return Ok(sys);
    }
    let what = match request.spec.network {
        Network::Host => "bind /sys",
        // A new network namespace is ours, so the first way works where mounting works at all.
        Network::None => "mount /sys",
    };
    bind(Path::new("/sys"), INERT_READ_ONLY).map_err(|error| Report::setup(what, error.reason))
}

pub(super) fn proc_refused(error: &RootfsError) -> Report {
    Report::setup(
        "mount /proc",
        format!(
            "{}; if parts of /proc are masked here (a container), ask for it unmasked (Kubernetes: \
             procMount: Unmasked; podman and docker: --security-opt unmask=/proc/*, systempaths=unconfined)",
            error.reason
        ),
    )
}

fn foreign(inside: &Inside, target: &str, source: &Source) -> Result<(), Report> {
    match source {
        Source::Bind { source, directory, read_only } => {
            let attributes = MountAttributes { read_only: *read_only, ..FOREIGN };
            make_target(inside, target, *directory)?;
            attach_at(inside, target, &bind(source, attributes)?)
        }
        Source::Tmpfs { size } => {
            let size = size.map(|size| size.to_string());
            let mut options = vec![("mode", "1777")];
            options.extend(size.as_deref().map(|size| ("size", size)));
            make_target(inside, target, true)?;
            attach_at(inside, target, &new_filesystem("tmpfs", &options, FOREIGN)?)
        }
    }
}

/// Make a target inside of another mount (one in the root exists by now).
fn make_target(inside: &Inside, target: &str, directory: bool) -> Result<(), Report> {
    let what = || format!("create the mount point {target}");
    let place = inside.place(target.as_bytes()).during(what)?;
    for count in place.existing + 1..=place.names.len() {
        let parent = inside.open(&place.path(count - 1), OFlags::PATH | OFlags::DIRECTORY).during(what)?;
        let name = place.names[count - 1].as_slice();
        if count < place.names.len() || directory {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755)).during(what)?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&parent, name, flags, Mode::from_raw_mode(0o644)).during(what)?;
        }
    }
    Ok(())
}

/// Hide and write-protect what the OCI runtimes do, as far as this kernel has it.
fn protect(inside: &Inside) -> Result<(), Report> {
    for path in policy::READ_ONLY {
        let what = || format!("write-protect {path}");
        let Some(handle) = existing(inside, path).during(what)? else { continue };
        let again = clone_of(handle.as_fd()).during(what)?;
        crate::sys::set_mount_attributes(again.as_fd(), INERT_READ_ONLY, true).during(what)?;
        attach(again.as_fd(), handle.as_fd()).during(what)?;
    }
    for path in policy::MASKED {
        let what = || format!("hide {path}");
        let Some(handle) = existing(inside, path).during(what)? else { continue };
        let stat = rustix::fs::fstat(&handle).during(what)?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            new_filesystem("tmpfs", &[("size", "4k"), ("mode", "0755")], INERT_READ_ONLY)?
        } else {
            devices::host_node("null")?
        };
        attach(cover.as_fd(), handle.as_fd()).during(what)?;
    }
    Ok(())
}

fn existing(inside: &Inside, path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match inside.handle(path.as_bytes()) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same place as a mount of its own.
fn clone_of(handle: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(handle, "", flags)
}

/// Put a detached mount on a path of the root.
pub(super) fn attach_at(inside: &Inside, path: &str, mount: &OwnedFd) -> Result<(), Report> {
    let target = inside.handle(path.as_bytes()).during(|| format!("find {path} in the image"))?;
    attach(mount.as_fd(), target.as_fd()).during(|| format!("mount on {path}"))
}

/// Write a file of ours that everybody may read.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Report> {
    use std::os::unix::fs::PermissionsExt;
    let what = || format!("write {}", path.display());
    std::fs::write(path, bytes).during(what)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).during(what)
}

/// Make the prepared root this process's root, and let go of the machine's.
pub(super) fn enter(root: &Prepared) -> Result<(), Report> {
    let what = || "change into the root".to_owned();
    std::env::set_current_dir(&root.at).during(what)?;
    // The old root comes to lie on top of the new one, from where it is taken off.
    rustix::process::pivot_root(".", ".").during(what)?;
    unmount(".", UnmountFlags::DETACH).during(what)?;
    std::env::set_current_dir("/").during(what)
}
