//! An ordinary user gets the same image as root.

use crate::support::{Build, Image, Registry, can_be_unprivileged, have, needs_root};

#[test]
fn an_ordinary_user_builds_stage_tree() {
    if !can_be_unprivileged() {
        return;
    }
    let registry = Registry::start();
    Build::example("stage-tree", &registry).unprivileged().push().tag(&registry.at("user:1")).ok();
    let ours = Image::pull(&registry.past("user:1"));
    assert!(ours.has("opt/venv/lib/site-packages/iniconfig") && ours.has("app/static/bundle.js"));
    if !needs_root() {
        return;
    }
    Build::example("stage-tree", &registry).push().tag(&registry.at("root:1")).flag("--no-cache").ok();
    assert_eq!(ours.tree, Image::pull(&registry.past("root:1")).tree);
}

#[test]
fn both_backends_make_the_same_of_stage_tree() {
    if !can_be_unprivileged() || !have(&["runc"]) {
        return;
    }
    let registry = Registry::start();
    let tree = |backend: &str| {
        let build = Build::example("stage-tree", &registry).unprivileged().backend(backend);
        build.output().ok().image().tree
    };
    assert_eq!(tree("native"), tree("runc"));
}

#[test]
fn what_an_ordinary_user_keeps_serves_the_next_build() {
    if !can_be_unprivileged() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = |last: &str| {
        format!(
            "FROM {}\nRUN mkdir -m 700 /closed && echo x > /closed/x && chown -R app:staff /closed\nRUN {last}\n",
            registry.at("base/busybox:1")
        )
    };
    let first = Build::of(&dockerfile("true")).unprivileged().output().ok();
    registry.reset();
    let next =
        Build::of(&dockerfile("cat /closed/x > /y")).state(&first.state()).unprivileged().output().ok();
    next.says(&["steps  1 cached, 1 run"]);
    assert_eq!(next.image().text("y"), "x\n");
    assert_eq!(next.image().node("closed/x").owner, (1000, 50));
    let (_, down) = registry.blob_bytes();
    assert!(down < 4096, "the base came down again: {:#?}", registry.exchanges());
}

#[test]
fn with_one_user_id_a_step_runs_and_the_build_says_so() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("FROM {}\nRUN id -u > /seen\n", registry.at("base/busybox:1"));
    let build = Build::of(&dockerfile).stranger().output().ok();
    build.says(&["one user id only", "/etc/subuid"]);
    assert_eq!(build.image().text("seen"), "0\n");
    assert_eq!(build.image().node("seen").owner, (0, 0));
}

#[test]
fn a_build_without_run_needs_no_subordinate_ids() {
    if !can_be_unprivileged() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("FROM {}\nCOPY --chown=1234:5678 a /a\n", registry.at("base/busybox:1"));
    let build = Build::of(&dockerfile).file("a", "a").unprivileged().push().tag(&registry.at("app:1"));
    build.environment("PATH", "/nowhere").ok();
    assert_eq!(Image::pull(&registry.past("app:1")).node("a").owner, (1234, 5678));
}

#[test]
fn what_root_cached_serves_the_ordinary_user() {
    if !needs_root() || !can_be_unprivileged() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!(
        "FROM {}\nRUN cat /proc/sys/kernel/random/uuid > /ran && chown app:staff /ran\n",
        registry.at("base/busybox:1")
    );
    Build::of(&dockerfile).push().tag(&registry.at("app:1")).ok();
    Build::of(&dockerfile).unprivileged().push().tag(&registry.at("app:1")).ok();
    let first = Image::pull(&registry.past("app:1"));
    Build::of(&dockerfile).unprivileged().push().tag(&registry.at("app:2")).ok();
    let second = Image::pull(&registry.past("app:2"));
    assert_eq!(first.node("ran"), second.node("ran"));
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.node("ran").owner, (1000, 50));
}
