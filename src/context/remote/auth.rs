//! Secrets of the build that speak for it at other servers, by BuildKit's names.
//!
//! `HTTP_AUTH_HEADER_host` and `HTTP_AUTH_TOKEN_host` are for files; `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN`,
//! with or without `.host` behind them, for repositories. A header is the whole value of `Authorization`. What
//! an address says itself comes first.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use crate::http::{Authorization, Origin, Secret};

/// The secrets by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemoteSecrets(BTreeMap<String, Secret>);

/// The user whom hosters expect beside a token.
const TOKEN_USER: &str = "x-access-token";

impl RemoteSecrets {
    /// Whether a secret of this name means something here.
    pub(crate) fn is_one(name: &str) -> bool {
        ["HTTP_AUTH_HEADER_", "HTTP_AUTH_TOKEN_", "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    }

    /// These. Line ends behind a value are a text file's, not the value's.
    pub(crate) fn new(secrets: impl IntoIterator<Item = (String, String)>) -> Self {
        let trimmed = |(name, value): (String, String)| (name, Secret::new(value.trim_end()));
        Self(secrets.into_iter().map(trimmed).collect())
    }

    fn find(&self, names: &[String]) -> Option<(&str, &Secret)> {
        names.iter().find_map(|name| self.0.get_key_value(name)).map(|(name, secret)| (name.as_str(), secret))
    }

    /// What is said to the server of a file.
    pub(super) fn for_file(&self, url: &Url) -> Option<Authorization> {
        let names = hosts(url).into_iter().flat_map(|host| {
            ["HTTP_AUTH_HEADER_", "HTTP_AUTH_TOKEN_"].map(|prefix| format!("{prefix}{host}"))
        });
        let (name, secret) = self.find(&names.collect::<Vec<_>>())?;
        let value = match name.starts_with("HTTP_AUTH_TOKEN_") {
            true => Secret::new(format!("Bearer {}", secret.expose())),
            false => secret.clone(),
        };
        Some(Authorization { origin: Origin::of(url), value })
    }

    /// What is said to the server of a repository.
    pub(super) fn for_repository(&self, url: &Url) -> Option<Secret> {
        let hosts = hosts(url).into_iter().map(|host| format!(".{host}")).chain([String::new()]);
        let names =
            hosts.flat_map(|host| ["GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"].map(|name| name.to_owned() + &host));
        let (name, secret) = self.find(&names.collect::<Vec<_>>())?;
        Some(match name.starts_with("GIT_AUTH_TOKEN") {
            true => {
                Secret::new(format!("Basic {}", STANDARD.encode(format!("{TOKEN_USER}:{}", secret.expose()))))
            }
            false => secret.clone(),
        })
    }
}

/// `host:port`, then `host`.
fn hosts(url: &Url) -> Vec<String> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let with_port = url.port().map(|port| format!("{host}:{port}"));
    with_port.into_iter().chain([host]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> RemoteSecrets {
        RemoteSecrets::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn a_secret_is_for_its_host_and_the_nearer_name_comes_first() {
        let url = Url::parse("https://h.example:8443/x").unwrap();
        let header = |pairs: &[(&str, &str)]| {
            secrets(pairs).for_file(&url).map(|found| found.value.expose().to_owned())
        };
        assert_eq!(header(&[("HTTP_AUTH_TOKEN_h.example", "t\n")]), Some("Bearer t".to_owned()));
        let both = [("HTTP_AUTH_HEADER_h.example:8443", "Basic x"), ("HTTP_AUTH_TOKEN_h.example", "t")];
        assert_eq!(header(&both), Some("Basic x".to_owned()));
        assert_eq!(header(&[("HTTP_AUTH_TOKEN_other.example", "t"), ("GIT_AUTH_TOKEN", "t")]), None);
        let git = |pairs: &[(&str, &str)]| {
            secrets(pairs).for_repository(&url).map(|found| found.expose().to_owned())
        };
        assert_eq!(git(&[("GIT_AUTH_TOKEN", "t")]), Some("Basic eC1hY2Nlc3MtdG9rZW46dA==".to_owned()));
        assert_eq!(
            git(&[("GIT_AUTH_TOKEN", "t"), ("GIT_AUTH_HEADER.h.example", "X y")]),
            Some("X y".to_owned())
        );
        assert_eq!(git(&[("GIT_AUTH_TOKEN.other.example", "t")]), None);
    }
}
