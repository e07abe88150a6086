//! Values that cannot print their secrets.

use std::fmt;

use url::Url;

/// A password or token. Its contents are only to be had by name, never by formatting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Secret(String);

impl Secret {
    /// Take `text` into custody.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a header or a form body and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A URL as messages may show it: without user, password, query values and fragment.
///
/// Queries carry upload state and signatures, so a query is shown as `?…`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SafeUrl(String);

impl SafeUrl {
    /// The showable side of `url`.
    pub(crate) fn new(url: &Url) -> Self {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let query = if url.query().is_some() { "?…" } else { "" };
        let host = url.host_str().unwrap_or_default();
        Self(format!("{}://{host}{port}{}{query}", url.scheme(), url.path()))
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a server said, fit for a message: at most `limit` characters, control characters escaped, one line.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for (index, character) in text.trim().chars().enumerate() {
        if index == limit {
            shown.push('…');
            break;
        }
        // Directional marks can make a line read as another one.
        let misleading =
            matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || misleading {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_shows_user_password_query_or_fragment() {
        let url = Url::parse("https://user:pa55@host.example:5001/v2/a/blobs?X-Sig=s3cret#frag").unwrap();
        for shown in [SafeUrl::new(&url).to_string(), format!("{:?}", SafeUrl::new(&url))] {
            assert_eq!(shown, "https://host.example:5001/v2/a/blobs?…");
        }
    }

    #[test]
    fn a_secret_does_not_format_as_itself() {
        assert_eq!(format!("{:?}", Secret::new("pa55")), "Secret(…)");
    }

    #[test]
    fn what_a_server_says_is_bounded_and_without_control_characters() {
        assert_eq!(printable("a\u{1b}[2Jb\nc", 100), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("a\u{202e}b", 9), "a\\u{202e}b");
    }
}
