//! Whether a token server may be asked, and whether it may see the registry's credential.

use std::collections::BTreeSet;

use url::{Host, Url};

use crate::http::{Origin, is_private, may_go};

/// What a token server is to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It may see the credential.
    Own,
    /// It is asked anonymously.
    Foreign,
    /// It is not asked; why.
    Refused(&'static str),
}

/// What the token server at `realm` is to the registry at `registry`. `trusted` are the settings' own
/// additions, `host` or `host:port`.
pub(super) fn trust(registry: &Url, realm: &Url, trusted: &BTreeSet<String>) -> Trust {
    if Origin::of(registry) == Origin::of(realm) {
        return Trust::Own;
    }
    if let Err(reason) = may_go(registry, realm, false) {
        return Trust::Refused(reason);
    }
    if is_private(realm) && !is_private(registry) {
        return Trust::Refused("to a private address");
    }
    let own = trusted.contains(&Origin::of(realm).authority())
        || realm.scheme() == "https" && realm.port().is_none() && same_domain(registry, realm);
    if own { Trust::Own } else { Trust::Foreign }
}

/// Whether two names are in the same domain that one party registered, as far as that can be told without
/// the public suffix list: when in doubt, they are not.
fn same_domain(a: &Url, b: &Url) -> bool {
    let (Some(Host::Domain(a)), Some(Host::Domain(b))) = (a.host(), b.host()) else { return false };
    matches!((registrable(a), registrable(b)), (Some(a), Some(b)) if a == b)
}

fn registrable(name: &str) -> Option<&str> {
    // Under these, everybody gets a name.
    const SHARED: [&str; 14] = [
        "amazonaws.com",
        "azure.com",
        "azurecr.io",
        "azurewebsites.net",
        "cloudapp.net",
        "cloudfront.net",
        "fly.dev",
        "github.io",
        "gitlab.io",
        "googleusercontent.com",
        "herokuapp.com",
        "netlify.app",
        "run.app",
        "workers.dev",
    ];
    let labels: Vec<&str> = name.split('.').collect();
    let [.., second, top] = labels.as_slice() else { return None };
    // `co.uk`, `com.au`, `gov.br`: a short name under a country is mostly a suffix.
    let suffix = if top.len() == 2 && second.len() <= 3 { 2 } else { 1 };
    if labels.len() <= suffix {
        return None;
    }
    let length: usize = labels[labels.len() - suffix - 1..].iter().map(|label| label.len() + 1).sum();
    let domain = &name[name.len() + 1 - length..];
    (!SHARED.contains(&domain)).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_shown_to_the_registrys_own_token_server_only() {
        let refused = |trust| matches!(trust, Trust::Refused(_));
        let of = |registry: &str, realm: &str| {
            trust(&Url::parse(registry).unwrap(), &Url::parse(realm).unwrap(), &BTreeSet::new())
        };
        for (registry, realm) in [
            ("https://ghcr.io/", "https://ghcr.io/token"),
            ("https://registry-1.docker.io/", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth"),
            ("https://registry.corp.example:5000/", "https://gitlab.corp.example/jwt/auth"),
            ("https://registry.example.co.uk/", "https://auth.example.co.uk/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/token"),
        ] {
            assert_eq!(of(registry, realm), Trust::Own, "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://registry.example/", "https://registry.example.evil/token"),
            ("https://registry.example.com/", "https://registry.example.com:8443/token"),
            ("https://registry.foo.co.uk/", "https://auth.bar.co.uk/token"),
            ("https://a.azurecr.io/", "https://b.azurecr.io/token"),
            ("https://r.docker.io.evil.com/", "https://auth.docker.io/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token"),
            ("http://127.0.0.1:5000/", "https://auth.docker.io/token"),
        ] {
            assert_eq!(of(registry, realm), Trust::Foreign, "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://registry.example/", "http://registry.example/token"),
            ("https://registry.example/", "https://169.254.169.254/latest"),
            ("https://registry.example/", "https://127.0.0.1/token"),
            ("https://registry.example/", "https://10.0.0.1/token"),
            ("https://registry.example/", "https://u:p@auth.example/token"),
            ("https://registry.example/", "file:///etc/passwd"),
        ] {
            assert!(refused(of(registry, realm)), "{registry} {realm}");
        }
    }

    #[test]
    fn the_settings_may_name_a_token_server_by_host_and_port() {
        let trusted = BTreeSet::from(["127.0.0.1:5001".to_owned()]);
        let registry = Url::parse("http://127.0.0.1:5000/").unwrap();
        let of = |realm: &str| trust(&registry, &Url::parse(realm).unwrap(), &trusted);
        assert_eq!(of("http://127.0.0.1:5001/token"), Trust::Own);
        assert_eq!(of("http://127.0.0.1:5002/token"), Trust::Foreign);
    }
}
