//! A step as an OCI bundle's `config.json`, for runtimes that take one.
//!
//! The container is what the own spawner makes, said in the words of the OCI runtime specification. What the
//! init process has given the runtime's surroundings already (network, cgroup namespace) is not repeated.

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, Mount,
    MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::init::Source;
use super::request::Request;
use super::user::Identity;
use super::{RunSpec, caps, files, policy, seccomp};

/// Where things of a bundle are on the machine.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// The mounted root.
    pub(super) root: &'a Path,
    /// Files that every step is given, with their targets.
    pub(super) files: &'a [(PathBuf, &'static str)],
    /// The step's own mounts.
    pub(super) mounts: &'a [(String, Source)],
    /// Whether a fresh sysfs can be mounted; otherwise the machine's is shown.
    pub(super) fresh_sysfs: bool,
}

/// The runtime specification of a step.
pub(super) fn spec(
    request: &Request,
    identity: &Identity,
    places: &Places<'_>,
) -> Result<Spec, OciSpecError> {
    let spec = &request.spec;
    let capabilities: Capabilities =
        caps::DEFAULT.iter().filter_map(|(name, _)| name.trim_start_matches("CAP_").parse().ok()).collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()?;
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .umask(0o022_u32)
        .additional_gids(identity.groups.clone())
        .build()?;
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(spec.args.clone())
        .env(environment(spec, identity))
        .cwd(&spec.workdir)
        .capabilities(capabilities)
        .rlimits(Vec::new())
        .no_new_privileges(false)
        .build()?;
    let namespaces = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
    ]
    .into_iter()
    .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
    .collect::<Result<Vec<_>, _>>()?;
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .seccomp(seccomp::oci()?)
        .masked_paths(paths(&policy::MASKED))
        .readonly_paths(paths(&policy::READ_ONLY))
        .build()?;
    let mut container = SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path(places.root).readonly(false).build()?)
        .process(process)
        .hostname(files::HOSTNAME)
        .mounts(mounts(places)?)
        .linux(linux)
        .build()?;
    // The builder's default is a container's; a step's cgroups are those of the builder.
    if let Some(linux) = container.linux_mut() {
        linux.set_resources(None).set_cgroups_path(None);
    }
    Ok(container)
}

/// `NAME=value` in order, with HOME at the end unless it is there.
pub(super) fn environment(spec: &RunSpec, identity: &Identity) -> Vec<String> {
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !spec.env.iter().any(|(name, _)| name == "HOME") {
        env.push(format!("HOME={}", identity.home));
    }
    env
}

fn mounts(places: &Places<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let inert = ["nosuid", "nodev", "noexec"];
    let with = |base: &[&str], more: &[&str]| -> Vec<String> {
        base.iter().chain(more).map(|option| (*option).to_owned()).collect()
    };
    let mount = |kind: &str, source: &Path, target: &str, options: Vec<String>| {
        MountBuilder::default().typ(kind).source(source).destination(target).options(options).build()
    };
    let new = |kind: &str, target: &str, options| mount(kind, Path::new(kind), target, options);
    let sys = if places.fresh_sysfs {
        new("sysfs", "/sys", with(&inert, &["ro"]))?
    } else {
        mount("none", Path::new("/sys"), "/sys", with(&inert, &["rbind", "rro"]))?
    };
    let shm = format!("size={}", policy::SHM_SIZE);
    let file = |source: &Path, target: &str| mount("bind", source, target, with(&inert, &["bind", "ro"]));
    let mut mounts = vec![
        new("proc", "/proc", with(&inert, &[]))?,
        new("tmpfs", "/dev", with(&["nosuid", "strictatime", "mode=755", "size=64m"], &[]))?,
        new(
            "devpts",
            "/dev/pts",
            with(&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"], &[]),
        )?,
        new("tmpfs", "/dev/shm", with(&inert, &["mode=1777", &shm]))?,
        new("mqueue", "/dev/mqueue", with(&inert, &[]))?,
        sys,
    ];
    for (source, target) in places.files {
        mounts.push(file(source, target)?);
    }
    for (target, source) in places.mounts {
        mounts.push(match source {
            Source::Bind { source, directory, read_only } => {
                // A file has no mounts below it, and crun 1.8 insists.
                let options = match (directory, read_only) {
                    (true, true) => ["rbind", "rro"],
                    (true, false) => ["rbind", "rw"],
                    (false, true) => ["bind", "ro"],
                    (false, false) => ["bind", "rw"],
                };
                mount("bind", source, target, with(&["nosuid", "nodev", "rprivate"], &options))?
            }
            Source::Tmpfs { size } => {
                let size = size.map(|size| format!("size={size}"));
                let size: Vec<&str> = size.as_deref().into_iter().collect();
                new("tmpfs", target, with(&["nosuid", "nodev", "mode=1777"], &size))?
            }
        });
    }
    Ok(mounts)
}

/// The parts of a bundle directory.
pub(super) fn config_path(bundle: &Path) -> PathBuf {
    bundle.join("config.json")
}
