//! Which commit a name means.

use super::program::Place;
use super::source::is_commit;
use super::{Git, GitSource};
use crate::context::remote::RemoteError;
use crate::ctx::Ctx;

/// A commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its full object name.
    pub(crate) id: String,
    /// The ref that named it, `refs/heads/main`; `None` when it was named by itself.
    pub(super) name: Option<String>,
    /// The tag object that led to it.
    pub(super) tag: Option<String>,
}

impl Git {
    /// The commit that `source` means. Asks the other side, unless the reference is a commit.
    pub(crate) async fn resolve(&self, ctx: &Ctx, source: &GitSource) -> Result<Commit, RemoteError> {
        let commit = match source.commit() {
            Some(id) => Commit { id: id.to_owned(), name: None, tag: None },
            None => self.ask(ctx, source).await?,
        };
        if let Some(checksum) = &source.checksum
            && !commit.id.starts_with(checksum)
            && !commit.tag.as_ref().is_some_and(|tag| tag.starts_with(checksum))
        {
            let reason = format!("its commit is {} and not {checksum}", commit.id);
            return Err(RemoteError::Repository { remote: source.shown(), reason });
        }
        Ok(commit)
    }

    async fn ask(&self, ctx: &Ctx, source: &GitSource) -> Result<Commit, RemoteError> {
        let missing = |reason: String| RemoteError::Repository { remote: source.shown(), reason };
        let place = Place::default();
        let wanted = match &source.reference {
            Some(reference) => names(reference),
            None => vec!["HEAD".to_owned()],
        };
        let mut arguments = vec!["ls-remote", "--symref", "--", &source.address];
        let peeled: Vec<String> = wanted.iter().map(|name| format!("{name}^{{}}")).collect();
        arguments.extend(wanted.iter().chain(&peeled).map(String::as_str));
        let told = self.talk(ctx, source, &place, &arguments).await?;
        let told = told.map_err(|failed| failed.into_error(source))?;
        let told = String::from_utf8_lossy(&told);
        match chosen(&told, &wanted) {
            Some(commit) if is_commit(&commit.id) => Ok(commit),
            Some(commit) => Err(missing(format!("the other side answered {:?} for a commit", commit.id))),
            None => Err(missing(match &source.reference {
                Some(reference) => format!("it has no branch or tag `{reference}`"),
                None => "it has no default branch: name one after #".to_owned(),
            })),
        }
    }
}

/// The refs that a short name may mean, the first that exists counts: a full name, then a branch, then a tag.
fn names(reference: &str) -> Vec<String> {
    let bare = |prefix: &str| reference.strip_prefix(prefix).unwrap_or(reference).to_owned();
    let mut names = vec![format!("refs/{}", bare("refs/"))];
    for (prefix, other) in [("refs/heads/", "refs/tags/"), ("refs/tags/", "refs/heads/")] {
        if !reference.starts_with(other) {
            names.push(format!("{prefix}{}", bare(prefix)));
        }
    }
    names.dedup();
    names
}

/// The first of `wanted` that the output of `git ls-remote --symref` knows.
fn chosen(told: &str, wanted: &[String]) -> Option<Commit> {
    let lines = || told.lines().filter_map(|line| line.split_once('\t'));
    let object = |name: &str| {
        lines().find(|(id, told)| *told == name && !id.starts_with("ref: ")).map(|(id, _)| id.to_owned())
    };
    wanted.iter().find_map(|name| {
        let id = object(name)?;
        let target = lines().find_map(|(id, told)| id.strip_prefix("ref: ").filter(|_| told == name));
        let name = target.unwrap_or(name).to_owned();
        let name = Some(name).filter(|name| name.starts_with("refs/"));
        // An annotated tag is an object of its own; behind it is the commit.
        Some(match object(&format!("{}^{{}}", name.as_deref().unwrap_or_default())) {
            Some(commit) => Commit { id: commit, name, tag: Some(id) },
            None => Commit { id, name, tag: None },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(told: &str, reference: &str) -> Option<(String, Option<String>)> {
        chosen(told, &names(reference)).map(|commit| (commit.id, commit.name))
    }

    fn found(id: &str, name: &str) -> Option<(String, Option<String>)> {
        Some((id.to_owned(), Some(name.to_owned())))
    }

    #[test]
    fn a_branch_is_meant_before_a_tag_and_a_full_name_before_both() {
        let told = "1\trefs/heads/v1\n2\trefs/tags/v1\n3\trefs/heads/heads/v1\n4\trefs/pull/7/head\n";
        assert_eq!(commit(told, "v1"), found("1", "refs/heads/v1"));
        assert_eq!(commit(told, "refs/tags/v1"), found("2", "refs/tags/v1"));
        assert_eq!(commit(told, "tags/v1"), found("2", "refs/tags/v1"));
        assert_eq!(commit(told, "pull/7/head"), found("4", "refs/pull/7/head"));
        assert_eq!(commit(told, "v"), None);
    }

    #[test]
    fn behind_an_annotated_tag_is_its_commit() {
        let told = "aa\trefs/tags/v1\nbb\trefs/tags/v1^{}\n";
        let commit = chosen(told, &names("v1")).unwrap();
        assert_eq!((commit.id.as_str(), commit.tag.as_deref()), ("bb", Some("aa")));
    }

    #[test]
    fn head_is_the_branch_that_it_points_to() {
        let told = "ref: refs/heads/trunk\tHEAD\n7f\tHEAD\n";
        let commit = chosen(told, &["HEAD".to_owned()]).unwrap();
        assert_eq!((commit.id.as_str(), commit.name.as_deref()), ("7f", Some("refs/heads/trunk")));
    }
}
