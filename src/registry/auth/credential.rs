//! Credentials, and where they come from.

use std::path::PathBuf;
use std::sync::Arc;

use crate::http::Secret;
use crate::oci::{RegistryHost, Repository};

/// What proves who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// User name and password (or access token in the password's place).
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A long-lived token that the token server exchanges for short-lived ones (OAuth 2 refresh token).
    Identity(Secret),
    /// A token that the registry itself takes.
    Token(Secret),
}

/// Knows credentials. Asked only after a registry asked, and outside the async threads: it may block.
pub(crate) trait CredentialSource: Send + Sync {
    /// The credential for `repository`; `None` where there is none, which is not an error.
    fn credential(&self, repository: &Repository) -> Result<Option<Credential>, CredentialError>;
}

/// A credential could not be looked up. That there is none is not an error.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CredentialError {
    /// A file is there and can not be read.
    #[error("cannot read credentials from {path}: {reason}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file can not be changed.
    #[error("cannot keep credentials in {path}: {reason}", path = .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file is not what it should be.
    #[error("{origin} is not a docker config file: {reason}")]
    Malformed {
        /// The file or variable.
        origin: String,
        /// What is wrong, without quoting contents.
        reason: String,
    },
    /// A credential helper did not do its work.
    #[error("credential helper {helper} for {host}: {reason}")]
    Helper {
        /// `docker-credential-x`.
        helper: String,
        /// The registry that it was asked about.
        host: String,
        /// What went wrong. Its output may hold secrets and is never quoted.
        reason: String,
    },
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Anonymous;

impl CredentialSource for Anonymous {
    fn credential(&self, _: &Repository) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// One credential for one registry.
#[derive(Clone, Debug)]
pub(crate) struct FixedCredential {
    /// The registry.
    pub host: RegistryHost,
    /// Its credential.
    pub credential: Credential,
}

impl CredentialSource for FixedCredential {
    fn credential(&self, repository: &Repository) -> Result<Option<Credential>, CredentialError> {
        Ok((repository.host() == &self.host).then(|| self.credential.clone()))
    }
}

/// Several sources; the first that knows a credential decides, an error ends the search.
#[derive(Clone, Default)]
pub(crate) struct FirstOf(pub Vec<Arc<dyn CredentialSource>>);

impl CredentialSource for FirstOf {
    fn credential(&self, repository: &Repository) -> Result<Option<Credential>, CredentialError> {
        for source in &self.0 {
            if let Some(credential) = source.credential(repository)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}
