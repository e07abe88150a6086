//! The root of a step: mounted, looked at, and given the mount points that it lacks.
//!
//! A container needs `/proc`, `/dev`, `/etc/resolv.conf` and the targets of its mounts to exist, and an image
//! need not have them. Making them in the writable layer would leave them, and changed parent directories,
//! in the image. So what is missing is made in a directory of its own that becomes one more read-only layer
//! between the image's and the writable one: whatever the step does, the writable layer never has them, and
//! nothing needs to be removed by hand afterwards, when paths can no longer be trusted.
//!
//! To know what is missing the image's layers are looked at first, without a writable one.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, OFlags, Timespec, Timestamps, XattrFlags, fgetxattr, flistxattr, setxattr};
use rustix::io::Errno;

use super::super::request::{During, Report, Request};
use super::super::user::{Identity, identity};
use super::sources::{self, Source};
use crate::rootfs::{Inside, Place, attach, new_filesystem};
use crate::sys::MountAttributes;

/// A root that is ready for its mounts.
pub(super) struct Prepared {
    /// The root, mounted at [`Prepared::at`].
    pub(super) inside: Inside,
    /// Where it is mounted, as seen before the root is entered.
    pub(super) at: PathBuf,
    /// A directory in memory that only this step sees, and that goes with it.
    pub(super) memory: PathBuf,
    /// Who the command runs as.
    pub(super) identity: Identity,
    /// Which of the [given files](FILES) are mounted.
    pub(super) files: Vec<&'static str>,
    /// The step's own mounts: targets and what is seen there, in order.
    pub(super) mounts: Vec<(String, Source)>,
}

/// A place that a mount needs.
#[derive(Clone, Debug)]
struct Target {
    path: Vec<u8>,
    directory: bool,
}

/// The directories that are mounted over in every step. They must be what they seem: a link there could only
/// be meant to mislead.
const DIRECTORIES: [&str; 3] = ["proc", "sys", "dev"];

/// What Linux allows for the value of an extended attribute, and for the list of names.
const ATTRIBUTE_LIMIT: usize = 64 << 10;

/// The files that are mounted over in every step; the names are also those in the step's memory.
pub(super) const FILES: [(&str, &str); 2] = [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts")];

/// Mount the root of `request` and look up what must be known of it.
pub(super) fn prepare(request: &Request) -> Result<Prepared, Report> {
    let rootfs = &request.spec.rootfs;
    let memory = rootfs.work.join("memory");
    make_directory(&memory, 0o700)?;
    let limits = MountAttributes { no_suid: true, no_dev: true, ..MountAttributes::default() };
    let tmpfs = new_filesystem("tmpfs", &[("mode", "0700")], limits)?;
    put(&tmpfs, &memory)?;
    let at = memory.join("root");
    make_directory(&at, 0o700)?;

    let mounts = sources::prepare(request, &memory)?;
    rootfs.prepare_upper()?;
    let looked = Inside::new(rootfs.look(&at)?);
    let identity = identity(&request.spec.user, &looked)?;
    let files = files(&looked)?;
    let missing = missing(&looked, &targets(&files, &mounts))?;
    let layer = rootfs.work.join("mountpoints");
    if !missing.is_empty() {
        make_layer(&layer, &looked, &missing)?;
    }
    drop(looked);
    let inside = Inside::new(rootfs.mount((!missing.is_empty()).then_some(&layer), &at)?);
    let handle = File::open(&at).during(|| format!("open {}", at.display()))?;
    attach(inside.root(), handle.as_fd()).during(|| "attach the root".to_owned())?;
    Ok(Prepared { inside, at, memory, identity, files, mounts })
}

/// The targets of the given files. An image in which one is a link to `/dev/null` or the like says that it
/// wants none; nothing may be mounted on the device.
fn files(inside: &Inside) -> Result<Vec<&'static str>, Report> {
    let mut files = Vec::new();
    for (_, path) in FILES {
        let place = inside.place(path.as_bytes()).during(|| format!("find {path} in the image"))?;
        let first = place.names.first();
        if !DIRECTORIES.iter().any(|name| first.is_some_and(|first| first == name.as_bytes())) {
            files.push(path);
        }
    }
    Ok(files)
}

/// What this step mounts over, in the order of mounting.
fn targets(files: &[&str], mounts: &[(String, Source)]) -> Vec<Target> {
    let target = |path: &str, directory| Target { path: path.as_bytes().to_vec(), directory };
    let mut targets: Vec<Target> = DIRECTORIES.iter().map(|path| target(path, true)).collect();
    targets.extend(files.iter().map(|path| target(path, false)));
    targets.extend(mounts.iter().map(|(path, source)| match source {
        Source::Bind { directory, .. } => target(path, *directory),
        Source::Tmpfs { .. } => target(path, true),
    }));
    targets
}

/// Where the targets lead that do not exist. Those inside of another mount are not the root's business.
fn missing(inside: &Inside, targets: &[Target]) -> Result<Vec<(Place, bool)>, Report> {
    let mut places: Vec<Place> = Vec::new();
    let mut missing = Vec::new();
    for target in targets {
        let shown = String::from_utf8_lossy(&target.path).into_owned();
        let place = inside.place(&target.path).during(|| format!("find {shown} in the image"))?;
        if DIRECTORIES.iter().any(|name| name.as_bytes() == target.path) {
            check_directory(inside, &place, &target.path)?;
        }
        if place.names.is_empty() {
            return Err(Report::setup(
                format!("mount on {shown}"),
                "the root itself can not be mounted over",
            ));
        }
        if places.iter().any(|earlier| place.names.starts_with(&earlier.names)) {
            continue;
        }
        if !place.exists() {
            missing.push((place.clone(), target.directory));
        }
        places.push(place);
    }
    Ok(missing)
}

/// `/proc` and its like must be directories or absent.
fn check_directory(inside: &Inside, place: &Place, path: &[u8]) -> Result<(), Report> {
    let what = || format!("mount /{}", String::from_utf8_lossy(path));
    if place.names != [path] {
        return Err(Report::setup(what(), "it is a symbolic link in the image; remove it there"));
    }
    if place.exists() {
        let handle = inside.handle(path).during(what)?;
        let stat = rustix::fs::fstat(&handle).during(what)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Report::setup(what(), "it is not a directory in the image; remove it there"));
        }
    }
    Ok(())
}

/// Make the layer with the missing places. Directories that the image has look as they do there, because in
/// the overlay the topmost one's mode, owner and times are seen.
fn make_layer(layer: &Path, inside: &Inside, missing: &[(Place, bool)]) -> Result<(), Report> {
    make_directory(layer, 0o755)?;
    let mut copied: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for (place, directory) in missing {
        let mut path = layer.to_owned();
        for (index, name) in place.names.iter().enumerate() {
            path.push(OsStr::from_bytes(name));
            let last = index + 1 == place.names.len();
            if path.symlink_metadata().is_ok() {
                continue;
            }
            if last && !directory {
                File::create(&path).during(|| format!("create {}", path.display()))?;
                chmod(&path, 0o644)?;
                continue;
            }
            make_directory(&path, 0o755)?;
            // As an overlay shows it: the topmost layer that has the directory decides.
            if index < place.existing {
                let shown = || format!("look at /{} in the image", place_text(place, index + 1));
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                copied.push((path.clone(), inside.open(&place.path(index + 1), flags).during(shown)?));
            }
        }
    }
    // Innermost first: making something in a directory changes its time.
    for (path, original) in copied.iter().rev() {
        copy_attributes(path, original)?;
    }
    Ok(())
}

fn copy_attributes(path: &Path, original: &OwnedFd) -> Result<(), Report> {
    let what = || format!("copy the attributes of a directory to {}", path.display());
    let stat = rustix::fs::fstat(original).during(what)?;
    std::os::unix::fs::chown(path, Some(stat.st_uid), Some(stat.st_gid)).during(what)?;
    chmod(path, stat.st_mode & 0o7777)?;
    copy_extended(path, original).during(what)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty()).during(what)
}

/// Extended attributes, but for those of the overlay itself and of security modules, which label by
/// themselves.
fn copy_extended(path: &Path, original: &OwnedFd) -> rustix::io::Result<()> {
    let mut names = vec![0_u8; ATTRIBUTE_LIMIT];
    let length = match flistxattr(original, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let own = [&b"trusted.overlay."[..], b"user.overlay.", b"security."];
        if own.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let mut value = vec![0_u8; ATTRIBUTE_LIMIT];
        let length = fgetxattr(original, name, &mut value[..])?;
        setxattr(path, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

fn place_text(place: &Place, count: usize) -> String {
    String::from_utf8_lossy(&place.path(count)).into_owned()
}

pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), Report> {
    let what = || format!("create {}", path.display());
    DirBuilder::new().mode(mode).create(path).during(what)?;
    // Whatever the umask is.
    chmod(path, mode)
}

fn chmod(path: &Path, mode: u32) -> Result<(), Report> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .during(|| format!("change the mode of {}", path.display()))
}

/// Attach a file system at a directory of ours.
fn put(filesystem: &OwnedFd, at: &Path) -> Result<(), Report> {
    let handle = File::open(at).during(|| format!("open {}", at.display()))?;
    attach(filesystem.as_fd(), handle.as_fd()).during(|| format!("mount on {}", at.display()))
}
