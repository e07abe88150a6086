//! What happens before `main` of the test binary, and running it again as another user.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::run::{enter, init_if_asked};
use crate::sys::{BpfInstruction, TEST_ENTER, TEST_REFUSE, at_start, exit_now, install_filter};

extern "C" fn before_main() {
    if let Some(status) = init_if_asked() {
        exit_now(status);
    }
    if std::env::var_os(TEST_REFUSE).is_some() {
        refuse_unshare();
    }
    if std::env::var_os(TEST_ENTER).is_some() {
        match enter() {
            Ok(entered) => writeln!(std::io::stderr(), "entered: {entered}").unwrap(),
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "{error}");
                exit_now(78);
            }
        }
    }
}

at_start!(before_main);

/// What a container's filter does: EPERM for `unshare`.
fn refuse_unshare() {
    let unshare = u32::try_from(libc::SYS_unshare).unwrap();
    let filter =
        [(0x20, 0, 0, 0), (0x15, 0, 1, unshare), (0x06, 0, 0, 0x0005_0001), (0x06, 0, 0, 0x7fff_0000)]
            .map(|(code, jt, jf, k)| BpfInstruction { code, jt, jf, k });
    rustix::thread::set_no_new_privs(true).unwrap();
    install_filter(&filter).unwrap();
}

/// Say that a test could not be carried out.
pub(super) fn skipped(name: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {reason}");
}

/// Somebody to run tests as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Somebody {
    /// A user with ranges of ids.
    User,
    /// A user without.
    UserWithoutRanges,
    /// The first, with set-user-ID programs out of effect.
    UserWithoutNewPrivileges,
    /// Root that may not mount, as in a container.
    RootWithoutAdmin,
}

/// What a run of tests by somebody came to.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) status: std::process::ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Whether this process is one that [`again`] started.
pub(super) fn is_again() -> bool {
    std::env::var_os(TEST_ENTER).is_some()
}

/// Run the tests whose names contain `filter` as `who`, after entering namespaces; why not, if that can not
/// be had.
pub(super) fn again(who: Somebody, filter: &str, env: &[(&str, &str)]) -> Result<Again, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not run as root".to_owned());
    }
    let directory = tempfile::Builder::new().prefix("ocistage-test-").tempdir().unwrap();
    super::rig::chmod(directory.path(), 0o755);
    // The build directory need not be open to that user.
    let program = directory.path().join("tests");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    super::rig::chmod(&program, 0o755);
    let mut command = Command::new("setpriv");
    match who {
        Somebody::RootWithoutAdmin => command.args(["--bounding-set", "-sys_admin"]),
        Somebody::User | Somebody::UserWithoutRanges | Somebody::UserWithoutNewPrivileges => {
            let ranges = !matches!(who, Somebody::UserWithoutRanges);
            let user = if ranges { "ocitester" } else { "ocitester2" };
            make_user(user, ranges)?;
            command.args(["--reuid", user, "--regid", user, "--clear-groups"])
        }
    };
    if matches!(who, Somebody::UserWithoutNewPrivileges) {
        command.arg("--no-new-privs");
    }
    command.arg("--").arg(&program).args([filter, "--test-threads", "2"]).current_dir(directory.path());
    command.env_clear().envs([(TEST_ENTER, "1"), ("PATH", "/usr/bin:/bin")]).envs(env.iter().copied());
    let output = command.output().map_err(|error| format!("setpriv: {error}"))?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    Ok(Again { status: output.status, stdout, stderr })
}

/// Make the user if it is missing, with or without ranges of ids.
fn make_user(user: &str, ranges: bool) -> Result<(), String> {
    let known = |file: &str| {
        let line = format!("{user}:");
        std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|l| l.starts_with(&line)))
    };
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
    };
    if !known("/etc/passwd") {
        let none = ["--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0"];
        run(Command::new("useradd").args(none).args(["--create-home", user]))?;
    }
    if ranges && !(known("/etc/subuid") && known("/etc/subgid")) {
        let ranges = ["--add-subuids", "200000-265535", "--add-subgids", "200000-265535"];
        run(Command::new("usermod").args(ranges).arg(user))?;
    }
    if !ranges && known("/etc/subuid") {
        return Err(format!("{user} has a range of ids"));
    }
    if !Path::new("/usr/bin/newuidmap").exists() {
        return Err("newuidmap is not installed".to_owned());
    }
    Ok(())
}
