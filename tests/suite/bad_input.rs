//! What is refused, with which exit code, and what the message must name.

use crate::support::{Build, Entry, Fault, Layout, NewImage, Registry, Scratch, busybox, needs_root, plain};
use std::net::TcpListener;
use std::os::unix::fs::symlink;

/// An address on which nobody listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn an_unknown_instruction_is_named_with_the_nearest() {
    Build::of("FROM scratch\nCOPPY a /\n").exits(2).says(&["COPPY", "COPY", "Dockerfile", "2"]);
}

#[test]
fn an_unknown_flag_of_an_instruction_is_named_with_the_nearest() {
    Build::of("FROM scratch\nCOPY --chwon=1 a /\n").file("a", "").exits(2).says(&["chwon", "chown"]);
}

#[test]
fn an_unknown_flag_of_the_command_is_named_with_the_nearest() {
    Build::of("FROM scratch\n").flag("--no-cahce").exits(2).says(&["--no-cahce", "--no-cache"]);
}

#[test]
fn all_errors_of_a_file_are_shown_at_once() {
    Build::of("FROM scratch\nCOPPY a /\nWORKDIIR /\nENV\n").exits(2).says(&["COPPY", "WORKDIIR", "ENV"]);
}

#[test]
fn an_empty_dockerfile_is_no_build() {
    Build::of("# nothing\n").exits(2);
    Build::of("RUN true\n").exits(2).says(&["FROM"]);
}

#[test]
fn a_missing_dockerfile_is_named() {
    let build = Build::of("FROM scratch\n");
    std::fs::remove_file(build.folder().join("Dockerfile")).unwrap();
    build.exits(2).says(&["Dockerfile", "Containerfile"]);
}

#[test]
fn a_missing_context_is_named() {
    Build::command(&["build", "/nowhere/at/all"]).exits(2).says(&["/nowhere/at/all"]);
}

#[test]
fn a_missing_source_names_pattern_and_context() {
    let build = Build::of("FROM scratch\nCOPY absent/file /\n");
    let context = build.folder().display().to_string();
    let failed = build.output().run();
    assert!(matches!(failed.code, Some(1 | 2)), "{:?}", failed.code);
    failed.says(&["absent/file", &context]);
}

#[test]
fn an_ignored_source_is_missing_too() {
    let build =
        Build::of("FROM scratch\nCOPY secret /\n").file("secret", "x").file(".dockerignore", "secret\n");
    let failed = build.output().run();
    assert!(matches!(failed.code, Some(1 | 2)), "{:?}", failed.code);
    failed.says(&["secret", ".dockerignore"]);
}

#[test]
fn an_unknown_stage_is_named() {
    Build::of("FROM scratch AS builder\n").target("bulider").exits(2).says(&["bulider", "builder"]);
    Build::of("FROM scratch AS builder\nCOPY a /\nFROM scratch\nCOPY --from=7 a /\n")
        .file("a", "")
        .exits(2)
        .says(&["7"]);
}

#[test]
fn stages_that_need_each_other_are_a_cycle() {
    let dockerfile = "FROM scratch AS one\nCOPY --from=two a /\nFROM scratch AS two\nCOPY --from=one a /\n";
    Build::of(dockerfile).exits(2).says(&["one", "two"]);
    Build::of("FROM scratch AS me\nCOPY --from=me a /\n").exits(2).says(&["me"]);
}

#[test]
fn a_malformed_reference_is_named() {
    Build::of("FROM UPPER/case:bad:tag\n").exits(2).says(&["UPPER/case:bad:tag"]);
    Build::of("FROM scratch\nCOPY a /\n")
        .file("a", "")
        .push()
        .tag("127.0.0.1:1/UPPER:1")
        .exits(2)
        .says(&["UPPER"]);
}

#[test]
fn an_undefined_base_argument_is_named() {
    Build::of("ARG BASE\nFROM $BASE\n").exits(2).says(&["BASE"]);
}

#[test]
fn a_base_that_does_not_exist_says_which_registry_answered_what() {
    let registry = Registry::start();
    let failed = Build::of(&format!("FROM {}\n", registry.at("no/such:1"))).output().run();
    assert!(matches!(failed.code, Some(1 | 2)), "{:?}", failed.code);
    failed.says(&["no/such", registry.address(), "404"]);
}

#[test]
fn no_permission_is_77() {
    let registry = Registry::with_password();
    let build = || Build::of("FROM scratch\nCOPY a /\n").file("a", "a").push().tag(&registry.at("app:1"));
    build().exits(77).says(&[registry.address(), "401"]);
    let tokens = Registry::start();
    tokens.ask_for_tokens();
    Build::of("FROM scratch\nCOPY a /\n").file("a", "a").push().tag(&tokens.at("app:1")).exits(77);
    Build::of(&format!("FROM {}\n", registry.at("base/busybox:1"))).output().exits(77);
}

#[test]
fn a_refusal_is_not_asked_again() {
    let registry = Registry::start();
    registry.fault(Fault::on("POST", "/blobs/uploads/").times(100).answer(
        403,
        "",
        "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"quota says no\"}]}",
    ));
    Build::of("FROM scratch\nCOPY a /\n")
        .file("a", "a")
        .push()
        .tag(&registry.at("app:1"))
        .exits(77)
        .says(&["quota says no"]);
    // A layer and a configuration; for each a mount may be refused, then an upload.
    assert!(registry.asked("POST", "/v2/app/blobs/uploads/") <= 4, "{:#?}", registry.exchanges());
}

#[test]
fn a_registry_that_is_down_is_69() {
    let address = nowhere();
    Build::of("FROM scratch\nCOPY a /\n")
        .file("a", "a")
        .push()
        .tag(&format!("{address}/app:1"))
        .exits(69)
        .says(&[&address]);
    Build::of(&format!("FROM {address}/base:1\n")).output().exits(69).says(&[&address]);
}

#[test]
fn a_registry_that_never_recovers_is_69_after_bounded_retries() {
    let registry = Registry::start();
    registry.fault(Fault::on("GET", "/manifests/").times(1000).answer(503, "", ""));
    registry.fault(Fault::on("HEAD", "/manifests/").times(1000).answer(503, "", ""));
    Build::of(&format!("FROM {}\n", registry.at("base/busybox:1"))).output().exits(69).says(&["503"]);
    assert!(registry.exchanges().len() < 20, "{}", registry.exchanges().len());
}

#[test]
fn a_wrong_digest_is_refused_and_nothing_is_kept() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    registry.fault(Fault::on("GET", "/blobs/").after(1).times(100).corrupt());
    let dockerfile = format!("FROM {}\nRUN true\n", registry.at("base/busybox:1"));
    let failed = Build::of(&dockerfile).output().run();
    assert_ne!(failed.code, Some(0));
    failed.says(&["digest", "sha256:"]);
    assert!(!failed.layout().join("index.json").exists());
    // The same state, and a registry that is sound again: nothing of the wrong bytes may be found.
    registry.reset();
    let built = Build::of(&dockerfile).state(&failed.state()).output().ok();
    assert_eq!(built.image().node("bin/sh").link, "busybox");
}

#[test]
fn a_manifest_with_a_wrong_digest_is_refused() {
    let registry = Registry::start();
    let digest =
        crate::support::inspect(&registry.past("base/busybox:1"))["Digest"].as_str().unwrap().to_owned();
    registry.fault(Fault::on("GET", "/manifests/").times(100).corrupt());
    let failed =
        Build::of(&format!("FROM {}@{digest}\nENV A=1\n", registry.at("base/busybox"))).output().run();
    assert_ne!(failed.code, Some(0));
    failed.says(&["digest"]);
}

#[test]
fn a_broken_download_is_resumed_or_repeated() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    registry.fault(Fault::on("GET", "/blobs/").after(1).drop_after(100_000));
    let dockerfile = format!("FROM {}\nRUN echo whole > /state\n", registry.at("base/busybox:1"));
    assert_eq!(Build::of(&dockerfile).output().ok().image().text("state"), "whole\n");
}

#[test]
fn a_context_path_that_escapes_stays_inside() {
    let outside = Scratch::new();
    outside.write("secret", "secret");
    let build = Build::of("FROM scratch\nCOPY ../secret /\n").file("here", "");
    let failed = build.output().run();
    assert!(matches!(failed.code, Some(1 | 2)), "{:?}", failed.code);
    failed.says(&["secret"]);
    // A link in the context that points out of it is copied as a link, or refused where it must be followed.
    let build = Build::of("FROM scratch\nCOPY out/secret /\n").file("here", "");
    symlink(outside.path(), build.folder().join("out")).unwrap();
    let failed = build.output().run();
    assert!(matches!(failed.code, Some(1 | 2)), "{:?}", failed.code);
    let build = Build::of("FROM scratch\nCOPY all /\n").file("all/here", "");
    symlink(outside.path().join("secret"), build.folder().join("all/out")).unwrap();
    let image = build.output().ok().image();
    assert_eq!(image.node("out").kind, tar::EntryType::Symlink);
}

#[test]
fn a_base_whose_layer_escapes_its_root_is_refused() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let scratch = Scratch::new();
    let mut layout = Layout::create(&scratch.path().join("layout"));
    let outside = scratch.path().join("escaped").display().to_string();
    let hostile = [
        ("dots", vec![Entry::file("../../../../../../../../../../tmp/ocistage-escaped", 0o644, "x")]),
        (
            "link",
            vec![
                Entry::symlink("way", scratch.path().to_str().unwrap()),
                Entry::file("way/escaped", 0o644, "x"),
            ],
        ),
        ("absolute", vec![Entry::file(&outside, 0o644, "x")]),
    ];
    for (tag, entries) in hostile {
        layout.add(tag, &busybox(plain()).layer(entries));
        registry.add(layout.path(), tag, &format!("hostile:{tag}"));
        let run =
            Build::of(&format!("FROM {}\nRUN true\n", registry.at(&format!("hostile:{tag}")))).output().run();
        assert!(
            !std::path::Path::new(&outside).exists()
                && !std::path::Path::new("/tmp/ocistage-escaped").exists(),
            "{tag}"
        );
        if tag == "dots" {
            assert_ne!(run.code, Some(0), "{}", run.shown());
            run.says(&[".."]);
        }
    }
}

#[test]
fn an_archive_that_escapes_its_root_is_refused() {
    let scratch = Scratch::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..14].copy_from_slice(b"../../escaped\0");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let failed = Build::of("FROM scratch\nADD evil.tar /in/\n").file("evil.tar", bytes).output().run();
    assert_ne!(failed.code, Some(0), "{}", failed.shown());
    failed.says(&["../../escaped"]);
    drop(scratch);
}

#[test]
fn unknown_fields_of_a_base_are_kept_and_a_path_is_added() {
    let registry = Registry::start();
    let scratch = Scratch::new();
    let mut layout = Layout::create(scratch.path());
    let config =
        serde_json::json!({"Env": ["A=1"], "X-Unknown": {"kept": true}, "OnBuild": [], "StopTimeout": 5});
    layout.add("t", &NewImage::new(config).layer([Entry::file("a", 0o644, "a")]));
    registry.add(layout.path(), "t", "odd:1");
    let image = Build::of(&format!("FROM {}\nENV B=2\n", registry.at("odd:1"))).output().ok().image();
    assert_eq!(image.setting("X-Unknown")["kept"], true);
    assert_eq!(*image.setting("StopTimeout"), 5);
    assert_eq!(
        image.setting("Env").to_string(),
        "[\"A=1\",\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"B=2\"]"
    );
}

#[test]
fn forms_that_are_not_there_are_refused_by_name() {
    let registry = Registry::start();
    let base = registry.at("base/busybox:1");
    Build::of(&format!("FROM {base}\nRUN --security=insecure true\n")).exits(2).says(&["--security", "2"]);
    Build::of("FROM scratch\n")
        .option("--platform", "linux/amd64,linux/arm64")
        .exits(2)
        .says(&["--platform"]);
    Build::of("FROM scratch\n").option("--output", "type=unheard,dest=x").exits(2).says(&["unheard"]);
    Build::of("FROM scratch\n").option("--backend", "unheard").exits(2).says(&["unheard", "native"]);
}
