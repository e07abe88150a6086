//! Variables: what a word may use, and how it is expanded with its place kept for messages.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{ExpandError, Quotes, Word, expand, expand_words};
use crate::oci::Platform;
use crate::text::{Diagnostic, Span, suggest};

/// Variables in order of first definition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    list: Vec<(String, String)>,
    places: BTreeMap<String, usize>,
    /// Declared by an ARG, whether or not it has a value.
    declared: BTreeSet<String>,
}

impl Variables {
    /// Set a variable; its place in the order stays.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        if let Some(place) = self.places.get(name) {
            self.list[*place].1 = value.into();
        } else {
            self.places.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), value.into()));
        }
    }

    /// Remember that an ARG names `name`: to use it is no mistake even while it has no value.
    pub(crate) fn declare(&mut self, name: &str) {
        self.declared.insert(name.to_owned());
    }

    /// Whether an ARG names `name`.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.list[*place].1.as_str())
    }

    /// Their names, in order, then those declared without a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let valued = self.list.iter().map(|(name, _)| name.as_str());
        valued.chain(self.declared.iter().map(String::as_str).filter(|name| self.get(name).is_none()))
    }

    /// All as owned pairs, in order.
    pub(crate) fn to_vec(&self) -> Vec<(String, String)> {
        self.list.clone()
    }

    /// All as `NAME=value`, in order.
    pub(crate) fn to_env(&self) -> Vec<String> {
        self.list.iter().map(|(name, value)| format!("{name}={value}")).collect()
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

/// Proxy variables reach RUN without an ARG and stay out of keys and history, unless an ARG names them
/// (semantics of `docker build`). Lower case; upper case is the same variable.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Whether `name` is a proxy variable, in lower or upper case.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// The proxy variables of `build_args` that no variable of the file stands for. Programs look for one
/// spelling or the other: where one is given, both are made.
pub(crate) fn proxies(build_args: &BTreeMap<String, String>, variables: &Variables) -> Vec<(String, String)> {
    let mut made = Vec::new();
    for proxy in PROXIES {
        let upper = proxy.to_ascii_uppercase();
        let given = |name: &str| build_args.get(name);
        for (name, other) in [(upper.as_str(), proxy), (proxy, upper.as_str())] {
            if let Some(value) = given(name).or_else(|| given(other))
                && variables.get(name).is_none()
            {
                made.push((name.to_owned(), value.clone()));
            }
        }
    }
    made
}

/// What the use of a variable without a value means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undefined<'a> {
    /// Nothing is said.
    Silent,
    /// In a FROM: `UndefinedArgInFrom`.
    InFrom,
    /// In a stage: `UndefinedVar`. The variables are those that an ARG without default would bring in.
    InStage(&'a Variables),
    /// In a stage whose base nobody has read. It may define the variable, so only what looks like a mistake
    /// of this file is one.
    UnknownBase(&'a Variables),
}

/// Expands words against some variables and collects what is wrong.
pub(crate) struct Expander<'a> {
    /// The file's escape character.
    pub(crate) escape: char,
    /// What is said of variables without a value.
    pub(crate) undefined: Undefined<'a>,
    /// Where findings go.
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Expander<'_> {
    /// `word` as one text. What can not be expanded is reported and comes back empty.
    pub(crate) fn text(&mut self, word: &Word, variables: &Variables) -> String {
        self.expand(&word.text, word.span, variables, self.escape, Quotes::Remove)
    }

    /// `word`, when there is one, as one text.
    pub(crate) fn optional(&mut self, word: Option<&Word>, variables: &Variables) -> Option<String> {
        word.map(|word| self.text(word, variables))
    }

    /// A heredoc's body: quotes stay, and the escape character is always a backslash.
    pub(crate) fn body(&mut self, text: &str, span: Span, variables: &Variables) -> String {
        self.expand(text, span, variables, '\\', Quotes::Keep)
    }

    /// `word` as several texts.
    pub(crate) fn words(&mut self, word: &Word, variables: &Variables) -> Vec<String> {
        let expanded = expand_words(&word.text, self.escape, &lookup(variables));
        self.finish(expanded.map(|expansion| (expansion.text, expansion.unset)), word.span, variables)
    }

    fn expand(
        &mut self,
        text: &str,
        span: Span,
        variables: &Variables,
        escape: char,
        quotes: Quotes,
    ) -> String {
        let expanded = expand(text, escape, &lookup(variables), quotes);
        self.finish(expanded.map(|expansion| (expansion.text, expansion.unset)), span, variables)
    }

    fn finish<T: Default>(
        &mut self,
        expanded: Result<(T, Vec<String>), ExpandError>,
        span: Span,
        variables: &Variables,
    ) -> T {
        match expanded {
            Ok((made, unset)) => {
                for name in unset.iter().filter(|name| !variables.is_declared(name)) {
                    self.diagnostics.extend(self.finding(name, span, variables));
                }
                made
            }
            Err(error) => {
                self.diagnostics.push(Diagnostic::error("bad-substitution", error.to_string()).at(span));
                T::default()
            }
        }
    }

    fn finding(&self, name: &str, span: Span, variables: &Variables) -> Option<Diagnostic> {
        let near = |skipped: &str| suggest(name, variables.names().filter(|known| *known != skipped));
        let in_stage =
            || Diagnostic::warning("UndefinedVar", format!("usage of undefined variable `${name}`")).at(span);
        let did_you_mean = |near: &str| format!("did you mean `${near}`?");
        match self.undefined {
            Undefined::Silent => None,
            Undefined::InFrom => {
                let message = format!("FROM argument `{name}` is not declared");
                let finding = Diagnostic::warning("UndefinedArgInFrom", message).at(span);
                Some(match near("") {
                    Some(near) => finding.help(did_you_mean(near)),
                    None => finding.help("declare it with ARG before the first FROM"),
                })
            }
            Undefined::InStage(globals) | Undefined::UnknownBase(globals)
                if globals.get(name).is_some() || globals.is_declared(name) =>
            {
                Some(in_stage().help(format!("bring it into the stage: `ARG {name}` after its FROM")))
            }
            Undefined::InStage(_) => Some(match near("") {
                Some(near) => in_stage().help(did_you_mean(near)),
                None => in_stage(),
            }),
            // GOPATH of a base is no slip of PATH, which every image has.
            Undefined::UnknownBase(_) => near("PATH").map(|near| in_stage().help(did_you_mean(near))),
        }
    }
}

fn lookup(variables: &Variables) -> impl Fn(&str) -> Option<String> {
    move |name| variables.get(name).map(str::to_owned)
}
