//! What `docs/dockerfile.md` says of tests is true, and nothing of the language is missing in it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("docs/dockerfile.md")).unwrap()
}

/// The names of all functions below `src` and `tests`.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open: Vec<PathBuf> = vec![root().join("src"), root().join("tests")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let after = text.split("fn ").skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                rest[..end].to_owned()
            });
            names.extend(after);
        }
    }
    names
}

/// What stands between backticks and reads like a test's name.
fn tests_named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.matches('_').count() > 1
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted.filter(is_name).collect()
}

/// The folders of cases that stand between backticks.
fn cases_named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| ["testdata/build/", "testdata/parse/"].iter().any(|at| word.starts_with(at)))
        .collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let (page, known) = (page(), functions());
    let named = tests_named(&page);
    assert!(named.len() > 100, "only {} tests are named", named.len());
    let missing: Vec<_> = named.into_iter().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    for case in cases_named(&page) {
        assert!(root().join(case).join("Dockerfile").is_file(), "no such case: {case}");
    }
}

/// The fine points stand in tables of three columns: point, what holds, tests.
#[test]
fn every_fine_point_is_there_once_and_names_its_tests_in_the_last_column() {
    let page = page();
    let section = page.split("\n## ").find(|section| section.starts_with("Fine points")).unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| point "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut points = BTreeSet::new();
    for row in &rows {
        let &[point, rule, tests] = row.as_slice() else { panic!("not three columns: {row:?}") };
        assert!(points.insert(point), "twice: {point}");
        assert!(!rule.is_empty(), "nothing is said of: {point}");
        let named = tests_named(tests).len() + cases_named(tests).len();
        assert!(named > 0 && named == tests.split(", ").count(), "what holds {point}? {tests}");
    }
    // A row that gets lost is a rule that nobody holds any more.
    assert_eq!(rows.len(), 82);
}

#[test]
fn every_row_of_behaviour_names_a_test() {
    let page = page();
    let tables = page.split("\n## ").filter(|section| !section.starts_with("The parsed file"));
    let rows = tables.flat_map(str::lines).filter(|line| line.starts_with("| "));
    let heads = ["| form ", "| what ", "| instruction ", "| rule ", "| point "];
    for row in rows.filter(|row| !heads.iter().any(|head| row.starts_with(head))) {
        assert!(!tests_named(row).is_empty() || !cases_named(row).is_empty(), "no test in: {row}");
    }
}

#[test]
fn every_instruction_flag_and_rule_has_a_row() {
    let page = page();
    let words = [
        "FROM",
        "ARG",
        "ENV",
        "LABEL",
        "COPY",
        "ADD",
        "RUN",
        "WORKDIR",
        "USER",
        "CMD",
        "ENTRYPOINT",
        "SHELL",
        "EXPOSE",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ONBUILD",
        "MAINTAINER",
    ];
    for word in words {
        let begins = [format!("\n| {word} "), format!("\n| {word}, "), format!(", {word} |")];
        assert!(begins.iter().any(|begin| page.contains(begin)), "no row for {word}");
    }
    let flags = [
        "--platform",
        "--chown",
        "--chmod",
        "--link",
        "--parents",
        "--exclude",
        "--from",
        "--checksum",
        "--keep-git-dir",
        "--unpack",
        "--mount=type=bind",
        "--mount=type=cache",
        "--mount=type=tmpfs",
        "--mount=type=secret",
        "--mount=type=ssh",
        "--network",
        "--security",
        "--device",
        "--interval",
        "--timeout",
        "--start-period",
        "--start-interval",
        "--retries",
    ];
    for flag in flags {
        assert!(page.contains(&format!("`{flag}`")), "no row for {flag}");
    }
    for rule in ocistage::check_rules() {
        assert!(page.contains(&format!("\n| {} |", rule.name)), "no row for {}", rule.name);
    }
}
