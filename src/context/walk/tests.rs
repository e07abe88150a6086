//! Walking real directories.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;
use crate::context::{Place, hash_files, select};
use crate::ctx::{Ctx, Event, EventSink};
use crate::tree::ContentHash;

struct Silent;

impl EventSink for Silent {
    fn event(&self, _event: &Event) {}
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(Silent), tokio_util::sync::CancellationToken::new(), 2)
}

/// A directory with these files; names that end in a slash are directories, `a -> b` is a link. A file's
/// content is its own name.
fn directory(names: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let path = directory.path().join(name.split(" -> ").next().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some((_, target)) = name.split_once(" -> ") {
            symlink(target, path).unwrap();
        } else if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::write(path, name).unwrap();
        }
    }
    directory
}

fn walked(directory: &Path, ignore: &str, sources: &[&str]) -> Tree {
    walked_with(directory, ignore, sources, false)
}

fn walked_with(directory: &Path, ignore: &str, sources: &[&str], parents: bool) -> Tree {
    let root = Arc::new(Root::open(directory).unwrap());
    let ignore = IgnoreFile::parse(".dockerignore", ignore.as_bytes()).unwrap();
    let patterns: Vec<SourcePattern> =
        sources.iter().map(|source| SourcePattern::parse(source, parents).unwrap()).collect();
    walk(&root, &ignore, &patterns.iter().collect::<Vec<_>>()).unwrap()
}

/// What was found, without the names that are there only for hints.
fn names(tree: &Tree) -> Vec<String> {
    tree.iter().filter(|(_, node)| node.entry.metadata.mode != 0).map(|(path, _)| path.to_string()).collect()
}

#[test]
fn only_what_is_selected_is_found() {
    let directory = directory(&["a/x", "a/y", "b/x", "c/d/e", "c/d/f", "c/z", "top"]);
    let found = |sources: &[&str]| names(&walked(directory.path(), "", sources));
    assert_eq!(found(&["a"]), ["/a", "/a/x", "/a/y"]);
    assert_eq!(found(&["a/x", "top"]), ["/a", "/a/x", "/top"]);
    assert_eq!(found(&["*/x"]), ["/a", "/a/x", "/b", "/b/x", "/c"]);
    assert_eq!(found(&["c/*"]), ["/c", "/c/d", "/c/d/e", "/c/d/f", "/c/z"]);
    assert_eq!(found(&["../c/./d/../d/e"]), ["/c", "/c/d", "/c/d/e"]);
    assert_eq!(found(&["none", "a/none/x"]), ["/a"]);
    assert_eq!(found(&["a", "."]).len(), 11);
    assert_eq!(found(&[]), [""; 0]);
}

#[test]
fn beside_a_missing_name_the_others_are_known_without_contents() {
    let directory = directory(&["src/main.rs", "readme.md", "secret"]);
    let tree = walked(directory.path(), "secret", &["raedme.md", "src/main.rs"]);
    assert_eq!(names(&tree), ["/src", "/src/main.rs"]);
    assert!(tree.get(&ImagePath::clamped("secret")).is_none());
    assert!(tree.get(&ImagePath::clamped("readme.md")).unwrap().content.is_none());
    assert!(tree.get(&ImagePath::clamped("src/main.rs")).unwrap().content.is_some());
    let place = Place { tree: &tree, name: "the build context", ignore: None };
    let pattern = SourcePattern::parse("raedme.md", false).unwrap();
    assert_eq!(
        select(place, &pattern, &IgnoreFile::default()).unwrap_err().to_string(),
        "\"raedme.md\" is not in the build context: did you mean \"readme.md\"?"
    );
}

#[test]
fn directories_that_cannot_matter_are_not_read() {
    let directory = directory(&["open/x", "closed/x", "closed/deep/x"]);
    // To everybody but root a look into it is an error.
    let closed = directory.path().join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(names(&walked(directory.path(), "closed", &["."])), ["/open", "/open/x"]);
    assert_eq!(names(&walked(directory.path(), "", &["open"])), ["/open", "/open/x"]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_the_ignore_file_leaves_out_is_not_there() {
    let directory =
        directory(&["a.log", "b.txt", "n/a.log", "n/b.txt", "t/deep/keep", "t/deep/drop", "t/other/x"]);
    let found = |ignore: &str, sources: &[&str]| names(&walked(directory.path(), ignore, sources));
    assert_eq!(found("**/*.log\nt", &["."]), ["/b.txt", "/n", "/n/b.txt"]);
    assert_eq!(found("*\n!t/deep/keep", &["."]), ["/t", "/t/deep", "/t/deep/keep"]);
    assert_eq!(found("*\n!t/deep/keep", &["t"]), ["/t", "/t/deep", "/t/deep/keep"]);
    assert_eq!(found("*\n!t/deep/keep", &["t/deep/keep"]), ["/t", "/t/deep", "/t/deep/keep"]);
    assert_eq!(found("a.log", &["a.log"]), [""; 0]);
    assert_eq!(found("n", &["n/b.txt", "*.log"]), ["/a.log"]);
}

#[test]
fn parents_patterns_walk_only_where_they_may_match() {
    let directory = directory(&["a/b/c.txt", "a/b/d.md", "x/y/c.txt", "x/z/d.md"]);
    let found = |source: &str| names(&walked_with(directory.path(), "", &[source], true));
    assert_eq!(found("a/b/c.txt"), ["/a", "/a/b", "/a/b/c.txt"]);
    assert_eq!(found("a/b"), ["/a", "/a/b", "/a/b/c.txt", "/a/b/d.md"]);
    assert_eq!(found("x/./y"), ["/x", "/x/y", "/x/y/c.txt"]);
    assert!(found("**/c.txt").contains(&"/x/y/c.txt".to_owned()));
    assert!(!found("**/c.txt").contains(&"/a/b/d.md".to_owned()));
}

#[test]
fn named_links_are_followed_inside_the_context_only() {
    let directory = directory(&[
        "real/file",
        "dir -> real",
        "to-file -> real/file",
        "abs -> /real",
        "up -> ../../../../real/file",
        "out -> ../../../../../../../../etc/passwd",
        "proc -> /proc/self/root/etc/passwd",
        "loop -> loop",
    ]);
    let found = |source: &str| names(&walked(directory.path(), "", &[source]));
    assert_eq!(found("dir/file"), ["/dir", "/real", "/real/file"]);
    assert_eq!(found("dir"), ["/dir", "/real", "/real/file"]);
    assert_eq!(found("to-file"), ["/real", "/real/file", "/to-file"]);
    assert_eq!(found("abs"), ["/abs", "/real", "/real/file"]);
    assert_eq!(found("up"), ["/real", "/real/file", "/up"]);
    assert_eq!(found("out"), ["/out"]);
    assert_eq!(found("proc"), ["/proc"]);
    assert_eq!(found("loop"), ["/loop"]);
}

#[test]
fn entries_have_roots_ownership_and_whole_second_times() {
    let directory = directory(&["f", "sub/", "l -> f"]);
    let path = directory.path().join("f");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_500_000_000_999);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let tree = walked(directory.path(), "", &["."]);
    let file = &tree.get(&ImagePath::clamped("f")).unwrap().entry;
    assert_eq!(file.kind, Kind::File { size: 1 });
    assert_eq!(file.metadata, Metadata { mode: 0o4751, mtime: 1_500_000_000, ..Metadata::default() });
    let link = &tree.get(&ImagePath::clamped("l")).unwrap().entry;
    assert_eq!((&link.kind, link.metadata.mode), (&Kind::Symlink { target: b"f".to_vec() }, 0o777));
}

#[test]
fn sockets_are_left_out_and_pipes_are_not_opened() {
    let directory = directory(&["f"]);
    let _listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        directory.path().join("pipe"),
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut tree = walked(directory.path(), "", &["."]);
    assert_eq!(names(&tree), ["/f", "/pipe"]);
    assert_eq!(tree.get(&ImagePath::clamped("pipe")).unwrap().entry.kind, Kind::Fifo);
    hash_files(&ctx(), &mut tree, std::num::NonZero::new(2).unwrap()).unwrap();
    assert!(Root::open(directory.path()).unwrap().read(&ImagePath::clamped("pipe"), 10).is_err());
}

#[test]
fn hard_linked_names_are_known_as_one_file() {
    let directory = directory(&["d/a", "other"]);
    fs::hard_link(directory.path().join("d/a"), directory.path().join("d/b")).unwrap();
    let tree = walked(directory.path(), "", &["."]);
    let node = |name| tree.get(&ImagePath::clamped(name)).unwrap();
    assert!(node("d/a").same_file(node("d/b")));
    assert!(!node("d/a").same_file(node("other")));
}

#[test]
fn contents_are_read_and_hashed_in_parallel() {
    let names: Vec<String> = (0..200).map(|number| format!("d/{number}")).collect();
    let directory = directory(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tree = walked(directory.path(), "", &["."]);
    hash_files(&ctx(), &mut tree, std::num::NonZero::new(4).unwrap()).unwrap();
    for name in ["d/0", "d/42", "d/199"] {
        let node = tree.get(&ImagePath::clamped(name)).unwrap();
        assert_eq!(node.hash, Some(ContentHash(*blake3::hash(name.as_bytes()).as_bytes())));
        assert_eq!(node.content.as_ref().unwrap().read_up_to(100).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_file_that_changed_after_the_walk_is_noticed() {
    let directory = directory(&["grown", "shrunk", "swapped", "gone", "linked", "fine"]);
    let mut tree = walked(directory.path(), "", &["."]);
    let path = |name: &str| directory.path().join(name);
    fs::write(path("grown"), "longer than before").unwrap();
    fs::write(path("shrunk"), "").unwrap();
    fs::write(path("new"), "swapped").unwrap();
    fs::rename(path("new"), path("swapped")).unwrap();
    fs::remove_file(path("gone")).unwrap();
    fs::remove_file(path("linked")).unwrap();
    symlink("/etc/passwd", path("linked")).unwrap();
    for name in ["grown", "shrunk", "swapped", "gone", "linked"] {
        let content = tree.get(&ImagePath::clamped(name)).unwrap().content.clone().unwrap();
        assert!(content.read_up_to(100).is_err(), "{name}");
    }
    let error = hash_files(&ctx(), &mut tree, std::num::NonZero::new(1).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("read /g"), "{error}");
}

#[test]
fn a_file_that_is_cut_while_it_is_read_does_not_end_early() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("big");
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let tree = walked(directory.path(), "", &["big"]);
    let mut open = tree.get(&ImagePath::clamped("big")).unwrap().content.as_ref().unwrap().open().unwrap();
    open.read_exact(&mut [0; 1000]).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(2000).unwrap();
    assert!(open.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let outside = directory(&["secret"]);
    let directory = directory(&["d/secret"]);
    let tree = walked(directory.path(), "", &["."]);
    fs::rename(directory.path().join("d"), directory.path().join("was")).unwrap();
    symlink(outside.path(), directory.path().join("d")).unwrap();
    let content = tree.get(&ImagePath::clamped("d/secret")).unwrap().content.clone().unwrap();
    assert!(content.open().is_err());
}

#[test]
fn the_dockerfile_is_read_through_links_inside_the_context_only() {
    let directory =
        directory(&["build/Dockerfile", "Dockerfile -> build/Dockerfile", "out -> ../../../../etc/passwd"]);
    let root = Root::open(directory.path()).unwrap();
    let read = |name: &str| root.read(&ImagePath::clamped(name), 100);
    assert_eq!(read("Dockerfile").unwrap().unwrap(), b"build/Dockerfile");
    assert_eq!(read("out").unwrap(), None);
    assert_eq!(read("none").unwrap(), None);
    assert!(read("build").is_err());
    assert!(root.read(&ImagePath::clamped("Dockerfile"), 3).is_err());
}

#[test]
fn names_of_any_bytes_and_any_depth_are_found() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join(std::ffi::OsStr::from_bytes(b"a\xff\n b"));
    fs::write(odd, "x").unwrap();
    // Deeper than a path may be long.
    let root = Root::open(directory.path()).unwrap();
    let mut fd = root.open_directory(&ImagePath::root()).unwrap();
    for _ in 0..30 {
        let name = "n".repeat(200);
        rustix::fs::mkdirat(&fd, &name, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        fd = rustix::fs::openat(&fd, &name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    let tree = walked(directory.path(), "", &["."]);
    assert_eq!(tree.iter().count(), 31);
    assert!(tree.get(&ImagePath::clamped(b"a\xff\n b")).is_some());
}

#[test]
fn what_was_walked_is_what_select_finds() {
    let directory = directory(&["a/x", "a/y.md", "l -> a", "b*c"]);
    for (source, expected) in [("l", 2), ("a/*.md", 0), ("b\\*c", 0), ("?", 4), (".", 5)] {
        let tree = walked(directory.path(), "", &[source]);
        let place = Place { tree: &tree, name: "the build context", ignore: None };
        let pattern = SourcePattern::parse(source, false).unwrap();
        let selected = select(place, &pattern, &IgnoreFile::default()).unwrap();
        let picks: usize = selected.iter().map(|selected| selected.picks.len()).sum();
        assert!(!selected.is_empty(), "{source}");
        assert_eq!(picks, expected, "{source}");
    }
}
