//! What goes over the wire when an image is pushed, what is spared, and what a registry may do meanwhile.

use crate::support::{
    Build, Exchange, Fault, Image, Registry, Scratch, base64, copy_image, inspect, needs_root,
};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A Dockerfile without RUN over the busybox of this registry.
fn small(registry: &Registry) -> Build {
    let dockerfile =
        format!("FROM {}\nENV WHO=world\nCOPY greeting /etc/greeting\n", registry.at("base/busybox:1"));
    Build::of(&dockerfile).file("greeting", "hello\n").push()
}

/// A docker `config.json` with one login, in a folder.
fn login(registry: &Registry, name: &str, password: &str) -> Scratch {
    let scratch = Scratch::new();
    let auth = base64(format!("{name}:{password}").as_bytes());
    let config = json!({"auths": {(registry.address()): {"auth": auth}}});
    scratch.write("config.json", config.to_string());
    scratch
}

fn with_login(build: Build, login: &Scratch) -> Build {
    build.environment("DOCKER_CONFIG", login.path())
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files_below(&path)),
            path => found.push(path.display().to_string()),
        }
    }
    found
}

#[test]
fn push_keeps_nothing_here() {
    let registry = Registry::start();
    let pushed = small(&registry).tag(&registry.at("app:1")).ok();
    let image = Image::pull(&registry.past("app:1"));
    assert_eq!(image.text("etc/greeting"), "hello\n");
    let kept = files_below(&pushed.state());
    let blobs: Vec<_> = kept.iter().filter(|path| path.contains("/blobs/")).collect();
    assert!(blobs.is_empty(), "{blobs:?}");
}

#[test]
fn build_with_the_push_flag_pushes_every_tag() {
    let registry = Registry::start();
    let build = Build::of("FROM scratch\nCOPY a /\n").file("a", "a").flag("--push");
    build.tag(&registry.at("app:1")).tag(&registry.at("app:latest")).tag(&registry.at("other/app:1")).ok();
    let digests =
        ["app:1", "app:latest", "other/app:1"].map(|name| inspect(&registry.past(name))["Digest"].clone());
    assert!(digests[0].is_string() && digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

/// Whether more came down than the base's configuration; its layer has over half a megabyte.
fn base_came_down(registry: &Registry) -> bool {
    let (_, down) = registry.blob_bytes();
    down >= 4096
}

#[test]
fn layers_of_a_base_are_mounted_and_not_downloaded_for_copy_link() {
    let registry = Registry::start();
    let dockerfile = format!(
        "FROM {}\nENV WHO=world\nCOPY --link greeting /etc/greeting\nLABEL a=b\n",
        registry.at("base/busybox:1")
    );
    Build::of(&dockerfile).file("greeting", "hello\n").push().tag(&registry.at("app:1")).ok();
    assert!(!base_came_down(&registry), "{:#?}", registry.exchanges());
    let mounted = |seen: &Exchange| {
        seen.path.contains("mount=sha256") && seen.path.contains("from=base") && seen.status == 201
    };
    assert!(registry.exchanges().iter().any(mounted), "{:#?}", registry.exchanges());
    let image = Image::pull(&registry.past("app:1"));
    assert_eq!(
        (image.node("bin/sh").link.as_str(), image.text("etc/greeting")),
        ("busybox", "hello\n".into())
    );
}

#[test]
fn layers_of_a_base_are_not_downloaded_for_metadata() {
    let registry = Registry::start();
    let dockerfile =
        format!("FROM {}\nENV WHO=world\nUSER app\nEXPOSE 80\nCMD true\n", registry.at("base/busybox:1"));
    Build::of(&dockerfile).push().tag(&registry.at("app:1")).ok();
    assert!(!base_came_down(&registry), "{:#?}", registry.exchanges());
    assert_eq!(Image::pull(&registry.past("app:1")).node("bin/sh").link, "busybox");
}

#[test]
fn the_paths_of_a_base_are_learned_once_for_all_machines() {
    // A plain COPY goes through the links of the image, so it needs the base's paths.
    let registry = Registry::start();
    let build = |name: &str, greeting: &str| {
        let build = small(&registry).file("greeting", greeting).tag(&registry.at(name));
        build.option("--cache-repo", &registry.at("cache")).ok();
        Image::pull(&registry.past(name)).text("etc/greeting")
    };
    build("app:1", "hello\n");
    assert!(base_came_down(&registry), "the first build reads the base's layer");
    assert_eq!(registry.asked("GET", "/v2/base/busybox/blobs/"), 2, "configuration and layer, each once");
    registry.reset();
    assert_eq!(build("app:2", "other\n"), "other\n");
    assert_eq!(registry.asked("GET", "/v2/base/busybox/blobs/"), 1, "{:#?}", registry.exchanges());
    registry.reset();
    let workdir = format!("FROM {}\nWORKDIR /etc/below\n", registry.at("base/busybox:1"));
    let build = Build::of(&workdir).push().tag(&registry.at("other:1"));
    build.option("--cache-repo", &registry.at("cache")).ok();
    assert_eq!(registry.asked("GET", "/v2/base/busybox/blobs/"), 1, "{:#?}", registry.exchanges());
    assert_eq!(Image::pull(&registry.past("other:1")).node("etc/below").mode, 0o755);
}

#[test]
fn a_mount_that_becomes_an_upload_session_is_used_as_one() {
    let registry = Registry::start();
    registry.fault(Fault::on("POST", "mount=").times(100).refuse_mount());
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(Image::pull(&registry.past("app:1")).node("bin/sh").link, "busybox");
}

#[test]
fn what_a_registry_only_says_it_has_is_sent_all_the_same() {
    // Its memory of blobs outlived them: it says that they are there, or that it mounted them.
    let registry = Registry::start();
    registry.fault(Fault::on("HEAD", "/v2/app/blobs/").times(100).answer(200, "", ""));
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(Image::pull(&registry.past("app:1")).text("etc/greeting"), "hello\n");
    let registry = Registry::start();
    registry.fault(Fault::on("POST", "mount=").times(100).answer(201, "", ""));
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(Image::pull(&registry.past("app:1")).node("bin/sh").link, "busybox");
}

#[test]
fn who_may_not_push_hears_of_it_before_the_steps_are_done() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    registry.ask_for_tokens();
    let dockerfile = format!("FROM {}\nRUN sleep 600\n", registry.at("base/busybox:1"));
    let refused = Build::of(&dockerfile).push().tag(&registry.at("app:1")).exits(77);
    refused.says(&["a push to", "no credential for"]);
    assert_eq!(registry.asked("PUT", "/manifests/"), 0);
}

#[test]
fn nobody_is_asked_for_leave_when_there_is_nothing_to_do() {
    let registry = Registry::start();
    small(&registry).tag(&registry.at("app:1")).ok();
    registry.reset();
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(registry.asked("POST", "/blobs/uploads/"), 0);
}

#[test]
fn a_registry_that_stumbles_is_asked_again() {
    let registry = Registry::start();
    registry.fault(Fault::on("GET", "/manifests/").answer(503, "", "busy"));
    registry.fault(Fault::on("POST", "/blobs/uploads/").answer(429, "retry-after: 1\r\n", ""));
    registry.fault(Fault::on("PUT", "/manifests/").drop_connection());
    registry.fault(Fault::on("HEAD", "/blobs/").answer(500, "", ""));
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(Image::pull(&registry.past("app:1")).text("etc/greeting"), "hello\n");
}

#[test]
fn an_upload_that_breaks_is_sent_again_whole() {
    let registry = Registry::start();
    registry.fault(Fault::on("PATCH", "/blobs/uploads/").drop_connection());
    registry.fault(Fault::on("PUT", "/blobs/uploads/").drop_connection());
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(Image::pull(&registry.past("app:1")).text("etc/greeting"), "hello\n");
}

#[test]
fn a_slow_registry_is_waited_for() {
    let registry = Registry::start();
    registry.fault(Fault::on("PUT", "/manifests/").slow(Duration::from_secs(2)));
    small(&registry).tag(&registry.at("app:1")).ok();
    assert_eq!(registry.asked("PUT", "app/manifests/1"), 1, "one request, not several");
}

#[test]
fn basic_authentication_comes_from_docker_config() {
    let registry = Registry::with_password();
    let config = login(&registry, "tester", "secret");
    let dockerfile = "FROM scratch\nCOPY a /\n";
    with_login(Build::of(dockerfile).file("a", "a").push().tag(&registry.at("app:1")), &config).ok();
    assert!(
        registry
            .exchanges()
            .iter()
            .any(|seen| seen.method == "PUT" && seen.path == "/v2/app/manifests/1" && seen.status == 201)
    );
}

#[test]
fn a_credential_helper_is_asked_for_its_registry() {
    let registry = Registry::with_password();
    let folder = Scratch::new();
    let helper = folder.write(
        "docker-credential-test",
        "#!/bin/sh\n[ \"$1\" = get ] && cat >/dev/null && echo '{\"Username\":\"tester\",\"Secret\":\"secret\"}'\n",
    );
    crate::support::sh("chmod", &["755", helper.to_str().unwrap()]);
    let config = json!({"credHelpers": {(registry.address()): "test"}});
    folder.write("config.json", config.to_string());
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let build = Build::of("FROM scratch\nCOPY a /\n").file("a", "a").push().tag(&registry.at("app:1"));
    with_login(build, &folder).environment("PATH", path).ok();
    assert_eq!(registry.asked("PUT", "/v2/app/manifests/1"), 1);
}

#[test]
fn bearer_tokens_cover_the_target_and_the_source_of_a_mount() {
    let registry = Registry::start();
    registry.ask_for_tokens();
    let config = login(&registry, "tester", "secret");
    with_login(small(&registry).tag(&registry.at("app:1")), &config).ok();
    let seen = registry.exchanges();
    assert!(seen.iter().any(|seen| seen.path.starts_with("/token") && seen.status == 200));
    let sent_to_registry = seen.iter().filter(|seen| seen.path.starts_with("/v2/"));
    for exchange in sent_to_registry.filter_map(|seen| seen.authorization.as_deref()) {
        assert!(exchange.starts_with("Bearer "), "a password went where a token belongs");
    }
}

#[test]
fn a_public_base_needs_no_login() {
    let registry = Registry::start();
    registry.ask_for_tokens();
    let dockerfile = format!("FROM {}\nENV A=1\n", registry.at("base/busybox:1"));
    let image = Build::of(&dockerfile).output().ok().image();
    assert!(image.setting("Env").to_string().contains("\"A=1\""));
}

#[test]
fn sources_of_every_form_are_pushed_as_they_are() {
    let registry = Registry::start();
    let scratch = Scratch::new();
    let base = format!("docker://{}", registry.past("base/busybox:1"));
    let at = |name: &str| scratch.path().join(name).display().to_string();
    copy_image(&base, &format!("oci:{}:v1", at("layout")));
    copy_image(&base, &format!("oci-archive:{}:v1", at("oci.tar")));
    let digest = inspect(&registry.past("base/busybox:1"))["Digest"].clone();
    for (source, name) in
        [(format!("oci:{}:v1", at("layout")), "a:1"), (format!("oci-archive:{}", at("oci.tar")), "b:1")]
    {
        Build::command(&["push", &source, &registry.at(name)]).ok();
        assert_eq!(inspect(&registry.past(name))["Digest"], digest, "{source}");
    }
    // A docker archive has no OCI manifest to keep: its configuration and layers are the same.
    crate::support::sh(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            &base,
            &format!("docker-archive:{}:x:1", at("docker.tar")),
        ],
    );
    Build::command(&["push", &format!("docker-archive:{}", at("docker.tar")), &registry.at("c:1")]).ok();
    let (ours, theirs) = (Image::pull(&registry.past("c:1")), Image::pull(&registry.past("base/busybox:1")));
    assert_eq!(ours.tree, theirs.tree);
}

#[test]
fn a_stored_name_is_pushed_later() {
    let registry = Registry::start();
    let built = Build::of("FROM scratch\nCOPY a /\n").file("a", "a").tag("stored:1").ok();
    Build::command(&["push", "stored:1", &registry.at("app:1")]).state(&built.state()).ok();
    assert_eq!(Image::pull(&registry.past("app:1")).text("a"), "a");
}

#[test]
fn metadata_is_one_line_with_the_keys_of_buildx() {
    let registry = Registry::start();
    let reference = registry.at("app:1");
    let files = Scratch::new();
    let (iid, metadata) = (files.path().join("iid"), files.path().join("metadata"));
    Build::of("FROM scratch\nCOPY a /\n")
        .file("a", "a")
        .push()
        .tag(&reference)
        .option("--iidfile", iid.to_str().unwrap())
        .option("--metadata-file", metadata.to_str().unwrap())
        .ok();
    let image = Image::pull(&registry.past("app:1"));
    let text = fs::read_to_string(metadata).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1);
    let values: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(values["containerimage.digest"], image.digest);
    assert_eq!(values["containerimage.config.digest"], image.manifest["config"]["digest"]);
    assert_eq!(values["containerimage.descriptor"]["digest"], image.digest);
    assert_eq!(values["image.name"], reference);
    let named = fs::read_to_string(iid).unwrap();
    assert!(
        [&image.digest, image.manifest["config"]["digest"].as_str().unwrap()].contains(&named.trim()),
        "{named}"
    );
}

#[test]
fn an_image_goes_to_several_registries() {
    let (one, two) = (Registry::start(), Registry::start());
    small(&one).tag(&one.at("app:1")).tag(&two.at("app:1")).ok();
    assert_eq!(inspect(&one.past("app:1"))["Digest"], inspect(&two.past("app:1"))["Digest"]);
    assert_eq!(Image::pull(&two.past("app:1")).node("bin/sh").link, "busybox");
}
