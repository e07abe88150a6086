//! Writing a blob into a layout, hashing on the way.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::oci::{Digest, Digester};

/// Begins the names of files that are being written; no digest begins so.
pub(super) const PARTIAL: &str = ".partial-";

/// A blob that is being written. Dropped before [`BlobWriter::finish`], it was never there.
pub(crate) struct BlobWriter {
    file: NamedTempFile,
    digester: Digester,
    directory: PathBuf,
}

impl BlobWriter {
    /// Begin a blob in the directory that holds blobs under their hexadecimal digests.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(PARTIAL)
            // Others may read a layout, as far as the umask lets them.
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(directory)?;
        Ok(Self { file, digester: Digester::new(), directory: directory.to_owned() })
    }

    /// Put the blob in its place under the digest of what was written.
    pub(crate) fn finish(self) -> io::Result<(Digest, u64)> {
        let size = self.digester.length();
        let digest = self.digester.finish();
        self.file.persist(self.directory.join(digest.hex())).map_err(|error| error.error)?;
        Ok((digest, size))
    }

    /// Put the blob in its place when it is the one that was expected; otherwise nothing stays.
    pub(crate) fn finish_as(self, digest: Digest, size: u64) -> io::Result<()> {
        let length = self.digester.length();
        let actual = self.digester.finish();
        if actual != digest || length != size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("blob {digest} of {size} bytes is damaged: got {length} bytes with digest {actual}"),
            ));
        }
        self.file.persist(self.directory.join(digest.hex())).map_err(|error| error.error)?;
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.as_file_mut().write(bytes)?;
        self.digester.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}
