//! Docker's `config.json` and the containers tools' `auth.json`, which have one format.
//!
//! Keys of `auths` are a host, a host with a path (the containers tools' namespaces; the longest that fits
//! decides), or a URL (what docker wrote in its first years, and writes for Docker Hub still). Hosts match
//! exactly: `registry.example:443` is not `registry.example`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;

use super::helper::Helper;
use super::{Credential, CredentialError, CredentialSource};
use crate::http::Secret;
use crate::oci::Repository;

/// The key under which docker keeps Docker Hub's credential, in files and helpers.
pub(super) const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Much more than any real file.
pub(super) const FILE_LIMIT: u64 = 4 << 20;

/// Credentials of a docker config file.
#[derive(Clone, Debug, Default)]
pub(crate) struct DockerConfig {
    origin: String,
    // By normalised key: `docker.io`, `quay.io/team`.
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
    helper_path: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(…)")
    }
}

impl DockerConfig {
    /// Read the file at `path`. A file that is not there holds no credentials.
    pub(crate) fn load(path: &Path) -> Result<Self, CredentialError> {
        let unreadable = |reason: String| CredentialError::Unreadable { path: path.to_owned(), reason };
        match std::fs::metadata(path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(unreadable(error.to_string())),
            Ok(metadata) if metadata.len() > FILE_LIMIT => {
                return Err(unreadable("it is larger than 4 MiB".to_owned()));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parse a file's contents; `origin` is what messages call it.
    pub(crate) fn parse(text: &[u8], origin: &str) -> Result<Self, CredentialError> {
        // serde_json's own message may quote a value, which may be a password: only say where.
        let file: File = serde_json::from_slice(text).map_err(|error| CredentialError::Malformed {
            origin: origin.to_owned(),
            reason: format!("not JSON of that kind at line {} column {}", error.line(), error.column()),
        })?;
        let mut auths = BTreeMap::new();
        for (key, entry) in file.auths.unwrap_or_default() {
            let entry = entry.unwrap_or_default();
            let normalised = normalise(&key);
            // The plain form of a key decides over its forms as a URL.
            if key == normalised || key == HUB_KEY {
                auths.insert(normalised, entry);
            } else {
                auths.entry(normalised).or_insert(entry);
            }
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        Ok(Self {
            origin: origin.to_owned(),
            auths,
            helpers: helpers.into_iter().map(|(host, helper)| (normalise(&host), helper)).collect(),
            store: file.creds_store.filter(|name| !name.is_empty()),
            helper_path: ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).to_vec(),
        })
    }

    /// Look for credential helpers in `directories`, in order. Relative ones are passed over.
    #[must_use]
    pub(crate) fn with_helper_path(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        self.helper_path = directories.into_iter().filter(|directory| directory.is_absolute()).collect();
        self
    }

    fn ask(&self, helper: &str, host: &str) -> Result<Option<Credential>, CredentialError> {
        let server = if host == "docker.io" { HUB_KEY } else { host };
        Helper { name: helper, path: &self.helper_path }.get(server)
    }

    fn entry(&self, key: &str) -> Result<Option<Credential>, CredentialError> {
        let Some(entry) = self.auths.get(key) else { return Ok(None) };
        let malformed = |reason: &str| CredentialError::Malformed {
            origin: self.origin.clone(),
            reason: format!("the entry of {key} {reason}"),
        };
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(&*entry.identitytoken))));
        }
        if !entry.registrytoken.is_empty() {
            return Ok(Some(Credential::Token(Secret::new(&*entry.registrytoken))));
        }
        if !entry.auth.is_empty() {
            let text = base64::engine::general_purpose::STANDARD
                .decode(entry.auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| malformed("has an auth that is not base64 text"))?;
            // Docker pads old entries with NUL.
            let (username, password) = text
                .trim_end_matches('\0')
                .split_once(':')
                .ok_or_else(|| malformed("has an auth without a colon"))?;
            return Ok(Some(basic(username, password)));
        }
        if !entry.username.is_empty() {
            return Ok(Some(basic(&entry.username, &entry.password)));
        }
        // Docker leaves an empty entry where a helper keeps the secret.
        Ok(None)
    }
}

impl CredentialSource for DockerConfig {
    /// A helper named for the host, else the longest fitting entry that holds something, else the store.
    fn credential(&self, repository: &Repository) -> Result<Option<Credential>, CredentialError> {
        let host = repository.host().as_str().to_ascii_lowercase();
        if let Some(helper) = self.helpers.get(&host)
            && let Some(credential) = self.ask(helper, &host)?
        {
            return Ok(Some(credential));
        }
        let mut key = format!("{host}/{}", repository.path());
        loop {
            if let Some(credential) = self.entry(&key)? {
                return Ok(Some(credential));
            }
            match key.rfind('/') {
                Some(slash) => key.truncate(slash),
                None => break,
            }
        }
        match &self.store {
            Some(store) => self.ask(store, &host),
            None => Ok(None),
        }
    }
}

fn basic(username: &str, password: &str) -> Credential {
    // What helpers and docker write in the user's place when the secret is an identity token.
    if username == "<token>" {
        return Credential::Identity(Secret::new(password));
    }
    Credential::Basic { username: username.to_owned(), password: Secret::new(password) }
}

/// `https://host/v1/` → `host`; the names of Docker Hub → `docker.io`. The host's case does not matter.
pub(super) fn normalise(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let is_url = bare.len() + 1 < key.len();
    let bare = match bare.rsplit_once('/') {
        Some((host, "v1" | "v2")) if is_url && !host.contains('/') => host,
        _ => bare,
    };
    let (host, path) = bare.split_once('/').map_or((bare, ""), |(host, path)| (host, path));
    let host = match host.to_ascii_lowercase() {
        hub if matches!(hub.as_str(), "index.docker.io" | "registry-1.docker.io") => "docker.io".to_owned(),
        other => other,
    };
    if path.is_empty() { host } else { format!("{host}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_of(config: &str, repository: &str) -> Option<String> {
        let config = DockerConfig::parse(config.as_bytes(), "test").unwrap();
        match config.credential(&repository.parse().unwrap()).unwrap()? {
            Credential::Basic { username, password } => Some(format!("{username}/{}", password.expose())),
            Credential::Identity(token) => Some(format!("identity/{}", token.expose())),
            Credential::Token(token) => Some(format!("token/{}", token.expose())),
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn hosts_match_exactly_and_near_misses_get_nothing() {
        // "u:p:q" in base64
        let config = r#"{"auths":{"registry.example":{"auth":"dTpwOnE="}}}"#;
        assert_eq!(user_of(config, "registry.example/app"), some("u/p:q"));
        for near in [
            "registry.example:443/app",
            "registry.example.evil/app",
            "evil.registry.example/app",
            "registry.exampl.e/app",
            "registry.example/app".replacen("registry", "registri", 1).as_str(),
            "app",
        ] {
            assert_eq!(user_of(config, near), None, "{near}");
        }
    }

    #[test]
    fn the_longest_path_decides_and_stops_at_slashes() {
        let config = r#"{"auths":{
            "quay.io":{"username":"host","password":"1"},
            "quay.io/team":{"username":"team","password":"2"},
            "quay.io/team/app":{"username":"app","password":"3"}}}"#;
        assert_eq!(user_of(config, "quay.io/team/app"), some("app/3"));
        assert_eq!(user_of(config, "quay.io/team/app/cache"), some("app/3"));
        assert_eq!(user_of(config, "quay.io/team/application"), some("team/2"));
        assert_eq!(user_of(config, "quay.io/teams/app"), some("host/1"));
    }

    #[test]
    fn docker_hub_is_known_by_its_old_url() {
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"p"}}}"#;
        assert_eq!(user_of(config, "alpine"), some("u/p"));
        assert_eq!(user_of(config, "user/app"), some("u/p"));
        assert_eq!(
            user_of(r#"{"auths":{"docker.io":{"username":"u","password":"p"}}}"#, "alpine"),
            some("u/p")
        );
    }

    #[test]
    fn urls_are_keys_too_and_the_plain_form_decides() {
        let config = r#"{"auths":{
            "https://a.example/v1/":{"username":"url","password":"1"},
            "http://b.example":{"username":"url","password":"2"},
            "b.example":{"username":"plain","password":"3"},
            "c.example/v1":{"username":"path","password":"4"}}}"#;
        assert_eq!(user_of(config, "a.example/x"), some("url/1"));
        assert_eq!(user_of(config, "b.example/x"), some("plain/3"));
        assert_eq!(user_of(config, "c.example/x"), None);
    }

    #[test]
    fn identity_and_registry_tokens_are_told_apart() {
        let config = r#"{"auths":{
            "a.example":{"auth":"dTpw","identitytoken":"idt"},
            "b.example":{"registrytoken":"rt"},
            "c.example":{"username":"<token>","password":"idt2"}}}"#;
        assert_eq!(user_of(config, "a.example/x"), some("identity/idt"));
        assert_eq!(user_of(config, "b.example/x"), some("token/rt"));
        assert_eq!(user_of(config, "c.example/x"), some("identity/idt2"));
    }

    #[test]
    fn an_empty_or_absent_file_is_anonymous_and_a_malformed_one_is_named() {
        assert_eq!(user_of("{}", "a.example/x"), None);
        assert_eq!(user_of(r#"{"auths":null,"credsStore":""}"#, "a.example/x"), None);
        assert_eq!(user_of(r#"{"auths":{"a.example":{}}}"#, "a.example/x"), None);
        let absent = DockerConfig::load(Path::new("/nonexistent/config.json")).unwrap();
        assert_eq!(absent.credential(&"a.example/x".parse().unwrap()).unwrap(), None);
        let error = DockerConfig::parse(br#"{"auths":{"a":{"auth":{"s3cret":1}}}}"#, "/home/u/config.json");
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("/home/u/config.json is not a docker config file:"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
        let config = DockerConfig::parse(br#"{"auths":{"a.example":{"auth":"!!"}}}"#, "f").unwrap();
        let error = config.credential(&"a.example/x".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            error,
            "f is not a docker config file: the entry of a.example has an auth that is not base64 text"
        );
    }
}
