//! An OCI image-layout directory (image-spec, image-layout.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::writer::PARTIAL;
use super::{BlobWriter, Verified};
use crate::oci::{Descriptor, Digest, Document, DocumentError, Index, media_type};

/// The annotation that names an image of a layout: a tag, or a whole reference (image-spec, annotations.md).
pub(crate) const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that containerd and docker take the whole reference from.
pub(crate) const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Largest `index.json` that is read.
const INDEX_LIMIT: u64 = 64 << 20;
/// Age at which a partial file belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";

/// A directory of blobs and names. Cheap to clone; any number of processes may use one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// A lock on the blobs of a layout, until it is dropped.
#[derive(Debug)]
pub(crate) struct LayoutLock {
    _blobs: File,
}

/// A layout could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    /// There is none.
    #[error("{0} is not an OCI image layout: it has no oci-layout file")]
    NotALayout(PathBuf),
    /// It is of a later version.
    #[error("{0} is an OCI image layout of an unknown version: only 1.0.0 is supported")]
    Version(PathBuf),
    /// The disk failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `index.json` is not an index.
    #[error("{path}: {source}")]
    Index {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: DocumentError,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Io { action, path, source }
}

impl Layout {
    /// Open the layout at `root` for writing, making it when it is not there.
    pub(crate) fn create(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { root: root.into() };
        let blobs = layout.blobs();
        fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
        let marker = layout.root.join(MARKER);
        if !marker.exists() {
            match partial(&layout.root, br#"{"imageLayoutVersion":"1.0.0"}"#) {
                // Where another process was first, its marker stays: it may be locked already.
                Ok(file) => drop(file.persist_noclobber(&marker)),
                Err(source) => return Err(failed("write", &marker)(source)),
            }
        }
        layout.check_version()?;
        let index = layout.root.join(INDEX);
        if !index.exists() {
            layout.edit(|_| {})?;
        }
        layout.remove_abandoned();
        Ok(layout)
    }

    /// Open the layout at `root`, which must be there. Nothing is written by opening.
    pub(crate) fn open(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { root: root.into() };
        layout.check_version()?;
        Ok(layout)
    }

    fn check_version(&self) -> Result<(), LayoutError> {
        let marker = self.root.join(MARKER);
        let text = match read_up_to(&marker, 4096) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LayoutError::NotALayout(self.root.clone()));
            }
            other => other.map_err(failed("read", &marker))?,
        };
        let version = serde_json::from_slice::<serde_json::Value>(&text).ok();
        match version.as_ref().and_then(|v| v["imageLayoutVersion"].as_str()) {
            Some("1.0.0") => Ok(()),
            _ => Err(LayoutError::Version(self.root.clone())),
        }
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    /// Where the blob `digest` is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Whether the blob is there in its full size. Its bytes are not read.
    pub(crate) fn has(&self, descriptor: &Descriptor) -> bool {
        self.size(&descriptor.digest) == Some(descriptor.size)
    }

    /// The size of the blob `digest`, when it is there.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
    }

    /// Open a blob. Reading fails where the bytes are not the descriptor's.
    pub(crate) fn open_blob(&self, descriptor: &Descriptor) -> io::Result<Verified<File>> {
        Ok(Verified::new(File::open(self.path(&descriptor.digest))?, descriptor))
    }

    /// A whole blob of at most `limit` bytes, verified.
    pub(crate) fn read(&self, descriptor: &Descriptor, limit: u64) -> io::Result<Vec<u8>> {
        if descriptor.size > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "blob {} of {} bytes is larger than {limit} bytes",
                    descriptor.digest, descriptor.size
                ),
            ));
        }
        let mut bytes = Vec::new();
        self.open_blob(descriptor)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Begin a blob whose digest is not known yet.
    pub(crate) fn writer(&self) -> io::Result<BlobWriter> {
        BlobWriter::create(&self.blobs())
    }

    /// Put bytes; answers their digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        if self.size(&digest) != Some(bytes.len() as u64) {
            let mut writer = self.writer()?;
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        Ok(digest)
    }

    /// Put the blob `descriptor`, read from `source`. Nothing stays of bytes that are not the descriptor's.
    pub(crate) fn put_stream(&self, descriptor: &Descriptor, source: &mut dyn Read) -> io::Result<()> {
        if self.has(descriptor) {
            return Ok(());
        }
        let mut writer = self.writer()?;
        // One byte more than is due tells a source that does not end.
        io::copy(&mut source.take(descriptor.size.saturating_add(1)), &mut writer)?;
        writer.finish_as(descriptor.digest, descriptor.size)
    }

    /// Remove a blob; one that is not there is fine.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<(), LayoutError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The digests of all blobs, in order.
    pub(crate) fn digests(&self) -> Result<Vec<Digest>, LayoutError> {
        let blobs = self.blobs();
        let mut digests = Vec::new();
        for entry in fs::read_dir(&blobs).map_err(failed("read", &blobs))? {
            let name = entry.map_err(failed("read", &blobs))?.file_name();
            digests.extend(name.to_str().and_then(|name| format!("sha256:{name}").parse::<Digest>().ok()));
        }
        digests.sort();
        Ok(digests)
    }

    /// `index.json` as it is now.
    pub(crate) fn index(&self) -> Result<Document<Index>, LayoutError> {
        let path = self.root.join(INDEX);
        let bytes = match read_up_to(&path, INDEX_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty_index()),
            other => other.map_err(failed("read", &path))?,
        };
        Document::parse(media_type::OCI_INDEX, bytes).map_err(|source| LayoutError::Index { path, source })
    }

    /// The manifest or index under `name`: a tag, a whole reference, or a digest. Of several images under one
    /// tag (of several repositories) it is the one that was put last.
    pub(crate) fn lookup(&self, name: &str) -> Result<Option<Descriptor>, LayoutError> {
        Ok(self.index()?.value().manifests.iter().rfind(|entry| is_named(entry, name)).cloned())
    }

    /// All names with what they stand for, in the order of `index.json`.
    pub(crate) fn tags(&self) -> Result<Vec<(String, Descriptor)>, LayoutError> {
        let index = self.index()?;
        let named =
            |entry: &Descriptor| Some((entry.annotations.get(ANNOTATION_REF_NAME)?.clone(), entry.clone()));
        Ok(index.value().manifests.iter().filter_map(named).collect())
    }

    /// Let `name` stand for `descriptor`, whose blobs should be there already. `reference` is the whole
    /// reference, for programs that want one.
    pub(crate) fn tag(
        &self,
        name: &str,
        reference: Option<&str>,
        descriptor: &Descriptor,
    ) -> Result<(), LayoutError> {
        self.edit(|index| {
            let mut entry = descriptor.clone();
            entry.annotations.insert(ANNOTATION_REF_NAME.to_owned(), name.to_owned());
            if let Some(reference) = reference {
                entry.annotations.insert(ANNOTATION_CONTAINERD_NAME.to_owned(), reference.to_owned());
            }
            index.manifests.retain(|old| !is_replaced(old, &entry));
            index.manifests.push(entry);
        })
    }

    /// Let each name stand for its descriptor, all in one change of the index.
    pub(crate) fn tag_all(&self, names: &BTreeMap<String, Descriptor>) -> Result<(), LayoutError> {
        self.edit(|index| {
            index.manifests.retain(|old| {
                !old.annotations.get(ANNOTATION_REF_NAME).is_some_and(|name| names.contains_key(name))
            });
            index.manifests.extend(names.iter().map(|(name, descriptor)| {
                let mut entry = descriptor.clone();
                entry.annotations.insert(ANNOTATION_REF_NAME.to_owned(), name.clone());
                entry
            }));
        })
    }

    /// List `descriptor` without a name.
    pub(crate) fn list(&self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        self.edit(|index| {
            if !index.manifests.iter().any(|old| old.digest == descriptor.digest) {
                index.manifests.push(descriptor.clone());
            }
        })
    }

    /// Take names away, all in one change of the index; their blobs stay.
    pub(crate) fn untag_all(&self, names: &BTreeSet<String>) -> Result<(), LayoutError> {
        self.edit(|index| {
            index.manifests.retain(|entry| {
                !entry.annotations.get(ANNOTATION_REF_NAME).is_some_and(|name| names.contains(name))
            });
        })
    }

    /// Have the layout's blobs stay while the answer lives: whoever means to refer to blobs that he finds or
    /// puts there needs that until they have a name. `None` where the disk knows no locks.
    pub(crate) fn share(&self) -> Option<LayoutLock> {
        self.lock_blobs(FlockOperation::LockShared)
    }

    /// Have the layout's blobs to oneself, to take some away. `None` while others [share](Self::share) them.
    pub(crate) fn claim(&self) -> Option<LayoutLock> {
        self.lock_blobs(FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_blobs(&self, operation: FlockOperation) -> Option<LayoutLock> {
        let blobs = File::open(self.blobs()).ok()?;
        lock(&blobs, operation).ok()?;
        Some(LayoutLock { _blobs: blobs })
    }

    /// Replace `index.json`, alone among all processes.
    fn edit(&self, change: impl FnOnce(&mut Index)) -> Result<(), LayoutError> {
        // The marker is never replaced once it is there, so its lock is the layout's.
        let marker = self.root.join(MARKER);
        let held = File::open(&marker).map_err(failed("open", &marker))?;
        lock(&held, FlockOperation::LockExclusive).map_err(failed("lock", &marker))?;
        let mut index = self.index()?.value().clone();
        change(&mut index);
        let document = Document::write(media_type::OCI_INDEX, index);
        let path = self.root.join(INDEX);
        replace(&path, document.bytes()).map_err(failed("write", &path))
    }

    /// Remove what interrupted writers left.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.blobs()) else { return };
        for entry in entries.flatten() {
            let abandoned = entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes())
                && entry.metadata().and_then(|m| m.modified()).is_ok_and(|modified| {
                    SystemTime::now().duration_since(modified).is_ok_and(|age| age > ABANDONED)
                });
            if abandoned {
                // Another process may have been first.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn is_named(entry: &Descriptor, name: &str) -> bool {
    let is = |key| entry.annotations.get(key).is_some_and(|value| value == name);
    is(ANNOTATION_REF_NAME) || is(ANNOTATION_CONTAINERD_NAME) || entry.digest.to_string() == name
}

/// Whether `new` takes the place of `old`: the same name, or no name and the same blob.
fn is_replaced(old: &Descriptor, new: &Descriptor) -> bool {
    let same = |key| old.annotations.get(key) == new.annotations.get(key);
    match old.annotations.get(ANNOTATION_REF_NAME) {
        None => old.digest == new.digest,
        Some(_) => same(ANNOTATION_REF_NAME) && same(ANNOTATION_CONTAINERD_NAME),
    }
}

fn empty_index() -> Document<Index> {
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
        other: BTreeMap::new(),
    };
    Document::write(media_type::OCI_INDEX, index)
}

fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = partial(path.parent().unwrap_or(Path::new(".")), bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn partial(directory: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(PARTIAL)
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    Ok(file)
}
