//! From a registry's challenge to the header that satisfies it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::realm::{Trust, trust};
use super::token::{Token, TokenRequest, basic};
use super::{Challenge, Credential, CredentialError, CredentialSource, Scopes};
use crate::http::{Authorization, Origin, Secret};
use crate::oci::{RegistryHost, Repository};
use crate::registry::RegistryError;
use crate::registry::cells::Cells;
use crate::registry::endpoint::Endpoint;
use crate::registry::wire::Wire;

/// Knows how each registry wants to be told who asks, and keeps tokens.
pub(crate) struct Authenticator {
    source: Arc<dyn CredentialSource>,
    realms: BTreeSet<String>,
    methods: Mutex<BTreeMap<RegistryHost, Method>>,
    // Scopes that a registry's challenge made of ours, where it asked for more.
    widened: Mutex<BTreeMap<(RegistryHost, Scopes), Scopes>>,
    credentials: Cells<Repository, Option<Option<Credential>>>,
    tokens: Cells<(RegistryHost, Scopes), Option<Token>>,
}

/// What a request wants to pass: the registry, for a repository (whose credential counts), with scopes.
#[derive(Clone, Copy)]
pub(crate) struct Door<'a> {
    /// The registry.
    pub(crate) endpoint: &'a Endpoint,
    /// The repository.
    pub(crate) repository: &'a Repository,
    /// What must be allowed.
    pub(crate) scopes: &'a Scopes,
}

#[derive(Clone)]
enum Method {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl Authenticator {
    pub(crate) fn new(source: Arc<dyn CredentialSource>, realms: BTreeSet<String>) -> Self {
        Self {
            source,
            realms,
            methods: Mutex::default(),
            widened: Mutex::default(),
            credentials: Cells::default(),
            tokens: Cells::default(),
        }
    }

    /// The header for a registry that has asked before; `None` for one that has not.
    pub(crate) async fn known(
        &self,
        wire: &Wire,
        door: Door<'_>,
    ) -> Result<Option<Authorization>, RegistryError> {
        let method = lock(&self.methods).get(&door.endpoint.host).cloned();
        match method {
            Some(method) => self.authorization(wire, door, &method, None).await,
            None => Ok(None),
        }
    }

    /// The header that answers `challenges`, which came although `refused` was sent; `None` when nothing can.
    pub(crate) async fn answer(
        &self,
        wire: &Wire,
        door: Door<'_>,
        challenges: &[Challenge],
        refused: Option<&Authorization>,
    ) -> Result<Option<Authorization>, RegistryError> {
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let method = if let Some(bearer) = of("bearer") {
            let realm = bearer.parameter("realm").and_then(|realm| Url::parse(realm).ok());
            let realm = realm.ok_or_else(|| RegistryError::Invalid {
                subject: subject(door.repository),
                reason: format!("{} names no token server that is a url", door.endpoint.server()),
            })?;
            if let Some(scope) = bearer.parameter("scope") {
                let wider = door.scopes.clone().with_challenge(scope);
                if wider != *door.scopes {
                    lock(&self.widened).insert((door.endpoint.host.clone(), door.scopes.clone()), wider);
                }
            }
            Method::Bearer { realm, service: bearer.parameter("service").map(str::to_owned) }
        } else if of("basic").is_some() {
            Method::Basic
        } else {
            return Ok(None);
        };
        lock(&self.methods).insert(door.endpoint.host.clone(), method.clone());
        let authorization = self.authorization(wire, door, &method, refused).await?;
        // The same again would be refused again.
        Ok(authorization.filter(|new| refused.is_none_or(|old| old.value != new.value)))
    }

    /// What the person can do about a refusal.
    pub(crate) async fn hint(&self, door: Door<'_>) -> String {
        let host = &door.endpoint.host;
        let credential = self.credentials.hold(door.repository.clone()).await.clone().flatten();
        let method = lock(&self.methods).get(host).cloned();
        match (credential, method) {
            (None, _) => {
                format!(
                    "no credential for {host} was found: sign in with `ocistage login {host}`, or name a config file that has one"
                )
            }
            (Some(_), Some(Method::Bearer { realm, .. }))
                if trust(&door.endpoint.base, &realm, &self.realms) != Trust::Own =>
            {
                foreign(host, &realm)
            }
            (Some(Credential::Basic { username, .. }), _) => {
                format!(
                    "user {username:?} of {host} may not do that, or the credential is not valid any more"
                )
            }
            (Some(_), _) => format!("the token for {host} does not allow that, or is not valid any more"),
        }
    }

    async fn authorization(
        &self,
        wire: &Wire,
        door: Door<'_>,
        method: &Method,
        refused: Option<&Authorization>,
    ) -> Result<Option<Authorization>, RegistryError> {
        let credential = self.credential(door.repository).await?;
        let value = match (method, &credential) {
            (_, Some(Credential::Token(token))) => Some(bearer(token)),
            (Method::Basic, Some(Credential::Basic { username, password })) => {
                Some(basic(username, password))
            }
            (Method::Basic, _) => None,
            (Method::Bearer { realm, service }, _) => {
                Some(self.token(wire, door, (realm, service.as_deref()), credential.as_ref(), refused).await?)
            }
        };
        Ok(value.map(|value| Authorization { origin: door.endpoint.origin(), value }))
    }

    async fn token(
        &self,
        wire: &Wire,
        door: Door<'_>,
        (realm, service): (&Url, Option<&str>),
        credential: Option<&Credential>,
        refused: Option<&Authorization>,
    ) -> Result<Secret, RegistryError> {
        let endpoint = door.endpoint;
        let key = (endpoint.host.clone(), door.scopes.clone());
        let scopes = lock(&self.widened).get(&key).cloned().unwrap_or_else(|| door.scopes.clone());
        // Held while the token is fetched: others with these scopes wait for it.
        let mut cell = self.tokens.hold((endpoint.host.clone(), scopes.clone())).await;
        if let Some(token) = cell.as_ref().filter(|token| token.is_fresh()) {
            let value = bearer(&token.value);
            if refused.is_none_or(|old| old.value != value) {
                return Ok(value);
            }
        }
        let host = &endpoint.host;
        let trust = trust(&endpoint.base, realm, &self.realms);
        if let Trust::Refused(reason) = trust {
            return Err(RegistryError::Refused {
                subject: subject(door.repository),
                reason: format!(
                    "{} sends its clients {reason} for tokens, which is not followed",
                    endpoint.server()
                ),
            });
        }
        let shown = credential.filter(|_| trust == Trust::Own);
        let hint = match (credential, shown) {
            (None, _) => {
                format!(
                    "no credential for {host} was found: sign in with `ocistage login {host}`, or name a config file that has one"
                )
            }
            (Some(_), None) => foreign(host, realm),
            (Some(_), Some(_)) => format!("the credential for {host} was not accepted: sign in again"),
        };
        let request = TokenRequest {
            realm,
            service,
            scopes: &scopes,
            credential: shown,
            unverified: endpoint.unverified_origin().filter(|origin| *origin == Origin::of(realm)),
            subject: subject(door.repository),
            hint,
        };
        let token = request.fetch(wire).await?;
        let value = bearer(&token.value);
        *cell = Some(token);
        Ok(value)
    }

    /// The credential of `repository`, looked up once. A source may block, so it is asked on a thread of its own.
    async fn credential(&self, repository: &Repository) -> Result<Option<Credential>, CredentialError> {
        let mut cell = self.credentials.hold(repository.clone()).await;
        if let Some(known) = &*cell {
            return Ok(known.clone());
        }
        let (source, asked) = (Arc::clone(&self.source), repository.clone());
        let found = match tokio::task::spawn_blocking(move || source.credential(&asked)).await {
            Ok(found) => found?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down; nobody is left to see a value.
                Err(_) => std::future::pending().await,
            },
        };
        *cell = Some(found.clone());
        Ok(found)
    }
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

fn subject(repository: &Repository) -> String {
    format!("a token for {repository}")
}

fn foreign(host: &RegistryHost, realm: &Url) -> String {
    format!(
        "the credential for {host} was not sent to its token server {realm}, which is another origin: \
         allow that by naming the token server as trusted",
        realm = Origin::of(realm)
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
