//! Signing in and out: changing a config file, with everything else in it as it was.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};

use super::CredentialError;
use super::config_file::{FILE_LIMIT, HUB_KEY, normalise};
use crate::http::Secret;
use crate::oci::RegistryHost;

/// Keep the credential of `host` in the file at `path`, which is made when it is not there. Others see the old
/// file or the new one, and nobody but its owner may read it.
pub(crate) fn sign_in(
    path: &Path,
    host: &RegistryHost,
    username: &str,
    password: &Secret,
) -> Result<(), CredentialError> {
    edit(path, |config| {
        let host = normalise(host.as_str());
        let helpers = config.get("credHelpers").and_then(Value::as_object);
        let helper = helpers.into_iter().flatten().find(|(key, _)| normalise(key) == host);
        if let Some((_, helper)) = helper {
            return Err(CredentialError::Helper {
                helper: format!("docker-credential-{}", helper.as_str().unwrap_or_default()),
                host,
                reason: format!(
                    "{} has it keep this registry's credential: sign in with it, or take it out of that file",
                    path.display()
                ),
            });
        }
        let Some(auths) = auths(config) else { return Err(no_object(path, "auths")) };
        // Docker looks for Docker Hub under another name than the containers tools do.
        let docker = path.file_name().is_some_and(|name| name == "config.json");
        let fresh = if docker && host == "docker.io" { HUB_KEY } else { host.as_str() };
        let key = auths.keys().find(|key| normalise(key) == host).cloned();
        auths.retain(|other, _| normalise(other) != host || Some(other) == key.as_ref());
        let pair = format!("{username}:{}", password.expose());
        let auth = base64::engine::general_purpose::STANDARD.encode(pair);
        auths.insert(key.unwrap_or_else(|| fresh.to_owned()), json!({ "auth": auth }));
        Ok(true)
    })
    .map(drop)
}

/// Forget the credential of `host`. Answers whether the file had one.
pub(crate) fn sign_out(path: &Path, host: &RegistryHost) -> Result<bool, CredentialError> {
    if !path.exists() {
        return Ok(false);
    }
    edit(path, |config| {
        let host = normalise(host.as_str());
        let Some(auths) = auths(config) else { return Err(no_object(path, "auths")) };
        let before = auths.len();
        auths.retain(|key, _| normalise(key) != host);
        Ok(auths.len() < before)
    })
}

/// The entries of a config, made when there are none; `None` when they are something else.
fn auths(config: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    auths.as_object_mut()
}

fn no_object(path: &Path, what: &str) -> CredentialError {
    CredentialError::Malformed {
        origin: path.display().to_string(),
        reason: format!("its {what} are no object"),
    }
}

/// Change a config file. `change` answers whether it changed something.
fn edit(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<bool, CredentialError>,
) -> Result<bool, CredentialError> {
    let failed =
        |error: io::Error| CredentialError::Unwritable { path: path.to_owned(), reason: error.to_string() };
    // A link, as those who keep such files elsewhere have it, stays one.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let lock = File::open(folder).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let mut config = read(&path)?;
    if !change(&mut config)? {
        return Ok(false);
    }
    replace(&path, folder, &config).map_err(failed)?;
    Ok(true)
}

fn read(path: &Path) -> Result<Map<String, Value>, CredentialError> {
    let unreadable = |reason: String| CredentialError::Unreadable { path: path.to_owned(), reason };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(unreadable(error.to_string())),
        Ok(found) if found.len() > FILE_LIMIT => {
            return Err(unreadable("it is larger than 4 MiB".to_owned()));
        }
        Ok(_) => {}
    }
    let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    if text.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    // serde_json's own message may quote a value, which may be a password: only say where.
    serde_json::from_slice(&text).map_err(|error| CredentialError::Malformed {
        origin: path.display().to_string(),
        reason: format!("not a JSON object at line {} column {}", error.line(), error.column()),
    })
}

fn replace(path: &Path, folder: &Path, config: &Map<String, Value>) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".ocistage-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(Vec::new(), indent);
    serde::Serialize::serialize(config, &mut writer)?;
    file.write_all(&writer.into_inner())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::{Credential, CredentialSource, DockerConfig};

    fn host(text: &str) -> RegistryHost {
        text.parse().unwrap()
    }

    fn found(path: &Path, repository: &str) -> Option<Credential> {
        DockerConfig::load(path).unwrap().credential(&repository.parse().unwrap()).unwrap()
    }

    fn signed_in(path: &Path, registry: &str) {
        sign_in(path, &host(registry), "user", &Secret::new("pa:ss")).unwrap();
    }

    fn credential() -> Option<Credential> {
        Some(Credential::Basic { username: "user".into(), password: Secret::new("pa:ss") })
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("containers/auth.json");
        signed_in(&path, "r.example:5000");
        assert_eq!(found(&path, "r.example:5000/app"), credential());
        assert_eq!(found(&path, "r.example/app"), None);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"r.example:5000\": {\n\t\t\t\"auth\": \"dXNlcjpwYTpzcw==\"\n\t\t}\n\t}\n}"
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_else_is_in_the_file_stays_and_old_forms_of_the_key_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let text = r#"{"z":1,"auths":{"b.example":{"auth":"YTpi"},"https://r.example/v1/":{"auth":"YTpi"},
            "r.example":{"auth":"YTpi"}},"credsStore":"x","a":[2]}"#;
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        signed_in(&path, "r.example");
        let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["z"], 1);
        assert_eq!(config["a"], json!([2]));
        assert_eq!(config["auths"]["b.example"]["auth"], "YTpi");
        assert_eq!(config["auths"].as_object().unwrap().len(), 2);
        assert_eq!(found(&path, "r.example/app"), credential());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(sign_out(&path, &host("r.example")).unwrap());
        assert!(!sign_out(&path, &host("r.example")).unwrap());
        let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["auths"], json!({"b.example": {"auth": "YTpi"}}));
    }

    #[test]
    fn docker_hub_has_the_name_that_the_file_s_owner_looks_for() {
        let folder = tempfile::tempdir().unwrap();
        for (name, key) in [("config.json", HUB_KEY), ("auth.json", "docker.io")] {
            let path = folder.path().join(name);
            signed_in(&path, "docker.io");
            assert!(std::fs::read_to_string(&path).unwrap().contains(&format!("\"{key}\"")), "{name}");
            assert_eq!(found(&path, "alpine"), credential());
        }
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("auth.json"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        signed_in(&link, "r.example");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(found(&real, "r.example/app"), credential());
    }

    #[test]
    fn files_that_would_lose_something_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (text, said) in [
            ("[]", "not a JSON object"),
            ("{\"auths\": 5}", "its auths are no object"),
            ("{\"auths\": {\"a\": \"s3cret\"}", "not a JSON object"),
            ("{\"credHelpers\": {\"r.example\": \"pass\"}}", "docker-credential-pass"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = sign_in(&path, &host("r.example"), "u", &Secret::new("p")).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
