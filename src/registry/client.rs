//! The client's shared state, and the one way in which it sends a request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use url::Url;

use super::auth::{Anonymous, Authenticator, Challenge, CredentialSource, Door, Scopes};
use super::cells::Cells;
use super::endpoint::Endpoint;
use super::error::Said;
use super::push::Presence;
use super::upload::Rung;
use super::wire::{Delivery, Wire};
use super::{RegistryError, RegistryErrorKind};
use crate::ctx::{Cancelled, Ctx};
use crate::http::{
    Client, ClientSettings, Exchange, Origin, Payload, ProxySettings, Reply, SafeUrl, Schedule, Timeouts,
    may_go,
};
use crate::oci::{Digest, RegistryHost, Repository};

/// Errors are some lines of JSON; a proxy's page may be longer and is not shown anyway.
const ERROR_LIMIT: u64 = 64 * 1024;

/// Settings of [`Registries`].
#[derive(Clone)]
pub(crate) struct RegistrySettings {
    /// Where credentials come from.
    pub(crate) credentials: Arc<dyn CredentialSource>,
    /// Registries that may speak plain HTTP or have a certificate that nobody vouches for.
    pub(crate) insecure: BTreeSet<RegistryHost>,
    /// Token servers (`host` or `host:port`) that may see the credentials of registries in other domains.
    pub(crate) token_servers: BTreeSet<String>,
    /// PEM files with certificate authorities to trust besides the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Proxies.
    pub(crate) proxy: ProxySettings,
    /// Time limits.
    pub(crate) timeouts: Timeouts,
    /// When to try again.
    pub(crate) schedule: Schedule,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            credentials: Arc::new(Anonymous),
            insecure: BTreeSet::new(),
            token_servers: BTreeSet::new(),
            authorities: Vec::new(),
            proxy: ProxySettings::default(),
            timeouts: Timeouts::default(),
            schedule: Schedule::default(),
        }
    }
}

/// All registries of a build. A cheap clone; what one clone learns, all know.
#[derive(Clone)]
pub(crate) struct Registries {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) wire: Wire,
    auth: Authenticator,
    insecure: BTreeSet<RegistryHost>,
    endpoints: Cells<RegistryHost, Option<Endpoint>>,
    /// What this run knows to be where.
    pub(super) presence: Cells<(Repository, Digest), Presence>,
    /// Pairs of target and source for which mounting was refused.
    pub(super) unmountable: Mutex<BTreeSet<(Repository, Repository)>>,
    /// The way of uploading that works, where it is not the first.
    pub(super) rungs: Mutex<BTreeMap<RegistryHost, Rung>>,
}

/// A request to a registry.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) repository: &'a Repository,
    /// What messages call the object: `manifest host/app:tag`.
    pub(super) subject: &'a str,
    pub(super) scopes: Scopes,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// Whether a passing failure is an answer: the caller knows better what to do than to send it again.
    pub(super) once: bool,
}

impl<'a> Call<'a> {
    /// A request that reads, at `url`.
    pub(super) fn new(method: Method, repository: &'a Repository, subject: &'a str, url: Url) -> Self {
        Self {
            repository,
            subject,
            scopes: Scopes::pull(repository),
            method,
            url,
            // Bodies are compared with digests, so nobody on the way may encode them.
            headers: HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]),
            payload: Payload::Empty,
            once: false,
        }
    }

    pub(super) fn scopes(mut self, scopes: Scopes) -> Self {
        self.scopes = scopes;
        self
    }

    pub(super) fn header(mut self, name: reqwest::header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(super) fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

/// A registry's answer, with what an error about it needs to say.
pub(super) struct Answer {
    pub(super) reply: Reply,
    server: String,
    subject: String,
    tries: usize,
    hint: String,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.reply.status
    }

    /// Where the answer sends the caller, resolved against who answered: relative, absolute or with a query.
    /// A location that is not followed is an error that says why.
    pub(super) fn location(&self) -> Result<Option<Url>, RegistryError> {
        let Some(text) = self.reply.header(LOCATION) else { return Ok(None) };
        let refused = |reason| RegistryError::Refused { subject: self.subject.clone(), reason };
        let from = &self.reply.url;
        let to =
            from.join(text).map_err(|_| refused(format!("{} sends the upload to no url", self.server)))?;
        may_go(from, &to, true).map_err(|reason| {
            let shown = SafeUrl::new(&to);
            refused(format!("{} sends the upload {reason}, which is not followed: {shown}", self.server))
        })?;
        Ok(Some(to))
    }

    /// The answer as an error. Reads the body for the registry's own words.
    pub(super) async fn into_error(self) -> RegistryError {
        let Self { reply, server, subject, tries, hint } = self;
        let (status, url) = (reply.status, SafeUrl::new(&reply.url));
        let kind = reply.header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let body = reply.chunks.whole(ERROR_LIMIT).await.unwrap_or_default();
        let said = Box::new(Said::parse(&body, &kind));
        match status.as_u16() {
            401 | 403 => RegistryError::Unauthorised { server, subject, status, said, hint },
            _ => RegistryError::Answered { server, subject, url, tries, status, said },
        }
    }
}

impl Registries {
    /// A client. Fails when a file of certificate authorities can not be used.
    pub(crate) fn new(settings: RegistrySettings) -> Result<Self, RegistryError> {
        let client = Client::new(ClientSettings {
            authorities: settings.authorities,
            proxy: settings.proxy,
            timeouts: settings.timeouts,
            // Registries are the user's own choice.
            guarded: false,
        })
        .map_err(RegistryError::Settings)?;
        let inner = Inner {
            wire: Wire::new(client, settings.schedule),
            auth: Authenticator::new(settings.credentials, settings.token_servers),
            insecure: settings.insecure,
            endpoints: Cells::default(),
            presence: Cells::default(),
            unmountable: Mutex::default(),
            rungs: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Do `work` unless the build is told to stop before it is done.
pub(super) async fn unless_cancelled<T>(
    ctx: &Ctx,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    tokio::select! {
        biased;
        () = ctx.cancelled() => Err(Cancelled.into()),
        outcome = work => outcome,
    }
}

impl Inner {
    /// Where the registry of `repository` is reached.
    pub(super) async fn endpoint(&self, repository: &Repository) -> Result<Endpoint, RegistryError> {
        let mut cell = self.endpoints.hold(repository.host().clone()).await;
        if let Some(endpoint) = &*cell {
            return Ok(endpoint.clone());
        }
        let found = Endpoint::find(repository.host(), &self.insecure, &self.wire).await;
        let endpoint = found.map_err(RegistryError::Settings)?;
        *cell = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// `…/v2/<repository>/<rest>`.
    pub(super) async fn url(&self, repository: &Repository, rest: &str) -> Result<Url, RegistryError> {
        let endpoint = self.endpoint(repository).await?;
        let mut url = endpoint.base;
        url.set_path(&format!("/v2/{}/{rest}", repository.path()));
        Ok(url)
    }

    /// Send a request, with whatever the registry wants to know of who asks. Any status is an answer; 401 is
    /// one only when a new token did not change it.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let endpoint = self.endpoint(call.repository).await?;
        let door = Door { endpoint: &endpoint, repository: call.repository, scopes: &call.scopes };
        let mut exchange = Exchange {
            method: call.method.clone(),
            url: call.url.clone(),
            headers: call.headers.clone(),
            authorization: self.auth.known(&self.wire, door).await?,
            payload: call.payload.clone(),
            unverified: endpoint.unverified_origin(),
        };
        let (mut reply, mut tries) = self.deliver(call, &endpoint, &exchange).await?;
        // A storage server that a redirect led to has its own idea of 401, which no registry token answers.
        if reply.status == StatusCode::UNAUTHORIZED && Origin::of(&reply.url) == endpoint.origin() {
            let headers = reply.headers.get_all(WWW_AUTHENTICATE);
            let challenges = Challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
            let refused = exchange.authorization.take();
            let answer = self.auth.answer(&self.wire, door, &challenges, refused.as_ref()).await?;
            if answer.is_some() {
                // A body that is read to its end leaves its connection for the next request.
                let _ = reply.chunks.whole(ERROR_LIMIT).await;
                exchange.authorization = answer;
                (reply, tries) = self.deliver(call, &endpoint, &exchange).await?;
            }
        }
        let hint = match reply.status.as_u16() {
            401 | 403 => self.auth.hint(door).await,
            _ => String::new(),
        };
        Ok(Answer { reply, server: endpoint.server(), subject: call.subject.to_owned(), tries, hint })
    }

    async fn deliver(
        &self,
        call: &Call<'_>,
        endpoint: &Endpoint,
        exchange: &Exchange,
    ) -> Result<(Reply, usize), RegistryError> {
        let Delivery { outcome, tries } =
            if call.once { self.wire.once(exchange).await } else { self.wire.deliver(exchange).await };
        match outcome {
            Ok(reply) => Ok((reply, tries)),
            Err(cause) => {
                if let Payload::Stream { fault, .. } = &call.payload
                    && let Some(cause) = fault.take()
                {
                    return Err(RegistryError::Source { subject: call.subject.to_owned(), cause });
                }
                Err(RegistryError::Unreachable {
                    server: endpoint.server(),
                    subject: call.subject.to_owned(),
                    url: SafeUrl::new(&call.url),
                    tries,
                    cause,
                })
            }
        }
    }
}

impl RegistryError {
    /// Whether another try of the whole operation may succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.is_transient(),
            Self::Answered { .. } => self.kind() == RegistryErrorKind::Unavailable,
            _ => false,
        }
    }
}
