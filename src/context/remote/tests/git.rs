use std::path::{Path, PathBuf};
use std::process::Command;

use super::ctx;
use super::server::{Reply, Server, file};
use crate::context::{Checkout, Git, GitAsked, GitSource, RemoteError, RemoteErrorKind, SourcePattern};
use crate::http::Schedule;
use crate::tree::{Kind, Tree};

/// Git as the tests' own hands use it: nothing of the machine's settings.
fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
        .args(["-c", "protocol.file.allow=always", "-c", "core.hooksPath=/dev/null"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0100")
        .env("GIT_COMMITTER_DATE", "1700000007 +0100")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A folder that a server serves, with a repository `x.git` in it.
struct World {
    folder: tempfile::TempDir,
    server: Server,
}

impl World {
    /// With one commit of `files`: names, modes and texts. `->` before a text makes a link.
    fn with(files: &[(&str, u32, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { server: Server::of_files(folder.path()), folder };
        git(world.folder.path(), &["init", "--quiet", "work"]);
        world.commit(files);
        world
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Commit to `work` and publish it; the commit.
    fn commit(&self, files: &[(&str, u32, &str)]) -> String {
        use std::os::unix::fs::PermissionsExt;
        for (name, mode, text) in files {
            let path = self.work().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(target) = text.strip_prefix("->") {
                std::os::unix::fs::symlink(target, &path).unwrap();
                continue;
            }
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        git(&self.work(), &["add", "--all"]);
        git(&self.work(), &["commit", "--quiet", "--allow-empty", "-m", "m"]);
        self.publish();
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    fn publish(&self) {
        let _ = std::fs::remove_dir_all(self.folder.path().join("x.git"));
        git(self.folder.path(), &["clone", "--quiet", "--bare", "work", "x.git"]);
        git(&self.folder.path().join("x.git"), &["update-server-info"]);
    }

    fn url(&self) -> String {
        self.server.url("/x.git")
    }

    async fn check_out(&self, asked: GitAsked<'_>) -> Result<(String, Kept), RemoteError> {
        check_out(&self.url(), asked).await
    }

    async fn files(&self, asked: GitAsked<'_>) -> Vec<String> {
        let (_, checkout) = self.check_out(asked).await.unwrap();
        listed(&tree(&checkout))
    }
}

fn program() -> Git {
    let path = std::env::var("PATH").unwrap();
    Git::new([("PATH".to_owned(), path)]).with("git", Schedule::immediate())
}

async fn check_out(url: &str, asked: GitAsked<'_>) -> Result<(String, Kept), RemoteError> {
    let parent = tempfile::tempdir().unwrap();
    let source = GitSource::new(url, asked)?;
    let commit = program().resolve(&ctx(), &source).await?;
    let checkout = program().check_out(&ctx(), &source, &commit, parent.path()).await;
    if checkout.is_err() {
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "something was left behind");
    }
    Ok((commit.id, Kept { checkout: checkout?, _parent: parent }))
}

/// A checkout, and the directory that it is in: the files are read while both live.
#[derive(Debug)]
struct Kept {
    checkout: Checkout,
    _parent: tempfile::TempDir,
}

impl std::ops::Deref for Kept {
    type Target = Checkout;

    fn deref(&self) -> &Checkout {
        &self.checkout
    }
}

fn tree(checkout: &Checkout) -> Tree {
    let all = SourcePattern::parse(".", false).unwrap();
    checkout.tree(&[&all]).unwrap()
}

fn listed(tree: &Tree) -> Vec<String> {
    let line = |(path, node): (&crate::tree::ImagePath, &crate::tree::Node)| {
        let kind = match &node.entry.kind {
            Kind::Symlink { target } => format!(" -> {}", String::from_utf8_lossy(target)),
            Kind::Directory => "/".to_owned(),
            _ => String::new(),
        };
        let metadata = &node.entry.metadata;
        assert_eq!((metadata.uid, metadata.gid, metadata.mtime), (0, 0, 1_700_000_007), "{path}");
        format!("{:o} {path}{kind}", metadata.mode)
    };
    tree.iter().filter(|(path, _)| !path.is_root()).map(line).collect()
}

const PLAIN: GitAsked<'static> =
    GitAsked { reference: None, subdir: None, checksum: None, keep_git_dir: false, no_submodules: false };

#[tokio::test]
async fn the_default_branch_is_checked_out_with_the_commits_modes_and_time() {
    let world = World::with(&[("a", 0o600, "a"), ("b/run", 0o700, "b"), ("b/link", 0, "->../a")]);
    assert_eq!(world.files(PLAIN).await, ["644 /a", "755 /b/", "777 /b/link -> ../a", "755 /b/run"]);
}

#[tokio::test]
async fn branches_tags_and_commits_name_what_they_name() {
    let world = World::with(&[("one", 0o644, "1")]);
    let first = git(&world.work(), &["rev-parse", "HEAD"]);
    git(&world.work(), &["tag", "-a", "-m", "m", "v1"]);
    git(&world.work(), &["branch", "side"]);
    let second = world.commit(&[("two", 0o644, "2")]);
    for (reference, commit, files) in [
        (None, &second, 2),
        (Some("main"), &second, 2),
        (Some("side"), &first, 1),
        (Some("refs/heads/side"), &first, 1),
        (Some("v1"), &first, 1),
        (Some("refs/tags/v1"), &first, 1),
        (Some(first.as_str()), &first, 1),
    ] {
        let (found, checkout) = world.check_out(GitAsked { reference, ..PLAIN }).await.unwrap();
        assert_eq!((&found, listed(&tree(&checkout)).len()), (commit, files), "{reference:?}");
    }
    for reference in ["nothing", &first[..12], "ref/heads/side"] {
        let error = world.check_out(GitAsked { reference: Some(reference), ..PLAIN }).await.unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Wrong);
        assert!(error.to_string().contains(reference), "{error}");
    }
    let absent = "0123456789012345678901234567890123456789";
    assert!(world.check_out(GitAsked { reference: Some(absent), ..PLAIN }).await.is_err());
}

#[tokio::test]
async fn a_folder_becomes_the_root() {
    let world = World::with(&[("a", 0o644, "a"), ("d/e/f", 0o644, "f"), ("d/*", 0o644, "star")]);
    let subdir = |subdir| GitAsked { subdir: Some(subdir), keep_git_dir: true, ..PLAIN };
    assert_eq!(world.files(subdir("d/e")).await, ["644 /f"]);
    assert_eq!(world.files(subdir("/d/")).await, ["644 /*", "755 /e/", "644 /e/f"]);
    for missing in ["a", "x", "d/*"] {
        let error = world.check_out(subdir(missing)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("no folder `{missing}`")), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_is_a_link_is_no_folder() {
    let world = World::with(&[
        ("real/x", 0o644, "x"),
        ("out", 0, "->../../../../etc"),
        ("abs", 0, "->/etc"),
        ("in", 0, "->real"),
    ]);
    for subdir in ["out", "abs", "in", "out/ssl", "in/.."] {
        let error = world.check_out(GitAsked { subdir: Some(subdir), ..PLAIN }).await.unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Wrong, "{subdir}");
    }
}

#[tokio::test]
async fn the_commit_must_begin_with_the_checksum() {
    let world = World::with(&[("a", 0o644, "a")]);
    let commit = git(&world.work(), &["rev-parse", "HEAD"]);
    for good in [commit.as_str(), &commit[..7], &commit.to_uppercase()] {
        assert!(world.check_out(GitAsked { checksum: Some(good), ..PLAIN }).await.is_ok(), "{good}");
    }
    let other = if commit.starts_with('0') { "1111111" } else { "0000000" };
    let error = world.check_out(GitAsked { checksum: Some(other), ..PLAIN }).await.unwrap_err();
    assert!(error.to_string().contains(&commit), "{error}");
}

#[tokio::test]
async fn the_git_directory_is_kept_on_demand_without_a_trace_of_this_machine() {
    let world = World::with(&[("a", 0o644, "a")]);
    let keep = GitAsked { keep_git_dir: true, ..PLAIN };
    let (commit, checkout) = world.check_out(keep).await.unwrap();
    let tree = tree(&checkout);
    let read = |path: &str| {
        let node = tree.get(&crate::tree::ImagePath::clamped(path)).unwrap_or_else(|| panic!("{path}"));
        String::from_utf8_lossy(&node.content.as_ref().unwrap().read_up_to(1 << 20).unwrap()).into_owned()
    };
    assert_eq!(read(".git/HEAD").trim(), commit);
    assert_eq!(read(".git/refs/heads/main").trim(), commit);
    let config = read(".git/config");
    assert!(config.contains(&world.url()) && !config.contains("worktree"), "{config}");
    assert!(tree.get(&crate::tree::ImagePath::clamped(".git/logs")).is_none());
    assert!(tree.get(&crate::tree::ImagePath::clamped(".git/FETCH_HEAD")).is_none());
    // Twice the same bytes.
    let (_, again) = world.check_out(keep).await.unwrap();
    let hashes = |checkout: &Checkout| -> Vec<_> {
        let tree = self::tree(checkout);
        let files =
            tree.iter().filter_map(|(path, node)| Some((path.clone(), node.content.as_ref()?.clone())));
        files.map(|(path, content)| (path, content.read_up_to(1 << 20).unwrap())).collect()
    };
    assert_eq!(hashes(&checkout), hashes(&again));
}

#[tokio::test]
async fn submodules_come_along_unless_they_are_files_of_this_machine_or_left_out() {
    let world = World::with(&[("a", 0o644, "a")]);
    let other = World::with(&[("secret", 0o644, "s")]);
    git(&world.work(), &["submodule", "--quiet", "add", &other.url(), "sub"]);
    world.commit(&[]);
    assert_eq!(world.files(PLAIN).await, ["644 /.gitmodules", "644 /a", "755 /sub/", "644 /sub/secret"]);
    let none = GitAsked { no_submodules: true, ..PLAIN };
    assert_eq!(world.files(none).await, ["644 /.gitmodules", "644 /a", "755 /sub/"]);
    for address in [other.folder.path().join("x.git").display().to_string(), "ext::sh -c true".to_owned()] {
        git(&world.work(), &["config", "-f", ".gitmodules", "submodule.sub.url", &address]);
        world.commit(&[]);
        let error = world.check_out(PLAIN).await.unwrap_err();
        assert!(error.to_string().contains("submodules"), "{error}");
    }
}

#[tokio::test]
async fn what_a_repository_brings_is_not_run() {
    let marker = tempfile::tempdir().unwrap();
    let marker = marker.path().join("marker");
    let touch = format!("touch {}", marker.display());
    let world = World::with(&[
        (".gitattributes", 0o644, "* filter=evil\n"),
        (".gitconfig", 0o644, &format!("[filter \"evil\"]\n\tsmudge = {touch}\n")),
        ("hooks/post-checkout", 0o755, &format!("#!/bin/sh\n{touch}\n")),
    ]);
    assert_eq!(world.files(PLAIN).await.len(), 4);
    assert!(!marker.exists());
}

#[tokio::test]
async fn addresses_and_references_that_are_options_or_commands_do_nothing() {
    let world = World::with(&[("a", 0o644, "a")]);
    let marker = world.folder.path().join("marker");
    let option = format!("--upload-pack=touch {}", marker.display());
    assert!(world.check_out(GitAsked { reference: Some(&option), ..PLAIN }).await.is_err());
    for url in [
        option,
        format!("ext::sh -c touch% {}", marker.display()),
        format!("file://{}/x.git", world.folder.path().display()),
    ] {
        let error = check_out(&url, PLAIN).await.unwrap_err();
        assert!(matches!(error, RemoteError::Address { .. }), "{error}");
    }
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_login_reaches_its_server_and_no_message_and_no_other_server() {
    let world = World::with(&[("a", 0o644, "a")]);
    let folder = world.folder.path().to_owned();
    let server = Server::start(move |seen| match seen.header("authorization") {
        // user:pa:ss
        Some("Basic dXNlcjpwYTpzcw==") => file(&folder, seen),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let url = server.url("/x.git").replace("http://", "http://user:pa%3Ass@");
    let (_, checkout) = check_out(&url, GitAsked { keep_git_dir: true, ..PLAIN }).await.unwrap();
    let tree = tree(&checkout);
    let config = tree.get(&crate::tree::ImagePath::clamped(".git/config")).unwrap();
    let config = config.content.as_ref().unwrap().read_up_to(1 << 20).unwrap();
    assert!(!String::from_utf8_lossy(&config).contains("pa"), "{}", String::from_utf8_lossy(&config));
    let wrong = server.url("/x.git").replace("http://", "http://user:wr0ng@");
    let error = check_out(&wrong, PLAIN).await.unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Unauthorised);
    assert!(!error.to_string().contains("wr0ng"), "{error}");
    let other = Server::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    let to = other.url("");
    let first = Server::start(move |seen| Reply::new(302).header("Location", format!("{to}{}", seen.target)));
    let url = first.url("/x.git").replace("http://", "http://user:pa%3Ass@");
    assert!(check_out(&url, PLAIN).await.is_err());
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_missing_program_or_server_is_told_as_such() {
    let source = GitSource::new("http://127.0.0.1:1/x.git", PLAIN).unwrap();
    let missing = program().with("no-such-git", Schedule::immediate());
    let error = missing.resolve(&ctx(), &source).await.unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Environment);
    assert!(error.hint().is_some());
    let error = program().resolve(&ctx(), &source).await.unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Unavailable, "{error}");
    let empty = Server::start(|_| Reply::new(404));
    let error = check_out(&empty.url("/x.git"), PLAIN).await.unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Wrong, "{error}");
}
