//! URLs of single files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::{RemoteError, RemoteSecrets};
use crate::http::{Authorization, Origin, SafeUrl, Secret};
use crate::oci::Digest;
use crate::text::without_userinfo;

/// A file to download.
#[derive(Clone, Debug)]
pub(crate) struct UrlSource {
    /// Without user and password.
    pub(super) url: Url,
    /// What the user and password of the URL come to.
    pub(super) authorization: Option<Authorization>,
    /// What its bytes must be.
    pub(crate) checksum: Option<Digest>,
}

/// What a file is called whose URL does not say (BuildKit's name for it).
const UNNAMED: &str = "__unnamed__";

impl UrlSource {
    /// The file at `text`, with its `--checksum`.
    pub(crate) fn parse(text: &str, checksum: Option<&str>) -> Result<Self, RemoteError> {
        let wrong =
            |reason: String| RemoteError::Address { address: without_userinfo(text).into_owned(), reason };
        let mut url = Url::parse(text).map_err(|error| wrong(format!("it is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http and https are downloaded from".to_owned()));
        }
        let checksum = checksum.map(str::parse).transpose();
        let checksum = checksum.map_err(|error: crate::oci::DigestError| wrong(error.to_string()))?;
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        // Both can be had for http and https.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let authorization = (!user.is_empty() || !password.is_empty()).then(|| Authorization {
            origin: Origin::of(&url),
            value: Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
        });
        Ok(Self { url, authorization, checksum })
    }

    /// The same with what `secrets` know of its server.
    pub(crate) fn with_secrets(mut self, secrets: &RemoteSecrets) -> Self {
        self.authorization = self.authorization.or_else(|| secrets.for_file(&self.url));
        self
    }

    /// The last part of the URL's path: what the file is called in a directory. Where a server redirects to
    /// plays no part.
    pub(crate) fn name(&self) -> String {
        let path = decoded(self.url.path());
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if matches!(last, "" | "." | "..") || last.contains('\0') {
            return UNNAMED.to_owned();
        }
        last.to_owned()
    }

    /// The URL as messages show it.
    pub(crate) fn shown(&self) -> String {
        SafeUrl::new(&self.url).to_string()
    }
}

/// Without the percent signs of URLs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(url: &str) -> String {
        UrlSource::parse(url, None).unwrap().name()
    }

    #[test]
    fn a_file_is_called_as_the_last_part_of_its_path() {
        for (url, called) in [
            ("http://h/a/b.tar.gz?x=/y#/z", "b.tar.gz"),
            ("http://h/a/b/", "b"),
            ("http://h/a%20b", "a b"),
            ("http://h/a%2Fb", "b"),
            ("http://h", UNNAMED),
            ("http://h/", UNNAMED),
            ("http://h/a%2F%2E%2E", UNNAMED),
            ("http://h/%00", UNNAMED),
            ("http://h/%zz", "%zz"),
        ] {
            assert_eq!(name(url), called, "{url}");
        }
    }

    #[test]
    fn user_and_password_become_a_header_for_that_server_and_are_shown_nowhere() {
        let source = UrlSource::parse("https://us%40er:p%3Aw@h.example/x?sig=1", None).unwrap();
        let authorization = source.authorization.clone().unwrap();
        assert_eq!(authorization.value.expose(), "Basic dXNAZXI6cDp3");
        assert_eq!(authorization.origin.to_string(), "https://h.example");
        assert_eq!(source.shown(), "https://h.example/x?…");
        let shown = format!("{source:?}");
        assert!(!shown.contains("er:p") && !shown.contains("dXNA"), "{shown}");
    }

    #[test]
    fn only_http_and_https_are_downloaded_from() {
        for url in ["ftp://h/x", "file:///etc/passwd", "gopher://h", "data:,x", "x"] {
            assert!(UrlSource::parse(url, None).is_err(), "{url}");
        }
        let error = UrlSource::parse("http://u:secret@h:99999/", None).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(UrlSource::parse("http://h/", Some("sha512:00")).is_err());
    }
}
