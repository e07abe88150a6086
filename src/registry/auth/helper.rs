//! Docker's credential helpers: `docker-credential-x get`, the server on standard input, JSON on standard output.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use super::{Credential, CredentialError};
use crate::http::Secret;

/// A helper may ask a cloud's API or a hardware key, but nobody types a password in a build.
const LIMIT: Duration = Duration::from_secs(30);
const OUTPUT_LIMIT: u64 = 256 * 1024;
/// What helpers say when they know nothing (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper by its short name (`pass`, `ecr-login`) and the directories to find it in.
pub(super) struct Helper<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a [PathBuf],
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper<'_> {
    /// The credential of `server`; `None` when the helper has none. Blocks up to 30 s.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        self.get_within(server, LIMIT)
    }

    fn get_within(&self, server: &str, limit: Duration) -> Result<Option<Credential>, CredentialError> {
        let fails = |reason: String| CredentialError::Helper {
            helper: format!("docker-credential-{}", self.name),
            host: server.to_owned(),
            reason,
        };
        let program = self.find().ok_or_else(|| {
            fails("not found in the search path: install it, or remove it from the config file".to_owned())
        })?;
        let mut child = Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it says there may quote the secret.
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| fails(format!("cannot be started: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input fails by its own account.
            let _ = stdin.write_all(server.as_bytes());
        }
        let (sender, receiver) = mpsc::channel();
        let stdout = child.stdout.take();
        std::thread::spawn(move || {
            let mut output = Vec::new();
            if let Some(stdout) = stdout {
                let _ = stdout.take(OUTPUT_LIMIT).read_to_end(&mut output);
            }
            let _ = sender.send(output);
        });
        let output = receiver.recv_timeout(limit);
        if output.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| fails(error.to_string()))?;
        let Ok(output) = output else {
            return Err(fails(format!("did not answer within {} s", limit.as_secs())));
        };
        if !status.success() {
            let nothing = String::from_utf8_lossy(&output).trim() == NOT_FOUND;
            return if nothing { Ok(None) } else { Err(fails(format!("failed with {status}"))) };
        }
        let output: Output = serde_json::from_slice(&output)
            .map_err(|_| fails("answered something that is not a credential in JSON".to_owned()))?;
        Ok(match (output.username.as_str(), output.secret.as_str()) {
            (_, "") => None,
            ("<token>", token) => Some(Credential::Identity(Secret::new(token))),
            (username, password) => {
                Some(Credential::Basic { username: username.to_owned(), password: Secret::new(password) })
            }
        })
    }

    /// The program. A name that is a path could run anything.
    fn find(&self) -> Option<PathBuf> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return None;
        }
        let program = format!("docker-credential-{}", self.name);
        self.path.iter().map(|directory| directory.join(&program)).find(|path| is_program(path))
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn get(script: &str) -> Result<Option<Credential>, String> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let helper = Helper { name: "test", path: &[directory.path().to_owned()] };
        // Another test's fork may hold the new file open for a moment ("text file busy").
        for _ in 0..50 {
            match helper.get_within("r.example", Duration::from_secs(2)) {
                Err(error) if error.to_string().contains("busy") => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other.map_err(|error| error.to_string()),
            }
        }
        panic!("the helper stayed busy");
    }

    #[test]
    fn a_helper_is_asked_by_the_server_and_answers_in_json() {
        let found = get(
            r#"[ "$1" = get ] && [ "$(cat)" = r.example ] && echo '{"ServerURL":"x","Username":"u","Secret":"p"}'"#,
        );
        assert_eq!(
            found.unwrap(),
            Some(Credential::Basic { username: "u".into(), password: Secret::new("p") })
        );
        let found = get(r#"echo '{"Username":"<token>","Secret":"t"}'"#);
        assert_eq!(found.unwrap(), Some(Credential::Identity(Secret::new("t"))));
    }

    #[test]
    fn knowing_nothing_is_not_an_error_and_failing_is() {
        assert_eq!(get("echo credentials not found in native keychain; exit 1"), Ok(None));
        let message = get("echo s3cret; echo s3cret >&2; exit 3").unwrap_err();
        assert_eq!(
            message,
            "credential helper docker-credential-test for r.example: failed with exit status: 3"
        );
        let message = get("echo s3cret").unwrap_err();
        assert!(message.ends_with("not a credential in JSON") && !message.contains("s3cret"), "{message}");
        assert!(get("exec sleep 60").unwrap_err().ends_with("did not answer within 2 s"));
    }

    #[test]
    fn a_helper_that_is_not_installed_or_named_by_a_path_is_an_error() {
        for name in ["absent", "../../bin/sh", ""] {
            let error = Helper { name, path: &["/bin".into()] }.get("r.example").unwrap_err().to_string();
            assert!(error.contains("not found in the search path"), "{error}");
        }
    }
}
