//! Where a registry is reached, and how much it is trusted.

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::header::HeaderMap;
use url::Url;

use super::wire::Wire;
use crate::http::{Exchange, HttpError, Origin, Payload};
use crate::oci::RegistryHost;

/// A registry's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The host as references name it.
    pub(crate) host: RegistryHost,
    /// `scheme://host[:port]/`.
    pub(crate) base: Url,
    /// Whether the certificate is not verified.
    pub(crate) unverified: bool,
}

impl Endpoint {
    /// The endpoint of `host`. Only hosts of `insecure` cost a request: TLS is tried first.
    pub(crate) async fn find(
        host: &RegistryHost,
        insecure: &BTreeSet<RegistryHost>,
        wire: &Wire,
    ) -> Result<Self, HttpError> {
        let at = |scheme: &str, unverified| {
            // The registry of docker.io answers under another name.
            let name = if host.as_str() == "docker.io" { "registry-1.docker.io" } else { host.as_str() };
            let base = Url::parse(&format!("{scheme}://{name}/"))
                .map_err(|error| HttpError::Settings(format!("registry {host}: {error}")))?;
            Ok(Self { host: host.clone(), base, unverified })
        };
        if !insecure.contains(host) {
            return at(if host.is_loopback() { "http" } else { "https" }, false);
        }
        let encrypted = at("https", true)?;
        let probe = Exchange {
            method: Method::GET,
            url: encrypted.base.join("v2/").unwrap_or_else(|_| encrypted.base.clone()),
            headers: HeaderMap::new(),
            authorization: None,
            payload: Payload::Empty,
            unverified: Some(encrypted.origin()),
        };
        match wire.once(&probe).await.outcome {
            // A plain HTTP server breaks the handshake or the connection in some way of its own.
            Err(HttpError::Connect(_) | HttpError::Broken(_) | HttpError::Silent(_)) => at("http", false),
            _ => Ok(encrypted),
        }
    }

    /// The origin that credentials for this registry belong to.
    pub(crate) fn origin(&self) -> Origin {
        Origin::of(&self.base)
    }

    /// The origin whose certificate is not verified, if any.
    pub(crate) fn unverified_origin(&self) -> Option<Origin> {
        self.unverified.then(|| self.origin())
    }

    /// `registry host`, as messages name it.
    pub(crate) fn server(&self) -> String {
        format!("registry {}", self.host)
    }
}
