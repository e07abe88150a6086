//! What a token must allow: `repository:team/app:pull,push`.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::Repository;

/// Actions by resource (`repository:team/app` → `pull`, `push`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Reading from `repository`.
    pub(crate) fn pull(repository: &Repository) -> Self {
        Self::default().and(repository, &["pull"])
    }

    /// Writing to `repository`. Reading is asked for along with it: some token servers know no push alone.
    pub(crate) fn push(repository: &Repository) -> Self {
        Self::default().and(repository, &["pull", "push"])
    }

    /// Deleting from `repository`.
    pub(crate) fn delete(repository: &Repository) -> Self {
        Self::default().and(repository, &["delete", "pull"])
    }

    /// Writing to `target` what is read from `source`.
    pub(crate) fn mount(target: &Repository, source: &Repository) -> Self {
        Self::push(target).and(source, &["pull"])
    }

    fn and(mut self, repository: &Repository, actions: &[&str]) -> Self {
        let resource = format!("repository:{}", repository.path());
        self.0.entry(resource).or_default().extend(actions.iter().map(|action| (*action).to_owned()));
        self
    }

    /// These and what a challenge's `scope` names: `repository:a:pull repository:b:pull,push`.
    pub(crate) fn with_challenge(mut self, scope: &str) -> Self {
        for item in scope.split_ascii_whitespace() {
            if let Some((resource, actions)) = item.rsplit_once(':') {
                self.0
                    .entry(resource.to_owned())
                    .or_default()
                    .extend(actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned));
            }
        }
        self
    }

    /// One text per resource, as the `scope` parameters of a token request.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            format!("{resource}:{}", actions.iter().map(String::as_str).collect::<Vec<_>>().join(","))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scopes: &Scopes) -> Vec<String> {
        scopes.texts().collect()
    }

    #[test]
    fn a_mount_reads_the_source_and_writes_the_target() {
        let (a, b) = ("r.example/team/a".parse().unwrap(), "r.example/b".parse().unwrap());
        assert_eq!(texts(&Scopes::mount(&a, &b)), ["repository:b:pull", "repository:team/a:pull,push"]);
        assert_eq!(texts(&Scopes::mount(&a, &a)), ["repository:team/a:pull,push"]);
    }

    #[test]
    fn what_a_challenge_names_is_added_and_not_repeated() {
        let a = "r.example/team/a".parse().unwrap();
        let scopes = Scopes::push(&a).with_challenge("repository:team/a:pull registry:catalog:*");
        assert_eq!(texts(&scopes), ["registry:catalog:*", "repository:team/a:pull,push"]);
    }
}
