//! `--secret` and `--ssh`: what RUN --mount may ask for. Values come from files and the environment, never from
//! the command line itself, where every process could read them.

use std::path::PathBuf;

use ocistage::SecretRequest;

use super::csv;
use super::environment::Environment;
use super::failure::Failure;

/// `id=ID[,src=FILE|,env=NAME][,type=file|env]`; without either, the variable ID, else the file ID.
pub(crate) fn secret(text: &str, environment: &Environment) -> Result<(String, SecretRequest), Failure> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for (key, value) in csv::pairs("--secret", text)? {
        match key.as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => {
                return Err(Failure::input(format!(
                    "--secret `{text}`: the type is file or env, not `{value}`"
                )));
            }
            other => return Err(Failure::input(format!("--secret `{text}`: unknown key `{other}`"))),
        }
    }
    let id = id.filter(|id| !id.is_empty());
    let id = id
        .or_else(|| file.clone())
        .ok_or_else(|| Failure::input(format!("--secret `{text}`: id is missing")))?;
    // BuildKit: with type=env, src names the variable.
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take();
    }
    let from_variable =
        |name: &str| environment.get(name).map(|value| SecretRequest::Value(value.as_bytes().to_vec()));
    let source = match (variable, file) {
        (Some(_), Some(_)) => {
            return Err(Failure::input(format!("--secret `{text}`: src and env can not both be given")));
        }
        (Some(name), None) => from_variable(&name)
            .ok_or_else(|| Failure::input(format!("--secret id={id}: the variable {name} is not set")))?,
        (None, Some(path)) => SecretRequest::File(PathBuf::from(path)),
        (None, None) => from_variable(&id).unwrap_or_else(|| SecretRequest::File(PathBuf::from(&id))),
    };
    if let SecretRequest::File(path) = &source
        && !path.is_file()
    {
        return Err(Failure::input(format!("--secret id={id}: {} is no file", path.display())));
    }
    Ok((id, source))
}

/// `ID` (the agent of SSH_AUTH_SOCK) or `ID=SOCKET`.
pub(crate) fn agent(text: &str, environment: &Environment) -> Result<(String, PathBuf), Failure> {
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, PathBuf::from(socket)),
        None => {
            let socket = environment.filled("SSH_AUTH_SOCK").ok_or_else(|| {
                Failure::input(format!("--ssh {text}: no agent runs here: SSH_AUTH_SOCK is not set"))
            })?;
            (text, PathBuf::from(socket))
        }
    };
    let is_socket = std::fs::metadata(&socket)
        .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
    if !is_socket {
        let message =
            format!("--ssh {text}: {} is no socket; keys are used through an agent", socket.display());
        return Err(Failure::input(message));
    }
    Ok((id.to_owned(), socket))
}
