//! What a source of ADD is when it is not a path of the context (BuildKit, `dfgitutil.ParseGitRef`).
//!
//! `git://…`, `ssh://…` and `user@host:path` are git repositories; so is `http(s)://….git`, with `#ref:subdir`
//! or a query behind it. Any other http(s) URL is one file. `github.com/x/y` is a path: a folder can have
//! that name.

/// What is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// One file.
    Url,
    /// A git repository.
    Git(Git),
}

/// A git repository as a source names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Git {
    /// The repository's address, without fragment and query.
    pub(crate) remote: String,
    /// Branch, tag or commit.
    pub(crate) reference: Option<String>,
    /// The folder of the repository.
    pub(crate) subdir: Option<String>,
    /// The commit that it must be.
    pub(crate) checksum: Option<String>,
    /// Whether `.git` is kept.
    pub(crate) keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too; they are unless told otherwise.
    pub(crate) submodules: Option<bool>,
}

/// What `source` is; `None` is a path of the context.
pub(crate) fn remote(source: &str) -> Result<Option<Remote>, String> {
    if let Some((scheme, rest)) = source.split_once("://") {
        return match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => git(source).map(|git| Some(Remote::Git(git))),
            "http" | "https" => {
                let path = rest.split(['#', '?']).next().unwrap_or_default();
                if path.contains('/') && path.ends_with(".git") {
                    git(source).map(|git| Some(Remote::Git(git)))
                } else {
                    Ok(Some(Remote::Url))
                }
            }
            _ => Ok(None),
        };
    }
    if is_scp(source) {
        return git(source).map(|git| Some(Remote::Git(git)));
    }
    Ok(None)
}

/// `git@github.com:owner/repo`
fn is_scp(source: &str) -> bool {
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let Some((user, rest)) = source.split_once('@') else { return false };
    rest.split_once(':').is_some_and(|(host, path)| is_name(user) && is_name(host) && !path.is_empty())
}

fn git(source: &str) -> Result<Git, String> {
    let (address, fragment) = match source.split_once('#') {
        Some((address, fragment)) => (address, Some(fragment)),
        None => (source, None),
    };
    let (remote, query) = match address.split_once('?') {
        Some((remote, query)) => (remote, Some(query)),
        None => (address, None),
    };
    let mut git = Git { remote: remote.to_owned(), ..Git::default() };
    if let Some(fragment) = fragment {
        let (reference, subdir) = match fragment.split_once(':') {
            Some((reference, subdir)) => (reference, Some(subdir)),
            None => (fragment, None),
        };
        git.reference = not_empty(reference);
        git.subdir = subdir.and_then(not_empty);
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(&mut git, key, &decoded(value))?;
    }
    if let Some(subdir) = &git.subdir
        && subdir.split('/').any(|part| part == "..")
    {
        return Err(format!("the folder `{subdir}` leaves the repository"));
    }
    Ok(git)
}

fn set(git: &mut Git, key: &str, value: &str) -> Result<(), String> {
    let place = match key {
        "ref" | "branch" | "tag" => {
            let value = match key {
                "branch" => format!("refs/heads/{}", value.trim_start_matches("refs/heads/")),
                "tag" => format!("refs/tags/{}", value.trim_start_matches("refs/tags/")),
                _ => value.to_owned(),
            };
            return fill(&mut git.reference, "ref", not_empty(&value));
        }
        "subdir" => &mut git.subdir,
        "checksum" | "commit" => &mut git.checksum,
        "keep-git-dir" | "submodules" => {
            let value = switch(value).ok_or_else(|| format!("{key} is true or false, not `{value}`"))?;
            let place = if key == "submodules" { &mut git.submodules } else { &mut git.keep_git_dir };
            *place = Some(value);
            return Ok(());
        }
        _ => return Err(format!("unknown key `{key}` in the query of a git source")),
    };
    fill(place, key, not_empty(value))
}

fn fill(place: &mut Option<String>, key: &str, value: Option<String>) -> Result<(), String> {
    if place.is_some() && *place != value {
        return Err(format!("the source gives two values for {key}"));
    }
    *place = value;
    Ok(())
}

/// A truth value as Go reads them; a key without a value is one too.
fn switch(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Without the percent signs of URLs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(source: &str) -> Git {
        match remote(source) {
            Ok(Some(Remote::Git(git))) => git,
            other => panic!("{source}: {other:?}"),
        }
    }

    #[test]
    fn paths_urls_and_repositories_are_told_apart() {
        for path in ["a", "./a.git", "github.com/x/y.git", "a@b", "ftp://h/x", "a:b", "@h:p", "u@:p"] {
            assert_eq!(remote(path), Ok(None), "{path}");
        }
        for url in ["http://h/a.tar", "https://h/x?f=.git", "HTTPS://h/git", "https://x.git"] {
            assert_eq!(remote(url), Ok(Some(Remote::Url)), "{url}");
        }
        for git in ["git://h/x", "ssh://git@h/x", "git@h:x/y.git", "https://h/x.git", "http://h/x.git#v1"] {
            assert!(matches!(remote(git), Ok(Some(Remote::Git(_)))), "{git}");
        }
    }

    #[test]
    fn a_fragment_names_reference_and_folder() {
        let git = parsed("https://h/x.git#v1:docs/a");
        assert_eq!(git.remote, "https://h/x.git");
        assert_eq!((git.reference.as_deref(), git.subdir.as_deref()), (Some("v1"), Some("docs/a")));
        let git = parsed("git@h:x.git#:docs");
        assert_eq!((git.reference, git.subdir.as_deref()), (None, Some("docs")));
    }

    #[test]
    fn a_query_names_the_same_and_more() {
        let git =
            parsed("https://h/x.git?tag=v1&subdir=a%20b&checksum=0123456&keep-git-dir=true&submodules=0");
        assert_eq!(git.submodules, Some(false));
        assert_eq!(git.reference.as_deref(), Some("refs/tags/v1"));
        assert_eq!(git.subdir.as_deref(), Some("a b"));
        assert_eq!((git.checksum.as_deref(), git.keep_git_dir), (Some("0123456"), Some(true)));
        assert_eq!(git.submodules, Some(false));
        for wrong in ["https://h/x.git?x=1", "https://h/x.git?ref=a#b", "https://h/x.git#a:../b"] {
            assert!(remote(wrong).is_err(), "{wrong}");
        }
    }
}
