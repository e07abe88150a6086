//! Who is told what.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;

use super::server::{Reply, Seen, Server};
use super::{ctx, layer, pull, registries, registries_with, settings};
use crate::http::Secret;
use crate::oci::{RegistryHost, Repository, media_type};
use crate::registry::{
    Credential, CredentialError, CredentialSource, Registries, RegistryErrorKind, RegistrySettings,
};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// The credential of every repository: these tests look at who gets to see it.
struct Always(Credential);

impl CredentialSource for Always {
    fn credential(&self, _: &Repository) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.0.clone()))
    }
}

fn user() -> Always {
    Always(Credential::Basic { username: "user".into(), password: Secret::new("pa55") })
}

fn basic() -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("user:pa55"))
}

fn manifest() -> Reply {
    Reply::new(200).header("Content-Type", media_type::OCI_MANIFEST).body(MANIFEST)
}

fn challenge(realm: &str) -> Reply {
    Reply::new(401)
        .header(
            "WWW-Authenticate",
            format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:a:pull\""),
        )
        .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
}

fn is_token_request(seen: &Seen) -> bool {
    seen.target.starts_with("/token")
}

/// A registry with its token server, which gives out `t1`, `t2`, …; those in `refused` do not work.
fn registry(refused: &'static [&'static str]) -> Server {
    let mut given = 0;
    Server::start(move |seen| {
        if is_token_request(seen) {
            given += 1;
            return Reply::new(200).body(format!(r#"{{"token":"t{given}","expires_in":300}}"#));
        }
        match seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if !refused.contains(&token) => manifest(),
            _ => challenge(&format!("http://{}/token", seen.header("host").unwrap())),
        }
    })
}

#[tokio::test]
async fn the_request_goes_first_then_the_token_is_fetched_and_kept() {
    let server = registry(&[]);
    let (registries, repository) = (registries_with(user()), server.repository("a"));
    for _ in 0..2 {
        assert!(registries.manifest(&ctx(), &repository, "v1").await.unwrap().is_some());
    }
    assert_eq!(
        server.lines(),
        [
            "GET /v2/a/manifests/v1",
            "GET /token?service=reg&scope=repository%3Aa%3Apull&account=user",
            "GET /v2/a/manifests/v1",
            "GET /v2/a/manifests/v1"
        ]
    );
    let seen = server.seen();
    let sent: Vec<_> = seen.iter().map(|seen| seen.header("authorization")).collect();
    assert_eq!(sent, [None, Some(basic().as_str()), Some("Bearer t1"), Some("Bearer t1")]);
    assert_eq!(seen[0].header("user-agent"), Some(concat!("ocistage/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn many_requests_at_once_share_one_token() {
    let server = registry(&[]);
    let (registries, repository, ctx) = (registries(), server.repository("a"), ctx());
    let all = (0..16).map(|_| registries.manifest(&ctx, &repository, "v1"));
    for outcome in futures_util::future::join_all(all).await {
        assert!(outcome.unwrap().is_some());
    }
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let server = registry(&["t1"]);
    let (registries, repository) = (registries(), server.repository("a"));
    // The first token is refused right after it was given: that is an answer, not an expiry.
    let error = registries.manifest(&ctx(), &repository, "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unauthorised);
    // With the token known, a refusal means that it has expired.
    assert!(registries.manifest(&ctx(), &repository, "v1").await.unwrap().is_some());
    assert_eq!(server.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_basic_challenge_is_answered_with_the_credential() {
    let server = Server::start(|seen| match seen.header("authorization") {
        Some(value) if value == basic() => manifest(),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let repository = server.repository("a");
    assert!(registries_with(user()).manifest(&ctx(), &repository, "v1").await.unwrap().is_some());
    let before = server.seen().len();
    let error = registries().manifest(&ctx(), &repository, "v1").await.unwrap_err();
    assert_eq!((error.kind(), server.seen().len()), (RegistryErrorKind::Unauthorised, before + 1));
    let message = error.to_string();
    assert!(message.contains("no credential for 127.0.0.1:") && message.contains("sign in"), "{message}");
}

#[tokio::test]
async fn a_wrong_password_is_sent_once_and_the_message_names_the_user() {
    let server = Server::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    let error = registries_with(user()).manifest(&ctx(), &server.repository("a"), "v1").await.unwrap_err();
    assert_eq!((error.kind(), server.seen().len()), (RegistryErrorKind::Unauthorised, 2));
    let message = error.to_string();
    assert!(message.contains("user \"user\"") && !message.contains("pa55"), "{message}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_in_a_form() {
    let server = Server::start(|seen| match seen {
        seen if is_token_request(seen) => Reply::new(200).body(r#"{"access_token":"at"}"#),
        seen if seen.header("authorization") == Some("Bearer at") => manifest(),
        seen => challenge(&format!("http://{}/token", seen.header("host").unwrap())),
    });
    let registries = registries_with(Always(Credential::Identity(Secret::new("i&d"))));
    assert!(registries.manifest(&ctx(), &server.repository("a"), "v1").await.unwrap().is_some());
    let seen = server.seen();
    assert_eq!(seen[1].line(), "POST /token");
    assert_eq!(
        String::from_utf8_lossy(&seen[1].body),
        "grant_type=refresh_token&client_id=ocistage&service=reg&scope=repository%3Aa%3Apull&refresh_token=i%26d"
    );
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let server = Server::start(|seen| match seen.header("authorization") {
        Some("Bearer rt") => manifest(),
        _ => challenge("http://127.0.0.1:1/never"),
    });
    let registries = registries_with(Always(Credential::Token(Secret::new("rt"))));
    assert!(registries.manifest(&ctx(), &server.repository("a"), "v1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_server_on_another_port_does_not_see_the_credential() {
    let foreign = Server::start(|seen| match seen.header("authorization") {
        Some(_) => Reply::new(200).body(r#"{"token":"t"}"#),
        None => Reply::new(401),
    });
    let realm = foreign.url("/token");
    let server = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer t") => manifest(),
        _ => challenge(&realm),
    });
    let repository = server.repository("a");
    let error = registries_with(user()).manifest(&ctx(), &repository, "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unauthorised);
    let message = error.to_string();
    assert!(message.contains("was not sent to its token server http://127.0.0.1:"), "{message}");
    let asked = foreign.seen();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].header("authorization").is_none() && !asked[0].target.contains("user"), "{asked:?}");
    // Named by the settings, it does.
    let token_servers = BTreeSet::from([foreign.address.to_string()]);
    let settings = RegistrySettings { credentials: Arc::new(user()), token_servers, ..settings() };
    let registries = Registries::new(settings).unwrap();
    assert!(registries.manifest(&ctx(), &repository, "v1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_servers_redirect_does_not_carry_the_credential() {
    let other = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#));
    let to = other.url("/token");
    let server = Server::start(move |seen| match seen {
        seen if is_token_request(seen) => Reply::new(307).header("Location", to.clone()),
        seen if seen.header("authorization") == Some("Bearer t") => manifest(),
        seen => challenge(&format!("http://{}/token", seen.header("host").unwrap())),
    });
    assert!(registries_with(user()).manifest(&ctx(), &server.repository("a"), "v1").await.unwrap().is_some());
    assert_eq!(other.seen().len(), 1);
    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_port_carries_no_credential() {
    let storage = Server::start(|seen| match (seen.header("authorization"), seen.header("cookie")) {
        (None, None) => Reply::new(200).body("content"),
        // Azure and S3 answer so to a request with two kinds of authentication.
        _ => Reply::new(400),
    });
    let to = storage.url("/bucket/x?X-Signature=s3cret");
    let server = Server::start(move |seen| match seen.header("authorization") {
        Some(_) => Reply::new(307).header("Location", to.clone()).header("Set-Cookie", "a=b"),
        None => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let registries = registries_with(user());
    let pulled = pull(&registries, &ctx(), &server.repository("a"), &layer(b"content")).await.unwrap();
    assert_eq!(pulled, b"content");
    assert_eq!(storage.lines(), ["GET /bucket/x?X-Signature=s3cret"]);
    // And its own troubles are told without its signature.
    let broken = Server::start(|_| Reply::new(403));
    let to = broken.url("/x?X-Signature=s3cret");
    let server = Server::start(move |_| Reply::new(307).header("Location", to.clone()));
    let error = registries.blob(&ctx(), &server.repository("a"), &layer(b"x"), 9).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn a_credential_source_is_not_asked_by_an_open_registry_and_its_error_is_told() {
    struct Broken;
    impl CredentialSource for Broken {
        fn credential(&self, _: &Repository) -> Result<Option<Credential>, CredentialError> {
            Err(CredentialError::Helper {
                helper: "docker-credential-x".into(),
                host: "h".into(),
                reason: "no".into(),
            })
        }
    }
    let open = Server::start(|_| manifest());
    assert!(registries_with(Broken).manifest(&ctx(), &open.repository("a"), "v1").await.unwrap().is_some());
    let closed = Server::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    let error = registries_with(Broken).manifest(&ctx(), &closed.repository("a"), "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unauthorised);
    assert_eq!(error.to_string(), "credential helper docker-credential-x for h: no");
}

#[tokio::test]
async fn plain_http_is_for_loopback_and_named_hosts_only() {
    use crate::registry::endpoint::Endpoint;
    use crate::registry::wire::Wire;
    let wire = Wire::new(
        crate::http::Client::new(crate::http::ClientSettings::default()).unwrap(),
        crate::http::Schedule::immediate(),
    );
    let server = Server::start(|_| Reply::new(200));
    let loopback: RegistryHost = server.address.to_string().parse().unwrap();
    let base = async |host: &str, insecure: BTreeSet<RegistryHost>| {
        Endpoint::find(&host.parse().unwrap(), &insecure, &wire).await.unwrap().base.to_string()
    };
    assert_eq!(base("registry.example", BTreeSet::new()).await, "https://registry.example/");
    assert_eq!(base("10.0.0.1:5000", BTreeSet::new()).await, "https://10.0.0.1:5000/");
    assert_eq!(base("docker.io", BTreeSet::new()).await, "https://registry-1.docker.io/");
    assert_eq!(base("localhost:5000", BTreeSet::new()).await, "http://localhost:5000/");
    assert_eq!(base("[::1]:5000", BTreeSet::new()).await, "http://[::1]:5000/");
    assert_eq!(server.seen().len(), 0);
    // A named host that does not speak TLS.
    assert_eq!(
        base(loopback.as_str(), BTreeSet::from([loopback.clone()])).await,
        format!("http://{loopback}/")
    );
}

#[tokio::test]
async fn a_proxy_carries_what_is_not_on_this_machine() {
    use crate::http::{Client, ClientSettings, Exchange, Payload, ProxySettings};
    let proxy = Server::start(|_| Reply::new(204));
    let direct = Server::start(|_| Reply::new(205));
    let settings = ClientSettings {
        proxy: ProxySettings {
            http: Some(Secret::new(proxy.url("/").replace("//", "//user:pa55@"))),
            https: None,
            except: "registry.internal".to_owned(),
        },
        ..ClientSettings::default()
    };
    let client = Client::new(settings).unwrap();
    let status = async |url: &str| {
        let exchange = Exchange {
            method: reqwest::Method::GET,
            url: url.parse().unwrap(),
            headers: reqwest::header::HeaderMap::new(),
            authorization: None,
            payload: Payload::Empty,
            unverified: None,
        };
        client.exchange(&exchange).await.map(|reply| reply.status.as_u16())
    };
    assert_eq!(status("http://registry.example/v2/").await.unwrap(), 204);
    assert_eq!(status(&direct.url("/v2/")).await.unwrap(), 205);
    // Reached directly, and there is no such host.
    assert!(status("http://registry.internal/v2/").await.is_err());
    let seen = proxy.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), "GET http://registry.example/v2/");
    assert_eq!(seen[0].header("proxy-authorization"), Some(basic().as_str()));
}
