//! What servers said of files, so that a later build need not fetch them to know that they are the same.
//!
//! One small file a URL: its strong entity tag and the digest of the bytes that came with it. Deleting it
//! loses only time. The URL's own text is not in it, because it may hold a secret.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::UrlSource;
use crate::oci::Digest;

/// A folder of such files.
pub(super) struct Memory(PathBuf);

/// What is known of a URL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The entity tag, in its quotes.
    pub(super) etag: String,
    /// The SHA-256 of the file that had it.
    pub(super) digest: Digest,
}

impl Memory {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn place(&self, source: &UrlSource) -> PathBuf {
        // Who asks matters too: a server may show others something else.
        let who = source.authorization.as_ref().map_or("", |authorization| authorization.value.expose());
        let name = Digest::of(format!("{}\0{who}", source.url).as_bytes());
        self.0.join(format!("{}.json", name.hex()))
    }

    /// What is known of `source`.
    pub(super) fn recall(&self, source: &UrlSource) -> Option<Remembered> {
        serde_json::from_slice(&fs::read(self.place(source)).ok()?).ok()
    }

    /// Remember that the file with this tag has this digest; without a tag, nothing is known any more. What
    /// cannot be written is not remembered.
    pub(super) fn keep(&self, source: &UrlSource, etag: Option<String>, digest: Digest) {
        let place = self.place(source);
        let Some(etag) = etag else {
            let _ = fs::remove_file(place);
            return;
        };
        let Ok(text) = serde_json::to_vec(&Remembered { etag, digest }) else { return };
        let write = || {
            fs::create_dir_all(&self.0)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            std::io::Write::write_all(&mut file, &text)?;
            file.persist(&place).map_err(|error| error.error)
        };
        let _ = write();
    }
}
