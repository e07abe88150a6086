//! The house keeps its floors: a module names only modules of lower floors, and siblings on one floor never name each
//! other. Read from the source text alone, so a wrong name is found even where it would compile.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floor by top-level module. The door (floor 6) is one module in several files; the binary (floor 7) is `cli`.
const FLOORS: [(u8, &[&str]); 8] = [
    (0, &["oci", "text", "ids"]),
    (1, &["dockerfile", "tree", "ctx", "sys"]),
    (2, &["plan", "tar", "blob", "http"]),
    (3, &["layer", "rootfs", "context", "registry"]),
    (4, &["cache", "run", "output"]),
    (5, &["build"]),
    (
        6,
        &[
            "builder", "check", "contexts", "error", "fuzzing", "lib", "publish", "push", "records",
            "request", "setup", "sign_in",
        ],
    ),
    (7, &["main", "cli"]),
];
const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "justfile",
    "src",
    "tests",
    "testdata",
    "docs",
    "target",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// Every Rust file under `src`, by its path from there.
fn sources() -> BTreeMap<PathBuf, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root().join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root().join("src")).unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// The code of a file: without comments, and without the insides of plain string literals.
fn code(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && rest[1..].trim_start_matches('#').starts_with('"') =>
            {
                let hashes = rest[1..].find('"').unwrap_or(0);
                let close = format!("\"{}", "#".repeat(hashes));
                rest[hashes + 2..].find(&close).map_or(rest.len(), |at| hashes + 2 + at + close.len())
            }
            '"' => {
                let mut escaped = false;
                let close = rest[1..].char_indices().find(|(_, c)| {
                    let closes = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    closes
                });
                close.map_or(rest.len(), |(at, _)| at + 2)
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        out.push(' ');
        rest = &rest[end..];
    }
    out
}

fn word(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The top-level modules that `code` names through `prefix` (`crate::` or a chain of `super::` that ends at the root).
fn named<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = code[at + prefix.len()..].trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0;
        for part in group.split_inclusive(['{', '}', ',']) {
            if depth == 0 && !word(part).is_empty() {
                names.push(word(part));
            }
            match part.chars().last() {
                Some('{') => depth += 1,
                Some('}') if depth == 0 => break,
                Some('}') => depth -= 1,
                _ => {}
            }
        }
    }
    names
}

/// What is wrong with one file's names.
fn trespasses(path: &Path, text: &str) -> Vec<String> {
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap().trim_end_matches(".rs")).collect();
    let (module, code) = (parts[0], code(text));
    let Some(own) = floor(module) else {
        return vec![format!("src/{}: module {module} has no floor", path.display())];
    };
    // `super::` reaches the crate's root after as many steps as the file is deep.
    let depth = if parts.last() == Some(&"mod") { parts.len() - 1 } else { parts.len() };
    let to_root = "super::".repeat(depth);
    let mut names = named(&code, "crate::");
    if own < 6 {
        names.extend(named(&code, &to_root));
    }
    // A name that is no module is the door's re-export. The door is one module; the binary's own is `cli`.
    names.retain(|name| match (own, floor(name).unwrap_or(6)) {
        _ if *name == module => false,
        (7, other) => other != 7,
        (6, other) => other > 6,
        (own, other) => other >= own,
    });
    names
        .iter()
        .map(|name| format!("src/{}: {module} (floor {own}) names crate::{name}", path.display()))
        .collect()
}

#[test]
fn modules_name_only_lower_floors() {
    let found: Vec<_> = sources().iter().flat_map(|(path, text)| trespasses(path, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn trespasses_are_found() {
    let wrong = |path: &str, text: &str| !trespasses(Path::new(path), text).is_empty();
    assert!(wrong("http/client.rs", "use crate::registry::pull;"));
    assert!(wrong("http/client.rs", "use crate::{oci::Digest, tar::Header};"));
    assert!(wrong("http/client.rs", "use super::super::blob::Store;"));
    assert!(wrong("http/client.rs", "fn f() -> crate::Error { todo }"));
    assert!(wrong("cli/args.rs", "use crate::build::Step;"));
    assert!(wrong("attic/mod.rs", ""));
    assert!(!wrong("http/client.rs", "use crate::{oci::{Digest, media}, ctx::Ctx};\n// crate::registry"));
    assert!(!wrong("http/client.rs", "use super::retry::Policy; const T: &str = \"crate::build\";"));
    assert!(!wrong("lib.rs", "pub use crate::build::Report;"));
    assert!(!wrong("cli/args.rs", "use crate::cli::exit; use ocistage::Builder;"));
}

#[test]
fn each_mod_file_opens_with_its_idea() {
    for (path, text) in sources().iter().filter(|(path, _)| path.ends_with("mod.rs")) {
        assert!(text.starts_with("//!"), "src/{} does not begin with its idea (//!)", path.display());
    }
}

#[test]
fn unsafe_stays_in_sys_and_nothing_is_left_undone() {
    for (path, text) in sources() {
        let code = code(&text);
        let has_unsafe = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        assert!(!has_unsafe || path.starts_with("sys"), "src/{}: unsafe outside src/sys", path.display());
        for mark in ["todo!", "unimplemented!", "#[ignore"] {
            assert!(!code.contains(mark), "src/{}: {mark}", path.display());
        }
    }
}

#[test]
fn the_top_level_holds_only_what_the_house_names() {
    for entry in fs::read_dir(root()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let known = name.starts_with('.') || TOP_LEVEL.contains(&&*name);
        assert!(known, "{name} does not belong at the top level");
    }
}
