//! Why something could not be fetched.

use std::io;

use crate::http::HttpError;
use crate::oci::Digest;

/// A file or repository that was not fetched. Names it without user, password and query.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// What was written is no address that is fetched from.
    #[error("{address}: {reason}")]
    Address {
        /// As written, without secrets.
        address: String,
        /// One line.
        reason: String,
    },
    /// No usable answer.
    #[error("download {url}: {source}")]
    Http {
        /// Where from.
        url: String,
        /// Why not.
        source: HttpError,
    },
    /// An answer without the file.
    #[error("download {url}: the server answered {status}")]
    Status {
        /// Where from.
        url: String,
        /// As the server said it.
        status: reqwest::StatusCode,
    },
    /// More bytes than anybody wants in an image.
    #[error("download {url}: it has more than {limit} bytes")]
    TooLarge {
        /// Where from.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// Other bytes than those that were meant.
    #[error("download {url}: its digest is {found} and not {expected}")]
    Digest {
        /// Where from.
        url: String,
        /// As asked for.
        expected: Digest,
        /// As received.
        found: Digest,
    },
    /// The program cannot be had.
    #[error("git repository {remote}: the program `git` {reason}")]
    NoGit {
        /// Which repository.
        remote: String,
        /// One line.
        reason: String,
    },
    /// Git gave up.
    #[error("git repository {remote}: {said}")]
    Git {
        /// Which repository.
        remote: String,
        /// What it said last, without secrets.
        said: String,
        /// What that means.
        kind: RemoteErrorKind,
    },
    /// A repository that does not hold what was asked for.
    #[error("git repository {remote}: {reason}")]
    Repository {
        /// Which repository.
        remote: String,
        /// One line.
        reason: String,
    },
    /// This machine's disk.
    #[error("keep {what}: {source}")]
    Disk {
        /// What was to be kept.
        what: String,
        /// Why it could not be.
        source: io::Error,
    },
    /// The build was told to stop.
    #[error("interrupted")]
    Cancelled,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemoteErrorKind {
    /// What was asked for is wrong: it does not exist, is another thing, or is not asked for.
    Wrong,
    /// The network, or the other side, after retries.
    Unavailable,
    /// No right to it.
    Unauthorised,
    /// A program is missing here.
    Environment,
    /// The disk.
    Disk,
    /// The build was told to stop.
    Cancelled,
}

impl RemoteError {
    /// Whose fault it is.
    pub(crate) fn kind(&self) -> RemoteErrorKind {
        match self {
            Self::Address { .. } | Self::TooLarge { .. } | Self::Digest { .. } | Self::Repository { .. } => {
                RemoteErrorKind::Wrong
            }
            Self::Http { source: HttpError::Refused | HttpError::Redirect { .. }, .. } => {
                RemoteErrorKind::Wrong
            }
            Self::Http { .. } => RemoteErrorKind::Unavailable,
            Self::Status { status, .. } => match status.as_u16() {
                401 | 403 | 407 => RemoteErrorKind::Unauthorised,
                429 | 500.. => RemoteErrorKind::Unavailable,
                _ => RemoteErrorKind::Wrong,
            },
            Self::NoGit { .. } => RemoteErrorKind::Environment,
            Self::Git { kind, .. } => *kind,
            Self::Disk { .. } => RemoteErrorKind::Disk,
            Self::Cancelled => RemoteErrorKind::Cancelled,
        }
    }

    /// What may help.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Digest { found, .. } => format!("if these are the right bytes: --checksum={found}"),
            Self::NoGit { .. } => "install git, or give a directory or a tar archive instead".to_owned(),
            Self::Http { source: HttpError::Refused, .. } => {
                "such addresses tell a machine's secrets: download it before the build".to_owned()
            }
            Self::Http { source: HttpError::Certificate(_), .. } => {
                "if the server has its own authority: download the file before the build".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<crate::ctx::Cancelled> for RemoteError {
    fn from(_: crate::ctx::Cancelled) -> Self {
        Self::Cancelled
    }
}
