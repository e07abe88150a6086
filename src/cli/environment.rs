//! The environment variables, taken once, and what follows from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use ocistage::ErrorKind;

use super::failure::Failure;

/// The environment at the start. Variables that are not UTF-8 are left out: none that we read may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

/// Variables that tell programs how to reach the network; every RUN sees them, in both cases, as with Docker.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

impl Environment {
    /// This process's.
    pub(crate) fn of_process() -> Environment {
        let pairs =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Environment(pairs.collect())
    }

    /// One with these variables, for tests.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    /// The value of `name`, also when it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name` when there is something in it.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.filled(name).map(PathBuf::from)
    }

    /// The proxy variables that are set, under the names they are set by.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        PROXIES
            .iter()
            .flat_map(|name| [(*name).to_owned(), name.to_uppercase()])
            .filter_map(|name| self.0.get_key_value(&name))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What the `git` program needs of the environment: where programs and the user's settings are, how to
    /// reach the network, and who may speak for the user.
    pub(crate) fn for_git(&self) -> BTreeMap<String, String> {
        const NAMES: [&str; 16] = [
            "PATH",
            "HOME",
            "XDG_CONFIG_HOME",
            "USER",
            "LOGNAME",
            "TMPDIR",
            "SSH_AUTH_SOCK",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_SSH_VARIANT",
            "GIT_ASKPASS",
            "GIT_SSL_CAINFO",
            "GIT_SSL_CAPATH",
            "GIT_CONFIG_GLOBAL",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ];
        let named = NAMES.iter().filter_map(|name| Some((*name, self.filled(name)?)));
        named.chain(self.proxies()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The directories of PATH.
    pub(crate) fn search_path(&self) -> Vec<PathBuf> {
        self.filled("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
    }

    /// Files that may hold registry credentials, the first asked first. `explicit` is `--authfile`.
    /// `inline` is where the text of `DOCKER_AUTH_CONFIG` was put, when there is one.
    pub(crate) fn auth_files(&self, explicit: Option<&Path>, inline: Option<PathBuf>) -> Vec<PathBuf> {
        let home = self.path("HOME");
        let docker = self.path("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
        let config = self.path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let containers = |folder: PathBuf| folder.join("containers/auth.json");
        [
            explicit.map(Path::to_owned),
            self.path("REGISTRY_AUTH_FILE"),
            inline,
            self.path("XDG_RUNTIME_DIR").map(containers),
            config.map(containers),
            docker.map(|folder| folder.join("config.json")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The file that a credential is kept in: of those that may hold one, the first that belongs to the containers
    /// tools. `explicit` is `--authfile`.
    pub(crate) fn login_file(&self, explicit: Option<&Path>) -> Result<PathBuf, Failure> {
        let run = self.path("XDG_RUNTIME_DIR");
        let config = || self.path("XDG_CONFIG_HOME").or_else(|| Some(self.path("HOME")?.join(".config")));
        let named = explicit.map(Path::to_owned).or_else(|| self.path("REGISTRY_AUTH_FILE"));
        named.or_else(|| Some(run.or_else(config)?.join("containers/auth.json"))).ok_or_else(|| {
            Failure::new(ErrorKind::Environment, "no place for credentials: HOME is not set")
                .hint("give a file with --authfile")
        })
    }

    /// Whether this is a pull request whose code comes from another repository than the one it is for: what it
    /// builds is not to be found by others. Known of GitHub's runners and GitLab's.
    pub(crate) fn is_fork(&self) -> bool {
        let differ =
            |one: Option<&str>, other: Option<&str>| matches!((one, other), (Some(a), Some(b)) if a != b);
        let github = self.get("GITHUB_EVENT_NAME").is_some_and(|name| name.starts_with("pull_request"));
        if github {
            let event = self.path("GITHUB_EVENT_PATH").and_then(|path| fs::read(path).ok());
            let event: Option<Value> = event.and_then(|text| serde_json::from_slice(&text).ok());
            let name = |side: &str| {
                Some(
                    event
                        .as_ref()?
                        .get("pull_request")?
                        .get(side)?
                        .get("repo")?
                        .get("full_name")?
                        .as_str()?
                        .to_owned(),
                )
            };
            // A fork that was deleted since has no name.
            return event.is_some() && name("head") != name("base");
        }
        differ(self.filled("CI_MERGE_REQUEST_SOURCE_PROJECT_ID"), self.filled("CI_MERGE_REQUEST_PROJECT_ID"))
    }

    /// Where state is kept between builds. `explicit` is `--state-dir`.
    pub(crate) fn state_dir(&self, explicit: Option<&Path>) -> Result<PathBuf, Failure> {
        if let Some(dir) = explicit {
            return Ok(dir.to_owned());
        }
        // The XDG specification says that a relative path in its variables is to be ignored.
        let xdg = self.path("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let base = xdg.or_else(|| self.path("HOME").map(|home| home.join(".local/state")));
        base.map(|base| base.join("ocistage")).ok_or_else(|| {
            Failure::new(ErrorKind::Environment, "no place for state: neither HOME nor XDG_STATE_HOME is set")
                .hint("give a folder with --state-dir, or set OCISTAGE_STATE_DIR")
        })
    }

    /// Where big things that do not outlive the process go: `TMPDIR`, else `/var/tmp`, because `/tmp` is often memory.
    pub(crate) fn temporary_dir(&self) -> PathBuf {
        self.path("TMPDIR").unwrap_or_else(|| {
            let disk = Path::new("/var/tmp");
            if disk.is_dir() { disk.to_owned() } else { PathBuf::from("/tmp") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<PathBuf> {
        list.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn credentials_are_sought_from_the_most_explicit_place_to_the_least() {
        let environment = Environment::of(&[
            ("HOME", "/home/u"),
            ("REGISTRY_AUTH_FILE", "/r.json"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
        ]);
        assert_eq!(
            environment.auth_files(Some(Path::new("/a.json")), Some(PathBuf::from("/inline"))),
            paths(&[
                "/a.json",
                "/r.json",
                "/inline",
                "/run/user/1/containers/auth.json",
                "/home/u/.config/containers/auth.json",
                "/home/u/.docker/config.json",
            ])
        );
    }

    #[test]
    fn a_credential_is_kept_where_it_is_sought_first() {
        let environment = Environment::of(&[("HOME", "/home/u"), ("DOCKER_CONFIG", "/d")]);
        let file = |environment: &Environment| environment.login_file(None).unwrap();
        assert_eq!(file(&environment), Path::new("/home/u/.config/containers/auth.json"));
        assert_eq!(Some(&file(&environment)), environment.auth_files(None, None).first());
        let environment = Environment::of(&[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/1")]);
        assert_eq!(file(&environment), Path::new("/run/user/1/containers/auth.json"));
        assert_eq!(environment.login_file(Some(Path::new("/a"))).unwrap(), Path::new("/a"));
        let environment = Environment::of(&[("HOME", "/home/u"), ("REGISTRY_AUTH_FILE", "/r.json")]);
        assert_eq!(file(&environment), Path::new("/r.json"));
        assert!(Environment::default().login_file(None).is_err());
    }

    #[test]
    fn a_pull_request_from_another_repository_is_a_fork_s() {
        let folder = tempfile::tempdir().unwrap();
        let github = |head: &str| {
            let path = folder.path().join("event.json");
            let event = format!(
                r#"{{"pull_request":{{"head":{{"repo":{head}}},"base":{{"repo":{{"full_name":"o/app"}}}}}}}}"#
            );
            fs::write(&path, event).unwrap();
            Environment::of(&[
                ("GITHUB_EVENT_NAME", "pull_request"),
                ("GITHUB_EVENT_PATH", path.to_str().unwrap()),
            ])
        };
        assert!(github(r#"{"full_name":"stranger/app"}"#).is_fork());
        assert!(github("null").is_fork());
        assert!(!github(r#"{"full_name":"o/app"}"#).is_fork());
        let gitlab = |source: &str| {
            Environment::of(&[
                ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", source),
                ("CI_MERGE_REQUEST_PROJECT_ID", "7"),
            ])
        };
        assert!(gitlab("8").is_fork());
        assert!(!gitlab("7").is_fork());
        assert!(!Environment::of(&[("GITHUB_EVENT_NAME", "push")]).is_fork());
        assert!(!Environment::default().is_fork());
    }

    #[test]
    fn docker_config_stands_in_for_the_one_in_the_home_directory() {
        let environment = Environment::of(&[("HOME", "/home/u"), ("DOCKER_CONFIG", "/d")]);
        assert_eq!(
            environment.auth_files(None, None),
            paths(&["/home/u/.config/containers/auth.json", "/d/config.json"])
        );
    }

    #[test]
    fn state_lies_where_the_flag_or_xdg_says() {
        let environment = Environment::of(&[("HOME", "/home/u")]);
        assert_eq!(environment.state_dir(None).unwrap(), Path::new("/home/u/.local/state/ocistage"));
        assert_eq!(environment.state_dir(Some(Path::new("x"))).unwrap(), Path::new("x"));
        let xdg = Environment::of(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/s")]);
        assert_eq!(xdg.state_dir(None).unwrap(), Path::new("/s/ocistage"));
        assert_eq!(Environment::default().state_dir(None).unwrap_err().kind, ErrorKind::Environment);
    }

    #[test]
    fn proxies_are_found_in_both_cases_and_empty_ones_are_not() {
        let environment =
            Environment::of(&[("http_proxy", "a"), ("HTTPS_PROXY", "b"), ("no_proxy", ""), ("OTHER", "c")]);
        let found: Vec<_> = environment.proxies().collect();
        assert_eq!(found, [("http_proxy", "a"), ("HTTPS_PROXY", "b")]);
    }
}
