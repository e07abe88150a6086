//! Builds that are stopped: by Ctrl-C in each of their phases, and by force. Each run is searched for what it left:
//! processes, mounts, temporary files.

use crate::support::{Build, Fault, Outcome, Registry, Running, can_be_unprivileged, needs_root};
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};

/// Longer than any test runs.
const FOR_EVER: Duration = Duration::from_secs(600);

/// Interrupts a run and expects that it ends soon, with 130 and nothing left.
fn interrupted(running: Running) -> Outcome {
    let began = Instant::now();
    running.interrupt();
    // `finish` looks for processes, mounts and temporary files.
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{}", outcome.shown());
    outcome.says(&["interrupted"]);
    // A step has two seconds to end by itself.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!outcome.layout().join("index.json").exists());
    outcome
}

fn in_a_run(unprivileged: bool, backend: &str) {
    let registry = Registry::start();
    let dockerfile = format!(
        "FROM {}\nRUN trap '' INT TERM; sleep 600 & echo it has begun; sleep 600\nRUN touch /never\n",
        registry.at("base/busybox:1")
    );
    let build = Build::of(&dockerfile).backend(backend).output();
    let mut running = if unprivileged { build.unprivileged() } else { build }.start();
    running.until("it has begun\n");
    interrupted(running);
}

#[test]
fn an_interrupt_in_a_run_is_130_and_leaves_nothing() {
    if needs_root() {
        in_a_run(false, "native");
        in_a_run(false, "runc");
    }
}

#[test]
fn an_interrupt_in_a_run_leaves_nothing_of_an_ordinary_user() {
    if can_be_unprivileged() {
        in_a_run(true, "native");
        in_a_run(true, "runc");
    }
}

#[test]
fn a_request_to_terminate_is_an_interrupt() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("FROM {}\nRUN echo it has begun; sleep 600\n", registry.at("base/busybox:1"));
    let mut running = Build::of(&dockerfile).output().start();
    running.until("it has begun\n");
    running.signal(Signal::TERM);
    assert_eq!(running.finish().code, Some(130));
}

#[test]
fn an_interrupt_in_a_pull_leaves_nothing() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    // The configuration passes; the layer comes to a halt in its middle.
    registry.fault(Fault::on("GET", "/blobs/").after(1).times(100).stall_after(300_000));
    let dockerfile = format!("FROM {}\nRUN true\n", registry.at("base/busybox:1"));
    let mut running = Build::of(&dockerfile).output().start();
    running.until("RUN true");
    until(|| registry.asked("GET", "/blobs/") >= 1);
    let outcome = interrupted(running);
    // What came of the layer is no layer.
    registry.reset();
    let again = Build::of(&dockerfile).state(&outcome.state()).output().ok();
    assert_eq!(again.image().node("bin/sh").link, "busybox");
}

#[test]
fn an_interrupt_while_a_registry_is_silent_leaves_nothing() {
    let registry = Registry::start();
    for (method, path) in [("GET", "/manifests/1"), ("GET", "/blobs/")] {
        registry.reset();
        registry.fault(Fault::on(method, path).times(100).slow(FOR_EVER));
        let dockerfile = format!("FROM {}\nLABEL a=b\n", registry.at("base/busybox:1"));
        let running = Build::of(&dockerfile).output().start();
        // It says nothing before it knows its base.
        std::thread::sleep(Duration::from_millis(500));
        interrupted(running);
    }
}

#[test]
fn an_interrupt_in_a_push_leaves_nothing_and_tags_nothing() {
    for path in ["/v2/app/blobs/uploads/", "/v2/app/manifests/"] {
        let registry = Registry::start();
        for method in ["PATCH", "PUT"] {
            registry.fault(Fault::on(method, path).times(100).slow(FOR_EVER));
        }
        let build = Build::of("FROM scratch\nCOPY a /\n").file("a", noise(8 << 20)).push();
        let mut running = build.tag(&registry.at("app:1")).start();
        running.until("DONE");
        std::thread::sleep(Duration::from_millis(500));
        interrupted(running);
        assert_eq!(registry.tags("app"), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn an_interrupt_while_files_are_packed_leaves_nothing() {
    let build = Build::of("FROM scratch\nCOPY . /all\n");
    let bytes = noise(64 << 20);
    for number in 0..4 {
        fs::write(build.folder().join(number.to_string()), &bytes).unwrap();
    }
    let mut running = build.output().start();
    running.until("COPY . /all");
    interrupted(running);
}

#[test]
fn a_killed_build_leaves_no_process_and_the_next_one_removes_its_files() {
    if !needs_root() {
        return;
    }
    for backend in ["native", "runc"] {
        let registry = Registry::start();
        let dockerfile = |command: &str| format!("FROM {}\nRUN {command}\n", registry.at("base/busybox:1"));
        let build = |command: &str| Build::of(&dockerfile(command)).backend(backend).output();
        let mut running = build("sleep 600 & echo it has begun; sleep 600").start();
        running.until("it has begun\n");
        running.kill();
        let killed = running.finish();
        assert_eq!(killed.code, None);
        assert!(!killed.temporary_files().is_empty(), "the test would prove nothing");
        build("true").state(&killed.state()).ok();
        assert_eq!(killed.temporary_files(), Vec::<std::path::PathBuf>::new(), "{backend}");
    }
}

#[test]
fn a_killed_build_of_an_ordinary_user_leaves_no_process() {
    if !can_be_unprivileged() {
        return;
    }
    for backend in ["native", "runc"] {
        let registry = Registry::start();
        let dockerfile =
            format!("FROM {}\nRUN sleep 600 & echo it has begun; sleep 600\n", registry.at("base/busybox:1"));
        let mut running = Build::of(&dockerfile).backend(backend).unprivileged().output().start();
        running.until("it has begun\n");
        running.kill();
        running.finish();
    }
}

/// Bytes that do not compress well, so that packing and sending them takes its time.
fn noise(size: u32) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never happened");
        std::thread::sleep(Duration::from_millis(20));
    }
}
