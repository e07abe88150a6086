//! Rules that are easily overlooked: what a base passes on, what a step leaves, what makes a step another one.

use crate::support::{
    Build, Image, Layout, NewImage, Registry, Scratch, can_be_unprivileged, needs_root, sh,
};
use serde_json::json;

/// A step whose result differs each time it really runs.
const ONCE: &str = "cat /proc/sys/kernel/random/uuid > /ran";

/// The same build by root and, where that is possible, by an ordinary user.
fn as_everybody(dockerfile: &str) -> Vec<Build> {
    let mut builds = vec![Build::of(dockerfile)];
    builds.extend(can_be_unprivileged().then(|| Build::of(dockerfile).unprivileged()));
    builds
}

#[test]
fn a_base_without_layers_gives_its_configuration_alone() {
    let (registry, scratch) = (Registry::start(), Scratch::new());
    let mut layout = Layout::create(scratch.path());
    layout.add("t", &NewImage::new(json!({"Env": ["A=1"], "User": "5"})));
    registry.add(layout.path(), "t", "bare:1");
    let dockerfile = format!("FROM {}\nCOPY a /\n", registry.at("bare:1"));
    let image = Build::of(&dockerfile).file("a", "a").output().ok().image();
    assert_eq!(image.tree.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!((image.layers.len(), image.setting("User").as_str()), (1, Some("5")));
}

#[test]
fn annotations_of_a_base_are_not_those_of_the_image() {
    let (registry, scratch) = (Registry::start(), Scratch::new());
    let mut layout = Layout::create(scratch.path());
    layout.add("t", &NewImage::new(json!({"Labels": {"l": "1"}})).annotated("of.the.base", "x"));
    registry.add(layout.path(), "t", "noted:1");
    let base = Image::pull(&registry.past("noted:1"));
    assert_eq!(base.manifest["annotations"]["of.the.base"], "x");
    let dockerfile = format!("FROM {}\nENV A=1\n", registry.at("noted:1"));
    let build = Build::of(&dockerfile).option("--annotation", "of.the.image=y").output();
    let image = build.ok().image();
    assert_eq!(image.manifest["annotations"], json!({"of.the.image": "y"}));
    assert_eq!(image.setting("Labels")["l"], "1");
}

#[test]
fn a_base_in_dockers_format_becomes_an_image_of_one_format() {
    let registry = Registry::start();
    let (from, to) = (registry.past("base/busybox:1"), registry.past("base/docker:1"));
    let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
    let plain = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
    sh("skopeo", &[&plain[..], &["--format", "v2s2", &from, &to]].concat());
    let base = Image::pull(&registry.past("base/busybox:1"));
    let raw = sh("skopeo", &["inspect", "--raw", "--tls-verify=false", &to]);
    assert!(raw.contains("vnd.docker.image.rootfs.diff.tar.gzip"), "{raw}");
    let dockerfile = format!("FROM {}\nCOPY a /\n", registry.at("base/docker:1"));
    let image = Build::of(&dockerfile).file("a", "a").output().ok().image();
    assert_eq!(image.manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(image.manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    let layers = image.manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), base.layers.len() + 1);
    for layer in layers {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    }
}

#[test]
fn layers_of_a_base_keep_their_bytes_under_an_epoch() {
    let registry = Registry::start();
    let base = Image::pull(&registry.past("base/busybox:1"));
    let dockerfile = format!("FROM {}\nCOPY old new /\n", registry.at("base/busybox:1"));
    let build = Build::of(&dockerfile).file("old", "").file("new", "");
    sh("touch", &["-d", "1970-01-01T00:00:07Z", build.folder().join("old").to_str().unwrap()]);
    let image = build.environment("SOURCE_DATE_EPOCH", "1000").output().ok().image();
    assert_eq!((image.time("old"), image.time("new")), (7, 1000));
    let below = base.manifest["layers"].as_array().unwrap();
    let layers = image.manifest["layers"].as_array().unwrap();
    for (ours, theirs) in layers.iter().zip(below) {
        assert_eq!(ours["digest"], theirs["digest"]);
    }
    assert_eq!(layers.len(), below.len() + 1);
}

#[test]
fn a_step_that_changes_nothing_has_a_line_of_history_and_no_layer_cached_or_not() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let below = Image::pull(&registry.past("base/busybox:1"));
    let dockerfile =
        format!("FROM {}\nENV A=1\nRUN true\nWORKDIR /tmp\nRUN echo x > /x\n", registry.at("base/busybox:1"));
    let first = Build::of(&dockerfile).output().ok();
    let image = first.image();
    assert_eq!(image.layers.len(), below.layers.len() + 1);
    let history = image.config["history"].as_array().unwrap();
    let ours = &history[history.len() - 4..];
    let empty: Vec<bool> = ours.iter().map(|line| line["empty_layer"] == true).collect();
    assert_eq!(empty, [true, true, true, false]);
    // What has no time of its own has that of what was before.
    assert!(ours.iter().all(|line| line["created"].is_string()), "{ours:?}");
    // Longer by a step, so that the steps are found one by one.
    let longer = Build::of(&format!("{dockerfile}RUN echo y > /y\n")).state(&first.state()).output().ok();
    let again = longer.image();
    assert_eq!(&again.config["history"].as_array().unwrap()[..history.len()], &history[..]);
    assert_eq!(again.layers.len(), image.layers.len() + 1);
}

#[test]
fn other_bytes_of_the_same_size_and_time_are_a_change() {
    let state = Scratch::new();
    let built = |text: &str| {
        let build = Build::of("FROM scratch\nCOPY a /\n").file("a", text).state(state.path());
        sh("touch", &["-d", "2024-01-01T00:00:00Z", build.folder().join("a").to_str().unwrap()]);
        build.output().ok().image().text("a")
    };
    assert_eq!((built("one").as_str(), built("two").as_str()), ("one", "two"));
}

#[test]
fn the_value_of_a_secret_repeats_nothing() {
    if !needs_root() {
        return;
    }
    let (registry, state) = (Registry::start(), Scratch::new());
    let base = registry.at("base/busybox:1");
    let ran = |id: &str, value: &str| {
        let run = format!("stat -c '%a %u' /run/secrets/{id} > /mode && test -s /run/secrets/{id} && {ONCE}");
        let build = Build::of(&format!("FROM {base}\nRUN --mount=type=secret,id={id} {run}\n"));
        let build = build.option("--secret", &format!("id={id},env=VALUE")).environment("VALUE", value);
        let image = build.state(state.path()).output().ok().image();
        assert_eq!(image.text("mode"), "400 0\n");
        assert!(!image.has("run/secrets"));
        image.text("ran")
    };
    let first = ran("one", "1");
    assert_eq!(ran("one", "2"), first);
    assert_ne!(ran("two", "1"), first);
}

#[test]
fn caches_are_told_apart_by_id_owner_and_mode_and_leave_no_directory() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let text = format!(
        "FROM {}\nRUN --mount=type=cache,target=/c echo x > /c/f\n\
         RUN --mount=type=cache,target=/c,uid=5 test ! -e /c/f && stat -c %u /c > /owner\n\
         RUN --mount=type=cache,target=/c,mode=700 test ! -e /c/f && stat -c %a /c > /mode\n\
         RUN --mount=type=cache,target=/c,id=other test ! -e /c/f\n\
         RUN --mount=type=cache,target=/d/e,id=/c cat /d/e/f > /found\n",
        registry.at("base/busybox:1")
    );
    for build in as_everybody(&text) {
        let image = build.output().ok().image();
        let seen = ["owner", "mode", "found"].map(|name| image.text(name));
        assert_eq!(seen, ["5\n", "700\n", "x\n"]);
        assert!(!image.has("c") && !image.has("d"));
    }
}

#[test]
fn a_socket_for_an_agent_belongs_to_whom_the_mount_says() {
    if !needs_root() {
        return;
    }
    let (registry, place) = (Registry::start(), Scratch::new());
    let agent = place.path().join("agent");
    let _listening = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let text = format!(
        "FROM {}\nRUN --mount=type=ssh stat -c '%F %a %u %g' $SSH_AUTH_SOCK > /one\n\
         RUN --mount=type=ssh,uid=5,gid=6,mode=660 --mount=type=ssh,target=/s \
         stat -c '%F %a %u %g' $SSH_AUTH_SOCK /s > /two\n\
         ENV SSH_AUTH_SOCK=/mine\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK > /three\n",
        registry.at("base/busybox:1")
    );
    for build in as_everybody(&text) {
        let build = build.option("--ssh", &format!("default={}", agent.display()));
        let image = build.output().ok().image();
        let seen = ["one", "two", "three"].map(|name| image.text(name));
        assert_eq!(seen, ["socket 600 0 0\n", "socket 660 5 6\nsocket 600 0 0\n", "/mine\n"]);
        assert!(!image.has("s") && !image.has("run/buildkit"));
    }
}

#[test]
fn a_user_may_be_named_before_it_exists() {
    let registry = Registry::start();
    let text = format!("FROM {}\nUSER later:group\nLABEL a=b\n", registry.at("base/busybox:1"));
    let image = Build::of(&text).output().ok().image();
    assert_eq!(*image.setting("User"), "later:group");
}

#[test]
fn an_ignored_dockerfile_is_used_and_not_copied() {
    let build = Build::of("FROM scratch\nCOPY . /\n").file("a", "a");
    let image = build.file(".dockerignore", "Dockerfile\n.dockerignore\n").output().ok().image();
    assert_eq!(image.tree.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_named_context_has_its_own_ignore_file() {
    let other = Scratch::new();
    for (name, text) in [("a", "a"), ("b", "b"), (".dockerignore", "b\n")] {
        other.write(&format!("other/{name}"), text);
    }
    let build = Build::of("FROM scratch\nCOPY --from=other . /o/\n").file(".dockerignore", "a\n");
    let place = format!("other={}", other.path().join("other").display());
    let image = build.option("--build-context", &place).output().ok().image();
    assert!(image.has("o/a") && !image.has("o/b"));
}
