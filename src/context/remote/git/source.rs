//! Addresses of repositories.

use url::Url;

use super::Commit;
use crate::context::remote::{RemoteError, RemoteSecrets};
use crate::http::{Origin, Secret, names_metadata};
use crate::text::without_userinfo;
use crate::tree::ImagePath;

/// A commit's files, as somebody asks for them.
#[derive(Clone, Debug)]
pub(crate) struct GitSource {
    /// The address that git is given. Without a password, and without a user where that may be a secret.
    pub(super) address: String,
    /// User and password, when the address had them.
    pub(super) login: Option<Login>,
    /// The value of the header by which its server knows us.
    pub(super) header: Option<Secret>,
    /// Branch, tag, full name of a ref, or commit; `None` is the default branch.
    pub(super) reference: Option<String>,
    /// The folder whose files are meant; the root is all.
    pub(super) subdir: ImagePath,
    /// How the commit begins.
    pub(super) checksum: Option<String>,
    /// Whether `.git` is kept.
    pub(super) keep_git_dir: bool,
    /// Whether submodules are fetched too.
    pub(super) submodules: bool,
}

/// A user and a password.
pub(super) type Login = (Secret, Secret);

/// What is asked of a repository besides its address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Branch, tag or commit.
    pub(crate) reference: Option<&'a str>,
    /// A folder of the repository.
    pub(crate) subdir: Option<&'a str>,
    /// How the commit must begin, in hexadecimal digits.
    pub(crate) checksum: Option<&'a str>,
    /// Whether `.git` is kept.
    pub(crate) keep_git_dir: bool,
    /// Whether submodules are left out.
    pub(crate) no_submodules: bool,
}

impl GitSource {
    /// What `asked` means in the repository at `remote`, a URL or `user@host:path`.
    pub(crate) fn new(remote: &str, asked: Asked<'_>) -> Result<Self, RemoteError> {
        let wrong =
            |reason: String| RemoteError::Address { address: without_userinfo(remote).into_owned(), reason };
        if remote.starts_with('-') || remote.chars().any(char::is_control) {
            return Err(wrong("it is no address of a git repository".to_owned()));
        }
        let (address, login) = if remote.contains("://") {
            of_url(remote).map_err(|reason| wrong(reason.to_owned()))?
        } else if is_scp(remote) {
            (remote.to_owned(), None)
        } else {
            return Err(wrong("it is no address of a git repository".to_owned()));
        };
        if let Some(reference) = asked.reference
            && !is_reference(reference)
        {
            return Err(wrong(format!("`{reference}` is no name of a branch, tag or commit")));
        }
        let subdir = asked.subdir.unwrap_or_default();
        if subdir.split('/').any(|part| part == "..") || subdir.contains('\0') {
            return Err(wrong(format!("the folder `{subdir}` is not in the repository")));
        }
        let subdir = ImagePath::clamped(subdir);
        Ok(Self {
            address,
            login,
            header: None,
            reference: asked.reference.map(str::to_owned),
            // As BuildKit has it: a folder by itself has no history.
            keep_git_dir: asked.keep_git_dir && subdir.is_root(),
            subdir,
            checksum: asked.checksum.map(str::to_ascii_lowercase),
            submodules: !asked.no_submodules,
        })
    }

    /// The same with what `secrets` know of its server.
    pub(crate) fn with_secrets(mut self, secrets: &RemoteSecrets) -> Self {
        if self.login.is_none()
            && let Ok(url) = Url::parse(&self.address)
            && matches!(url.scheme(), "http" | "https")
        {
            self.header = secrets.for_repository(&url);
        }
        self
    }

    /// The address as messages show it.
    pub(crate) fn shown(&self) -> String {
        without_userinfo(&self.address).into_owned()
    }

    /// The ref by which `commit` was found, where that is part of what is fetched.
    pub(crate) fn kept_name<'c>(&self, commit: &'c Commit) -> Option<&'c str> {
        commit.name.as_deref().filter(|_| self.keep_git_dir)
    }

    /// `https://host:port`, which git's settings are for.
    pub(super) fn origin(&self) -> String {
        Url::parse(&self.address).map(|url| Origin::of(&url).to_string()).unwrap_or_default()
    }

    /// The commit, when the reference says it all.
    pub(super) fn commit(&self) -> Option<&str> {
        self.reference.as_deref().filter(|reference| is_commit(reference))
    }
}

/// Address and login of a URL.
fn of_url(remote: &str) -> Result<(String, Option<Login>), &'static str> {
    let mut url = Url::parse(remote).map_err(|_| "it is no URL")?;
    if !matches!(url.scheme(), "http" | "https" | "git" | "ssh") {
        return Err("repositories are fetched by https, http, ssh and git only");
    }
    // git and ssh take the address as it is, so a host that begins with a dash could be an option to ssh.
    match url.host_str() {
        None | Some("") => return Err("it has no host"),
        Some(host) if host.starts_with('-') => return Err("its host begins with a dash"),
        Some(_) => {}
    }
    if names_metadata(&url) {
        return Err("its address is link-local or a cloud's metadata service, which is not asked");
    }
    let secret = |text: &str| {
        let bytes = text.bytes().collect::<Vec<_>>();
        Secret::new(percent_decoded(&bytes))
    };
    let (user, password) = (url.username().to_owned(), url.password().unwrap_or_default().to_owned());
    let _ = url.set_password(None);
    let mut login = None;
    if matches!(url.scheme(), "http" | "https") {
        let _ = url.set_username("");
        if !user.is_empty() || !password.is_empty() {
            login = Some((secret(&user), secret(&password)));
        }
    } else if user.starts_with('-') {
        return Err("its user begins with a dash");
    }
    Ok((url.to_string(), login))
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &after[2..];
            }
            (byte, ..) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `git@github.com:owner/repo`
fn is_scp(remote: &str) -> bool {
    let is_name = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let Some((user, rest)) = remote.split_once('@') else { return false };
    rest.split_once(':').is_some_and(|(host, path)| is_name(user) && is_name(host) && !path.is_empty())
}

/// Whether a text can name a ref or a commit (git-check-ref-format).
fn is_reference(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !text.is_empty()
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !text.contains(forbidden)
        && !["..", "//", "@{", "/."].iter().any(|part| text.contains(part))
        && text != "@"
        && !text.split('/').any(|part| part.ends_with(".lock"))
}

/// A full object name, SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(remote: &str) -> Result<GitSource, RemoteError> {
        GitSource::new(remote, Asked::default())
    }

    fn asked(asked: Asked<'_>) -> Result<GitSource, RemoteError> {
        GitSource::new("https://h/x.git", asked)
    }

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        let git = source("https://us%40er:pa%3Ass@h.example:8443/x.git").unwrap();
        assert_eq!(git.address, "https://h.example:8443/x.git");
        let (user, password) = git.login.as_ref().unwrap();
        assert_eq!((user.expose(), password.expose()), ("us@er", "pa:ss"));
        assert!(!format!("{git:?}").contains("pa:ss"));
        assert_eq!(git.origin(), "https://h.example:8443");
        let git = source("ssh://git:secret@h/x").unwrap();
        assert_eq!((git.address.as_str(), git.login), ("ssh://git@h/x", None));
        assert_eq!(source("git@h:o/x.git").unwrap().address, "git@h:o/x.git");
    }

    #[test]
    fn addresses_that_could_be_options_commands_or_files_are_refused() {
        for remote in [
            "--upload-pack=touch x",
            "-x@h:p",
            "ext::sh -c touch% x",
            "file:///etc",
            "/etc/x.git",
            "ftp://h/x",
            "ssh://-oProxyCommand=touch/x",
            "ssh://-oProxyCommand=x@h/x",
            "http://169.254.169.254/x.git",
            "git@-h:x",
            "https://h/x.git\nfoo",
        ] {
            assert!(source(remote).is_err(), "{remote}");
        }
        let error = source("ftp://user:secret@h/x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn references_are_names_and_folders_stay_inside() {
        for reference in ["main", "v1.2", "refs/heads/a/b", "feature/x-y", "a@b", "1234567"] {
            assert!(asked(Asked { reference: Some(reference), ..Asked::default() }).is_ok(), "{reference}");
        }
        for reference in [
            "--upload-pack=touch x",
            "a..b",
            "HEAD~1",
            "a:b",
            "",
            "+a b",
            "a@{1}",
            ".a",
            "a/.b",
            "a.lock",
            "@",
        ] {
            assert!(asked(Asked { reference: Some(reference), ..Asked::default() }).is_err(), "{reference}");
        }
        for subdir in ["..", "a/../../b", "/..", "../../etc"] {
            assert!(asked(Asked { subdir: Some(subdir), ..Asked::default() }).is_err(), "{subdir}");
        }
        let folder = asked(Asked { subdir: Some("/a//b/./"), keep_git_dir: true, ..Asked::default() });
        let folder = folder.unwrap();
        assert_eq!((folder.subdir.to_string().as_str(), folder.keep_git_dir), ("/a/b", false));
    }
}
