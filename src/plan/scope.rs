//! Variables: what a word may use, and how it is expanded with its place kept for messages.

use crate::dockerfile::{ExpandError, Quotes, Word, expand, expand_words};
use crate::oci::Platform;
use crate::text::{Diagnostic, Span};

/// Variables in order of first definition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    list: Vec<(String, String)>,
}

impl Variables {
    /// Set a variable; its place in the order stays.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.list.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.list.push((name.to_owned(), value.into())),
        }
    }

    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All as owned pairs, in order.
    pub(crate) fn to_vec(&self) -> Vec<(String, String)> {
        self.list.clone()
    }
}

/// The platform arguments that exist before any ARG, in the global scope only
/// (BuildKit, `dockerfile2llb/platform.go`).
pub(crate) fn platform_arguments(
    build: &Platform,
    target: &Platform,
    stage: &str,
) -> Vec<(&'static str, String)> {
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let version = |platform: &Platform| platform.os_version.clone().unwrap_or_default();
    vec![
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", version(build)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", version(target)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", stage.to_owned()),
    ]
}

/// Proxy variables reach RUN without an ARG and stay out of keys and history (semantics of `docker build`).
pub(crate) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Expands words against some variables and collects what is wrong.
pub(crate) struct Expander<'a> {
    /// The file's escape character.
    pub(crate) escape: char,
    /// Where findings go.
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Expander<'_> {
    /// `word` as one text. What can not be expanded is reported and comes back empty.
    pub(crate) fn text(&mut self, word: &Word, variables: &Variables) -> String {
        self.expand(&word.text, word.span, variables, self.escape, Quotes::Remove)
    }

    /// A heredoc's body: quotes stay, and the escape character is always a backslash.
    pub(crate) fn body(&mut self, text: &str, span: Span, variables: &Variables) -> String {
        self.expand(text, span, variables, '\\', Quotes::Keep)
    }

    /// `word` as several texts.
    pub(crate) fn words(&mut self, word: &Word, variables: &Variables) -> Vec<String> {
        match expand_words(&word.text, self.escape, &lookup(variables)) {
            Ok(expansion) => {
                self.unset(&expansion.unset, word.span, variables);
                expansion.text
            }
            Err(error) => {
                self.refuse(&error, word.span);
                Vec::new()
            }
        }
    }

    fn expand(
        &mut self,
        text: &str,
        span: Span,
        variables: &Variables,
        escape: char,
        quotes: Quotes,
    ) -> String {
        match expand(text, escape, &lookup(variables), quotes) {
            Ok(expansion) => {
                self.unset(&expansion.unset, span, variables);
                expansion.text
            }
            Err(error) => {
                self.refuse(&error, span);
                String::new()
            }
        }
    }

    fn refuse(&mut self, error: &ExpandError, span: Span) {
        self.diagnostics.push(Diagnostic::error("bad-substitution", error.to_string()).at(span));
    }

    fn unset(&mut self, names: &[String], span: Span, variables: &Variables) {
        for name in names {
            // What the command's own shell knows is no mistake of the builder's variables.
            if PROXIES.contains(&name.as_str()) {
                continue;
            }
            let mut warning =
                Diagnostic::warning("UndefinedVar", format!("usage of undefined variable `${name}`"))
                    .at(span);
            let known = variables.iter().map(|(known, _)| known);
            if let Some(near) = crate::text::suggest(name, known) {
                warning = warning.help(format!("did you mean `${near}`?"));
            }
            self.diagnostics.push(warning);
        }
    }
}

fn lookup(variables: &Variables) -> impl Fn(&str) -> Option<String> {
    move |name| variables.get(name).map(str::to_owned)
}
