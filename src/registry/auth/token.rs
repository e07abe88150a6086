//! Fetching a token (distribution, `docs/spec/auth/token.md` and `oauth.md`).

use std::time::{Duration, Instant};

use base64::Engine;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::{Credential, Scopes};
use crate::http::{Authorization, Exchange, HttpError, Origin, Payload, SafeUrl, Secret, is_transient};
use crate::registry::RegistryError;
use crate::registry::error::Said;
use crate::registry::wire::Wire;

/// Real tokens have some KiB.
const ANSWER_LIMIT: u64 = 1 << 20;
/// The specification's minimum, and what it takes for a missing or senseless lifetime.
const SHORTEST: u64 = 60;
/// No token is kept longer than this, whatever it says of itself.
const LONGEST: u64 = 3600;
/// A token this close to its end may expire on the way.
const MARGIN: Duration = Duration::from_secs(10);

/// A token and how long it is used, by the monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// What goes after `Bearer`.
    pub(super) value: Secret,
    until: Instant,
}

impl Token {
    /// Whether it may still be sent.
    pub(super) fn is_fresh(&self) -> bool {
        self.until.saturating_duration_since(Instant::now()) > MARGIN
    }
}

/// What to ask a token server.
pub(super) struct TokenRequest<'a> {
    pub(super) realm: &'a Url,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a Scopes,
    /// What the token server may see.
    pub(super) credential: Option<&'a Credential>,
    pub(super) unverified: Option<Origin>,
    /// What the token is wanted for, and what to say when it is refused.
    pub(super) subject: String,
    pub(super) hint: String,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<serde_json::Number>,
}

/// `Basic` and the encoded pair.
pub(super) fn basic(username: &str, password: &Secret) -> Secret {
    let pair = format!("{username}:{}", password.expose());
    Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

impl TokenRequest<'_> {
    /// Ask for the token.
    pub(super) async fn fetch(&self, wire: &Wire) -> Result<Token, RegistryError> {
        let exchange = match self.credential {
            Some(Credential::Identity(token)) => self.refresh(token),
            Some(Credential::Basic { username, password }) => self.plain(Some((username, password))),
            Some(Credential::Token(_)) | None => self.plain(None),
        };
        let server = format!("token server {}", Origin::of(self.realm).authority());
        let delivery = wire.deliver(&exchange).await;
        let tries = delivery.tries;
        let unreachable = |cause: HttpError| RegistryError::Unreachable {
            server: server.clone(),
            subject: self.subject.clone(),
            url: SafeUrl::new(self.realm),
            tries,
            cause,
        };
        let reply = delivery.outcome.map_err(unreachable)?;
        let (status, url) = (reply.status, SafeUrl::new(&reply.url));
        let kind = reply.header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let body = reply.chunks.whole(ANSWER_LIMIT).await.map_err(unreachable)?;
        if !status.is_success() {
            let said = Box::new(Said::parse(&body, &kind));
            let (subject, hint) = (self.subject.clone(), self.hint.clone());
            // OAuth 2 answers 400 to a grant that it does not accept, and some servers 404 to a repository that
            // is not for this user. None of them means that what the token was wanted for is not there.
            let refused = status.is_client_error() && !is_transient(status);
            return Err(match refused {
                true => RegistryError::Unauthorised { server, subject, status, said, hint },
                false => RegistryError::Answered { server, subject, url, tries, status, said },
            });
        }
        read(&body).ok_or_else(|| RegistryError::Invalid {
            subject: self.subject.clone(),
            reason: format!("{server} answered something that is not a token"),
        })
    }

    fn plain(&self, user: Option<(&String, &Secret)>) -> Exchange {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            for scope in self.scopes.texts() {
                query.append_pair("scope", &scope);
            }
            query.extend_pairs(user.map(|(username, _)| ("account", username)));
        }
        let authorization = user.map(|(username, password)| Authorization {
            origin: Origin::of(self.realm),
            value: basic(username, password),
        });
        self.exchange(Method::GET, url, authorization, Payload::Empty)
    }

    fn refresh(&self, identity: &Secret) -> Exchange {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "ocistage");
        if let Some(service) = self.service {
            form.append_pair("service", service);
        }
        form.append_pair("scope", &self.scopes.texts().collect::<Vec<_>>().join(" "));
        form.append_pair("refresh_token", identity.expose());
        let payload = Payload::Bytes(form.finish().into());
        let mut exchange = self.exchange(Method::POST, self.realm.clone(), None, payload);
        exchange.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        exchange
    }

    fn exchange(
        &self,
        method: Method,
        url: Url,
        authorization: Option<Authorization>,
        payload: Payload,
    ) -> Exchange {
        let unverified = self.unverified.clone();
        Exchange { method, url, headers: HeaderMap::new(), authorization, payload, unverified }
    }
}

fn read(body: &[u8]) -> Option<Token> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let value = answer.token.or(answer.access_token).filter(|token| {
        // It goes into a header as it is.
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())
    })?;
    let seconds = answer.expires_in.and_then(|number| number.as_u64()).unwrap_or(SHORTEST);
    let seconds = seconds.clamp(SHORTEST, LONGEST);
    Some(Token { value: Secret::new(value), until: Instant::now() + Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(body: &str) -> Option<u64> {
        let token = read(body.as_bytes())?;
        // Rounded, since a moment has passed.
        Some((token.until - Instant::now()).as_millis().div_ceil(1000) as u64)
    }

    #[test]
    fn a_token_lives_between_a_minute_and_an_hour() {
        for (lifetime, lives) in [
            ("", 60),
            (r#","expires_in":300"#, 300),
            (r#","expires_in":0"#, 60),
            (r#","expires_in":-1"#, 60),
            (r#","expires_in":1000000000000"#, 3600),
            (r#","expires_in":null"#, 60),
        ] {
            assert_eq!(seconds(&format!(r#"{{"token":"t"{lifetime}}}"#)), Some(lives), "{lifetime}");
        }
    }

    #[test]
    fn a_token_has_two_names_and_only_header_characters() {
        assert_eq!(read(br#"{"access_token":"b"}"#).unwrap().value, Secret::new("b"));
        for bad in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":1}"#] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
