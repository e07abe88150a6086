//! What a step's mounts show, each as a path of the machine that can simply be bound.
//!
//! A file is written into the step's memory. A part of a tree is opened inside of that tree, so that links
//! in it mean what they mean there, and bound by descriptor to a place in the step's memory: by the time
//! anything else looks at it, it is a mount of ours and not a path that somebody could change.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::super::RunMount;
use super::super::request::{During, Report, Request};
use super::root::make_directory;
use crate::rootfs::{Inside, Rootfs, attach, bind_descriptor};
use crate::sys::MountAttributes;

/// A mount that needs no more looking up.
#[derive(Clone, Debug)]
pub(in super::super) enum Source {
    /// A file or directory of the machine.
    Bind {
        /// Where it is.
        source: PathBuf,
        /// Whether it is a directory.
        directory: bool,
        /// Whether writes are refused.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
    },
}

/// Prepare the sources of all mounts of `request`, in order, with their targets. `memory` is the step's.
pub(super) fn prepare(request: &Request, memory: &Path) -> Result<Vec<(String, Source)>, Report> {
    let rootfs = &request.spec.rootfs;
    request
        .spec
        .mounts
        .iter()
        .enumerate()
        .map(|(number, mount)| {
            let at = memory.join(format!("source{number}"));
            let (target, source) = match mount {
                RunMount::Tmpfs { target, size } => (target, Source::Tmpfs { size: *size }),
                RunMount::Bind { source, target, read_only } => {
                    let what = || format!("mount {} on {target}", source.display());
                    let directory = source.metadata().during(what)?.is_dir();
                    (target, Source::Bind { source: source.clone(), directory, read_only: *read_only })
                }
                RunMount::File { content, target, mode, uid, gid } => {
                    write(&at, content, *mode, *uid, *gid)
                        .during(|| format!("write the file for {target}"))?;
                    (target, Source::Bind { source: at, directory: false, read_only: true })
                }
                RunMount::Part { lowers, source, target, writable } => {
                    let scratch = rootfs.work.join(format!("part{number}"));
                    let tree = tree(lowers, writable.then_some(&scratch), memory)?;
                    let what = || format!("mount {source} on {target}");
                    let part = Inside::new(tree).handle(source.as_bytes()).during(what)?;
                    let stat = rustix::fs::fstat(&part).during(what)?;
                    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    if directory {
                        make_directory(&at, 0o700)?;
                    } else {
                        File::create(&at).during(what)?;
                    }
                    let attributes = MountAttributes { read_only: !writable, ..MountAttributes::default() };
                    let mount = bind_descriptor(part.as_fd(), attributes).during(what)?;
                    let place = File::open(&at).during(what)?;
                    attach(mount.as_fd(), place.as_fd()).during(what)?;
                    (target, Source::Bind { source: at, directory, read_only: !writable })
                }
            };
            Ok((target.clone(), source))
        })
        .collect()
}

/// The tree of some layers, with somewhere to write (and to forget what was written) if `scratch` is given.
fn tree(lowers: &[PathBuf], scratch: Option<&PathBuf>, memory: &Path) -> Result<OwnedFd, Report> {
    let mounting = memory.join("mounting");
    if !mounting.exists() {
        make_directory(&mounting, 0o700)?;
    }
    let rootfs = |directory: &Path| Rootfs {
        lowers: lowers.to_vec(),
        upper: directory.join("upper"),
        work: directory.join("work"),
    };
    match scratch {
        None => Ok(attached(rootfs(&mounting).look(&mounting)?, lowers, memory)?),
        Some(scratch) => {
            let rootfs = rootfs(scratch);
            for directory in [scratch, &rootfs.upper, &rootfs.work] {
                make_directory(directory, 0o700)?;
            }
            rootfs.prepare_upper()?;
            Ok(attached(rootfs.mount(None, &mounting)?, &[], memory)?)
        }
    }
}

/// Kernels before 6.15 bind only what is attached somewhere. A single layer's directory is.
fn attached(tree: OwnedFd, lowers: &[PathBuf], memory: &Path) -> Result<OwnedFd, Report> {
    if lowers.len() == 1 {
        return Ok(tree);
    }
    let what = || "attach a tree".to_owned();
    let number = std::fs::read_dir(memory).during(what)?.count();
    let at = memory.join(format!("tree{number}"));
    make_directory(&at, 0o700)?;
    let place = File::open(&at).during(what)?;
    attach(tree.as_fd(), place.as_fd()).during(what)?;
    Ok(tree)
}

fn write(path: &Path, content: &[u8], mode: u32, uid: u32, gid: u32) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
}
