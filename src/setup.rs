//! From a request's plain values to the parts that a build is made of.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::{Layout, Verified};
use crate::build::{BuildError, Choose, Fetcher, Scratch, Session, Unpacking};
use crate::cache::{CacheBackend, Caches, FolderCache, RepositoryCache, SHARED_PREFIX};
use crate::context::{Downloader, Git, RemoteSecrets};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind};
use crate::http::{Client, ClientSettings, ProxySettings};
use crate::layer::{BlobHome, Image, Layer, OverlayStyle, Owners};
use crate::oci::{Reference, Repository};
use crate::output::{
    ArchiveFormat, Export, Output, OutputError, RegistryOutput, WriteError, write_archive, write_layout,
    write_root, write_root_tar,
};
use crate::registry::{
    Credential, CredentialSource, DockerConfig, FirstOf, FixedCredential, Registries, RegistrySettings,
    Secret,
};
use crate::request::{
    BuildRequest, CachePlace, OutputRequest, RegistryRequest, SecretRequest, SignIn, StateRequest,
};
use crate::run::{BackendChoice, select};

/// Names in the state directory.
const STORE: &str = "store";
const CACHE: &str = "cache";
const TEMPORARY: &str = "tmp";
const MOUNTS: &str = "mounts";
const SOURCES: &str = "sources";

/// What a build is set up with, whatever it builds.
pub(crate) struct Setup {
    /// The registries, with credentials.
    pub(crate) registries: Registries,
    /// Where temporary directories are made.
    pub(crate) temporary: PathBuf,
    /// Where unpacked layers outlive the build; `None` when nothing is kept.
    pub(crate) kept: Option<PathBuf>,
    /// How layers become directories here.
    pub(crate) unpacking: Unpacking,
    state: StateRequest,
}

impl Setup {
    /// The parts that `request` asks for. Nothing is made on disk yet.
    pub(crate) fn new(request: &BuildRequest) -> Result<Self, Error> {
        Ok(Self {
            registries: registries(&request.registries)?,
            temporary: temporary(&request.state),
            kept: (!request.state.ephemeral).then(|| request.state.dir.clone()),
            unpacking: unpacking(),
            state: request.state.clone(),
        })
    }

    /// The error of a state directory that can not be used.
    pub(crate) fn unusable(&self, error: &std::io::Error) -> Error {
        let message = format!("state directory {}: {error}", self.state.dir.display());
        Error::new(ErrorKind::Resources, message).hint("choose another with --state-dir")
    }

    /// The local store, when there is one.
    pub(crate) fn existing_store(&self) -> Option<Layout> {
        Layout::open(store_path(&self.state)).ok()
    }

    fn store(&self) -> Result<Layout, BuildError> {
        Ok(Layout::create(store_path(&self.state))?)
    }

    /// Where the blobs of new layers are written: the local cache itself where there is one.
    pub(crate) fn blobs(&self, request: &BuildRequest, scratch: &Scratch) -> Result<Layout, BuildError> {
        let kept = self.caches_locally(request) && !request.cache.read_only;
        let path = if kept { cache_path(&self.state) } else { scratch.path().join("blobs") };
        Ok(Layout::create(path)?)
    }

    /// Without a repository or folder named, records are kept in the state directory.
    fn caches_locally(&self, request: &BuildRequest) -> bool {
        let cache = &request.cache;
        let named = cache.repository.is_some() || !cache.from.is_empty() || !cache.to.is_empty();
        !named && !request.state.ephemeral
    }

    /// The caches: looked up in the order repository, `--cache-from`; written to repository and `--cache-to`.
    pub(crate) fn caches(&self, request: &BuildRequest) -> Result<Caches, BuildError> {
        let mut readers = Vec::new();
        let mut writers = Vec::new();
        if let Some(repository) = &request.cache.repository {
            let backend = self.repository_cache(repository, request);
            readers.push(Arc::clone(&backend));
            writers.push(backend);
        }
        for place in &request.cache.from {
            readers.extend(self.place(place, request, false)?);
        }
        for place in &request.cache.to {
            writers.extend(self.place(place, request, true)?);
        }
        if self.caches_locally(request) {
            let layout = Layout::create(cache_path(&self.state))?;
            let backend: Arc<dyn CacheBackend> = Arc::new(FolderCache::new(layout));
            readers.push(Arc::clone(&backend));
            writers.push(backend);
        }
        if request.cache.read_only {
            writers.clear();
        }
        let ttl = request.cache.ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        Ok(Caches::new(readers, writers, ttl))
    }

    fn place(
        &self,
        place: &CachePlace,
        request: &BuildRequest,
        create: bool,
    ) -> Result<Option<Arc<dyn CacheBackend>>, BuildError> {
        Ok(match place {
            CachePlace::Repository(repository) => Some(self.repository_cache(repository, request)),
            CachePlace::Folder(path) if create => Some(Arc::new(FolderCache::new(Layout::create(path)?))),
            // A folder that nobody wrote yet has no records.
            CachePlace::Folder(path) if !path.exists() => None,
            CachePlace::Folder(path) => Some(Arc::new(FolderCache::new(Layout::open(path)?))),
        })
    }

    fn repository_cache(&self, repository: &Repository, request: &BuildRequest) -> Arc<dyn CacheBackend> {
        // Among an image's own tags, records must be told from images.
        let shared = request.tags.iter().any(|tag| tag.repository == *repository);
        let prefix = if shared { SHARED_PREFIX } else { "" };
        Arc::new(RepositoryCache::new(self.registries.clone(), repository.clone(), prefix))
    }

    /// Where cache mounts are: between builds in the state directory, else in that of the build.
    pub(crate) fn mounts(&self, scratch: &Path) -> PathBuf {
        self.kept.as_deref().unwrap_or(scratch).join(MOUNTS)
    }

    /// What fetches files and repositories, into `scratch`.
    pub(crate) fn fetcher(&self, request: &BuildRequest, scratch: &Scratch) -> Result<Fetcher, Error> {
        let settings =
            ClientSettings { proxy: proxies(&request.registries), guarded: true, ..Default::default() };
        let client = Client::new(settings);
        let client = client.map_err(|error| Error::new(ErrorKind::Input, error.to_string()))?;
        let memory = self.kept.as_ref().filter(|_| !request.cache.disabled).map(|kept| kept.join(SOURCES));
        Ok(Fetcher {
            downloader: Downloader::new(client, scratch.path().to_owned(), memory),
            git: Git::new(request.git_environment.clone()),
            directory: scratch.path().to_owned(),
            secrets: remote_secrets(request)?,
        })
    }

    /// Chooses a backend when the first RUN must be carried out.
    pub(crate) fn choose_backend(&self, choice: BackendChoice, note: Option<String>) -> Arc<Choose> {
        let scratch = self.temporary.clone();
        Arc::new(move || {
            let chosen = select(choice, PathBuf::from("/proc/self/exe"), scratch.clone());
            let (backend, reason) = chosen.map_err(|error| match &note {
                Some(note) => format!("{error}; {note}"),
                None => error.to_string(),
            })?;
            // A backend was found all the same: then it says what that one cannot do.
            let reason = note.iter().fold(reason, |reason, note| format!("{reason}; {note}"));
            Ok((backend, reason))
        })
    }
}

/// Where the local store is.
pub(crate) fn store_path(state: &StateRequest) -> PathBuf {
    state.dir.join(STORE)
}

/// Where the local cache is.
pub(crate) fn cache_path(state: &StateRequest) -> PathBuf {
    state.dir.join(CACHE)
}

/// Where temporary directories are made. With nothing to keep, the state directory is one itself.
pub(crate) fn temporary(state: &StateRequest) -> PathBuf {
    if state.ephemeral { state.dir.clone() } else { state.dir.join(TEMPORARY) }
}

/// The secrets of a request that speak for it at other servers.
fn remote_secrets(request: &BuildRequest) -> Result<RemoteSecrets, Error> {
    let secrets = request.secrets.iter().filter(|(name, _)| RemoteSecrets::is_one(name));
    let values = secrets.map(|(name, secret)| {
        let failed = |why: String| Error::new(ErrorKind::Input, format!("secret `{name}`: {why}"));
        let bytes = match secret {
            SecretRequest::File(path) => std::fs::read(path).map_err(|error| failed(error.to_string()))?,
            SecretRequest::Value(value) => value.clone(),
        };
        let value = String::from_utf8(bytes).map_err(|_| failed("it is no text".to_owned()))?;
        Ok((name.clone(), value))
    });
    Ok(RemoteSecrets::new(values.collect::<Result<Vec<_>, Error>>()?))
}

fn proxies(request: &RegistryRequest) -> ProxySettings {
    let proxy = |name: &str| {
        let all = || request.proxies.get("all_proxy");
        request.proxies.get(name).or_else(all).map(|url| Secret::new(url.clone()))
    };
    ProxySettings {
        http: proxy("http_proxy"),
        https: proxy("https_proxy"),
        except: request.proxies.get("no_proxy").cloned().unwrap_or_default(),
    }
}

/// The registries of a request, with the credentials of its files.
pub(crate) fn registries(request: &RegistryRequest) -> Result<Registries, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Input, error.to_string());
    let mut sources = Vec::new();
    for SignIn { host, username, password } in &request.credentials {
        let credential =
            Credential::Basic { username: username.clone(), password: Secret::new(password.0.clone()) };
        let fixed = FixedCredential { host: host.clone(), credential };
        sources.push(Arc::new(fixed) as Arc<dyn CredentialSource>);
    }
    for path in &request.auth_files {
        let config = DockerConfig::load(path).map_err(|error| failed(&error))?;
        let config = config.with_helper_path(request.helper_directories.iter().cloned());
        sources.push(Arc::new(config) as Arc<dyn CredentialSource>);
    }
    let settings = RegistrySettings {
        proxy: proxies(request),
        credentials: Arc::new(FirstOf(sources)),
        insecure: request.insecure.iter().cloned().collect::<BTreeSet<_>>(),
        ..RegistrySettings::default()
    };
    Registries::new(settings).map_err(|error| failed(&error))
}

/// In a user namespace the overlay looks at `user.overlay.*`; with one mapped id every file is ours.
fn unpacking() -> Unpacking {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges: Vec<Vec<u64>> = map
        .lines()
        .map(|line| line.split_whitespace().filter_map(|field| field.parse().ok()).collect())
        .collect();
    let initial = crate::sys::in_first_user_namespace();
    let ids: u64 = ranges.iter().filter_map(|range| range.get(2)).sum();
    Unpacking {
        style: if initial { OverlayStyle::Trusted } else { OverlayStyle::User },
        owners: if ids > 1 { Owners::Kept } else { Owners::Single },
    }
}

/// Where the image goes.
pub(crate) struct Destinations {
    registry: Option<Arc<dyn Output>>,
    pushed_to: Vec<Repository>,
    files: Vec<OutputRequest>,
    store: Option<Layout>,
    tags: Vec<Reference>,
}

impl Destinations {
    /// The destinations of `request`. Blobs can be mounted from `sources`.
    pub(crate) fn new(
        request: &BuildRequest,
        setup: &Setup,
        sources: &BTreeSet<Repository>,
    ) -> Result<Self, Error> {
        let pushes = request.outputs.contains(&OutputRequest::Registry);
        if pushes && request.tags.is_empty() {
            let error = Error::new(ErrorKind::Input, "nothing says where to push: no tag was given");
            return Err(error.hint("add -t REGISTRY/NAME:TAG"));
        }
        let stores = request.outputs.is_empty() || request.outputs.contains(&OutputRequest::Store);
        let registry: Option<Arc<dyn Output>> = pushes.then(|| {
            let sources = sources.iter().cloned().collect();
            let output = RegistryOutput::new(setup.registries.clone(), request.tags.clone(), sources);
            Arc::new(output) as Arc<dyn Output>
        });
        let mut pushed_to: Vec<Repository> = Vec::new();
        if pushes {
            pushed_to.extend(request.tags.iter().map(|tag| tag.repository.clone()));
        }
        Ok(Self {
            registry,
            pushed_to,
            files: request.outputs.clone(),
            store: if stores { Some(setup.store()?) } else { None },
            tags: request.tags.clone(),
        })
    }

    /// Outputs that take layers before the image is whole.
    pub(crate) fn early(&self) -> Vec<Arc<dyn Output>> {
        self.registry.iter().cloned().collect()
    }

    /// Repositories that the image is pushed to.
    pub(crate) fn repositories(&self) -> impl Iterator<Item = &Repository> {
        self.pushed_to.iter()
    }

    /// Where the image's blobs must be on this machine, if an output wants them here: in the local store, else
    /// in `temporary`.
    pub(crate) fn blobs(&self, temporary: &Layout) -> Option<Layout> {
        let wanted = self.store.is_some()
            || self.files.iter().any(|output| {
                !matches!(output, OutputRequest::Registry | OutputRequest::Store | OutputRequest::CacheOnly)
            });
        wanted.then(|| self.store.as_ref().unwrap_or(temporary).clone())
    }

    /// Bring the image everywhere; its names.
    pub(crate) async fn export(&self, session: &Session, image: &Image) -> Result<Vec<String>, BuildError> {
        let mut names = Vec::new();
        if let Some(registry) = &self.registry {
            names.extend(registry.export(&session.ctx, image).await?.names);
        }
        let Some(layout) = self.blobs(&session.blobs) else { return Ok(names) };
        let layers = image.layers.iter().map(|layer| session.layers.localise(&session.ctx, layer, &layout));
        let local = Image { layers: futures_util::future::try_join_all(layers).await?, ..image.clone() };
        let files = Files {
            ctx: session.ctx.clone(),
            image: local,
            names: self.tags.iter().map(ToString::to_string).collect(),
        };
        let (store, outputs) = (self.store.clone(), self.files.clone());
        let written = session
            .ctx
            .blocking(move || {
                let mut names = Vec::new();
                if let Some(store) = &store {
                    files.oci(store.root())?;
                    names.extend(files.names.iter().cloned());
                }
                for output in &outputs {
                    names.extend(files.write(output)?);
                }
                Ok::<_, OutputError>(names)
            })
            .await?;
        for name in &written {
            let digest = image.manifest.descriptor().digest;
            session.ctx.emit(&crate::ctx::Event::Tagged { name: name.clone(), digest });
        }
        names.extend(written);
        Ok(names)
    }

    /// The image with its layers where they were pushed to: a record's registry can mount them from there.
    pub(crate) fn rehomed(&self, image: &Image) -> Image {
        let layers = image.layers.iter().map(|layer| self.rehomed_layer(layer)).collect();
        Image { layers, ..image.clone() }
    }

    /// The same of one layer.
    pub(crate) fn rehomed_layer(&self, layer: &Layer) -> Layer {
        match self.pushed_to.first() {
            Some(repository) => Layer { home: BlobHome::Remote(repository.clone()), ..layer.clone() },
            None => layer.clone(),
        }
    }
}

/// An image on this machine, to be written to files.
struct Files {
    ctx: Ctx,
    image: Image,
    names: Vec<String>,
}

impl Files {
    /// Write one output; the path that it is at.
    fn write(&self, output: &OutputRequest) -> Result<Option<String>, OutputError> {
        let (ctx, image, open) = (&self.ctx, &self.image, &open_local);
        let dest = match output {
            OutputRequest::Oci { dest: Some(dest), tar: false } => {
                self.oci(dest)?;
                Some(dest)
            }
            OutputRequest::Oci { dest, .. } => self.archive(ArchiveFormat::Oci, dest.as_ref())?,
            OutputRequest::Docker { dest } => self.archive(ArchiveFormat::Docker, dest.as_ref())?,
            OutputRequest::Tar { dest: None } => {
                drop(write_root_tar(ctx, image, open, std::io::stdout().lock())?);
                None
            }
            OutputRequest::Tar { dest: Some(dest) } => {
                whole(dest, |sink| write_root_tar(ctx, image, open, sink).map(drop))?;
                Some(dest)
            }
            OutputRequest::Local { dest } => {
                write_root(ctx, image, open, dest)?;
                Some(dest)
            }
            OutputRequest::Registry | OutputRequest::Store | OutputRequest::CacheOnly => None,
        };
        Ok(dest.map(|dest| dest.display().to_string()))
    }

    fn export(&self) -> Export<'_> {
        Export { images: std::slice::from_ref(&self.image), index: None, names: &self.names }
    }

    fn oci(&self, directory: &Path) -> Result<(), OutputError> {
        Ok(write_layout(&self.ctx, self.export(), &open_local, directory)?)
    }

    fn archive<'a>(
        &self,
        format: ArchiveFormat,
        dest: Option<&'a PathBuf>,
    ) -> Result<Option<&'a PathBuf>, OutputError> {
        let (ctx, export) = (&self.ctx, self.export());
        match dest {
            None => drop(write_archive(ctx, export, &open_local, format, std::io::stdout().lock())?),
            Some(dest) => {
                whole(dest, |sink| write_archive(ctx, export, &open_local, format, sink).map(drop))?;
            }
        }
        Ok(dest)
    }
}

/// The blob of a layer that lies on this machine.
fn open_local(layer: &Layer) -> std::io::Result<Box<dyn Read + Send>> {
    match &layer.home {
        BlobHome::Local(path) => Ok(Box::new(Verified::new(std::fs::File::open(path)?, &layer.descriptor))),
        BlobHome::Remote(repository) => {
            Err(std::io::Error::other(format!("the blob is in {repository} only")))
        }
    }
}

/// Write a file that is there whole or not at all.
fn whole(
    dest: &Path,
    write: impl FnOnce(&mut std::io::BufWriter<std::fs::File>) -> Result<(), WriteError>,
) -> Result<(), OutputError> {
    let failed = |source| WriteError::Write { what: dest.display().to_string(), source };
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Devices and pipes are written to; they can not be replaced.
    if dest.exists() && !dest.is_file() {
        let mut sink = std::io::BufWriter::new(std::fs::File::create(dest).map_err(failed)?);
        write(&mut sink)?;
        return Ok(sink.flush().map_err(failed)?);
    }
    let partial = tempfile::Builder::new().prefix(".ocistage-").tempfile_in(parent).map_err(failed)?;
    let (file, path) = partial.into_parts();
    let mut sink = std::io::BufWriter::with_capacity(1 << 20, file);
    write(&mut sink)?;
    let file = sink.into_inner().map_err(|error| failed(error.into_error()))?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.set_permissions(readable).map_err(failed)?;
    path.persist(dest).map_err(|error| failed(error.error))?;
    Ok(())
}
