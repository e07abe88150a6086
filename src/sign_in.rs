//! Who we are to registries, kept in a file for later.

use std::path::Path;

use crate::build::BuildError;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind};
use crate::http::Secret;
use crate::oci::RegistryHost;
use crate::registry;
use crate::request::{RegistryRequest, SignIn};
use crate::setup::registries;

/// Ask the registry whether it takes the credential, then keep it in the file at `path`.
pub(crate) async fn sign_in(
    ctx: &Ctx,
    who: SignIn,
    path: &Path,
    request: RegistryRequest,
) -> Result<(), Error> {
    // Nobody but the one who signs in answers for them.
    let request = RegistryRequest { credentials: vec![who.clone()], auth_files: Vec::new(), ..request };
    let checked = registries(&request)?.check_credential(ctx, &who.host).await;
    checked.map_err(BuildError::from)?;
    registry::sign_in(path, &who.host, &who.username, &Secret::new(who.password.0))
        .map_err(|error| unkept(&error))
}

/// Forget the credential of `host` that the file at `path` has. Answers whether it had one.
///
/// # Errors
///
/// [`ErrorKind::Input`] when the file can not be read or changed.
pub fn sign_out(host: &RegistryHost, path: &Path) -> Result<bool, Error> {
    registry::sign_out(path, host).map_err(|error| unkept(&error))
}

fn unkept(error: &registry::CredentialError) -> Error {
    Error::new(ErrorKind::Input, error.to_string())
}
