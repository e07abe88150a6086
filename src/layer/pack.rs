//! A change set as a layer blob, in one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::members::{is_kept, is_overlay_attribute, is_reserved, opaque_name, whiteout_name};
use super::{BlobHome, Layer};
use crate::blob::{CompressOptions, LayerWriter, Layout};
use crate::ctx::{Cancelled, Ctx};
use crate::oci::Compression;
use crate::tar::{Header, MemberKind, Writer};
use crate::tree::{Change, ChangeSet, Content, ContentHash, Entry, ImagePath, Kind, Metadata};

/// How a layer is packed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PackOptions {
    /// The blob's compression.
    pub(crate) compression: Compression,
    /// Its effort; `None` is the format's default.
    pub(crate) level: Option<u32>,
    /// Later times become this one (`SOURCE_DATE_EPOCH`), in seconds since 1970.
    pub(crate) clamp: Option<i64>,
    /// Threads that compress. Never changes the bytes.
    pub(crate) threads: usize,
}

/// A packed layer.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// Blob and diff ID; the blob is a file of the store.
    pub(crate) layer: Layer,
    /// What is in it, with the hashes of all files and without their bytes, but for those that name users.
    pub(crate) toc: ChangeSet,
    /// The newest time in it; `None` when it has whiteouts only, or nothing.
    pub(crate) newest: Option<i64>,
}

/// A layer could not be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// A file could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// Its path in the image.
        path: ImagePath,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it was when it was looked at.
    #[error("{0} changed during the build: build again when nothing writes to it")]
    Changed(ImagePath),
    /// A name that a layer can not have.
    #[error("{0} can not be in a layer: names that begin with .wh. mean removed files there")]
    Reserved(ImagePath),
    /// A hard link whose file is not in the layer.
    #[error("{path} is a hard link to {target}, which is not a file of the same layer")]
    Hardlink {
        /// The link.
        path: ImagePath,
        /// Its target.
        target: ImagePath,
    },
    /// The blob could not be written.
    #[error("write layer: {0}")]
    Write(#[source] io::Error),
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Pack `changes` into a blob of `store`.
///
/// The order is that of the paths, with the whiteouts of a directory before everything else in it, so that
/// unpackers that work in order get it right as well. Every file is hashed in passing; one that has another
/// size or hash than `changes` says is an error, because then the layer would not be what its key is of.
pub(crate) fn pack(
    ctx: &Ctx,
    changes: &ChangeSet,
    options: &PackOptions,
    store: &Layout,
) -> Result<Packed, PackError> {
    let blob = store.writer().map_err(PackError::Write)?;
    let compress =
        CompressOptions { compression: options.compression, level: options.level, threads: options.threads };
    let mut packer = Packer {
        ctx,
        tar: Writer::new(LayerWriter::new(blob, compress)),
        clamp: options.clamp.unwrap_or(i64::MAX),
        toc: ChangeSet::default(),
    };
    packer.all(changes)?;
    let written = packer.tar.finish().and_then(LayerWriter::finish).map_err(PackError::Write)?;
    let home = BlobHome::Local(store.path(&written.descriptor.digest));
    Ok(Packed {
        layer: Layer { diff_id: written.diff_id, descriptor: written.descriptor, home },
        newest: packer.toc.newest(),
        toc: packer.toc,
    })
}

struct Packer<'a> {
    ctx: &'a Ctx,
    tar: Writer<LayerWriter>,
    clamp: i64,
    toc: ChangeSet,
}

impl Packer<'_> {
    fn all(&mut self, changes: &ChangeSet) -> Result<(), PackError> {
        let first_names = first_names(changes)?;
        let mut whiteouts: BTreeMap<ImagePath, Vec<&ImagePath>> = BTreeMap::new();
        for (path, change) in &changes.changes {
            if is_reserved(path) {
                return Err(PackError::Reserved(path.clone()));
            }
            if matches!(change, Change::Remove) && !path.is_root() {
                whiteouts.entry(path.parent().unwrap_or_default()).or_default().push(path);
            }
        }
        for (path, change) in &changes.changes {
            self.ctx.check()?;
            if !whiteouts.is_empty() && !path.is_root() {
                for ancestor in path.ancestors() {
                    for gone in whiteouts.remove(&ancestor).unwrap_or_default() {
                        self.whiteout(gone)?;
                    }
                }
            }
            match change {
                Change::Remove => {}
                Change::Replace { entry } => {
                    let entry = self.clamped(entry);
                    self.entry(path, &entry)?;
                    self.marker(opaque_name(path))?;
                    self.toc.changes.insert(path.clone(), Change::Replace { entry });
                }
                Change::Put { entry, content, hash } => match first_names.get(path) {
                    None => self.put(path, entry, content.as_ref(), *hash)?,
                    // The file goes where its name comes first; all other names are links to that.
                    Some((first, file)) if first == path => {
                        let Some(Change::Put { entry, content, hash }) = changes.changes.get(file) else {
                            return Err(PackError::Hardlink { path: path.clone(), target: file.clone() });
                        };
                        self.put(path, entry, content.as_ref(), *hash)?;
                    }
                    Some((first, _)) => {
                        let kind = Kind::Hardlink { target: first.clone() };
                        self.put(path, &Entry { kind, metadata: entry.metadata.clone() }, None, None)?;
                    }
                },
            }
        }
        Ok(())
    }

    fn clamped(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        entry.metadata.mtime = entry.metadata.mtime.min(self.clamp);
        entry.metadata.xattrs.retain(|name, _| !is_overlay_attribute(name));
        entry
    }

    fn put(
        &mut self,
        path: &ImagePath,
        entry: &Entry,
        content: Option<&Content>,
        known: Option<ContentHash>,
    ) -> Result<(), PackError> {
        let entry = self.clamped(entry);
        let Kind::File { size } = entry.kind else {
            self.entry(path, &entry)?;
            self.toc.put(path.clone(), entry);
            return Ok(());
        };
        let mut hasher = blake3::Hasher::new();
        let mut kept = is_kept(path, size).then(Vec::new);
        let read_error = |source| PackError::Read { path: path.clone(), source };
        let mut source = match content {
            Some(content) => content.open().map_err(read_error)?,
            None if size == 0 => Box::new(io::empty()),
            None => {
                let source = io::Error::new(io::ErrorKind::NotFound, "its bytes are not at hand");
                return Err(PackError::Read { path: path.clone(), source });
            }
        };
        let mut source = Source { inner: &mut *source, failed: None };
        let ctx = self.ctx;
        let result = self.tar.file(&header(path, &entry), &mut source, &mut |bytes| {
            hasher.update(bytes);
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(bytes);
            }
            ctx.check().map_err(io::Error::other)
        });
        let complete = match (result, source.failed) {
            (_, Some(source)) => return Err(PackError::Read { path: path.clone(), source }),
            (Err(error), None) => {
                self.ctx.check()?;
                return Err(PackError::Write(error));
            }
            (Ok(complete), None) => complete,
        };
        let hash = ContentHash(*hasher.finalize().as_bytes());
        if !complete || known.is_some_and(|known| known != hash) {
            return Err(PackError::Changed(path.clone()));
        }
        let content = kept.map(Content::inline);
        self.toc.changes.insert(path.clone(), Change::Put { entry, content, hash: Some(hash) });
        Ok(())
    }

    fn whiteout(&mut self, path: &ImagePath) -> Result<(), PackError> {
        self.marker(whiteout_name(path))?;
        self.toc.changes.insert(path.clone(), Change::Remove);
        Ok(())
    }

    fn entry(&mut self, path: &ImagePath, entry: &Entry) -> Result<(), PackError> {
        self.tar.header(&header(path, entry)).map_err(PackError::Write)
    }

    /// An empty file that means something to who applies the layer. Its metadata is constant.
    fn marker(&mut self, name: Vec<u8>) -> Result<(), PackError> {
        let header = Header { name, kind: MemberKind::File { size: 0 }, metadata: Metadata::default() };
        self.tar.header(&header).map_err(PackError::Write)
    }
}

/// Tells errors of the source from those of the blob.
struct Source<'a> {
    inner: &'a mut (dyn io::Read + Send),
    failed: Option<io::Error>,
}

impl io::Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }
}

fn header(path: &ImagePath, entry: &Entry) -> Header {
    let kind = match &entry.kind {
        Kind::File { size } => MemberKind::File { size: *size },
        Kind::Directory => MemberKind::Directory,
        Kind::Symlink { target } => MemberKind::Symlink { target: target.clone() },
        Kind::Hardlink { target } => MemberKind::Hardlink { target: target.as_bytes().to_vec() },
        Kind::Device { block, major, minor } => {
            MemberKind::Device { block: *block, major: *major, minor: *minor }
        }
        Kind::Fifo => MemberKind::Fifo,
    };
    // Only the root has no name.
    let name = if path.is_root() { b".".to_vec() } else { path.as_bytes().to_vec() };
    Header { name, kind, metadata: entry.metadata.clone() }
}

/// For each name of a file with hard links: the first of its names, and the one that `changes` has the file at.
fn first_names(changes: &ChangeSet) -> Result<BTreeMap<ImagePath, (ImagePath, ImagePath)>, PackError> {
    let mut groups: BTreeMap<&ImagePath, BTreeSet<&ImagePath>> = BTreeMap::new();
    for (path, change) in &changes.changes {
        if let Some(Kind::Hardlink { target }) = change.entry().map(|entry| &entry.kind) {
            let is_file = changes
                .changes
                .get(target)
                .and_then(Change::entry)
                .is_some_and(|entry| !matches!(entry.kind, Kind::Directory | Kind::Hardlink { .. }));
            if !is_file {
                return Err(PackError::Hardlink { path: path.clone(), target: target.clone() });
            }
            groups.entry(target).or_insert_with(|| BTreeSet::from([target])).insert(path);
        }
    }
    let mut names = BTreeMap::new();
    for (file, group) in groups {
        let Some(first) = group.first() else { continue };
        for name in &group {
            names.insert((*name).clone(), ((*first).clone(), file.clone()));
        }
    }
    Ok(names)
}
