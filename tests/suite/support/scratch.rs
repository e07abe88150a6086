//! Folders that go away, and copies into them.

use super::is_root;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary folder that every user may enter; removed with all that is in it.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let made = tempfile::Builder::new()
            .prefix("ocistage-test-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir();
        Self(made.expect("make a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A copy of a file or folder with its modes and times.
    pub(crate) fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path().join(name);
        let done = Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap();
        assert!(done.success(), "cp -a {} {}", from.display(), to.display());
        to
    }

    /// Gives everything in it to this user.
    pub(crate) fn give_away(&self, user: &str) {
        if is_root() {
            let done = Command::new("chown")
                .args(["-R", &format!("{user}:{user}")])
                .arg(self.path())
                .status()
                .unwrap();
            assert!(done.success(), "chown to {user}");
        }
    }
}
