//! Where a request goes, and where an answer may send it.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// Scheme, host and port: the unit that credentials belong to (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of `url`. Default ports are made explicit.
    pub(crate) fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_ascii_lowercase(),
            port: url.port_or_known_default().unwrap_or(0),
        }
    }

    /// `host` or `host:port`, the port only where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

/// Whether the URL's host is literally an address that only this machine or its own network can mean.
pub(crate) fn is_private(url: &Url) -> bool {
    match address(url) {
        Some(IpAddr::V4(v4)) => {
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()
        }
        Some(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        None => is_local_name(url),
    }
}

fn is_local_name(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Domain(name))
        if name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost"))
}

/// The literal address, with IPv4 in IPv6 clothes unmasked.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.to_ipv4_mapped().map_or(v6.into(), IpAddr::from)),
        Host::Domain(_) => None,
    }
}

/// Whether a server at `from` may send a request on to `to`; the reason when not.
///
/// Encryption is never given up, and a server out there does not get to aim at this machine or its cloud's
/// metadata address. `carries_body` is for uploads, which in addition do not go to other private addresses.
pub(crate) fn may_go(from: &Url, to: &Url, carries_body: bool) -> Result<(), &'static str> {
    // The HTTP library would make an Authorization header of it.
    if !to.username().is_empty() || to.password().is_some() {
        return Err("to a url with a user name in it");
    }
    if Origin::of(from) == Origin::of(to) {
        return Ok(());
    }
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("from https to plain http"),
        _ => return Err("to something that is not http"),
    }
    let link_local = match address(to) {
        Some(IpAddr::V4(v4)) => v4.is_link_local() || v4.is_unspecified(),
        Some(IpAddr::V6(v6)) => v6.is_unicast_link_local() || v6.is_unspecified(),
        None => false,
    };
    let loopback = address(to).is_some_and(|address| address.is_loopback()) || is_local_name(to);
    let from_loopback = address(from).is_some_and(|address| address.is_loopback()) || is_local_name(from);
    if link_local {
        return Err("to a link-local address");
    }
    if loopback && !from_loopback {
        return Err("to this machine");
    }
    if carries_body && is_private(to) && !is_private(from) {
        return Err("to a private address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |text| Origin::of(&url(text));
        assert_eq!(origin("https://Host.example/a?b"), origin("https://host.example:443/c"));
        for other in ["http://host.example", "https://host.example:444", "https://host.example.evil"] {
            assert_ne!(origin("https://host.example"), origin(other));
        }
        assert_eq!(origin("https://host.example:443/").to_string(), "https://host.example");
        assert_eq!(origin("http://127.0.0.1:5000/x").authority(), "127.0.0.1:5000");
    }

    #[test]
    fn encryption_and_the_own_machine_are_not_given_away() {
        for (from, to, body, allowed) in [
            ("https://r.example/", "https://cdn.example/", true, true),
            ("https://r.example/", "http://r.example/", false, false),
            ("https://r.example/", "ftp://r.example/", false, false),
            ("https://r.example/", "https://u:p@cdn.example/", false, false),
            ("https://r.example/", "https://u:p@r.example/", false, false),
            ("https://r.example/", "https://169.254.169.254/", false, false),
            ("https://r.example/", "https://127.0.0.1/", false, false),
            ("https://r.example/", "https://localhost/", false, false),
            ("https://r.example/", "https://[::ffff:127.0.0.1]/", false, false),
            ("https://r.example/", "https://10.0.0.8/", false, true),
            ("https://r.example/", "https://10.0.0.8/", true, false),
            ("http://10.0.0.7:5000/", "http://10.0.0.8:9000/", true, true),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/", true, true),
            ("http://127.0.0.1:5000/", "http://169.254.169.254/", false, false),
        ] {
            assert_eq!(may_go(&url(from), &url(to), body).is_ok(), allowed, "{from} → {to}");
        }
    }
}
