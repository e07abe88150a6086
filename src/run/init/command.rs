//! From init to the command: identity, rights, exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;

use rustix::fs::Mode;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::super::bundle::environment;
use super::super::request::{During, Report, Request};
use super::super::{caps, seccomp};
use super::reap::Started;
use super::root::Prepared;
use crate::sys::{
    ChildSignals, Forked, close_on_exec_from, default_signals, execute, exit_now, fork, install_filter,
    join_session_keyring, set_ids,
};

/// Where programs are looked for when the image sets no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Start the command of `request` in the root that this process is in.
pub(super) fn start(request: &Request, root: &Prepared, control: &UnixStream) -> Result<Started, Report> {
    let signals = ChildSignals::listen().during(|| "listen for signals".to_owned())?;
    match fork().during(|| "fork the command".to_owned())? {
        Forked::Parent(pid) => Ok(Started { pid, signals }),
        Forked::Child => {
            let Err(report) = become_command(request, root);
            // With the builder gone there is nobody to tell.
            let _ = report.send(control);
            exit_now(127)
        }
    }
}

fn become_command(request: &Request, root: &Prepared) -> Result<Infallible, Report> {
    let spec = &request.spec;
    let identity = &root.identity;
    default_signals();
    rustix::process::setsid().during(|| "start a session".to_owned())?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Key quotas are small; the filter refuses keyctl anyway.
    let _ = join_session_keyring();
    working_directory(&spec.workdir)?;
    // /dev/stdout is opened anew through /proc, which asks the pipe's owner and mode.
    let uid = Some(rustix::fs::Uid::from_raw(identity.uid));
    // An id that is not mapped is refused below, with words.
    let _ = rustix::fs::fchown(std::io::stdout(), uid, None);
    let _ = rustix::fs::fchown(std::io::stderr(), uid, None);
    drop_bounding_set()?;
    filter_calls()?;
    identify(request, root)?;
    drop_capabilities(identity.uid)?;
    close_on_exec_from(3).during(|| "close file descriptors".to_owned())?;
    execute_program(request, root)
}

/// The working directory, made if it is missing. That is a change of the step: it stays in the layer.
fn working_directory(path: &str) -> Result<(), Report> {
    let what = || format!("change into the working directory {path}");
    std::fs::create_dir_all(path).during(what)?;
    std::env::set_current_dir(path).during(what)?;
    // A link to a descriptor could have led out of the root.
    let here = std::env::current_dir().during(what)?;
    if !here.is_absolute() {
        return Err(Report::setup(what(), "it is outside of the root"));
    }
    Ok(())
}

fn drop_bounding_set() -> Result<(), Report> {
    let keep = caps::default_set();
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel knows no more of them: neither do the following.
        let Ok(has) = capability_is_in_bounding_set(capability) else { break };
        if has && !keep.contains(capability) {
            remove_capability_from_bounding_set(capability).during(|| "drop capabilities".to_owned())?;
        }
    }
    Ok(())
}

/// While the right to do it without `no_new_privs` is still there; the calls that follow are allowed ones.
fn filter_calls() -> Result<(), Report> {
    let what = || "filter system calls".to_owned();
    let machine = std::env::consts::ARCH;
    let program = seccomp::program(machine)
        .ok_or_else(|| Report::setup(what(), format!("there is no filter for {machine} machines")))?;
    install_filter(&program).during(what)
}

fn identify(request: &Request, root: &Prepared) -> Result<(), Report> {
    let identity = &root.identity;
    let denied = std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    let groups = (!denied).then_some(identity.groups.as_slice());
    set_ids(identity.uid, identity.gid, groups).map_err(|error| {
        let reason = if error.kind() == ErrorKind::InvalidInput {
            format!(
                "user {}, group {} or one of {:?} is not mapped into this user namespace; give the builder's \
                 user a range of ids in /etc/subuid and /etc/subgid",
                identity.uid, identity.gid, identity.groups
            )
        } else {
            error.to_string()
        };
        Report::User { user: request.spec.user.clone(), reason }
    })
}

/// What is left to the command: docker's set for root, nothing for others. Nothing is handed on by
/// inheritance, which a program could otherwise gain by file capabilities.
fn drop_capabilities(uid: u32) -> Result<(), Report> {
    let what = || "drop capabilities".to_owned();
    let mut keep = CapabilitySet::empty();
    if uid == 0 {
        let has = rustix::thread::capabilities(None).during(what)?;
        keep = caps::default_set() & has.permitted;
    }
    clear_ambient_capability_set().during(what)?;
    set_capabilities(
        None,
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() },
    )
    .during(what)
}

fn execute_program(request: &Request, root: &Prepared) -> Result<Infallible, Report> {
    let spec = &request.spec;
    let what = || "start the command".to_owned();
    let Some(program) = spec.args.first() else {
        return Err(Report::setup(what(), "there is no program to run"));
    };
    let args = spec.args.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>();
    let args = args.during(what)?;
    let env = environment(spec, &root.identity);
    let env = env.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().during(what)?;
    let path = spec.env.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);

    let mut denied = false;
    for candidate in candidates(program, path) {
        let candidate = CString::new(candidate).during(what)?;
        let Err(error) = execute(&candidate, &args, &env);
        match error.kind() {
            ErrorKind::NotFound if exists(&candidate) => {
                return Err(refused(program, "its interpreter or loader is not in the image"));
            }
            ErrorKind::NotFound | ErrorKind::NotADirectory => {}
            ErrorKind::PermissionDenied => denied = true,
            _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                return Err(refused(
                    program,
                    "not a program for this machine (exec format error); a script needs a #! line",
                ));
            }
            _ => return Err(refused(program, &error.to_string())),
        }
    }
    Err(match (denied, program.contains('/')) {
        (true, _) => refused(program, "permission denied (not executable, or not for this user)"),
        (false, true) => refused(program, "no such file in the image"),
        (false, false) => refused(program, &format!("not found in PATH ({path})")),
    })
}

fn refused(program: &str, reason: &str) -> Report {
    Report::Program { program: program.to_owned(), reason: reason.to_owned() }
}

fn exists(path: &std::ffi::CStr) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
}

/// The files that `program` may mean, in the order of trying. Directories of PATH that are not absolute are
/// passed over: they would mean something else in every working directory.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| format!("{}/{program}", directory.trim_end_matches('/')))
        .collect()
}
