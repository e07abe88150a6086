//! The client: one request to one answer, redirects included.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::Url;

use super::body::PROGRESS;
use super::guard::{Guarded, names_metadata};
use super::{Chunks, HttpError, Origin, Payload, SafeUrl, Secret, may_go};

/// Redirects followed for one request. Registries need one, sometimes two.
const REDIRECTS: usize = 5;
const USER_AGENT: &str = concat!("ocistage/", env!("CARGO_PKG_VERSION"));

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// For a connection, TLS included.
    pub(crate) connect: Duration,
    /// From the end of a request to the beginning of its answer.
    pub(crate) first_byte: Duration,
    /// For 1 KiB of a body, in either direction.
    pub(crate) stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            // Large registries take up to ten seconds to commit a large blob.
            first_byte: Duration::from_secs(60),
            stall: Duration::from_secs(60),
        }
    }
}

/// Proxies, as URLs (`http://[user:password@]host:port`).
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxySettings {
    /// For plain HTTP.
    pub(crate) http: Option<Secret>,
    /// For HTTPS.
    pub(crate) https: Option<Secret>,
    /// Hosts, domains and address ranges that are reached directly, separated by commas. This machine
    /// always is.
    pub(crate) except: String,
}

/// Settings of a [`Client`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSettings {
    /// PEM files with certificate authorities to trust besides the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Proxies.
    pub(crate) proxy: ProxySettings,
    /// Time limits.
    pub(crate) timeouts: Timeouts,
    /// Whether link-local addresses and those of clouds' metadata services are refused, by whatever name.
    pub(crate) guarded: bool,
}

/// An `Authorization` header and the origin that it is for.
#[derive(Clone, Debug)]
pub(crate) struct Authorization {
    /// Where it may be sent.
    pub(crate) origin: Origin,
    /// The header's value.
    pub(crate) value: Secret,
}

/// A request.
#[derive(Clone)]
pub(crate) struct Exchange {
    /// The method.
    pub(crate) method: Method,
    /// Where to.
    pub(crate) url: Url,
    /// Headers other than `Authorization`.
    pub(crate) headers: HeaderMap,
    /// Sent only to the origin that it names, wherever redirects lead.
    pub(crate) authorization: Option<Authorization>,
    /// The body.
    pub(crate) payload: Payload,
    /// The origin whose certificate is not verified.
    pub(crate) unverified: Option<Origin>,
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// Who answered, after redirects.
    pub(crate) url: Url,
    /// The body.
    pub(crate) chunks: Chunks,
}

impl Reply {
    /// A header as text; `None` when absent or not text.
    pub(crate) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Which certificates a connection trusts.
#[derive(Clone, Copy)]
enum Trust {
    /// No TLS at all, so the system's certificates need not be loaded (a minimal container has none).
    Plain,
    /// The system's and the extra authorities.
    Verified,
    /// Anybody.
    Unverified,
}

/// Sends requests. Connections are pooled; made once and shared.
pub(crate) struct Client {
    settings: ClientSettings,
    authorities: Vec<reqwest::Certificate>,
    // One per `Trust`, made when first needed: loading the system's certificates takes time.
    made: [Mutex<Option<reqwest::Client>>; 3],
}

impl Client {
    /// A client. Fails when a file of authorities can not be used.
    pub(crate) fn new(settings: ClientSettings) -> Result<Self, HttpError> {
        // Process-wide and idempotent: a second call finds the same provider in place.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut authorities = Vec::new();
        for path in &settings.authorities {
            let unusable = |reason: String| {
                HttpError::Settings(format!("certificate authorities {}: {reason}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let found = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| unusable("not a PEM file of certificates".to_owned()))?;
            if found.is_empty() {
                return Err(unusable("no certificate found".to_owned()));
            }
            authorities.extend(found);
        }
        Ok(Self { settings, authorities, made: Default::default() })
    }

    /// Send `exchange` once, following redirects, and wait for the answer's head.
    ///
    /// Any status is an answer. 301 and 302 are followed for GET and HEAD, 307 and 308 for all methods.
    pub(crate) async fn exchange(&self, exchange: &Exchange) -> Result<Reply, HttpError> {
        let mut url = exchange.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(exchange, url.clone()).await?;
            let status = response.status();
            let reading = matches!(exchange.method, Method::GET | Method::HEAD);
            let redirected = match status.as_u16() {
                301..=303 => reading,
                307 | 308 => true,
                _ => false,
            };
            if !redirected {
                let headers = response.headers().clone();
                let chunks = Chunks::new(response, self.settings.timeouts.stall);
                return Ok(Reply { status, headers, url, chunks });
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let to = location.and_then(|location| url.join(location).ok()).ok_or(HttpError::Location)?;
            may_go(&url, &to, !exchange.payload.is_empty())
                .map_err(|reason| HttpError::Redirect { to: SafeUrl::new(&to), reason })?;
            url = to;
        }
        Err(HttpError::Redirects(SafeUrl::new(&url)))
    }

    async fn send(&self, exchange: &Exchange, url: Url) -> Result<reqwest::Response, HttpError> {
        if self.settings.guarded && names_metadata(&url) {
            return Err(HttpError::Refused);
        }
        let origin = Origin::of(&url);
        let trust = match () {
            () if url.scheme() == "http" => Trust::Plain,
            () if exchange.unverified.as_ref() == Some(&origin) => Trust::Unverified,
            () => Trust::Verified,
        };
        let client = self.client(trust)?;
        let moved = Arc::new(AtomicU64::new(0));
        let mut request = client.request(exchange.method.clone(), url).headers(exchange.headers.clone());
        if let Some(authorization) = &exchange.authorization
            && authorization.origin == origin
        {
            let mut value = HeaderValue::from_str(authorization.value.expose()).map_err(|_| {
                HttpError::Settings("a credential has characters that no header can carry".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = exchange.payload.body(&moved) {
            // Streams would be sent chunked, which some registries refuse.
            request = request.header(CONTENT_LENGTH, exchange.payload.size()).body(body);
        } else if !matches!(exchange.method, Method::GET | Method::HEAD) {
            // Some proxies answer 411 to a POST without a length.
            request = request.header(CONTENT_LENGTH, 0);
        }
        let request = request.build().map_err(HttpError::of)?;
        let sending = client.execute(request);
        tokio::pin!(sending);
        loop {
            let before = moved.load(Ordering::Relaxed);
            let sent = before >= exchange.payload.size();
            let timeouts = &self.settings.timeouts;
            let limit = if sent { timeouts.first_byte } else { timeouts.stall };
            match tokio::time::timeout(limit, &mut sending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(_)) if exchange.payload.is_faulty() => return Err(HttpError::Source),
                Ok(Err(error)) => return Err(HttpError::of(error)),
                Err(_) if moved.load(Ordering::Relaxed) >= before + PROGRESS => {}
                Err(_) if sent => return Err(HttpError::Silent(limit.as_secs())),
                Err(_) => return Err(HttpError::Stalled(limit.as_secs())),
            }
        }
    }

    fn client(&self, trust: Trust) -> Result<reqwest::Client, HttpError> {
        let mut made = self.made[trust as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*made {
            return Ok(client.clone());
        }
        let timeouts = &self.settings.timeouts;
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(timeouts.connect)
            // Load balancers drop idle connections after a minute or more without a word.
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_keepalive(Duration::from_secs(30))
            // Without this the environment is read.
            .no_proxy();
        if self.settings.guarded {
            builder = builder.dns_resolver(Arc::new(Guarded));
        }
        for proxy in self.proxies()? {
            builder = builder.proxy(proxy);
        }
        builder = match trust {
            Trust::Plain if self.settings.proxy.http.is_none() => builder.tls_certs_only([]),
            Trust::Plain | Trust::Verified => builder.tls_certs_merge(self.authorities.iter().cloned()),
            Trust::Unverified => builder.tls_danger_accept_invalid_certs(true),
        };
        let client = builder.build().map_err(HttpError::of)?;
        *made = Some(client.clone());
        Ok(client)
    }

    fn proxies(&self) -> Result<Vec<reqwest::Proxy>, HttpError> {
        let settings = &self.settings.proxy;
        let except = format!("{},localhost,127.0.0.0/8,::1", settings.except);
        let unusable =
            |_| HttpError::Settings("the proxy is not a url of the form http://host:port".to_owned());
        let mut proxies = Vec::new();
        if let Some(url) = &settings.http {
            proxies.push(reqwest::Proxy::http(url.expose()).map_err(unusable)?);
        }
        if let Some(url) = &settings.https {
            proxies.push(reqwest::Proxy::https(url.expose()).map_err(unusable)?);
        }
        Ok(proxies.into_iter().map(|proxy| proxy.no_proxy(reqwest::NoProxy::from_string(&except))).collect())
    }
}
