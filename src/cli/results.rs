//! What is left for scripts after a good end: `--iidfile`, `--metadata-file`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ocistage::oci::{Descriptor, Digest, Reference};
use ocistage::{BuildReport, ErrorKind, PublishedStage, PushReport};
use serde_json::{Map, Value, json};

use super::context::reason;
use super::failure::Failure;

/// The files that a build or push was asked to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResultFiles {
    /// `--iidfile`
    pub(crate) image_id: Option<PathBuf>,
    /// `--metadata-file`
    pub(crate) metadata: Option<PathBuf>,
}

impl ResultFiles {
    /// Finds out before the work whether the files can be written after it, and removes those of an earlier build: what
    /// is there after a failure must not speak of another image.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        for (option, path) in [("--iidfile", &self.image_id), ("--metadata-file", &self.metadata)] {
            let Some(path) = path else { continue };
            let refused = |why: &str| Failure::input(format!("{option} `{}`: {why}", path.display()));
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => return Err(refused("is a directory")),
                Ok(metadata) if metadata.is_file() => {
                    fs::remove_file(path).map_err(|error| refused(&reason(&error)))?;
                }
                Ok(_) => {}
                Err(_) if !folder_of(path).is_dir() => {
                    return Err(refused("the folder that it would be in does not exist"));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Writes what a build made. `tags` are the names that it was asked to have.
    pub(crate) fn built(&self, report: &BuildReport, tags: &[Reference]) -> Result<(), Failure> {
        if let Some(path) = &self.image_id {
            // Docker's image ID is the config's digest; without a line end, so that `$(cat FILE)` and readers agree.
            write(path, report.config_digest.to_string().as_bytes())?;
        }
        match &self.metadata {
            Some(path) => {
                let mut keys = metadata(&report.manifest, Some(&report.config_digest), tags);
                if !report.published.is_empty() {
                    keys.insert("ocistage.stages".to_owned(), stages(&report.published));
                }
                write(path, on_one_line(keys).as_bytes())
            }
            None => Ok(()),
        }
    }

    /// Writes what a push did.
    pub(crate) fn pushed(&self, report: &PushReport, names: &[Reference]) -> Result<(), Failure> {
        match &self.metadata {
            Some(path) => write(path, on_one_line(metadata(&report.manifest, None, names)).as_bytes()),
            None => Ok(()),
        }
    }
}

/// buildx's metadata.
fn metadata(manifest: &Descriptor, config: Option<&Digest>, names: &[Reference]) -> Map<String, Value> {
    let mut keys = Map::new();
    if let Some(config) = config {
        keys.insert("containerimage.config.digest".to_owned(), json!(config));
    }
    keys.insert("containerimage.descriptor".to_owned(), json!(manifest));
    keys.insert("containerimage.digest".to_owned(), json!(manifest.digest));
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        keys.insert("image.name".to_owned(), json!(names.join(",")));
    }
    keys
}

/// Stages that were pushed under names of their own.
fn stages(published: &[PublishedStage]) -> Value {
    let stage = |stage: &PublishedStage| {
        (
            stage.stage.clone(),
            json!({"containerimage.digest": stage.digest, "image.name": stage.names.join(",")}),
        )
    };
    Value::Object(published.iter().map(stage).collect())
}

/// On one line without blanks: some readers take it apart with `sed`.
fn on_one_line(keys: Map<String, Value>) -> String {
    format!("{}\n", Value::Object(keys))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file so that a reader sees all of it or nothing.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let outcome = match fs::metadata(path) {
        // A pipe or a device is written to, not replaced.
        Ok(metadata) if !metadata.is_file() => fs::write(path, bytes),
        _ => replace(path, bytes),
    };
    outcome.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Resources,
            _ => ErrorKind::Input,
        };
        Failure::new(
            kind,
            format!("the image is done, but `{}` cannot be written: {}", path.display(), reason(&error)),
        )
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The umask has its say, as for any file that a program makes.
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .prefix(".ocistage-")
        .tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor::new("application/vnd.oci.image.manifest.v1+json", Digest::of(b""), 7)
    }

    #[test]
    fn the_metadata_have_buildx_s_keys_on_one_line() {
        let names = ["r.io/a:1".parse().unwrap(), "app".parse().unwrap()];
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            on_one_line(metadata(&descriptor(), Some(&Digest::of(b"")), &names)),
            format!(
                "{{\"containerimage.config.digest\":\"sha256:{hex}\",\
                 \"containerimage.descriptor\":{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
                 \"digest\":\"sha256:{hex}\",\"size\":7}},\
                 \"containerimage.digest\":\"sha256:{hex}\",\
                 \"image.name\":\"r.io/a:1,docker.io/library/app:latest\"}}\n"
            )
        );
    }

    #[test]
    fn files_are_replaced_whole_and_leave_nothing_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("iid");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_ne!(fs::metadata(&path).unwrap().permissions().mode() & 0o044, 0);
    }

    #[test]
    fn an_earlier_build_s_file_is_gone_before_the_next_one_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("iid");
        fs::write(&path, "old").unwrap();
        let files = ResultFiles { image_id: Some(path.clone()), metadata: None };
        files.prepare().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_before_the_build() {
        let dir = tempfile::tempdir().unwrap();
        let files = |path: PathBuf| ResultFiles { image_id: None, metadata: Some(path) };
        assert!(files(dir.path().join("no/such/file")).prepare().is_err());
        assert!(files(dir.path().to_owned()).prepare().is_err());
        assert!(files(PathBuf::from("/dev/stdout")).prepare().is_ok());
    }
}
