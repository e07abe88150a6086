//! Why a build stops.

use crate::context::RemoteError;
use crate::ids::StepId;
use crate::layer::{PackError, ReadLayerError};
use crate::output::OutputError;
use crate::registry::{RegistryError, RegistryErrorKind};
use crate::run::RunStatus;

/// A step as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPlace {
    /// Which.
    pub(crate) id: StepId,
    /// `[builder 2/5] RUN make`
    pub(crate) name: String,
    /// Its line in the Dockerfile.
    pub(crate) line: usize,
}

/// A build stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// It was told to.
    #[error("interrupted")]
    Cancelled,
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A base image does not exist, or has no image for the platform.
    #[error("{message}")]
    Image {
        /// One line.
        message: String,
        /// What may help.
        hint: Option<String>,
    },
    /// A command failed.
    #[error("{} failed: {}", place.name, ended(*status))]
    Command {
        /// Which.
        place: StepPlace,
        /// How it ended.
        status: RunStatus,
        /// The last lines that it wrote.
        output: Vec<u8>,
    },
    /// A step could not be carried out as asked.
    #[error("{}: {message}", place.name)]
    Step {
        /// Which.
        place: StepPlace,
        /// One line.
        message: String,
        /// What may help.
        hint: Option<String>,
    },
    /// Something of another machine could not be had.
    #[error("{}{source}", place.as_ref().map(|place| format!("{}: ", place.name)).unwrap_or_default())]
    Remote {
        /// The step that it is for; `None` is a context.
        place: Option<StepPlace>,
        /// Why not.
        source: Box<RemoteError>,
    },
    /// The context can not be read.
    #[error("{0}")]
    Context(String),
    /// A layer can not be read: its registry, its disk or its bytes are at fault.
    #[error("layer {digest}: {source}")]
    Layer {
        /// Of its blob.
        digest: crate::oci::Digest,
        /// Why not.
        source: ReadLayerError,
    },
    /// This environment can not carry out a RUN.
    #[error("{0}")]
    Environment(String),
    /// The disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was done, on what.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A layer could not be packed.
    #[error("{}: {source}", place.name)]
    Pack {
        /// Which step's.
        place: StepPlace,
        /// Why not.
        source: PackError,
    },
    /// The image could not be brought where it should go.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// An error that others hold too.
    #[error(transparent)]
    Shared(std::sync::Arc<BuildError>),
    /// Another stage failed; its own error is the one to show.
    #[error("a stage that this one needs failed")]
    OtherStage,
}

fn ended(status: RunStatus) -> String {
    match status {
        RunStatus::Exited(code) => format!("exit status {code}"),
        RunStatus::Signalled(signal) => format!("killed by signal {signal}"),
    }
}

impl BuildError {
    /// Whether something else failed and stopped this: that is the story to tell.
    pub(crate) fn is_consequence(&self) -> bool {
        let cancelled = |error: &RegistryError| error.kind() == RegistryErrorKind::Cancelled;
        match self {
            Self::Cancelled | Self::OtherStage => true,
            Self::Registry(error) | Self::Output(OutputError::Registry(error)) => cancelled(error),
            Self::Shared(error) => error.is_consequence(),
            _ => false,
        }
    }

    /// Whether a registry does not have what was thought to be there.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Registry(error) | Self::Output(OutputError::Registry(error)) => {
                error.kind() == RegistryErrorKind::NotFound
            }
            Self::Shared(error) => error.is_absence(),
            _ => false,
        }
    }

    /// A failure of the disk.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

impl From<crate::ctx::Cancelled> for BuildError {
    fn from(_: crate::ctx::Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<crate::blob::LayoutError> for BuildError {
    fn from(error: crate::blob::LayoutError) -> Self {
        Self::Output(error.into())
    }
}
