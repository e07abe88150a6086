//! ADD's remote sources: what they are is known before any key is computed, what they hold is fetched when a
//! step must be carried out. Each once, however many steps name it.

use std::path::PathBuf;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::OnceCell;

use crate::context::{
    Checkout, Commit, Download, Downloader, Git, GitAsked, GitSource, RemoteError, RemoteSecrets,
    SourcePattern, UrlSource, open_archive, read_archive,
};
use crate::ctx::{Ctx, Event};
use crate::oci::Digest;
use crate::plan::{FileOp, FileSource, Op, Plan};
use crate::tree::{Metadata, Tree};

use super::copy::Inline;
use super::error::{BuildError, StepPlace};
use super::extract::Archive;
use super::keys::RemoteIdentity;
use super::stage::place;

/// Fetches things.
pub(crate) struct Fetcher {
    /// Files.
    pub(crate) downloader: Downloader,
    /// Repositories.
    pub(crate) git: Git,
    /// Where to.
    pub(crate) directory: PathBuf,
    /// What is said to whom.
    pub(crate) secrets: RemoteSecrets,
}

/// The remote sources of a plan.
pub(crate) struct Remotes {
    fetcher: Fetcher,
    known: Vec<(FileSource, Known)>,
}

/// A source whose content is determined.
enum Known {
    File { source: UrlSource, digest: Digest, download: OnceCell<Download> },
    Commit { source: GitSource, commit: Commit, checkout: OnceCell<Checkout> },
}

/// A source that is here.
pub(super) enum Fetched {
    /// A file that is copied.
    File(Inline),
    /// One that is unpacked.
    Archive(Archive),
    /// A commit's files.
    Tree(Tree),
}

impl Fetcher {
    /// A commit of a repository, checked out.
    pub(crate) async fn check_out(&self, ctx: &Ctx, source: GitSource) -> Result<Checkout, RemoteError> {
        let source = source.with_secrets(&self.secrets);
        let commit = self.git.resolve(ctx, &source).await?;
        self.checked_out(ctx, &source, &commit).await
    }

    async fn checked_out(
        &self,
        ctx: &Ctx,
        source: &GitSource,
        commit: &Commit,
    ) -> Result<Checkout, RemoteError> {
        let checkout = self.git.check_out(ctx, source, commit, &self.directory).await?;
        ctx.emit(&Event::Fetched { source: source.shown(), identity: commit.id.clone(), size: None });
        Ok(checkout)
    }

    /// A file, whatever it is.
    pub(crate) async fn download(&self, ctx: &Ctx, source: UrlSource) -> Result<Download, RemoteError> {
        let source = source.with_secrets(&self.secrets);
        let identity = self.downloader.identify(ctx, &source).await?;
        let download = match identity.download {
            Some(download) => download,
            None => self.downloader.fetch(ctx, &source, identity.digest).await?,
        };
        downloaded(ctx, &source, &download);
        Ok(download)
    }
}

fn downloaded(ctx: &Ctx, source: &UrlSource, download: &Download) {
    ctx.emit(&Event::Fetched {
        source: source.shown(),
        identity: download.whole.digest.to_string(),
        size: Some(download.whole.size),
    });
}

impl Remotes {
    /// Learn what the remote sources of `plan` are, all at once.
    pub(crate) async fn learn(ctx: &Ctx, plan: &Plan, fetcher: Fetcher) -> Result<Self, BuildError> {
        let mut open: Vec<(&FileSource, StepPlace)> = Vec::new();
        for stage in plan.stages.values() {
            for step in &stage.steps {
                let Op::Files(op) = &step.op else { continue };
                for source in op.sources.iter().filter(|source| is_remote(source)) {
                    if !open.iter().any(|(known, _)| *known == source) {
                        open.push((source, place(stage, step)));
                    }
                }
            }
        }
        let learn = open.into_iter().map(|(source, place)| {
            let fetcher = &fetcher;
            async move {
                match Known::learn(ctx, fetcher, source).await {
                    Ok(known) => Ok((source.clone(), known)),
                    Err(error) => Err(failed(&place, error)),
                }
            }
        });
        // All of them, so that no connection is dropped in the middle; the first error in the file's order.
        let known = join_all(learn).await.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { fetcher, known })
    }

    fn known(&self, source: &FileSource) -> Option<&Known> {
        self.known.iter().find(|(known, _)| known == source).map(|(_, known)| known)
    }

    /// What the remote ones among the sources of `op` are, in their order.
    pub(super) fn identities(&self, op: &FileOp) -> Vec<RemoteIdentity<'_>> {
        op.sources.iter().filter_map(|source| self.known(source)).map(Known::identity).collect()
    }

    /// Have the remote ones among the sources of `op` here, in their order.
    pub(super) async fn fetch(
        &self,
        ctx: &Ctx,
        op: &FileOp,
        place: &StepPlace,
    ) -> Result<Vec<Fetched>, BuildError> {
        let sources = op.sources.iter().filter_map(|source| Some((source, self.known(source)?)));
        try_join_all(sources.map(|(source, known)| self.fetch_one(ctx, source, known, place))).await
    }

    async fn fetch_one(
        &self,
        ctx: &Ctx,
        wanted: &FileSource,
        known: &Known,
        place: &StepPlace,
    ) -> Result<Fetched, BuildError> {
        let wrong = |message: String| BuildError::Step { place: place.clone(), message, hint: None };
        match known {
            Known::File { source, digest, download } => {
                let fetch = || async {
                    let download = self.fetcher.downloader.fetch(ctx, source, *digest).await?;
                    downloaded(ctx, source, &download);
                    Ok(download)
                };
                let download = download.get_or_try_init(fetch).await;
                let download = download.map_err(|error| failed(place, error))?.clone();
                let unpack = matches!(wanted, FileSource::Url { unpack: true, .. });
                let directory = self.fetcher.directory.clone();
                if unpack {
                    let content = download.whole.content.clone();
                    let entries = ctx.blocking(move || {
                        let Some(tar) = open_archive(&content).map_err(|error| error.to_string())? else {
                            return Ok(None);
                        };
                        let spool = tempfile::tempfile_in(directory).map_err(|error| error.to_string())?;
                        read_archive(tar, spool).map(Some).map_err(|error| error.to_string())
                    });
                    let entries = entries.await;
                    let entries =
                        entries.map_err(|error: String| wrong(format!("{}: {error}", source.shown())))?;
                    if let Some(entries) = entries {
                        return Ok(Fetched::Archive(Archive { entries }));
                    }
                }
                Ok(Fetched::File(Inline {
                    name: source.name(),
                    content: download.whole.content,
                    size: download.whole.size,
                    hash: Some(download.whole.hash),
                    metadata: Metadata { mode: 0o600, mtime: download.mtime, ..Metadata::default() },
                }))
            }
            Known::Commit { source, commit, checkout } => {
                let fetch = || self.fetcher.checked_out(ctx, source, commit);
                let checkout = checkout.get_or_try_init(fetch).await;
                let checkout = checkout.map_err(|error| failed(place, error))?;
                let all = SourcePattern::parse(".", false).map_err(|error| wrong(error.to_string()))?;
                let tree = checkout.tree(&[&all]).map_err(|error| wrong(error.to_string()))?;
                Ok(Fetched::Tree(tree))
            }
        }
    }
}

impl Known {
    async fn learn(ctx: &Ctx, fetcher: &Fetcher, source: &FileSource) -> Result<Self, RemoteError> {
        match source {
            FileSource::Git { remote, reference, subdir, checksum, keep_git_dir, submodules } => {
                let asked = GitAsked {
                    reference: reference.as_deref(),
                    subdir: subdir.as_deref(),
                    checksum: checksum.as_deref(),
                    keep_git_dir: *keep_git_dir,
                    no_submodules: !submodules,
                };
                let source = GitSource::new(remote, asked)?.with_secrets(&fetcher.secrets);
                let commit = fetcher.git.resolve(ctx, &source).await?;
                Ok(Self::Commit { source, commit, checkout: OnceCell::new() })
            }
            FileSource::Url { url, checksum, .. } => {
                let source = UrlSource::parse(url, checksum.as_deref())?.with_secrets(&fetcher.secrets);
                let identity = fetcher.downloader.identify(ctx, &source).await?;
                if let Some(download) = &identity.download {
                    downloaded(ctx, &source, download);
                }
                let download = OnceCell::new_with(identity.download);
                Ok(Self::File { source, digest: identity.digest, download })
            }
            // Only remote sources are asked about.
            FileSource::Path(path) => Err(RemoteError::Address {
                address: path.clone(),
                reason: "it is a path of the context".to_owned(),
            }),
            FileSource::Inline { name, .. } => Err(RemoteError::Address {
                address: name.clone(),
                reason: "it is in the Dockerfile".to_owned(),
            }),
        }
    }

    fn identity(&self) -> RemoteIdentity<'_> {
        match self {
            Self::File { source, digest, .. } => {
                RemoteIdentity::File { name: source.name(), digest: *digest }
            }
            Self::Commit { source, commit, .. } => {
                RemoteIdentity::Commit { id: &commit.id, name: source.kept_name(commit) }
            }
        }
    }
}

fn is_remote(source: &FileSource) -> bool {
    matches!(source, FileSource::Url { .. } | FileSource::Git { .. })
}

fn failed(place: &StepPlace, source: RemoteError) -> BuildError {
    match source {
        RemoteError::Cancelled => BuildError::Cancelled,
        source => BuildError::Remote { place: Some(place.clone()), source: Box::new(source) },
    }
}
