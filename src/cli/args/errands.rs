//! Commands beside building and pushing: the cache, signing in.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AccessOptions, CACHE, REGISTRIES};

pub(super) const LOGIN_HELP: &str = "\
The credential is kept in the first of these, which is also the first that is asked:
  --authfile FILE
  $REGISTRY_AUTH_FILE
  $XDG_RUNTIME_DIR/containers/auth.json
  ~/.config/containers/auth.json
Podman, Buildah and Skopeo read the same files. Docker does where FILE is its config.json.

Examples:
  ocistage login registry.example -u me --password-stdin < token
  ocistage login --authfile ~/.docker/config.json registry.example";

/// `ocistage cache`
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the records, the youngest first
    Ls {
        #[command(flatten)]
        place: CachePlaceOptions,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one record
    Inspect {
        /// The record: its tag, or the first digits of its key
        key: String,
        #[command(flatten)]
        place: CachePlaceOptions,
        /// As one JSON object, with the documents as they are stored
        #[arg(long)]
        json: bool,
    },
    /// Throw records away
    Prune(PruneArgs),
}

impl CacheCommand {
    /// How registries are reached.
    pub(super) fn access(&mut self) -> &mut AccessOptions {
        match self {
            Self::Ls { place, .. } | Self::Inspect { place, .. } => &mut place.access,
            Self::Prune(args) => &mut args.place.access,
        }
    }
}

/// Which cache is meant.
#[derive(Debug, Default, Args)]
pub(crate) struct CachePlaceOptions {
    /// The repository with the records [default: the cache of this machine]
    #[arg(long, value_name = "REF", help_heading = CACHE, conflicts_with = "cache_dir")]
    pub(crate) cache_repo: Option<String>,
    /// A folder with the records, as --cache-to type=local writes it
    #[arg(long, value_name = "DIR", help_heading = CACHE, value_hint = clap::ValueHint::DirPath)]
    pub(crate) cache_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    /// Where the local store and cache lie [default: ~/.local/state/ocistage]
    #[arg(long, value_name = "DIR", help_heading = REGISTRIES, value_hint = clap::ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
}

/// `ocistage cache prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Records younger than this stay: 36h, 14d, 8w
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<String>,
    /// So many of the youngest builds, stages and steps stay
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<usize>,
    /// Records whose tag is like this stay; `*` is any text, `?` any character; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) keep_tag: Vec<String>,
    /// Say what would go, and throw nothing away
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) place: CachePlaceOptions,
}

/// `ocistage login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry: registry.example, localhost:5000, docker.io
    pub(crate) host: String,
    /// The user [default: asked for]
    #[arg(short, long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password, or an access token, from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The file to keep the credential in
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) authfile: Option<PathBuf>,
    /// A registry that may speak plain HTTP or show any certificate; loopback hosts need none
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure: Vec<String>,
}

/// `ocistage logout`
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry
    pub(crate) host: String,
    /// The file that the credential is in
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) authfile: Option<PathBuf>,
}
