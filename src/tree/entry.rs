//! What a path of an image is.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use super::ImagePath;

/// A path's kind and metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Mode, owner, time, extended attributes.
    pub(crate) metadata: Metadata,
}

/// What a path is. Sockets never are in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file of `size` bytes.
    File {
        /// In bytes.
        size: u64,
    },
    /// A symbolic link; the target is as written, unresolved.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Another name of the file at `target` (same layer).
    Hardlink {
        /// The first name.
        target: ImagePath,
    },
    /// A device node.
    Device {
        /// Block or character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Metadata of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Permission bits with set-id and sticky (`0o7777`), without the kind.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Modification time, whole seconds since 1970.
    pub(crate) mtime: i64,
    /// Extended attributes by full name (`security.capability`, `user.x`).
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// BLAKE3 of a file's bytes. Used in our keys only; never a digest of the registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContentHash(pub(crate) [u8; 32]);

/// Where the bytes of a regular file are read from.
#[derive(Clone)]
pub(crate) struct Content {
    source: Arc<dyn ContentSource>,
    path: ImagePath,
}

/// A root that files can be read from: a build context, a layer on disk, bytes in memory.
pub(crate) trait ContentSource: Send + Sync {
    /// Open the regular file at `path` of this source. Never follows a link out of the source.
    fn open(&self, path: &ImagePath) -> io::Result<Box<dyn Read + Send>>;

    /// Take note that `path` will be opened, for sources that fetch many files at once.
    fn prepare(&self, path: &ImagePath) {
        let _ = path;
    }
}

impl Entry {
    /// A directory with this mode, owned by root, at time 0.
    pub(crate) fn directory(mode: u32) -> Self {
        Self { kind: Kind::Directory, metadata: Metadata { mode, ..Metadata::default() } }
    }

    /// Whether this is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    /// Where the symbolic link leads, when this is one.
    pub(crate) fn link(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Symlink { target } => Some(target),
            _ => None,
        }
    }

    /// Whether this is a regular file (by its first name).
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

impl Content {
    /// The file at `path` of `source`.
    pub(crate) fn new(source: Arc<dyn ContentSource>, path: ImagePath) -> Self {
        Self { source, path }
    }

    /// Bytes in memory.
    pub(crate) fn inline(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { source: Arc::new(Inline(bytes.into())), path: ImagePath::root() }
    }

    /// Tell the source that this file will be opened.
    pub(crate) fn prepare(&self) {
        self.source.prepare(&self.path);
    }

    /// Open for reading from the start.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.source.open(&self.path)
    }

    /// All bytes, refusing more than `limit`.
    pub(crate) fn read_up_to(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} is larger than {limit} bytes", self.path),
            ));
        }
        Ok(bytes)
    }
}

struct Inline(Arc<[u8]>);

impl ContentSource for Inline {
    fn open(&self, _path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(Arc::clone(&self.0))))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({})", self.path)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
