//! A commit's files on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::program::{Failed, Place};
use super::{Commit, Git, GitSource};
use crate::context::remote::{RemoteError, RemoteErrorKind};
use crate::context::walk::ContextError;
use crate::context::{IgnoreFile, Root, SourcePattern, walk};
use crate::ctx::Ctx;
use crate::tree::{ImagePath, Kind, Tree};

/// The files of a commit, in a directory that is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Checkout {
    _directory: tempfile::TempDir,
    root: PathBuf,
    /// When the commit was made, in seconds since 1970.
    time: i64,
    keep_git_dir: bool,
}

/// A repository in the making.
struct Work<'w> {
    git: &'w Git,
    ctx: &'w Ctx,
    source: &'w GitSource,
    commit: &'w Commit,
    files: PathBuf,
    repository: PathBuf,
}

impl Git {
    /// Fetch `commit` of `source` and lay its files out in a new directory below `parent`.
    pub(crate) async fn check_out(
        &self,
        ctx: &Ctx,
        source: &GitSource,
        commit: &Commit,
        parent: &Path,
    ) -> Result<Checkout, RemoteError> {
        let disk = |error: io::Error| RemoteError::Disk { what: source.shown(), source: error };
        let directory = tempfile::Builder::new().prefix("git-").tempdir_in(parent).map_err(disk)?;
        let files = directory.path().join("files");
        fs::create_dir(&files).map_err(disk)?;
        let repository =
            if source.keep_git_dir { files.join(".git") } else { directory.path().join("repository") };
        let work = Work { git: self, ctx, source, commit, files, repository };
        work.begin().await?;
        work.fetch().await?;
        let time = work.time().await?;
        work.lay_out().await?;
        if source.keep_git_dir {
            work.tidy().await?;
        }
        let root = work.files.join(source.subdir.as_path());
        Ok(Checkout { _directory: directory, root, time, keep_git_dir: source.keep_git_dir })
    }
}

impl Work<'_> {
    /// Both the repository and the files.
    fn place(&self) -> Place<'_> {
        Place { repository: Some(&self.repository), files: Some(&self.files) }
    }

    fn missing(&self, reason: String) -> RemoteError {
        RemoteError::Repository { remote: self.source.shown(), reason }
    }

    async fn must(&self, arguments: &[&str]) -> Result<Vec<u8>, RemoteError> {
        self.git.must(self.ctx, self.source, &self.place(), arguments).await
    }

    async fn begin(&self) -> Result<(), RemoteError> {
        let mut arguments = vec!["init", "--quiet", "--template="];
        if self.commit.id.len() == 64 {
            arguments.push("--object-format=sha256");
        }
        self.must(&arguments).await?;
        // What submodules with relative addresses are relative to.
        self.must(&["config", "remote.origin.url", &self.source.address]).await?;
        Ok(())
    }

    /// Get the commit's objects: it alone where the other side lets us, else more and more.
    async fn fetch(&self) -> Result<(), RemoteError> {
        let id = self.commit.id.as_str();
        let name = self.commit.name.as_deref().or(self.source.reference.is_none().then_some("HEAD"));
        let heads = ["+refs/heads/*:refs/ocistage/heads/*", "+refs/tags/*:refs/ocistage/tags/*"];
        let one = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", &self.source.address];
        let all = ["fetch", "--quiet", "--no-tags", "--", &self.source.address];
        let mut tries: Vec<Vec<&str>> = Vec::new();
        tries.extend(name.map(|name| [&one[..], &[name]].concat()));
        tries.push([&one[..], &[id]].concat());
        // Servers of plain files know no single commits.
        tries.extend(name.map(|name| [&all[..], &[name]].concat()));
        tries.push([&all[..], &heads].concat());
        let mut last: Option<Failed> = None;
        for arguments in tries {
            match self.git.talk(self.ctx, self.source, &self.place(), &arguments).await? {
                Ok(_) => {
                    let commit = format!("{id}^{{commit}}");
                    let there = ["rev-parse", "--quiet", "--verify", &commit];
                    let there = self.git.run(self.ctx, self.source, &self.place(), &there).await?;
                    if there.is_ok() {
                        return Ok(());
                    }
                    // The branch moved on meanwhile.
                    last = None;
                }
                Err(failed) if failed.kind == RemoteErrorKind::Wrong => last = Some(failed),
                Err(failed) => return Err(failed.into_error(self.source)),
            }
        }
        Err(match last {
            Some(failed) => failed.into_error(self.source),
            None => self.missing(format!("it has no commit {id}")),
        })
    }

    /// When the commit was made.
    async fn time(&self) -> Result<i64, RemoteError> {
        let object = format!("{}^{{commit}}", self.commit.id);
        let text = self.must(&["cat-file", "commit", &object]).await?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| line.starts_with("committer "));
        // `committer Name <mail> seconds zone`
        let seconds = line.and_then(|line| line.rsplit(' ').nth(1)?.parse().ok());
        seconds.ok_or_else(|| self.missing(format!("commit {} has no time", self.commit.id)))
    }

    async fn lay_out(&self) -> Result<(), RemoteError> {
        let id = self.commit.id.as_str();
        let folder = String::from_utf8_lossy(self.source.subdir.as_bytes()).into_owned();
        if !folder.is_empty() {
            // Looked for in the commit, where a link is a link and leads nowhere.
            let object = format!("{id}:{folder}");
            let kind = ["cat-file", "-t", &object];
            let kind = self.git.run(self.ctx, self.source, &self.place(), &kind).await?;
            if kind.ok().as_deref() != Some(b"tree\n") {
                return Err(self.missing(format!("it has no folder `{folder}` in commit {id}")));
            }
        }
        self.must(&["read-tree", id]).await?;
        let index = self.must(&["ls-files", "--stage", "-z"]).await?;
        if index.is_empty() {
            return Ok(());
        }
        let submodules = self.source.submodules
            && index.split(|byte| *byte == 0).any(|entry| entry.starts_with(b"160000 "))
            && index.split(|byte| *byte == 0).any(|entry| entry.ends_with(b"\t.gitmodules"));
        let part = if folder.is_empty() || submodules { "." } else { folder.as_str() };
        self.must(&["checkout", "--quiet", "--force", "--", part]).await?;
        if submodules {
            self.update_submodules().await?;
        }
        Ok(())
    }

    async fn update_submodules(&self) -> Result<(), RemoteError> {
        let whole = ["submodule", "--quiet", "update", "--init", "--recursive"];
        let shallow = [&whole[..], &["--depth=1"]].concat();
        let place = self.place();
        let outcome = match self.git.talk(self.ctx, self.source, &place, &shallow).await? {
            Err(failed) if failed.kind == RemoteErrorKind::Wrong => {
                self.git.talk(self.ctx, self.source, &place, &whole).await?
            }
            settled => settled,
        };
        outcome.map(drop).map_err(|failed| {
            let failed = Failed { said: format!("submodules: {}", failed.said), ..failed };
            failed.into_error(self.source)
        })
    }

    /// Leave in `.git` what the commit and its name determine, and nothing of this machine and moment.
    async fn tidy(&self) -> Result<(), RemoteError> {
        let id = self.commit.id.as_str();
        let fetch = "+refs/heads/*:refs/remotes/origin/*";
        self.must(&["config", "remote.origin.fetch", fetch]).await?;
        if let Some(name) = &self.commit.name {
            self.must(&["update-ref", name, self.commit.tag.as_deref().unwrap_or(id)]).await?;
        }
        self.must(&["update-ref", "--no-deref", "HEAD", id]).await?;
        // A new index has no times and inodes of files in it.
        self.must(&["read-tree", id]).await?;
        for name in ["FETCH_HEAD", "ORIG_HEAD"] {
            let _ = fs::remove_file(self.repository.join(name));
        }
        let _ = fs::remove_dir_all(self.repository.join("logs"));
        Ok(())
    }
}

impl Checkout {
    /// The regular file that `path` leads to, links followed inside; `None` when there is none.
    pub(crate) fn read(&self, path: &ImagePath, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        Root::open(&self.root)?.read(path, limit)
    }

    /// What `patterns` select of the files. Modes and times are the commit's. Blocks.
    pub(crate) fn tree(&self, patterns: &[&SourcePattern]) -> Result<Tree, ContextError> {
        let root = Arc::new(Root::open(&self.root)?);
        // Submodules leave files of this name, with paths of this machine in them.
        let names: &[&str] = if self.keep_git_dir { &[] } else { &["**/.git"] };
        let ignore = IgnoreFile::from_patterns("git", names.iter().copied()).unwrap_or_default();
        let tree = walk(&root, &ignore, patterns)?;
        let nodes = tree.iter().map(|(path, node)| {
            let mut node = node.clone();
            let metadata = &mut node.entry.metadata;
            metadata.mtime = self.time;
            let objects = path.components().next() == Some(b".git".as_slice());
            metadata.mode = match node.entry.kind {
                Kind::Directory => 0o755,
                Kind::File { .. } if objects && metadata.mode & 0o222 == 0 => 0o444,
                Kind::File { .. } if metadata.mode & 0o100 == 0 => 0o644,
                Kind::File { .. } => 0o755,
                _ => metadata.mode,
            };
            (path.clone(), node)
        });
        Ok(nodes.collect())
    }
}
