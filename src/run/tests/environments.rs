//! The cases again by others than root, and what is said where nothing works.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::rig::{Rig, crun, native, runc};
use super::start::{Somebody, again, is_again, skipped};
use crate::run::{RunError, RunMount, RunStatus};
use crate::sys::{TEST_ENTER, TEST_REFUSE};

/// Run every case as `who`, who must be told to have entered what `entered` says.
fn every_case(name: &str, who: Somebody, entered: &str) {
    if is_again() {
        return;
    }
    match again(who, "run::tests::cases::", &[]) {
        Err(reason) => skipped(name, &reason),
        Ok(ran) => {
            assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
            assert!(ran.stderr.contains(entered), "{}", ran.stderr);
            assert!(!ran.stdout.contains(" 0 passed"), "{}", ran.stdout);
            // What could not be tried there is to be seen here, once for each reason.
            let mut reasons: Vec<&str> = ran
                .stderr
                .lines()
                .filter_map(|line| line.strip_prefix("SKIPPED: ")?.split_once("::"))
                .filter_map(|(_, rest)| Some(rest.split_once(": ")?.1))
                .collect();
            reasons.sort_unstable();
            reasons.dedup();
            for reason in reasons {
                skipped(name, reason);
            }
        }
    }
}

#[test]
fn every_case_holds_for_a_user_with_ranges_of_ids() {
    every_case(
        "every_case_holds_for_a_user_with_ranges_of_ids",
        Somebody::User,
        "entered: user namespace with 65537 user and 65537 group ids",
    );
}

#[test]
fn every_case_holds_for_root_that_may_not_mount() {
    every_case(
        "every_case_holds_for_root_that_may_not_mount",
        Somebody::RootWithoutAdmin,
        "entered: user namespace with 4294967295 user",
    );
}

#[test]
fn with_one_id_steps_run_as_root_and_others_are_refused_with_the_mending() {
    let name = "with_one_id_steps_run_as_root_and_others_are_refused_with_the_mending";
    for (who, said) in [
        (
            Somebody::UserWithoutRanges,
            "only one user id is mapped: /etc/subuid has no line for ocitester2 (add: ocitester2:100000:65536)",
        ),
        (Somebody::UserWithoutNewPrivileges, "no_new_privs is set"),
    ] {
        match again(who, "one_id_only", &[]) {
            Err(reason) => skipped(name, &reason),
            Ok(ran) => {
                assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
                assert!(
                    ran.stderr.contains("entered: user namespace with 1 user and 1 group ids"),
                    "{}",
                    ran.stderr
                );
                assert!(ran.stderr.contains(said), "{}", ran.stderr);
                assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
            }
        }
    }
}

/// The inner part of the above.
#[test]
fn one_id_only() {
    if !is_again()
        || std::fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().nth(2) != Some("1")
    {
        return;
    }
    let mut rig = Rig::new(native().unwrap());
    assert_eq!(rig.sh("id -u; touch /made; stat -c %u:%g /made").stdout, "0\n0:0\n");
    assert_eq!(rig.changed(), ["made f"]);
    assert_ne!(rig.sh("chown 5:5 /made").status, RunStatus::Exited(0));
    rig.spec.user = "web".into();
    let refused = rig.args(&["true"]).run().unwrap_err();
    assert!(
        matches!(refused, RunError::User { .. }) && refused.to_string().contains("/etc/subuid"),
        "{refused}"
    );
}

#[test]
fn a_filter_that_refuses_namespaces_is_named() {
    let name = "a_filter_that_refuses_namespaces_is_named";
    if is_again() {
        return;
    }
    for (who, what) in
        [(Somebody::User, "make a user namespace"), (Somebody::RootWithoutAdmin, "make a user namespace")]
    {
        match again(who, "one_id_only", &[(TEST_REFUSE, "1")]) {
            Err(reason) => skipped(name, &reason),
            Ok(ran) => {
                assert_eq!(ran.status.code(), Some(78), "{}", ran.stderr);
                assert!(ran.stderr.contains(what) && ran.stderr.contains("seccomp filter"), "{}", ran.stderr);
            }
        }
    }
}

#[test]
fn nothing_outlives_a_builder_that_is_killed() {
    let name = "nothing_outlives_a_builder_that_is_killed";
    if is_again() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skipped(name, "not run as root");
    }
    for backend in ["native", "runc", "crun"] {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        std::fs::create_dir(&mark).unwrap();
        let mut builder = Command::new("/proc/self/exe")
            .args(["--exact", "run::tests::environments::sleeps"])
            .envs([(TEST_ENTER, "1"), ("SLEEP_BACKEND", backend)])
            .env("SLEEP_MARK", &mark)
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = |what: &dyn Fn() -> bool| {
            let since = Instant::now();
            while !what() && since.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(10));
            }
            what()
        };
        // The name of the step's program, which is nobody else's.
        let ours = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        let alive = || processes_with(&format!("busybox-{ours}"));
        if !until(&|| mark.join("started").exists()) {
            let _ = builder.kill();
            let _ = builder.wait();
            skipped(name, &format!("{backend}: the step did not start"));
            continue;
        }
        assert!(until(&|| alive() == 1), "{backend}: the step is not seen");
        builder.kill().unwrap();
        builder.wait().unwrap();
        assert!(until(&|| alive() == 0), "{backend}: a process is left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()), "{backend}: a mount is left");
    }
}

/// The inner part of the above.
#[test]
fn sleeps() {
    let (Some(mark), Ok(backend)) = (std::env::var_os("SLEEP_MARK"), std::env::var("SLEEP_BACKEND")) else {
        return;
    };
    let backend = match backend.as_str() {
        "runc" => runc(),
        "crun" => crun(),
        _ => native(),
    };
    let mut rig = Rig::new(backend.unwrap());
    let name = std::env::temp_dir().file_name().unwrap().to_str().unwrap().to_owned();
    rig.spec.mounts = vec![RunMount::Bind { source: mark.into(), target: "/mark".into(), read_only: false }];
    let script = format!(
        "cp /bin/busybox /tmp/busybox-{name}; trap '' TERM; touch /mark/started; /tmp/busybox-{name} sleep 300"
    );
    rig.sh(&script);
}

fn processes_with(name: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).starts_with(&format!("/tmp/{name}")))
        .count()
}
