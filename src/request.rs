//! What a user asks of the library: plain values, nothing opened or looked up yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::oci::{Compression, Platform, Reference, RegistryHost, Repository};
use crate::run::BackendChoice;
use crate::text::Source;

/// A build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileRequest,
    /// Where the Dockerfile lies, when it is a file: `<path>.dockerignore` beside it is honoured.
    pub dockerfile_path: Option<PathBuf>,
    /// The build context.
    pub context: ContextRequest,
    /// `--build-context`: further contexts by name, which also stand in for images of that name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// `--target`: the stage to build; the last one when not given.
    pub target: Option<String>,
    /// `--build-arg`, and proxy variables of the environment.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, added to the config.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`, added to the manifest.
    pub annotations: BTreeMap<String, String>,
    /// `--platform`; this machine's when not given.
    pub platform: Option<Platform>,
    /// `--tag`: names of the image.
    pub tags: Vec<Reference>,
    /// `--publish-stage` and `--publish-stages`: stages that are pushed under names of their own.
    pub publish: PublishRequest,
    /// `--output` and `--push`. Empty: the local store.
    pub outputs: Vec<OutputRequest>,
    /// Where to look up and keep step results.
    pub cache: CacheRequest,
    /// `--pull`: ask the registry for base images even if a local copy of the tag exists.
    pub pull: bool,
    /// `--backend`
    pub backend: BackendChoice,
    /// Why [`enter`](crate::enter) could not enter namespaces, or not with all ids: said when a RUN must be carried
    /// out.
    pub isolation_note: Option<String>,
    /// `--network`: the network of RUN steps that do not say otherwise.
    pub network: NetworkRequest,
    /// `--secret`: by id.
    pub secrets: BTreeMap<String, SecretRequest>,
    /// `--ssh`: sockets of agents by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--add-host name:ip`
    pub extra_hosts: Vec<(String, String)>,
    /// `--jobs`: pieces of work at a time; the number of processors when not given.
    pub jobs: Option<usize>,
    /// `--compression`
    pub compression: Compression,
    /// `--compression-level`
    pub compression_level: Option<u32>,
    /// `SOURCE_DATE_EPOCH`: no time in the image is later, in seconds since 1970.
    pub source_date_epoch: Option<i64>,
    /// How registries are reached.
    pub registries: RegistryRequest,
    /// What the `git` program sees of the environment: PATH, proxies, agents. It is run for git repositories
    /// only.
    pub git_environment: BTreeMap<String, String>,
    /// Where state is kept.
    pub state: StateRequest,
}

/// Where the Dockerfile is.
#[derive(Clone, Debug)]
pub enum DockerfileRequest {
    /// Here is its text.
    Text(Source),
    /// In the context, which must be a remote one: at this path, or under one of the usual names.
    InContext(Option<PathBuf>),
    /// At a URL.
    Remote(String),
}

/// Sending an image that exists to a registry.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The image.
    pub source: ImageSource,
    /// Names to push it under. Empty: the source's own name.
    pub references: Vec<Reference>,
    /// How registries are reached.
    pub registries: RegistryRequest,
    /// Where state is kept.
    pub state: StateRequest,
}

/// Where an image lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A name (or digest) in the local store.
    Stored(String),
    /// `oci:DIR[:TAG]`
    OciLayout(PathBuf, Option<String>),
    /// `oci-archive:FILE`
    OciArchive(PathBuf),
    /// `docker-archive:FILE`
    DockerArchive(PathBuf),
}

/// The build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextRequest {
    /// A directory.
    Directory(PathBuf),
    /// A tar file, plain or compressed (`-` is spooled to one).
    Archive(PathBuf),
    /// A git repository, `https://host/x.git#ref:folder`, or the URL of an archive or of a Dockerfile.
    Remote(String),
    /// No context (`-f -` without one).
    Empty,
}

impl DockerfileRequest {
    /// Its text, where it is known already.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Text(source) => Some(source),
            Self::InContext(_) | Self::Remote(_) => None,
        }
    }
}

/// A named context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Directory(PathBuf),
    /// `oci-layout://DIR[:TAG|@DIGEST]`
    OciLayout(PathBuf, Option<String>),
    /// `docker-image://REF`
    Image(Reference),
    /// A git repository, `https://host/x.git#ref:folder`, or the URL of an archive or another file, which is
    /// then called `context`.
    Remote(String),
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRequest {
    /// A file, read when a step needs it.
    File(PathBuf),
    /// Its bytes; never shown.
    Value(Vec<u8>),
}

impl std::fmt::Debug for SecretRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// One place that the image goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputRequest {
    /// The tags' registries (`--push`, `type=registry`).
    Registry,
    /// An OCI layout: a directory, or a tar archive.
    Oci {
        /// `None` is standard output (archives only).
        dest: Option<PathBuf>,
        /// Whether it is an archive.
        tar: bool,
    },
    /// A `docker load` archive.
    Docker {
        /// `None` is standard output.
        dest: Option<PathBuf>,
    },
    /// The root file system as a tar.
    Tar {
        /// `None` is standard output.
        dest: Option<PathBuf>,
    },
    /// The root file system as a directory.
    Local {
        /// The directory.
        dest: PathBuf,
    },
    /// The local store.
    Store,
    /// Nothing is kept (`type=cacheonly`).
    CacheOnly,
}

/// Stages that are pushed under names of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishRequest {
    /// `--publish-stage`: names or numbers of stages, and what to push each as. A stage that nothing else needs
    /// is built for it.
    pub named: Vec<(String, Reference)>,
    /// `--publish-stages`: pushed to the repository of the first tag, each under its name and state.
    pub keyed: StagesRequest,
}

/// `--publish-stages`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StagesRequest {
    /// None.
    #[default]
    None,
    /// Those that have a name, of those that the build needs.
    Named,
    /// All that the build needs.
    All,
}

/// Cache repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRequest {
    /// `--cache-repo`: looked up and written.
    pub repository: Option<Repository>,
    /// `--cache-from`: looked up only, in order, after `repository`.
    pub from: Vec<CachePlace>,
    /// `--cache-to`: written only.
    pub to: Vec<CachePlace>,
    /// `--cache-ttl`: records that are older are misses.
    pub ttl: Option<Duration>,
    /// `--cache-write never`: nothing is written.
    pub read_only: bool,
    /// `--no-cache`: nothing is looked up.
    pub disabled: bool,
    /// `--no-cache-filter`: stages whose steps are not looked up.
    pub disabled_stages: Vec<String>,
}

/// A place for cache records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// A repository.
    Repository(Repository),
    /// A folder.
    Folder(PathBuf),
}

/// Looking at the records of one place.
#[derive(Clone, Debug)]
pub struct RecordsRequest {
    /// The place; the cache in the state directory when not given.
    pub place: Option<CachePlace>,
    /// How registries are reached.
    pub registries: RegistryRequest,
    /// Where state is kept.
    pub state: StateRequest,
}

/// Which records may be thrown away. A record stays when any of these keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// `--older-than`: younger records stay. Without it, age keeps nothing.
    pub older_than: Option<Duration>,
    /// `--keep`: so many of the youngest of each kind stay.
    pub keep: usize,
    /// `--keep-tag`: records with a tag like one of these stay; `*` is any text, `?` any character.
    pub keep_tags: Vec<String>,
    /// `--dry-run`: nothing is thrown away.
    pub dry_run: bool,
}

/// `--network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkRequest {
    /// The host's network.
    #[default]
    Host,
    /// Loopback only.
    None,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryRequest {
    /// Docker `config.json` or containers `auth.json` files, the first that has a host's credentials decides.
    /// Files that do not exist are passed over.
    pub auth_files: Vec<PathBuf>,
    /// Directories with credential helpers (`docker-credential-…`), usually those of PATH.
    pub helper_directories: Vec<PathBuf>,
    /// Proxies for http and https, and the hosts that are asked directly.
    pub proxies: BTreeMap<String, String>,
    /// `--creds`: credentials that are asked before all files.
    pub credentials: Vec<SignIn>,
    /// `--insecure`: hosts that may speak plain HTTP or show any certificate. Loopback hosts need no flag.
    pub insecure: Vec<RegistryHost>,
}

/// Who we are to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The registry.
    pub host: RegistryHost,
    /// The user.
    pub username: String,
    /// The password, or a token in its place.
    pub password: Password,
}

/// A password. It can not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub(crate) String);

impl Password {
    /// Take `text` into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRequest {
    /// The state directory: local store, local cache, unpacked layers.
    pub dir: PathBuf,
    /// Keep nothing after the build: `dir` gets only a temporary directory, which is removed.
    pub ephemeral: bool,
}
