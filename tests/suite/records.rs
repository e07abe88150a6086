//! Looking at a cache and making room in it, in a repository and in a folder; signing in and out.

use crate::support::{Build, Fault, Image, Outcome, Registry, Scratch, base64};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A build of two stages and three steps, pushed with its records.
fn built(registry: &Registry, name: &str, content: &str) -> Outcome {
    let head = format!("FROM {}", registry.at("base/busybox:1"));
    let dockerfile =
        format!("{head} AS one\nCOPY a /a\n{head}\nCOPY --from=one /a /b\nCOPY a /c\nLABEL of={name}\n");
    Build::of(&dockerfile)
        .file("a", content)
        .push()
        .tag(&registry.at(name))
        .option("--label", "built=here")
        .ok()
}

fn cache(words: &[&str], repository: &str) -> Build {
    Build::command(&[&["cache"], words, &["--cache-repo", repository]].concat())
}

/// The records of a repository: kind, key and what they are of.
fn listed(repository: &str) -> Vec<(String, String, String)> {
    let said = cache(&["ls", "--json"], repository).ok().stdout;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    said.lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            (text(&record["kind"]), text(&record["key"]), text(&record["about"]))
        })
        .collect()
}

fn count(repository: &str, kind: &str) -> usize {
    listed(repository).iter().filter(|(own, ..)| own == kind).count()
}

#[test]
fn records_of_a_repository_are_listed_and_looked_into() {
    let registry = Registry::start();
    let repository = registry.at("app/cache");
    assert!(listed(&repository).is_empty(), "a repository that is not there has no records");
    built(&registry, "app:1", "a");
    let records = listed(&repository);
    let steps: Vec<_> = records.iter().filter(|(kind, ..)| kind == "step").collect();
    assert!(steps.iter().any(|(_, _, of)| of == "COPY a /a"), "{records:?}");
    assert_eq!((count(&repository, "build"), count(&repository, "stage")), (1, 2), "{records:?}");
    let table = cache(&["ls"], &repository).ok();
    table.says(&["KIND", "COPY --from=one /a /b", &steps[0].1[..12]]);
    assert_eq!(table.stderr, "");

    let (_, key, of) = steps[0];
    cache(&["inspect", &key[..8]], &repository).ok().says(&[
        "kind       step",
        key,
        of,
        "layer      sha256:",
    ]);
    let said = cache(&["inspect", &format!("step-{key}"), "--json"], &repository).ok().stdout;
    let record: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&record["config"]["instruction"], &record["key"]), (&json!(of), &json!(key)));
    assert_eq!(record["manifest"]["artifactType"], "application/vnd.ocistage.step.v1");
    let layer = record["manifest"]["layers"][0]["digest"].as_str().unwrap();
    registry.delete_blob("app/cache", layer);
    cache(&["inspect", key], &repository).ok().says(&[&format!("layer      {layer}"), "not here"]);
    cache(&["inspect", "ffffffff0000"], &repository).exits(2).says(&["no record `ffffffff0000`"]);
    cache(&["inspect", "step"], &repository).exits(2).says(&["records", "give more digits"]);
}

#[test]
fn pruning_a_repository_leaves_what_is_to_stay_and_every_image() {
    let registry = Registry::start();
    let repository = registry.at("app/cache");
    built(&registry, "app:1", "a");
    let before = listed(&repository);
    cache(&["prune"], &repository).exits(2).says(&["nothing says what may go"]);
    cache(&["prune", "--older-than", "1h"], &repository).ok().says(&["0 removed"]);
    cache(&["prune", "--older-than", "0", "--dry-run"], &repository).ok().says(&["would remove step"]);
    assert_eq!(listed(&repository), before);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    cache(&["prune", "--older-than", "0", "--keep-tag", "stage-*"], &repository).ok().says(&["removed step"]);
    assert_eq!((count(&repository, "step"), count(&repository, "stage")), (0, 2));
    cache(&["prune", "--keep", "1"], &repository).ok().says(&["removed stage"]);
    assert_eq!(count(&repository, "stage"), 1);
    assert_eq!(Image::pull(&registry.past("app:1")).text("c"), "a");
    built(&registry, "app:2", "a");
    assert_eq!(Image::pull(&registry.past("app:2")).text("b"), "a");
}

#[test]
fn an_image_that_is_also_a_record_is_not_pruned_with_it() {
    // Records among an image's own tags, as where a registry knows no nested names.
    let registry = Registry::start();
    let repository = registry.at("app");
    let build = || {
        let build = Build::of("FROM scratch\nCOPY a /\n").file("a", "a").push().tag(&registry.at("app:v1"));
        build.option("--cache-repo", &repository)
    };
    build().ok();
    assert!(count(&repository, "build") == 1 && count(&repository, "step") == 1);
    let pruned = cache(&["prune", "--keep", "0"], &repository).ok();
    pruned.says(&["removed step", "kept build", "the tag v1"]);
    assert_eq!(Image::pull(&registry.past("app:v1")).text("a"), "a");
    assert_eq!(count(&repository, "step"), 0);
}

#[test]
fn a_registry_that_deletes_nothing_is_said_to_do_so() {
    let registry = Registry::start();
    let repository = registry.at("app/cache");
    built(&registry, "app:1", "a");
    let body = "{\"errors\":[{\"code\":\"UNSUPPORTED\",\"message\":\"The operation is unsupported.\"}]}";
    registry.fault(Fault::on("DELETE", "/manifests/").times(100).answer(405, "", body));
    cache(&["prune", "--keep", "0"], &repository).exits(69).says(&[
        "the registry does not delete",
        "UNSUPPORTED",
        "hint:",
    ]);
    registry.reset();
    registry.fault(Fault::on("DELETE", "/manifests/").times(100).answer(403, "", ""));
    cache(&["prune", "--keep", "0"], &repository).exits(77);
    assert_eq!(count(&repository, "build"), 1);
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(
            |entry| {
                if entry.path().is_dir() {
                    bytes_below(&entry.path())
                } else {
                    entry.metadata().unwrap().len()
                }
            },
        )
        .sum()
}

#[test]
fn pruning_the_local_folder_frees_the_disk() {
    let files = Scratch::new();
    let state = files.folder("state");
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let build = |bytes: &[u8]| {
        Build::of("FROM scratch\nCOPY a /\n").file("a", bytes).state(&state).output().ok();
    };
    build(&noise);
    build(b"small");
    let cache = |words: &[&str]| Build::command(&[&["cache"], words].concat()).state(&state);
    let before = bytes_below(&state.join("cache/blobs"));
    assert!(before > 200_000, "{before}");
    let said = cache(&["ls"]).ok().stdout;
    assert_eq!(said.lines().filter(|line| line.starts_with("step")).count(), 2, "{said}");
    cache(&["prune", "--keep", "1"]).ok().says(&["removed step", "freed"]);
    let one = cache(&["ls"]).ok().stdout;
    assert_eq!(one.lines().filter(|line| line.starts_with("step")).count(), 1, "{one}");
    cache(&["prune", "--keep", "0"]).ok().says(&["freed"]);
    assert_eq!(bytes_below(&state.join("cache/blobs")), 0);
    build(&noise);
}

#[test]
fn signing_in_keeps_a_credential_that_pushes_and_signing_out_forgets_it() {
    let registry = Registry::with_password();
    let files = Scratch::new();
    let file = files.path().join("made/auth.json");
    let at = file.to_str().unwrap();
    let login = |password: &str| {
        let words = ["login", "--authfile", at, "-u", "tester", "--password-stdin", registry.address()];
        Build::command(&words).stdin(password)
    };
    login("wrong").exits(77).says(&["tester"]);
    assert!(!file.exists());
    let said = login("secret\n").ok();
    said.says(&["signed in", "as tester", at]);
    assert!(!said.shown().contains("secret"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["auths"][registry.address()]["auth"], base64(b"tester:secret"));

    let build = || Build::of("FROM scratch\nCOPY a /\n").file("a", "a").push().tag(&registry.at("app:1"));
    build().option("--authfile", at).ok();
    Build::command(&["logout", "--authfile", at, registry.address()]).ok().says(&["signed out"]);
    Build::command(&["logout", "--authfile", at, registry.address()]).ok().says(&["not signed in"]);
    build().option("--authfile", at).exits(77);
}

#[test]
fn without_a_terminal_a_password_comes_from_standard_input_only() {
    Build::command(&["login", "127.0.0.1:1"]).exits(2).says(&["no user", "-u USER"]);
    Build::command(&["login", "-u", "me", "127.0.0.1:1"]).exits(2).says(&["--password-stdin"]);
    Build::command(&["login", "-u", "me", "--password", "x", "127.0.0.1:1"]).exits(2).says(&["--password"]);
    Build::command(&["login", "-u", "me", "--password-stdin", "http://r.io"])
        .stdin("x")
        .exits(2)
        .says(&["registry"]);
}

#[test]
fn credentials_can_be_given_to_one_build() {
    let registry = Registry::with_password();
    let build = || Build::of("FROM scratch\nCOPY a /\n").file("a", "a").push().tag(&registry.at("app:1"));
    build().environment("OCISTAGE_CREDS", "tester:secret").ok();
    let typed = build().option("--creds", "tester:secret").ok();
    typed.says(&["warning: --creds"]);
    assert!(!typed.shown().contains("secret"));
    let wrong = build().environment("OCISTAGE_CREDS", "tester:wr0ng").exits(77);
    assert!(!wrong.shown().contains("wr0ng"));
    build().option("--creds", "tester").exits(2).says(&["no terminal"]);
    Build::of("FROM scratch\n").option("--creds", "a:b").exits(2).says(&["--creds"]);
    Build::of("FROM scratch\nLABEL a=b\n").environment("OCISTAGE_CREDS", "a:b").ok();
    let ls = Build::command(&["cache", "ls", "--cache-repo", &registry.at("app/cache")]);
    ls.environment("OCISTAGE_CREDS", "tester:secret").ok().says(&["COPY a /"]);
}
