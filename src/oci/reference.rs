//! Image references: `[host[:port]/]path[:tag][@digest]`.
//!
//! The grammar is distribution's (`reference/regexp.go`): Docker Hub is the default host and `library/` its
//! default namespace; a first component is a host when it has a dot, a colon, or is `localhost`.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// A registry by host and, where given, port: `localhost:5000`, `docker.io`, `[::1]:5000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(String);

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: RegistryHost,
    path: String,
}

/// A repository with a tag, a digest or both. With both, the digest decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag as written; `None` when there was none.
    pub tag: Option<String>,
    /// The digest as written.
    pub digest: Option<Digest>,
}

/// A reference was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reference {text:?} is malformed: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

const DOCKER_HUB: &str = "docker.io";
/// Longest repository name that registries accept, in bytes.
const NAME_LIMIT: usize = 255;
/// Longest tag, in bytes (distribution-spec, "Pulling manifests").
const TAG_LIMIT: usize = 128;

impl RegistryHost {
    /// `host[:port]` as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port and without brackets.
    pub fn name(&self) -> &str {
        let host = match self.0.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => return address,
            None => &self.0,
        };
        host.split_once(':').map_or(host, |(name, _)| name)
    }

    /// Whether the host is this machine by name or address.
    pub fn is_loopback(&self) -> bool {
        let name = self.name();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Repository {
    /// The registry.
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The path in the registry, `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository `<self>/<name>`.
    pub fn child(&self, name: &str) -> Result<Self, ReferenceError> {
        format!("{self}/{name}").parse()
    }

    /// The reference of `digest` in this repository.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }

    /// The reference of `tag` in this repository. The tag must be well formed.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError { text: tag.to_owned(), reason: TAG_RULE });
        }
        Ok(Reference { repository: self.clone(), tag: Some(tag.to_owned()), digest: None })
    }
}

impl Reference {
    /// The tag, or `latest` where neither a tag nor a digest was given.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// What follows the repository in a manifest request: the digest, else the tag.
    pub fn selector(&self) -> String {
        match &self.digest {
            Some(digest) => digest.to_string(),
            None => self.tag_or_latest().to_owned(),
        }
    }
}

const TAG_RULE: &str =
    "a tag is 1 to 128 letters, digits, '_', '.' or '-', and does not begin with '.' or '-'";

fn is_tag(tag: &str) -> bool {
    let first = tag.bytes().next();
    tag.len() <= TAG_LIMIT
        && first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes
        .split(alphanumeric)
        .all(|separator| separator.iter().all(|b| *b == b'-') || matches!(separator, b"." | b"_" | b"__"))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                ("x", port)
            }
            None => return false,
        },
        None => match host.find(':') {
            Some(colon) => (&host[..colon], &host[colon..]),
            None => (host, ""),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label)
        && (port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok()))
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refused = |reason| Err(ReferenceError { text: text.to_owned(), reason });
        let (host, path) = match text.split_once('/') {
            Some((first, rest))
                if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') =>
            {
                (first, rest)
            }
            _ => (DOCKER_HUB, text),
        };
        if !is_host(host) {
            return refused("the host is not a name or address with an optional port");
        }
        let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
        let path = match (host, path.contains('/')) {
            (DOCKER_HUB, false) if !path.is_empty() => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if path.is_empty() {
            return refused("the repository is missing");
        }
        if path.len() > NAME_LIMIT {
            return refused("the repository is longer than 255 bytes");
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return refused("a repository is lower case");
        }
        if !path.split('/').all(is_path_component) {
            return refused("a repository is lower-case letters and digits, joined by '.', '_', '-' or '/'");
        }
        Ok(Self { host: RegistryHost(host.to_owned()), path })
    }
}

impl FromStr for RegistryHost {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if is_host(text) {
            Ok(Self(if text == "index.docker.io" { DOCKER_HUB.to_owned() } else { text.to_owned() }))
        } else {
            Err(ReferenceError { text: text.to_owned(), reason: "expected host or host:port" })
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refused = |reason| Err(ReferenceError { text: text.to_owned(), reason });
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => match digest.parse() {
                Ok(digest) => (rest, Some(digest)),
                Err(_) => return refused("the digest is not sha256: and 64 lower-case hex digits"),
            },
        };
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last..].split_once(':') {
            Some((component, tag)) => (&rest[..last + component.len()], Some(tag)),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return refused(TAG_RULE);
        }
        match name.parse::<Repository>() {
            Ok(repository) => Ok(Self { repository, tag: tag.map(str::to_owned), digest }),
            Err(ReferenceError { reason, .. }) => refused(reason),
        }
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        } else if self.digest.is_none() {
            f.write_str(":latest")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn short_names_are_of_docker_hub() {
        assert_eq!(parse("alpine").to_string(), "docker.io/library/alpine:latest");
        assert_eq!(parse("user/app:1").to_string(), "docker.io/user/app:1");
        assert_eq!(parse("index.docker.io/alpine").to_string(), "docker.io/library/alpine:latest");
    }

    #[test]
    fn a_first_component_with_dot_colon_or_localhost_is_a_host() {
        for (text, host, path) in [
            ("localhost/app", "localhost", "app"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000", "a/b"),
            ("[::1]:5000/a", "[::1]:5000", "a"),
            ("ghcr.io/o/a_b-c.d", "ghcr.io", "o/a_b-c.d"),
        ] {
            let reference = parse(text);
            assert_eq!(reference.repository.host().as_str(), host);
            assert_eq!(reference.repository.path(), path);
        }
        assert!(parse("[::1]:5000/a").repository.host().is_loopback());
        assert!(!parse("ghcr.io/a/b").repository.host().is_loopback());
    }

    #[test]
    fn tag_and_digest_may_stand_together() {
        let digest = Digest::of(b"x");
        let reference = parse(&format!("localhost:5000/a:v1@{digest}"));
        assert_eq!(reference.tag.as_deref(), Some("v1"));
        assert_eq!(reference.selector(), digest.to_string());
    }

    #[test]
    fn malformed_references_are_refused_with_the_text() {
        for bad in [
            "",
            ":tag",
            "UPPER/x",
            "a//b",
            "a/b:",
            "a:b:c",
            "a@sha256:12",
            "-a",
            "a-/b",
            "a___b",
            "a..b",
            "localhost:99999/a",
            "a b",
            "../x",
            "a/../b",
            "host.io/",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
        }
    }
}
