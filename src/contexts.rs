//! The contexts of a request: from what was asked for to places that can be read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::build::{BuildError, ContextPlace, Fetcher, Scratch, Substitute, read_download};
use crate::context::{GitAsked, GitSource, RemoteError, UrlSource};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind};
use crate::plan::{FileOrigin, Plan, Remote, remote};
use crate::request::{BuildRequest, ContextRequest, DockerfileRequest, NamedContext};
use crate::text::{Source, without_userinfo};
use crate::tree::{ImagePath, Tree};

/// Looked for in this order in a context that is fetched, when no file is named.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];
/// Largest Dockerfile that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// Contexts by name; `None` is the main one.
pub(crate) type Places = BTreeMap<Option<String>, ContextPlace>;

/// What a remote context is.
enum Address {
    File(UrlSource),
    Repository(GitSource),
}

/// The main context, fetched when it is elsewhere.
struct Main {
    place: ContextPlace,
    /// A context that is the Dockerfile itself.
    text: Option<Source>,
}

/// What a build begins with.
pub(crate) struct Opened {
    /// The Dockerfile.
    pub(crate) dockerfile: Source,
    /// The main context.
    pub(crate) context: ContextPlace,
}

/// The Dockerfile and the main context.
pub(crate) async fn open(
    ctx: &Ctx,
    request: &BuildRequest,
    fetcher: &Fetcher,
    scratch: &Arc<Scratch>,
) -> Result<Opened, Error> {
    let main = match &request.context {
        ContextRequest::Remote(address) => main(ctx, address, fetcher, scratch).await?,
        ContextRequest::Directory(path) => {
            let beside = request.dockerfile_path.iter().map(|path| {
                let mut name = path.clone().into_os_string();
                name.push(".dockerignore");
                name.into()
            });
            Main { place: ContextPlace::Directory(path.clone(), beside.collect()), text: None }
        }
        ContextRequest::Archive(path) => Main { place: ContextPlace::Archive(path.clone()), text: None },
        ContextRequest::Empty => Main { place: ContextPlace::Empty, text: None },
    };
    let dockerfile = match (&request.dockerfile, main.text) {
        (DockerfileRequest::Text(source), _) => source.clone(),
        (DockerfileRequest::Remote(url), _) => {
            let source = UrlSource::parse(url, None).map_err(refused)?;
            let name = source.name();
            let download = fetcher.download(ctx, source).await.map_err(refused)?;
            text(&name, &download.whole.content)?
        }
        (DockerfileRequest::InContext(None), Some(text)) => text,
        (DockerfileRequest::InContext(Some(file)), Some(_)) => {
            let message =
                format!("the context is a Dockerfile, so there is no file `{}` in it", file.display());
            return Err(Error::new(ErrorKind::Input, message).hint("leave out --file"));
        }
        (DockerfileRequest::InContext(file), None) => inside(&main.place, file.as_deref())?,
    };
    Ok(Opened { dockerfile, context: main.place })
}

/// The places of the named contexts that `plan` reads from, those that are elsewhere fetched, all at once.
pub(crate) async fn named(
    ctx: &Ctx,
    request: &BuildRequest,
    plan: &Plan,
    fetcher: &Fetcher,
    scratch: &Arc<Scratch>,
) -> Result<Places, Error> {
    let steps = plan.stages.values().flat_map(|stage| &stage.steps);
    let origins: Vec<&FileOrigin> = steps.flat_map(|step| step.op.origins()).collect();
    let is_read = |name: &str| {
        let reads = |origin: &&FileOrigin| matches!(origin, FileOrigin::Context(Some(read)) if read == name);
        origins.iter().any(reads)
    };
    let places =
        request.named_contexts.iter().filter(|(name, _)| is_read(name)).map(|(name, context)| async {
            let place = match context {
                NamedContext::Directory(path) => ContextPlace::Directory(path.clone(), Vec::new()),
                NamedContext::Remote(at) => match address(at)? {
                    Address::Repository(source) => {
                        let checkout = fetcher.check_out(ctx, source).await.map_err(refused)?;
                        ContextPlace::Checkout(Arc::new(checkout))
                    }
                    Address::File(source) => {
                        ContextPlace::Tree(file(ctx, &source, fetcher, scratch).await?.0)
                    }
                },
                NamedContext::OciLayout(..) | NamedContext::Image(_) => return Ok(None),
            };
            Ok(Some((Some(name.clone()), place)))
        });
    let places: Result<Vec<_>, Error> = join_all(places).await.into_iter().collect();
    Ok(places?.into_iter().flatten().collect())
}

/// What named contexts put in the place of images.
pub(crate) fn substitutes(request: &BuildRequest) -> BTreeMap<String, Substitute> {
    let images = request.named_contexts.iter().filter_map(|(name, context)| {
        let substitute = match context {
            NamedContext::Directory(_) | NamedContext::Remote(_) => return None,
            NamedContext::OciLayout(path, image) => Substitute::Layout(path.clone(), image.clone()),
            NamedContext::Image(reference) => Substitute::Image(reference.clone()),
        };
        Some((name.clone(), substitute))
    });
    images.collect()
}

async fn main(ctx: &Ctx, at: &str, fetcher: &Fetcher, scratch: &Arc<Scratch>) -> Result<Main, Error> {
    Ok(match address(at)? {
        Address::Repository(source) => {
            let checkout = fetcher.check_out(ctx, source).await.map_err(refused)?;
            Main { place: ContextPlace::Checkout(Arc::new(checkout)), text: None }
        }
        Address::File(source) => {
            let (tree, alone) = file(ctx, &source, fetcher, scratch).await?;
            let dockerfile = alone.then(|| tree_file(&tree, "context", &source.name())).transpose()?;
            Main { place: ContextPlace::Tree(tree), text: dockerfile.flatten() }
        }
    })
}

/// A file as a context, and whether it is no archive but that file alone.
async fn file(
    ctx: &Ctx,
    source: &UrlSource,
    fetcher: &Fetcher,
    scratch: &Arc<Scratch>,
) -> Result<(Tree, bool), Error> {
    let (name, scratch) = (source.shown(), Arc::clone(scratch));
    let download = fetcher.download(ctx, source.clone()).await.map_err(refused)?;
    Ok(ctx.blocking(move || read_download(&download, &name, &scratch)).await?)
}

fn address(text: &str) -> Result<Address, Error> {
    let wrong = |reason: &str| {
        let shown = without_userinfo(text);
        Error::new(ErrorKind::Input, format!("context `{shown}`: {reason}"))
    };
    let written = github(text);
    match remote(written.as_deref().unwrap_or(text)).map_err(|reason| wrong(&reason))? {
        Some(Remote::Url) => Ok(Address::File(UrlSource::parse(text, None).map_err(refused)?)),
        Some(Remote::Git(git)) => {
            let asked = GitAsked {
                reference: git.reference.as_deref(),
                subdir: git.subdir.as_deref(),
                checksum: git.checksum.as_deref(),
                keep_git_dir: git.keep_git_dir.unwrap_or(false),
                no_submodules: git.submodules == Some(false),
            };
            Ok(Address::Repository(GitSource::new(&git.remote, asked).map_err(refused)?))
        }
        None => Err(wrong("it is neither a URL of a file nor a git repository")),
    }
}

/// `github.com/owner/name`, as Docker has always taken it, written out.
fn github(text: &str) -> Option<String> {
    let path = text.strip_prefix("github.com/")?;
    let end = path.find(['#', '?']).unwrap_or(path.len());
    let (path, rest) = path.split_at(end);
    let path = path.trim_end_matches('/').trim_end_matches(".git");
    Some(format!("https://github.com/{path}.git{rest}"))
}

/// The Dockerfile of a context that is not a directory of this machine.
fn inside(place: &ContextPlace, file: Option<&Path>) -> Result<Source, Error> {
    let named = file.map(|file| file.to_string_lossy().into_owned());
    let names: Vec<&str> = named.as_deref().map_or(NAMES.to_vec(), |name| vec![name]);
    for name in &names {
        let found = match place {
            ContextPlace::Checkout(checkout) => checkout
                .read(&ImagePath::clamped(name), LIMIT)
                .map_err(|error| Error::new(ErrorKind::Input, error.to_string()))?
                .map(|bytes| Source::from_bytes(*name, bytes)),
            ContextPlace::Tree(tree) => tree_file(tree, name, name)?,
            ContextPlace::Directory(..) | ContextPlace::Archive(_) | ContextPlace::Empty => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let looked: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let error = Error::new(ErrorKind::Input, format!("the context has no {}", looked.join(" and no ")));
    Err(error.hint("name the Dockerfile with --file, as it is called in the context"))
}

/// The regular file that `path` leads to in `tree`, as a text called `name`.
fn tree_file(tree: &Tree, path: &str, name: &str) -> Result<Option<Source>, Error> {
    let Ok(real) = tree.resolve(&ImagePath::clamped(path), true) else { return Ok(None) };
    let content = tree.get(&real.path).and_then(|node| node.content.as_ref());
    content.map(|content| text(name, content)).transpose()
}

fn text(name: &str, content: &crate::tree::Content) -> Result<Source, Error> {
    let bytes = content.read_up_to(LIMIT);
    let bytes = bytes.map_err(|error| Error::new(ErrorKind::Input, format!("read `{name}`: {error}")))?;
    Ok(Source::from_bytes(name, bytes))
}

fn refused(source: RemoteError) -> Error {
    BuildError::Remote { place: None, source: Box::new(source) }.into()
}
