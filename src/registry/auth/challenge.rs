//! `WWW-Authenticate` (RFC 9110, 11.6.1): how a registry wants to be told who asks.

use std::collections::BTreeMap;

/// One challenge: `Bearer realm="https://auth.example/token",service="registry.example"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme in lower case.
    pub(crate) scheme: String,
    /// Parameters by lower-case name.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// The challenges of all `WWW-Authenticate` headers, in order. What can not be read ends its header.
    pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut challenges = Vec::new();
        for header in headers {
            read_header(header, &mut challenges);
        }
        challenges
    }

    /// A parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// A word followed by `=` and a value belongs to the challenge before; any other word begins the next one.
fn read_header(header: &str, challenges: &mut Vec<Challenge>) {
    let before = challenges.len();
    let mut rest = header.trim_start_matches(separator);
    while let Some((word, after)) = token(rest) {
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        match (value.and_then(value_of), challenges.len() > before) {
            (Some((value, after)), true) => {
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                }
                rest = after;
            }
            (Some(_), false) => return,
            (None, _) => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
                // `Negotiate YII==`: a bare word after the scheme is data of no scheme that we speak.
                rest = after.trim_start_matches('=');
            }
        }
        rest = rest.trim_start_matches(separator);
    }
}

fn separator(character: char) -> bool {
    character == ',' || character.is_ascii_whitespace()
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| separator(c) || matches!(c, '=' | '"')).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A quoted string with its escapes undone, or a bare word.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(word, rest)| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(headers: &[&str]) -> Vec<(String, Vec<(String, String)>)> {
        Challenge::parse(headers.iter().copied())
            .into_iter()
            .map(|challenge| (challenge.scheme, challenge.parameters.into_iter().collect()))
            .collect()
    }

    fn expected(list: &[(&str, &[(&str, &str)])]) -> Vec<(String, Vec<(String, String)>)> {
        list.iter()
            .map(|(scheme, parameters)| {
                let parameters = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
                ((*scheme).to_owned(), parameters)
            })
            .collect()
    }

    #[test]
    fn a_bearer_challenge_has_realm_service_and_scope() {
        assert_eq!(
            parsed(&[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ]),
            expected(&[(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("scope", "repository:a/b:pull,push"),
                    ("service", "registry.docker.io")
                ]
            )])
        );
    }

    #[test]
    fn several_challenges_come_in_one_header_or_in_many() {
        let both = expected(&[("basic", &[("realm", "a")]), ("bearer", &[("realm", "b"), ("service", "c")])]);
        assert_eq!(parsed(&[r#"Basic realm="a", Bearer realm="b",service=c"#]), both);
        assert_eq!(parsed(&[r#"Basic realm="a""#, r#"bearer realm = "b" , service = "c""#]), both);
    }

    #[test]
    fn quotes_hide_commas_equal_signs_and_escapes() {
        assert_eq!(
            parsed(&[r#"Bearer realm="a,\"b\"=c\\", x=y"#]),
            expected(&[("bearer", &[("realm", "a,\"b\"=c\\"), ("x", "y")])])
        );
    }

    #[test]
    fn what_is_not_a_challenge_is_passed_over() {
        assert_eq!(parsed(&["", ",,", "realm=\"x\""]), vec![]);
        assert_eq!(parsed(&["Negotiate"]), expected(&[("negotiate", &[])]));
        // An open quote has no end to read to.
        assert_eq!(parsed(&["Bearer realm=\"x"])[0].1, vec![]);
    }
}
