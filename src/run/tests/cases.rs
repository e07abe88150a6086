//! What every backend must do.
//!
//! Each case is one function over a [`Rig`]; the macro makes a test of it for every backend.

use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, Instant};

use super::rig::Rig;
use super::start::skipped;
use crate::run::{BackendChoice, Network, RunError, RunMount, RunStatus, select};

macro_rules! cases {
    ($($name:ident)*) => {
        cases!(@of native $($name)*);
        cases!(@of runc $($name)*);
        cases!(@of crun $($name)*);
    };
    (@of $backend:ident $($name:ident)*) => {
        mod $backend {
            $(#[test] fn $name() {
                super::super::rig::$backend().map_or_else(
                    |reason| {
                        let name = concat!(stringify!($backend), "::", stringify!($name));
                        super::skipped(name, &reason);
                    },
                    |backend| super::$name(super::Rig::new(backend)),
                );
            })*
        }
    };
}

cases! {
    the_exit_status_comes_back
    a_signal_that_ends_the_command_is_told
    output_is_relayed_as_it_is
    much_output_is_relayed_whole
    the_environment_is_exactly_what_was_asked_for
    home_is_the_users_unless_it_is_set
    every_form_of_user_is_understood
    unknown_users_are_refused
    passwd_files_that_are_not_files_are_refused
    programs_that_can_not_be_run_say_why
    the_working_directory_is_made_and_entered
    resolver_and_hosts_are_there_and_not_in_the_layer
    mount_points_leave_nothing_behind
    deletions_and_replaced_directories_appear_in_the_layer
    root_keeps_its_own_mode_and_owner
    many_layers_are_stacked_in_order
    scratch_is_a_root_too
    only_three_descriptors_are_open_and_input_is_empty
    a_command_has_dockers_capabilities_and_no_others
    output_can_be_opened_by_name_by_any_user
    devices_and_their_directories_work
    tell_tale_parts_of_proc_and_sys_are_closed
    system_calls_are_filtered
    links_in_place_of_proc_sys_and_dev_are_refused
    links_of_the_image_never_lead_outside
    processes_left_behind_are_gone
    a_cancelled_step_ends_with_all_it_started
    no_network_is_none
    binds_and_tmpfs_are_mounted_where_asked
    parts_of_other_trees_are_read_and_writes_forgotten
    secrets_are_files_in_memory
    given_files_are_not_put_on_devices
}

fn the_exit_status_comes_back(mut rig: Rig) {
    assert_eq!(rig.sh("exit 0").status, RunStatus::Exited(0));
    assert_eq!(rig.sh("exit 7").status, RunStatus::Exited(7));
}

fn a_signal_that_ends_the_command_is_told(mut rig: Rig) {
    // The runtimes make the command process 1, for which signals from inside have no effect, and tell of
    // others as a shell does.
    if rig.backend.name() == "native" {
        assert_eq!(rig.sh("kill -9 $$").status, RunStatus::Signalled(9));
    }
    assert_eq!(rig.sh("sh -c 'kill -9 $$'; exit $?").status, RunStatus::Exited(137));
}

fn output_is_relayed_as_it_is(mut rig: Rig) {
    let ran = rig.sh("printf 'a\\n\\001\\033[1m'; printf 'b' >&2");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a\n\u{1}\u{1b}[1m", "b"));
    assert_eq!(rig.changed(), [""; 0]);
}

fn much_output_is_relayed_whole(mut rig: Rig) {
    let ran = rig.sh("dd if=/dev/zero bs=1M count=64 2>/dev/null; echo end >&2");
    assert_eq!((ran.stdout.len(), ran.stderr.as_str()), (64 << 20, "end\n"));
}

fn the_environment_is_exactly_what_was_asked_for(mut rig: Rig) {
    rig.spec.env = [("B", "2"), ("PATH", "/bin"), ("A", "x y=z"), ("EMPTY", ""), ("HOME", "/h")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let ran = rig.args(&["env"]).run().unwrap();
    assert_eq!(ran.stdout, "B=2\nPATH=/bin\nA=x y=z\nEMPTY=\nHOME=/h\n");
}

fn home_is_the_users_unless_it_is_set(mut rig: Rig) {
    assert_eq!(rig.sh("echo $HOME").stdout, "/root\n");
    rig.spec.user = "web".into();
    assert_eq!(rig.sh("echo $HOME").stdout, "/srv/web\n");
    rig.spec.user = "1234".into();
    assert_eq!(rig.sh("echo $HOME").stdout, "/\n");
}

fn every_form_of_user_is_understood(mut rig: Rig) {
    for (user, ids) in [
        ("", "0:0:1"),
        ("root", "0:0:1"),
        ("web", "33:44:50"),
        ("33", "33:44:50"),
        ("web:staff", "33:50:"),
        ("1234", "1234:0:"),
        ("1234:4321", "1234:4321:"),
    ] {
        rig.spec.user = user.into();
        let script = "echo $(id -u):$(id -g):$(grep ^Groups: /proc/self/status | cat)";
        let ran = rig.sh(script);
        // Some runtimes list the primary group among the others.
        let gid = ids.split(':').nth(1).unwrap();
        let groups = ran.stdout.trim().rsplit(':').next().unwrap();
        let groups: Vec<&str> = groups.split_whitespace().filter(|group| *group != gid).collect();
        let [uid, gid] = [0, 1].map(|field| ran.stdout.split(':').nth(field).unwrap());
        assert_eq!(format!("{uid}:{gid}:{}", groups.join(",")), ids, "{user}: {}", ran.stdout);
    }
}

fn unknown_users_are_refused(mut rig: Rig) {
    for user in ["nobody", "web:nogroup", "4294967296", "-1", "root\n"] {
        rig.spec.user = user.into();
        let refused = rig.args(&["true"]).run().unwrap_err();
        assert!(matches!(&refused, RunError::User { user: named, .. } if named == user), "{refused}");
    }
}

fn passwd_files_that_are_not_files_are_refused(mut rig: Rig) {
    let passwd = rig.path("layer/etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    // Of the machine, where there is such a file; of the image, where there is none.
    symlink("/etc/shadow", &passwd).unwrap();
    assert_eq!(rig.sh("echo $HOME").stdout, "/\n");
    std::fs::remove_file(&passwd).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &passwd,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let refused = rig.args(&["true"]).run().unwrap_err();
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

fn programs_that_can_not_be_run_say_why(mut rig: Rig) {
    std::fs::write(rig.path("layer/bin/data"), "x").unwrap();
    std::fs::write(rig.path("layer/bin/odd"), "#!/no/such/shell\n").unwrap();
    super::rig::chmod(&rig.path("layer/bin/odd"), 0o755);
    for (program, reason) in [
        ("nosuch", "not found in PATH"),
        ("/bin/nosuch", "no such file in the image"),
        ("/bin/data", "permission denied"),
        ("odd", "its interpreter or loader is not in the image"),
    ] {
        // The runtimes execute when they no longer tell their caller; the words are then in the step's output.
        if program == "odd" && rig.backend.name() != "native" {
            let ran = rig.args(&[program]).run().unwrap();
            assert!(ran.stderr.to_lowercase().contains("no such file") && ran.status != RunStatus::Exited(0));
            continue;
        }
        let refused = rig.args(&[program]).run().unwrap_err();
        assert!(
            matches!(&refused, RunError::Program { program: named, .. } if named == program),
            "{refused}"
        );
        assert!(refused.to_string().contains(reason), "{refused}");
    }
    // A command that is not there inside a shell is the shell's business.
    assert_eq!(rig.sh("nosuch 2>/dev/null").status, RunStatus::Exited(127));
}

fn the_working_directory_is_made_and_entered(mut rig: Rig) {
    rig.spec.workdir = "/new/deep".into();
    assert_eq!(rig.sh("pwd").stdout, "/new/deep\n");
    assert_eq!(rig.changed(), ["new d", "new/deep d"]);
}

fn resolver_and_hosts_are_there_and_not_in_the_layer(mut rig: Rig) {
    rig.spec.extra_hosts = vec![("db.example".into(), "192.0.2.7".into())];
    let before = std::fs::metadata(rig.path("layer/etc")).unwrap();
    let ran = rig.sh("cat /etc/resolv.conf; echo --; cat /etc/hosts; echo --; hostname; stat -c %Y /etc");
    let parts: Vec<&str> = ran.stdout.split("--\n").collect();
    assert_eq!(parts[0], std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    assert!(parts[1].contains("localhost") && parts[1].contains("192.0.2.7\tdb.example"), "{}", parts[1]);
    assert_eq!(parts[2], format!("ocistage\n{}\n", before.mtime()));
    assert_eq!(rig.changed(), [""; 0]);
    // They are the builder's: a change would be lost, so it is refused.
    assert_ne!(rig.sh("echo x > /etc/hosts").status, RunStatus::Exited(0));
    // A change beside them is the only thing that the layer gets, with the directory as it was.
    super::rig::chmod(&rig.path("layer/etc"), 0o711);
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(rig.path("layer/etc"), "user.mine", b"kept", none).unwrap();
    rig.sh("echo x > /etc/motd");
    assert_eq!(rig.changed(), ["etc d", "etc/motd f"]);
    assert_eq!(std::fs::metadata(rig.path("upper/etc")).unwrap().mode() & 0o7777, 0o711);
    let mut value = [0_u8; 4];
    rustix::fs::getxattr(rig.path("upper/etc"), "user.mine", &mut value).unwrap();
    assert_eq!(&value, b"kept");
}

fn mount_points_leave_nothing_behind(mut rig: Rig) {
    std::fs::create_dir(rig.path("cache")).unwrap();
    std::fs::write(rig.path("secret"), "s").unwrap();
    rig.spec.mounts = vec![
        RunMount::Bind { source: rig.path("cache"), target: "/var/cache/x".into(), read_only: false },
        RunMount::Bind { source: rig.path("secret"), target: "/run/secrets/s".into(), read_only: true },
        RunMount::Tmpfs { target: "/tmp/t".into(), size: Some(1 << 20) },
    ];
    let ran = rig.sh("cat /run/secrets/s; echo c > /var/cache/x/file; echo t > /tmp/t/file");
    assert_eq!((ran.status, ran.stdout.as_str()), (RunStatus::Exited(0), "s"), "{}", ran.stderr);
    assert_eq!(rig.changed(), [""; 0]);
    assert_eq!(std::fs::read_to_string(rig.path("cache/file")).unwrap(), "c\n");
    assert_eq!(std::fs::read_dir(rig.path("work")).unwrap().count(), 0);
}

fn deletions_and_replaced_directories_appear_in_the_layer(mut rig: Rig) {
    std::fs::create_dir(rig.path("layer/d")).unwrap();
    std::fs::write(rig.path("layer/d/old"), "").unwrap();
    let ran = rig.sh("rm /etc/group; rm -r /d; mkdir /d; touch /d/new; mv /etc/passwd /etc/users");
    assert_eq!(ran.status, RunStatus::Exited(0), "{}", ran.stderr);
    assert_eq!(rig.changed(), ["d d", "d/new f", "etc d", "etc/group c", "etc/passwd c", "etc/users f"]);
    let mut opaque = [0_u8; 1];
    let found = ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| rustix::fs::getxattr(rig.path("upper/d"), *name, &mut opaque).is_ok());
    assert!(found && &opaque == b"y");
    rig.next_step();
    assert_eq!(
        rig.sh("cd /; echo d/*; ls /etc/group 2>&1").stdout,
        "d/new\nls: /etc/group: No such file or directory\n"
    );
}

fn root_keeps_its_own_mode_and_owner(mut rig: Rig) {
    super::rig::chmod(&rig.path("layer"), 0o751);
    super::rig::chmod(&rig.path("upper"), 0o700);
    assert_eq!(rig.sh("stat -c '%a %u' /").stdout, "751 0\n");
}

fn many_layers_are_stacked_in_order(mut rig: Rig) {
    for number in 0..60 {
        let layer = rig.path(&format!("layer-{}-{number}", "long-name-".repeat(10)));
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join("top"), number.to_string()).unwrap();
        std::fs::write(layer.join(format!("file{number}")), "").unwrap();
        rig.spec.rootfs.lowers.push(layer);
    }
    assert_eq!(rig.sh("cat /top; echo; ls / | grep -c ^file").stdout, "59\n60\n");
}

fn scratch_is_a_root_too(mut rig: Rig) {
    rig.spec.rootfs.lowers.clear();
    let refused = rig.args(&["/bin/sh"]).run().unwrap_err();
    assert!(refused.to_string().contains("no such file in the image"), "{refused}");
    assert_eq!(rig.changed(), [""; 0]);
}

fn only_three_descriptors_are_open_and_input_is_empty(mut rig: Rig) {
    // The listing shell has one more, for the directory that it reads.
    assert_eq!(rig.sh("cd /proc/self/fd; echo *; wc -c < /dev/stdin").stdout, "0 1 2 3\n0\n");
    rig.args(&["wc", "-c"]);
    assert_eq!(rig.run().unwrap().stdout.trim(), "0");
}

fn a_command_has_dockers_capabilities_and_no_others(mut rig: Rig) {
    let script = "grep -E '^(Cap|Umask)' /proc/self/status";
    let expected = |inh: &str, bits: &str| {
        format!(
            "Umask:\t0022\nCapInh:\t{inh}\nCapPrm:\t{bits}\nCapEff:\t{bits}\nCapBnd:\t00000000a80425fb\nCapAmb:\t{inh}\n"
        )
    };
    let none = "0000000000000000";
    assert_eq!(rig.sh(script).stdout, expected(none, "00000000a80425fb"));
    rig.spec.user = "web".into();
    assert_eq!(rig.sh(script).stdout, expected(none, none));
}

fn output_can_be_opened_by_name_by_any_user(mut rig: Rig) {
    rig.spec.user = "web".into();
    let ran = rig.sh("echo out > /dev/stdout; echo err > /dev/stderr");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
}

fn devices_and_their_directories_work(mut rig: Rig) {
    rig.spec.user = "web".into();
    let script = "set -e; echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; \
        head -c 2 /dev/random | wc -c; echo s > /dev/shm/f; for l in fd stdin ptmx; do readlink /dev/$l; done; \
        stat -c %a /dev/shm /dev/pts/ptmx; test -c /dev/full; test -c /dev/tty; echo x > /dev/full";
    let ran = rig.sh(script);
    assert_eq!(
        ran.stdout, "2\n2\n2\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n1777\n666\n",
        "{}",
        ran.stderr
    );
    assert_ne!(ran.status, RunStatus::Exited(0), "/dev/full takes nothing");
}

fn tell_tale_parts_of_proc_and_sys_are_closed(mut rig: Rig) {
    let script = "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/profiling \
        /proc/irq/default_smp_affinity; do (echo x > $f) 2>/dev/null && echo wrote $f; done; \
        cat /proc/kcore /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null | wc -c; \
        echo /sys/firmware/* /proc/scsi/* /proc/acpi/*; readlink /proc/1/exe | grep -v busybox; \
        mount -t tmpfs x /tmp 2>/dev/null && echo mounted; (echo x > /proc/1/oom_score_adj) 2>/dev/null; true";
    assert_eq!(rig.sh(script).stdout, "0\n/sys/firmware/* /proc/scsi/* /proc/acpi/*\n");
}

fn system_calls_are_filtered(mut rig: Rig) {
    let ran = rig.sh(
        "grep ^Seccomp: /proc/self/status; unshare -U true 2>&1 | grep -o 'not permitted'; \
         unshare -m true 2>&1 | grep -o 'not permitted'; hostname x 2>&1 | grep -o 'not permitted'; chroot / true; \
         grep ^NoNewPrivs /proc/self/status",
    );
    assert_eq!(
        ran.stdout, "Seccomp:\t2\nnot permitted\nnot permitted\nnot permitted\nNoNewPrivs:\t0\n",
        "{}",
        ran.stderr
    );
}

fn links_in_place_of_proc_sys_and_dev_are_refused(mut rig: Rig) {
    let canary = rig.path("canary");
    std::fs::create_dir(&canary).unwrap();
    for name in ["proc", "sys", "dev"] {
        let path = rig.path("layer").join(name);
        symlink(&canary, &path).unwrap();
        let refused = rig.args(&["true"]).run().unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{name}: {refused}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        let refused = rig.args(&["true"]).run().unwrap_err();
        assert!(refused.to_string().contains("not a directory"), "{name}: {refused}");
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(std::fs::read_dir(canary).unwrap().count(), 0);
}

fn links_of_the_image_never_lead_outside(mut rig: Rig) {
    let canary = rig.path("canary");
    std::fs::create_dir(&canary).unwrap();
    let up = format!("{}{}", "../".repeat(30), canary.strip_prefix("/").unwrap().display());
    symlink(canary.join("resolv.conf"), rig.path("layer/etc/resolv.conf")).unwrap();
    symlink(format!("{up}/hosts"), rig.path("layer/etc/hosts")).unwrap();
    symlink(&canary, rig.path("layer/cache")).unwrap();
    symlink(&up, rig.path("layer/work")).unwrap();
    std::fs::create_dir(rig.path("source")).unwrap();
    std::fs::write(rig.path("source/file"), "f").unwrap();
    rig.spec.mounts = vec![
        RunMount::Bind { source: rig.path("source"), target: "/cache/sub".into(), read_only: true },
        RunMount::Tmpfs { target: "/work/t".into(), size: None },
    ];
    rig.spec.workdir = "/work/dir".into();
    let ran = rig.sh("cat /etc/hosts | head -n 1; cat /cache/sub/file; echo x > /work/t/f; echo x > file");
    assert_eq!(ran.stdout, "127.0.0.1\tlocalhost ocistage\nf", "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(canary).unwrap().count(), 0);
}

fn processes_left_behind_are_gone(mut rig: Rig) {
    let name = rig.unique("busybox-left");
    let started = Instant::now();
    let script = format!(
        "cp /bin/busybox /tmp/{name}; cd /; (setsid /tmp/{name} sleep 300 &) ; trap '' TERM; \
         (/tmp/{name} nc -l -p 0 >/dev/null 2>&1 </dev/null &) ; sleep 0.1; echo started"
    );
    assert_eq!(rig.sh(&script).stdout, "started\n");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(processes_named(&name), 0);
}

fn a_cancelled_step_ends_with_all_it_started(mut rig: Rig) {
    let name = rig.unique("busybox-stop");
    let mark = rig.path("cache");
    std::fs::create_dir(&mark).unwrap();
    rig.spec.mounts = vec![RunMount::Bind { source: mark.clone(), target: "/mark".into(), read_only: false }];
    let script = format!(
        "cp /bin/busybox /tmp/{name}; trap '' TERM; /tmp/{name} sleep 300 & touch /mark/started; \
         while true; do /tmp/{name} sleep 300; done"
    );
    rig.args(&["/bin/sh", "-c", &script]);
    let ctx = rig.ctx.clone();
    let stopper = std::thread::spawn(move || {
        while !mark.join("started").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        ctx.cancel();
    });
    assert!(matches!(rig.run(), Err(RunError::Cancelled)));
    stopper.join().unwrap();
    assert_eq!(processes_named(&name), 0);
    assert_eq!(std::fs::read_dir(rig.path("work")).unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(rig.path("work").to_str().unwrap()));
}

fn no_network_is_none(mut rig: Rig) {
    rig.spec.network = Network::None;
    let ran = rig.sh("ip -o link | wc -l; ip -o addr show lo | grep -c 127.0.0.1; cat /etc/resolv.conf");
    assert_eq!(ran.stdout, "1\n1\n", "{}", ran.stderr);
}

fn binds_and_tmpfs_are_mounted_where_asked(mut rig: Rig) {
    std::fs::create_dir(rig.path("source")).unwrap();
    std::fs::write(rig.path("source/file"), "f").unwrap();
    std::fs::write(rig.path("script"), "#!/bin/sh\necho script $0\n").unwrap();
    super::rig::chmod(&rig.path("script"), 0o755);
    rig.spec.mounts = vec![
        RunMount::Bind { source: rig.path("source"), target: "/src".into(), read_only: true },
        RunMount::Tmpfs { target: "/src2".into(), size: Some(4096) },
        RunMount::Bind { source: rig.path("source"), target: "/src2/deep/in".into(), read_only: false },
        RunMount::Bind { source: rig.path("script"), target: "/dev/pipes/EOF".into(), read_only: true },
    ];
    let ran = rig.sh("cat /src/file /src2/deep/in/file; (echo x > /src/file) 2>/dev/null || echo ro; \
         dd if=/dev/zero of=/src2/big bs=8k count=1 2>/dev/null || echo full; /dev/pipes/EOF");
    assert_eq!(ran.stdout, "ffro\nfull\nscript /dev/pipes/EOF\n", "{}", ran.stderr);
    assert_eq!(rig.args(&["/dev/pipes/EOF"]).run().unwrap().stdout, "script /dev/pipes/EOF\n");
    assert_eq!(rig.changed(), [""; 0]);
}

fn parts_of_other_trees_are_read_and_writes_forgotten(mut rig: Rig) {
    for (file, text) in [("one/etc/a", "a1"), ("two/etc/b", "b2"), ("two/etc/a", "a2")] {
        std::fs::create_dir_all(rig.path(file).parent().unwrap()).unwrap();
        std::fs::write(rig.path(file), text).unwrap();
    }
    symlink("/etc", rig.path("two/out")).unwrap();
    let part = |lowers: &[&str], source: &str, target: &str, writable| RunMount::Part {
        lowers: lowers.iter().map(|name| rig.path(name)).collect(),
        source: source.into(),
        target: target.into(),
        writable,
    };
    rig.spec.mounts = vec![
        part(&["one"], "/etc", "/m/one", false),
        part(&["one", "two"], "/", "/m/all", false),
        part(&["one", "two"], "out/b", "/m/file", false),
        part(&["one"], "/", "/m/rw1", true),
        part(&["one", "two"], "/out", "/m/rw2", true),
    ];
    let ran = rig.sh("cd /m; cat one/a all/etc/a all/etc/b file; for d in one all rw1 rw2; do \
         (echo x > $d/new) 2>/dev/null && echo $d; done; echo y > rw1/etc/a; cat rw2/a rw1/etc/a");
    assert_eq!(ran.stdout, "a1a2b2b2rw1\nrw2\na2y\n", "{}", ran.stderr);
    assert_eq!(rig.changed(), [""; 0]);
    assert_eq!(std::fs::read_to_string(rig.path("one/etc/a")).unwrap(), "a1");
    assert_eq!(std::fs::read_dir(rig.path("work")).unwrap().count(), 0);
    rig.spec.mounts = vec![RunMount::Part {
        lowers: vec![rig.path("one")],
        source: "../../../etc/passwd".into(),
        target: "/m".into(),
        writable: false,
    }];
    let refused = rig.args(&["true"]).run().unwrap_err();
    assert!(refused.to_string().contains("mount ../../../etc/passwd on /m"), "{refused}");
    rig.spec.mounts = vec![RunMount::Tmpfs { target: "/etc/..".into(), size: None }];
    let refused = rig.args(&["true"]).run().unwrap_err();
    assert!(refused.to_string().contains("mount on /etc/..: the root itself"), "{refused}");
}

fn secrets_are_files_in_memory(mut rig: Rig) {
    rig.spec.mounts = vec![RunMount::File {
        content: b"\x00s3cret\xff".to_vec(),
        target: "/run/secrets/token".into(),
        mode: 0o400,
        uid: 33,
        gid: 44,
    }];
    rig.spec.user = "web".into();
    let ran = rig.sh("stat -c '%a %u %g %s' /run/secrets/token; cat /run/secrets/token | wc -c; \
         stat -f -c %T /run/secrets/token; (echo > /run/secrets/token) 2>/dev/null || echo ro");
    assert_eq!(ran.stdout, "400 33 44 8\n8\ntmpfs\nro\n", "{}", ran.stderr);
    assert_eq!(rig.changed(), [""; 0]);
}

fn given_files_are_not_put_on_devices(mut rig: Rig) {
    symlink("/dev/null", rig.path("layer/etc/resolv.conf")).unwrap();
    let ran =
        rig.sh("echo x > /dev/null && stat -c %F /dev/null; cat /etc/resolv.conf; head -n 1 /etc/hosts");
    assert_eq!(ran.stdout, "character special file\n127.0.0.1\tlocalhost ocistage\n", "{}", ran.stderr);
}

#[test]
fn a_backend_is_chosen_by_trying_it() {
    let init = std::path::PathBuf::from("/proc/self/exe");
    let (backend, reason) = select(BackendChoice::Auto, init.clone(), std::env::temp_dir()).unwrap();
    assert_eq!((backend.name(), reason.as_str()), ("native", "a step was carried out in an overlay"));
    let refused = select(BackendChoice::Native, init, "/proc".into()).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("native: prepare a probe in /proc"), "{refused}");
    let refused =
        select(BackendChoice::Native, "/bin/true".into(), std::env::temp_dir()).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("native: "), "{refused}");
}

/// How many processes of this machine were started as `name`.
fn processes_named(name: &str) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    processes
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).starts_with(&format!("/tmp/{name}")))
        .count()
}
