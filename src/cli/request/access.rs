//! How registries are reached, and as whom.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Read};

use console::Term;
use ocistage::oci::RegistryHost;
use ocistage::{ErrorKind, Password, RegistryRequest, SignIn};

use crate::cli::args::AccessOptions;
use crate::cli::context;
use crate::cli::environment::Environment;
use crate::cli::failure::Failure;
use crate::cli::spool::Spool;

/// Longest password that is read, in bytes. Access tokens have some KiB.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// What was typed about registries, with what the environment says of them. `targets` are the registries that
/// `--creds` can mean.
pub(crate) fn access(
    options: &AccessOptions,
    targets: &BTreeSet<RegistryHost>,
    environment: &Environment,
    held: &mut Vec<Spool>,
    warnings: &mut Vec<String>,
) -> Result<RegistryRequest, Failure> {
    if let Some(file) = &options.authfile
        && let Err(error) = std::fs::metadata(file)
    {
        // The places that are looked in by themselves may be missing, a file that was named may not.
        return Err(Failure::input(format!("--authfile `{}`: {}", file.display(), context::reason(&error))));
    }
    // Its value is the text of a config.json: GitLab's runners hand credentials over so.
    let inline = match environment.filled("DOCKER_AUTH_CONFIG") {
        Some(text) => {
            let spool = Spool::of(&mut text.as_bytes(), &environment.temporary_dir()).map_err(|error| {
                Failure::new(ErrorKind::Resources, format!("cannot keep DOCKER_AUTH_CONFIG: {error}"))
            })?;
            let path = spool.path();
            held.push(spool);
            Some(path)
        }
        None => None,
    };
    let mut credentials = Vec::new();
    // In the environment it may stand for other commands than this one.
    let meant = options.creds_typed || !targets.is_empty();
    if let Some(text) = options.creds.as_deref().filter(|text| !text.is_empty() && meant) {
        if options.creds_typed && text.contains(':') {
            warnings.push(
                "--creds: everybody on this machine can read a password on the command line: \
                 set OCISTAGE_CREDS, or use `ocistage login`"
                    .to_owned(),
            );
        }
        credentials.push(sign_in(text, targets)?);
    }
    Ok(RegistryRequest {
        credentials,
        auth_files: environment.auth_files(options.authfile.as_deref(), inline),
        helper_directories: environment.search_path(),
        proxies: environment.proxies().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        insecure: insecure(&options.insecure)?,
    })
}

/// `--insecure`
pub(crate) fn insecure(typed: &[String]) -> Result<Vec<RegistryHost>, Failure> {
    let host = |text: &String| text.parse().map_err(|error| Failure::input(format!("--insecure: {error}")));
    typed.iter().map(host).collect()
}

/// `USER[:PASSWORD]`, for the one registry of the image. Nothing of the text is repeated in messages.
fn sign_in(text: &str, targets: &BTreeSet<RegistryHost>) -> Result<SignIn, Failure> {
    let mut hosts = targets.iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.clone(),
        (None, _) => {
            return Err(Failure::input(
                "--creds: there is no image or cache in a registry that it could be for",
            )
            .hint("to sign in to a registry for good: ocistage login HOST"));
        }
        (Some(one), Some(two)) => {
            return Err(Failure::input(format!(
                "--creds is for one registry, and both {one} and {two} are used"
            ))
            .hint(format!("sign in to each: ocistage login {one}")));
        }
    };
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Password::new(password)),
        None => (text, typed_secret(&format!("Password of {text} for {host}: "))?),
    };
    if username.is_empty() {
        return Err(Failure::input("--creds: the user is missing before the colon"));
    }
    Ok(SignIn { host, username: username.to_owned(), password })
}

/// Asks for a line that is not shown while it is typed.
pub(crate) fn typed_secret(prompt: &str) -> Result<Password, Failure> {
    let missing = || {
        Failure::input("no password, and no terminal to ask for one")
            .hint("give it on standard input: ocistage login HOST -u USER --password-stdin")
    };
    let terminal = Term::stderr();
    if !terminal.is_term() || !io::stdin().is_terminal() {
        return Err(missing());
    }
    let _ = terminal.write_str(prompt);
    terminal.read_secure_line().map(Password::new).map_err(|_| missing())
}

/// The password on standard input, without the end of its line.
pub(crate) fn secret_on_stdin(stdin: &mut dyn Read) -> Result<Password, Failure> {
    let mut text = String::new();
    let read = stdin.take(PASSWORD_LIMIT + 1).read_to_string(&mut text);
    // The error of text that is no UTF-8 would not quote it either, but says nothing that helps.
    read.map_err(|_| Failure::input("the password on standard input is no UTF-8 text"))?;
    if text.len() as u64 > PASSWORD_LIMIT {
        return Err(Failure::input("the password on standard input is longer than 64 KiB"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::input("the password on standard input is empty: an unset variable?"));
    }
    Ok(Password::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &[&str]) -> BTreeSet<RegistryHost> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_credential_is_for_the_one_registry_that_is_meant() {
        let found = sign_in("user:pa:ss", &hosts(&["r.example"])).unwrap();
        assert_eq!((found.host.as_str(), &*found.username), ("r.example", "user"));
        assert_eq!(found.password, Password::new("pa:ss"));
        for (text, targets) in
            [("u:s3cret", &[][..]), ("u:s3cret", &["a.io", "b.io"]), (":s3cret", &["a.io"])]
        {
            let failure = sign_in(text, &hosts(targets)).unwrap_err();
            assert!(failure.message.starts_with("--creds"), "{}", failure.message);
            assert!(!format!("{failure:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_password_on_standard_input_is_one_line_or_more() {
        let read = |text: &str| secret_on_stdin(&mut text.as_bytes());
        for (text, password) in
            [("p\n", "p"), ("p", "p"), ("p\r\n", "p"), (" p \n", " p "), ("a\nb\n", "a\nb")]
        {
            assert_eq!(read(text).unwrap(), Password::new(password), "{text:?}");
        }
        for text in ["", "\n"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
