//! Why a registry did not do what was asked.

use std::collections::BTreeSet;
use std::io;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::CredentialError;
use crate::ctx::Cancelled;
use crate::http::{HttpError, SafeUrl, is_transient, printable};
use crate::oci::Digest;

/// Longest that a registry's own words are quoted.
const QUOTE: usize = 300;

/// A registry, a token server or the way to them failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// No answer at all.
    #[error("{server} could not be asked for {subject}: {cause} ({url}{})", tried(*.tries))]
    Unreachable {
        /// `registry host`, or `token server host`.
        server: String,
        /// What was asked for: `manifest host/app:tag`.
        subject: String,
        /// Where.
        url: SafeUrl,
        /// How often.
        tries: usize,
        /// Why.
        cause: HttpError,
    },
    /// An answer that is not the one hoped for.
    #[error("{server} answered {} for {subject}{said} ({url}{})", .status.as_u16(), tried(*.tries))]
    Answered {
        /// As in [`Self::Unreachable`].
        server: String,
        /// As in [`Self::Unreachable`].
        subject: String,
        /// Who answered, after redirects.
        url: SafeUrl,
        /// How often.
        tries: usize,
        /// The status.
        status: StatusCode,
        /// The server's own words.
        said: Box<Said>,
    },
    /// Not allowed, or not without a credential.
    #[error("{server} answered {} for {subject}{said}; {hint}", .status.as_u16())]
    Unauthorised {
        /// As in [`Self::Unreachable`].
        server: String,
        /// As in [`Self::Unreachable`].
        subject: String,
        /// The status.
        status: StatusCode,
        /// The server's own words.
        said: Box<Said>,
        /// What we were to it, and what could help.
        hint: String,
    },
    /// What came is not what was asked for.
    #[error("{subject}: {reason}")]
    Invalid {
        /// As in [`Self::Unreachable`].
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry lacks blobs (or manifests) that a manifest names.
    #[error("{server} lacks content that {subject} names{}{said}", listed(.digests))]
    BlobsUnknown {
        /// As in [`Self::Unreachable`].
        server: String,
        /// The manifest.
        subject: String,
        /// Those that the registry named; it need not name any.
        digests: BTreeSet<Digest>,
        /// The server's own words.
        said: Box<Said>,
    },
    /// Not done, for a reason of our own.
    #[error("{subject}: {reason}")]
    Refused {
        /// As in [`Self::Unreachable`].
        subject: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The content to upload could not be read on this machine.
    #[error("cannot read {subject}: {cause}")]
    Source {
        /// The blob.
        subject: String,
        /// The system's error.
        cause: io::Error,
    },
    /// Settings that no client can be made of.
    #[error("{0}")]
    Settings(HttpError),
    /// A credential could not be looked up.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What kind of failure it is, for exit codes and for deciding what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistryErrorKind {
    /// Network or registry not available, after tries.
    Unavailable,
    /// Not allowed.
    Unauthorised,
    /// Not there.
    NotFound,
    /// What came is wrong: digest, size, form.
    Invalid,
    /// The registry, or this client, does not do it.
    Refused,
    /// A fault of this machine.
    Local,
    /// Told to stop.
    Cancelled,
}

impl RegistryError {
    /// The kind.
    pub(crate) fn kind(&self) -> RegistryErrorKind {
        use RegistryErrorKind as Kind;
        match self {
            Self::Unreachable { cause, .. } => match cause {
                HttpError::TooLong(_) => Kind::Invalid,
                HttpError::Redirect { .. } | HttpError::Redirects(_) | HttpError::Location => Kind::Refused,
                _ => Kind::Unavailable,
            },
            Self::Answered { status, .. } if status.as_u16() == 404 => Kind::NotFound,
            Self::Answered { status, .. } if is_transient(*status) || status.is_server_error() => {
                Kind::Unavailable
            }
            Self::Answered { .. } | Self::Refused { .. } | Self::BlobsUnknown { .. } => Kind::Refused,
            Self::Unauthorised { .. } => Kind::Unauthorised,
            Self::Credential(_) => Kind::Unauthorised,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Source { .. } | Self::Settings(_) => Kind::Local,
            Self::Cancelled(_) => Kind::Cancelled,
        }
    }

    /// The registry's error inside an I/O error of a [`super::BlobReader`].
    #[cfg(test)]
    pub(crate) fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

fn tried(tries: usize) -> String {
    if tries > 1 { format!(", {tries} tries") } else { String::new() }
}

fn listed(digests: &BTreeSet<Digest>) -> String {
    if digests.is_empty() {
        return String::new();
    }
    format!(": {}", digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(", "))
}

/// What a registry says in the body of an error (distribution-spec, "Error Codes").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Codes like `MANIFEST_UNKNOWN`.
    pub(crate) codes: Vec<String>,
    text: String,
    digests: BTreeSet<Digest>,
}

#[derive(Deserialize)]
struct Body {
    // OAuth 2 token servers answer with these instead.
    error: Option<Value>,
    error_description: Option<String>,
    // Some token servers answer so.
    details: Option<String>,
    message: Option<String>,
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    detail: Value,
}

impl Said {
    /// Read an error's body. What is not the specification's JSON is quoted when it is plain text.
    pub(crate) fn parse(body: &[u8], content_type: &str) -> Self {
        let Ok(parsed) = serde_json::from_slice::<Body>(body) else {
            // HTML pages of proxies say nothing in a line.
            let text = std::str::from_utf8(body).unwrap_or_default();
            let plain = !content_type.contains("html") && !text.trim_start().starts_with('<');
            return Self {
                text: if plain { printable(text, QUOTE) } else { String::new() },
                ..Self::default()
            };
        };
        let mut said = Self::default();
        let mut texts = Vec::new();
        for entry in parsed.errors.iter().take(8) {
            if let Some(code) = entry.code.as_str() {
                said.codes.push(printable(code, 60));
            }
            texts.extend(
                entry.message.as_str().filter(|text| !text.is_empty()).map(|text| printable(text, QUOTE)),
            );
            said.collect_digests(&entry.detail);
            said.collect_digests(&entry.message);
        }
        let others =
            [parsed.error_description.as_deref(), parsed.message.as_deref(), parsed.details.as_deref()];
        let error = parsed.error.as_ref().and_then(Value::as_str);
        texts.extend(others.into_iter().flatten().chain(error).next().map(|text| printable(text, QUOTE)));
        texts.dedup();
        said.text = printable(&texts.join(", "), QUOTE);
        said
    }

    /// Whether the registry gave this code.
    pub(crate) fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }

    /// The digests that the registry named.
    pub(crate) fn digests(&self) -> &BTreeSet<Digest> {
        &self.digests
    }

    fn collect_digests(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
                self.digests.extend(words.filter_map(|word| word.parse::<Digest>().ok()));
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect_digests(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.collect_digests(field)),
            _ => {}
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.text.as_str(), self.codes.first()) {
            ("", None) => Ok(()),
            ("", Some(code)) => write!(f, ": {code}"),
            (text, None) => write!(f, ": {text}"),
            (text, Some(code)) => write!(f, ": {text} ({code})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_words_are_quoted_bounded_and_on_one_line() {
        let body = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such\nrepository","detail":{"name":"a/b"}}]}"#;
        let said = Said::parse(body, "application/json");
        assert_eq!(said.to_string(), ": no such\\nrepository (NAME_UNKNOWN)");
        assert!(said.has("NAME_UNKNOWN"));
        let long = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "m".repeat(5000));
        assert!(Said::parse(long.as_bytes(), "").to_string().chars().count() < 320);
    }

    #[test]
    fn other_forms_of_answers_are_understood_or_left_out() {
        let shown = |body: &[u8], kind: &str| Said::parse(body, kind).to_string();
        assert_eq!(shown(b"", ""), "");
        assert_eq!(shown(b"slow down\n", "text/plain"), ": slow down");
        assert_eq!(shown(b"<html>no</html>", "text/html"), "");
        assert_eq!(
            shown(br#"{"details":"incorrect username or password"}"#, ""),
            ": incorrect username or password"
        );
        assert_eq!(shown(br#"{"error":"invalid_grant","error_description":"expired"}"#, ""), ": expired");
        assert_eq!(shown(br#"{"errors":[{"code":"DENIED"}]}"#, ""), ": DENIED");
        assert_eq!(shown(b"\xff\xfe", "application/octet-stream"), "");
    }

    #[test]
    fn digests_of_missing_blobs_are_found_wherever_they_are_named() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let body = format!(
            r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","detail":"{a}"}},
                {{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown: [{b}]","detail":{{"digest":"{a}"}}}}]}}"#
        );
        assert_eq!(Said::parse(body.as_bytes(), "").digests(), &BTreeSet::from([a, b]));
    }
}
