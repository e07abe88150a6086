//! The build's own temporary directory, and what a killed build left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A directory that is gone when this is dropped. A lock in it tells other builds that it is in use; the
/// kernel lets go of the lock however this process ends.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

const PREFIX: &str = "build-";
const LOCK: &str = "lock";

impl Scratch {
    /// A new directory below `parent`, which is made when missing. Directories there that no process holds
    /// are removed.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        remove_abandoned(parent);
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?.keep();
        let lock = File::create(path.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new, empty directory in it.
    pub(crate) fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can not be removed now, the next build removes.
        let _ = remove(&self.path);
    }
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let lock = match File::open(entry.path().join(LOCK)) {
            Ok(lock) => lock,
            // Another process may be between making the directory and making the lock.
            Err(_) if is_young(&entry.path()) => continue,
            Err(_) => {
                let _ = remove(&entry.path());
                continue;
            }
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove(&entry.path());
        }
    }
}

fn is_young(path: &Path) -> bool {
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
    let age = fs::metadata(path).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age < MINUTE)
}

/// Remove a tree, opening up directories that their owner closed to himself.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn open_up(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_its_build_and_an_abandoned_one_with_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let abandoned = parent.path().join("build-old");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let held = Scratch::create(parent.path()).unwrap();
        assert!(!abandoned.exists());
        let other = Scratch::create(parent.path()).unwrap();
        assert!(held.path().exists(), "a directory in use was removed");
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
