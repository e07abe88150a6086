//! Finding programs of the machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where system programs are installed; the last is NixOS' place for set-user-ID programs.
const DIRECTORIES: [&str; 7] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/wrappers/bin"];

/// The program called `name`, if it is installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}
