//! The bytes of a download as they come in.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::http::BodyReader;
use crate::oci::{Digest, Digester};
use crate::tree::{Content, ContentHash, ContentSource, ImagePath};

/// A file without a name that grows while its bytes are hashed. It is gone when nobody reads it any more.
pub(super) struct Part {
    file: File,
    digester: Digester,
    hasher: Box<blake3::Hasher>,
}

/// A whole file.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// Its bytes.
    pub(crate) content: Content,
    /// How many there are.
    pub(crate) size: u64,
    /// Their SHA-256.
    pub(crate) digest: Digest,
    /// Their BLAKE3.
    pub(crate) hash: ContentHash,
}

impl Part {
    /// Nothing yet, to be kept in `directory`.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        Ok(Self { file, digester: Digester::new(), hasher: Box::default() })
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.digester.length()
    }

    /// Begin anew.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.digester = Digester::new();
        self.hasher.reset();
        Ok(())
    }

    /// Take all that `body` gives. Blocks. What it fails with is the disk's fault: the network's is its
    /// sender's to know.
    pub(super) fn take(&mut self, body: &mut BodyReader) -> io::Result<()> {
        while let Ok(Some(piece)) = body.piece() {
            self.file.write_all(&piece)?;
            self.digester.update(&piece);
            self.hasher.update(&piece);
        }
        Ok(())
    }

    /// That was all.
    pub(super) fn finish(self) -> Whole {
        let size = self.length();
        Whole {
            content: Content::new(Arc::new(Spooled { file: self.file, size }), ImagePath::root()),
            size,
            digest: self.digester.finish(),
            hash: ContentHash(*self.hasher.finalize().as_bytes()),
        }
    }
}

struct Spooled {
    file: File,
    size: u64,
}

impl ContentSource for Spooled {
    fn open(&self, _path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Reader { file: self.file.try_clone()?, offset: 0, size: self.size }))
    }
}

/// Readers share the file's position, so it is not used.
struct Reader {
    file: File,
    offset: u64,
    size: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        if count == 0 && !buffer.is_empty() && self.offset < self.size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was cut short"));
        }
        self.offset += count as u64;
        Ok(count)
    }
}
