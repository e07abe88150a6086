//! Who we are to a registry: challenges, credentials, tokens.
//!
//! The order is always the same: the real request goes first; what the registry answers with 401 says how it
//! wants to be told who asks ([`Challenge`]); only then is a credential looked up ([`CredentialSource`]), so
//! that a registry that asks for none never makes a credential helper run. Tokens are kept per host and set
//! of scopes until shortly before they expire, are fetched once however many ask at the same time, and are
//! fetched anew when the registry refuses one.
//!
//! A credential goes to the registry that it is for and to its token server: the registry itself, a
//! well-known one, one in the registry's own domain, or one that the settings name. Any other realm is asked
//! anonymously, and the error that may follow says so.

mod authenticator;
mod challenge;
mod config_file;
mod credential;
mod edit;
mod helper;
mod realm;
mod scope;
mod token;

pub(crate) use authenticator::{Authenticator, Door};
pub(crate) use challenge::Challenge;
pub(crate) use config_file::DockerConfig;
pub(crate) use credential::{
    Anonymous, Credential, CredentialError, CredentialSource, FirstOf, FixedCredential,
};
pub(crate) use edit::{sign_in, sign_out};
pub(crate) use scope::Scopes;
