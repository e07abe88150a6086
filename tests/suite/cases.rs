//! The cases of `testdata/build`: each is built by buildah too, and must give the same root filesystem and configuration.
//!
//! A case is a folder: `Dockerfile`; `context/`, if it has files; `prepare`, a shell script that makes in the context what
//! version control does not keep (links, modes, archives); `options`, one word of the command line a line. `$BASE` is a
//! busybox. Where buildah is wrong or does not know the form, `expected` says what comes out, in the lines of [`listing`]
//! and with the reason behind `#`; then buildah is not asked. What must not be built has in `fails` what the message must
//! hold, a part a line. All cases run, and all differences are shown at once.

use crate::support::{Build, Image, Node, Registry, Scratch, have, needs_root, repository, sha256};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

/// What of a configuration is compared.
const SETTINGS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// What buildah leaves in the image of what it mounted for a RUN.
const LEFTOVERS: [&str; 4] = [
    "/etc/hostname file 755 0:0 \"\"",
    "/etc/hosts file 755 0:0 \"\"",
    "/etc/resolv.conf file 755 0:0 \"\"",
    "/run dir 755 0:0",
];

#[test]
fn every_case_is_what_buildah_builds_or_what_is_expected() {
    if !needs_root() || !have(&["buildah"]) {
        return;
    }
    let registry = Registry::start();
    let store = Scratch::new();
    let base = Image::pull(&registry.past("base/busybox:1")).tree;
    let mut folders: Vec<PathBuf> = fs::read_dir(repository().join("testdata/build"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    // One can be chosen, to work on it.
    if let Ok(chosen) = std::env::var("OCISTAGE_TEST_CASE") {
        folders.retain(|folder| folder.to_string_lossy().contains(&chosen));
    }
    folders.sort();
    let (next, wrong) = (Mutex::new(folders.iter()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(folder) = next.lock().unwrap().next() else { break };
                    let result = std::panic::catch_unwind(|| case(folder, &registry, &base, store.path()));
                    let result =
                        result.unwrap_or_else(|_| Err("the test itself failed, see above".to_owned()));
                    if let Err(difference) = result {
                        wrong.lock().unwrap().insert(folder, difference);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let mut report = String::new();
    for (folder, difference) in &wrong {
        let _ = writeln!(report, "{}:\n{difference}", folder.file_name().unwrap().to_string_lossy());
    }
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{report}", wrong.len(), folders.len());
}

/// Builds one case both ways. The lines in which they differ: `-` of buildah or the expectation, `+` of ours.
fn case(
    folder: &Path,
    registry: &Registry,
    base: &BTreeMap<String, Node>,
    store: &Path,
) -> Result<(), String> {
    let build = Build::case(folder, registry);
    if let Ok(parts) = fs::read_to_string(folder.join("fails")) {
        let outcome = build.output().run();
        let shown = outcome.shown();
        let told = matches!(outcome.code, Some(1 | 2)) && parts.lines().all(|part| shown.contains(part));
        return if told { Ok(()) } else { Err(format!("{:?} and\n{shown}", outcome.code)) };
    }
    let expected: BTreeSet<String> = match fs::read_to_string(folder.join("expected")) {
        Ok(text) => text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect(),
        Err(_) => {
            let theirs = build.with_buildah(store).map_err(|said| format!("buildah failed:\n{said}"))?;
            listing(&theirs, base).into_iter().filter(|line| !LEFTOVERS.contains(&line.as_str())).collect()
        }
    };
    let outcome = build.output().run();
    if outcome.code != Some(0) {
        return Err(format!("ocistage failed with {:?}:\n{}", outcome.code, outcome.shown()));
    }
    let ours = listing(&outcome.image(), base);
    let mut differences: Vec<_> = expected.difference(&ours).map(|line| (line, '-')).collect();
    differences.extend(ours.difference(&expected).map(|line| (line, '+')));
    differences.sort();
    let mut shown = String::new();
    for (line, side) in &differences {
        let _ = writeln!(shown, "  {side} {line}");
    }
    if differences.is_empty() { Ok(()) } else { Err(shown) }
}

/// An image in lines. Of an image that stands on busybox only what differs from it.
///
/// ```text
/// /app dir 755 0:0
/// /app/a file 644 0:0 "its content"
/// /app/b link 0:0 -> a
/// /bin/vi gone
/// Cmd ["sh"]
/// ```
fn listing(image: &Image, busybox: &BTreeMap<String, Node>) -> BTreeSet<String> {
    let empty = BTreeMap::new();
    let base = if image.tree.contains_key("bin/busybox") { busybox } else { &empty };
    let mut lines = BTreeSet::new();
    for (path, node) in image.tree.iter().filter(|(path, node)| base.get(*path) != Some(node)) {
        lines.insert(entry(path, node));
    }
    lines.extend(
        base.keys().filter(|path| !image.tree.contains_key(*path)).map(|path| format!("/{path} gone")),
    );
    for name in SETTINGS {
        let value = image.setting(name);
        let silent = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty() || name == "WorkingDir" && text == "/",
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !silent {
            lines.insert(format!("{name} {value}"));
        }
    }
    if let Some(author) = image.config["author"].as_str().filter(|author| !author.is_empty()) {
        lines.insert(format!("author {author}"));
    }
    lines
}

fn entry(path: &str, node: &Node) -> String {
    /// Longer contents are shown as their hash.
    const SHOWN: usize = 80;
    let (user, group) = node.owner;
    let (mode, link) = (node.mode, &node.link);
    match node.kind {
        tar::EntryType::Directory => format!("/{path} dir {mode:o} {user}:{group}"),
        tar::EntryType::Symlink => format!("/{path} link {user}:{group} -> {link}"),
        tar::EntryType::Regular => match std::str::from_utf8(&node.bytes) {
            Ok(text) if text.len() <= SHOWN => format!("/{path} file {mode:o} {user}:{group} {text:?}"),
            _ => format!("/{path} file {mode:o} {user}:{group} {}", &sha256(&node.bytes)[..19]),
        },
        kind => format!("/{path} {kind:?} {mode:o} {user}:{group}"),
    }
}
