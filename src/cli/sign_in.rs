//! `login` and `logout`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use console::Term;
use ocistage::oci::RegistryHost;
use ocistage::{Builder, Error, EventSink, RegistryRequest, SignIn};

use super::args::{LoginArgs, LogoutArgs};
use super::environment::Environment;
use super::errand::{Errand, What};
use super::failure::Failure;
use super::request;

/// Keeping a credential.
pub(crate) struct Login {
    who: SignIn,
    file: PathBuf,
    registries: RegistryRequest,
}

/// Reads who signs in, and where.
pub(crate) fn login(args: &LoginArgs, environment: &Environment) -> Result<Errand, Failure> {
    let host = host(&args.host)?;
    let file = environment.login_file(args.authfile.as_deref())?;
    let username = match &args.username {
        Some(username) => username.clone(),
        None if args.password_stdin => {
            return Err(Failure::input("--password-stdin: whose password?").hint("add -u USER"));
        }
        None => asked_user(&host)?,
    };
    // HTTP's basic authentication ends the user at the first colon.
    if username.is_empty() || username.contains(':') {
        return Err(Failure::input("a user is a name without a colon"));
    }
    let password = match args.password_stdin {
        true => request::secret_on_stdin(&mut io::stdin())?,
        false => request::typed_secret(&format!("Password of {username} for {host}: "))?,
    };
    let registries = RegistryRequest {
        proxies: environment.proxies().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        insecure: request::insecure(&args.insecure)?,
        ..RegistryRequest::default()
    };
    let login = Login { who: SignIn { host, username, password }, file, registries };
    Ok(Errand { what: What::Login(Box::new(login)), held: Vec::new(), warnings: Vec::new() })
}

impl Login {
    /// Does it; what is said of it.
    pub(crate) async fn carry_out(
        self,
        builder: &Builder,
        events: Arc<dyn EventSink>,
    ) -> Result<String, Error> {
        let Self { who, file, registries } = self;
        let said = format!("signed in to {} as {}; kept in {}\n", who.host, who.username, file.display());
        builder.sign_in(who, &file, registries, events).await?;
        Ok(said)
    }
}

/// Forgets a credential; what is said of it.
pub(crate) fn logout(args: &LogoutArgs, environment: &Environment) -> Result<String, Failure> {
    let host = host(&args.host)?;
    let file = environment.login_file(args.authfile.as_deref())?;
    let had =
        ocistage::sign_out(&host, &file).map_err(|error| Failure::new(error.kind(), error.to_string()))?;
    Ok(match had {
        true => format!("signed out of {host}; removed from {}\n", file.display()),
        false => not_signed_in(&host, &file),
    })
}

fn not_signed_in(host: &RegistryHost, file: &Path) -> String {
    format!("not signed in to {host}: {} has no credential for it\n", file.display())
}

fn host(text: &str) -> Result<RegistryHost, Failure> {
    text.parse().map_err(|_| {
        Failure::input(format!("`{text}` is not a registry: give its host, and its port where it has one"))
            .hint("registry.example, localhost:5000, docker.io")
    })
}

fn asked_user(host: &RegistryHost) -> Result<String, Failure> {
    let missing = || Failure::input("no user, and no terminal to ask for one").hint("add -u USER");
    let terminal = Term::stderr();
    if !terminal.is_term() || !io::stdin().is_terminal() {
        return Err(missing());
    }
    let _ = terminal.write_str(&format!("User for {host}: "));
    terminal.read_line().map(|line| line.trim().to_owned()).map_err(|_| missing())
}
