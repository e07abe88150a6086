//! What happens before `main` of the test binary, and running it again as another user.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use crate::run::{enter, init_if_asked};
use crate::sys::{TEST_ENTER, at_start, exit_now};

extern "C" fn before_main() {
    if let Some(status) = init_if_asked() {
        exit_now(status);
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

/// The user that unprivileged tests run as. It is made if it is missing, with ranges of ids.
pub(super) const USER: &str = "ocitester";

/// Say that a test could not be carried out.
pub(super) fn skipped(name: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {reason}");
}

/// Run the tests whose names contain `filter` in a user namespace of `user`; `None` if that can not be had.
pub(super) fn again_as(user: &str, filter: &str) -> Result<Output, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not run as root".to_owned());
    }
    make_user(user)?;
    let directory = tempfile::Builder::new().prefix("ocistage-test-").tempdir().unwrap();
    super::rig::chmod(directory.path(), 0o755);
    // The build directory need not be open to that user.
    let program = directory.path().join("tests");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    super::rig::chmod(&program, 0o755);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(&program);
    command.args([filter, "--test-threads", "2"]).current_dir(directory.path());
    command.env_clear().envs([(OsString::from(TEST_ENTER), "1"), ("PATH".into(), "/usr/bin:/bin")]);
    command.output().map_err(|error| format!("setpriv: {error}"))
}

fn make_user(user: &str) -> Result<(), String> {
    let known = |file: &str| {
        std::fs::read_to_string(file)
            .is_ok_and(|text| text.lines().any(|l| l.starts_with(&format!("{user}:"))))
    };
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
    };
    if !known("/etc/passwd") {
        run(Command::new("useradd").args(["--create-home", user]))?;
    }
    if !known("/etc/subuid") || !known("/etc/subgid") {
        let ranges = ["--add-subuids", "200000-265535", "--add-subgids", "200000-265535"];
        run(Command::new("usermod").args(ranges).arg(user))?;
    }
    if !Path::new("/usr/bin/newuidmap").exists() {
        return Err("newuidmap is not installed".to_owned());
    }
    Ok(())
}
