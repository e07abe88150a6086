//! From the members of a layer's tar to changes of paths.
//!
//! What OCI image-spec, layer.md says of whiteouts and duplicates is decided here, once, for everything that
//! reads a layer. The order inside a layer does not matter: a whiteout and an opaque marker are about lower
//! layers wherever they stand, and of two members of one name the last counts.

use std::collections::BTreeSet;
use std::io::{self, Read};

use crate::ctx::{Cancelled, Ctx};
use crate::oci::DiffId;
use crate::tar::{Header, MemberKind, Reader, TarError};
use crate::tree::{Change, ChangeSet, Content, ContentHash, Entry, ImagePath, Kind, Metadata, Tree, follow};

/// A layer's tar could not be read or laid out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadLayerError {
    /// The tar itself.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry that no image may have, or that would leave the image's root.
    #[error("layer entry {name:?} {reason}")]
    Entry {
        /// As the tar has it.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The disk failed.
    #[error("unpack {path}: {source}")]
    Disk {
        /// The path in the image.
        path: ImagePath,
        /// Why.
        source: io::Error,
    },
    /// Too much of something.
    #[error("layer has more than {limit} {what}: it is not unpacked")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
    /// The bytes are not those of the diff ID.
    #[error("layer is damaged: its tar has diff ID {actual}, its image states {expected}", actual = .actual.0, expected = .expected.0)]
    DiffId {
        /// Of the image's config.
        expected: DiffId,
        /// Of the bytes.
        actual: DiffId,
    },
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// How much one layer may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of files.
    pub(crate) bytes: u64,
    /// Entries.
    pub(crate) entries: u64,
}

impl Default for Limits {
    /// Far above real layers, and still little enough to stop before a machine suffers.
    fn default() -> Self {
        Self { bytes: 512 << 30, entries: 10_000_000 }
    }
}

/// What one member does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// The path of lower layers is gone.
    Whiteout(ImagePath),
    /// What lower layers have in this directory is gone.
    Opaque(ImagePath),
    /// The path is this.
    Put(ImagePath, Entry),
    /// A note of a storage driver.
    Ignored,
}

const WHITEOUT: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Files whose bytes are kept with the metadata, because USER and `--chown` look names up in them.
const KEPT: [&[u8]; 2] = [b"etc/passwd", b"etc/group"];
/// Larger ones are not kept.
const KEPT_LIMIT: u64 = 1 << 20;

/// Whether the bytes of this file are kept with the metadata.
pub(super) fn is_kept(path: &ImagePath, size: u64) -> bool {
    KEPT.contains(&path.as_bytes()) && size <= KEPT_LIMIT
}

/// Whether overlayfs keeps this attribute for itself: never taken from a layer, never put into one.
pub(super) fn is_overlay_attribute(name: &[u8]) -> bool {
    [&b"trusted.overlay."[..], b"user.overlay.", b"user.fuseoverlayfs."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The name of a member that makes the directory `path` opaque.
pub(super) fn opaque_name(path: &ImagePath) -> Vec<u8> {
    path.child(OPAQUE).as_bytes().to_vec()
}

/// The name of a member that removes `path`.
pub(super) fn whiteout_name(path: &ImagePath) -> Vec<u8> {
    let name = [WHITEOUT, path.name()].concat();
    path.parent().unwrap_or_default().child(name).as_bytes().to_vec()
}

/// Whether a path has a component that a layer can only mean as a whiteout.
pub(super) fn is_reserved(path: &ImagePath) -> bool {
    path.components().any(|component| component.starts_with(WHITEOUT))
}

/// The changes of the members seen so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    changes: ChangeSet,
    /// Opaque directories that have no entry of their own so far.
    opaque: BTreeSet<ImagePath>,
}

impl Collector {
    /// Take note of a member.
    pub(super) fn add(&mut self, header: &Header) -> Result<Member, ReadLayerError> {
        let fail = |reason| ReadLayerError::Entry {
            name: String::from_utf8_lossy(&header.name).into_owned(),
            reason,
        };
        let path = ImagePath::strict(&header.name).ok_or_else(|| fail("leads out of the image"))?;
        if path.is_root() && !header.name.is_empty() && header.kind == MemberKind::Directory {
            let entry = Entry { kind: Kind::Directory, metadata: header.metadata.clone() };
            self.put(&path, entry.clone());
            return Ok(Member::Put(path, entry));
        }
        if path.is_root() {
            return Err(fail("names the root, which can only be a directory"));
        }
        let mut member = classify(path, header).map_err(fail)?;
        match &mut member {
            // The marker is in the directory that the link leads to.
            Member::Opaque(path) if self.link(path, None).is_some() => {
                *path = self.resolve(&path.child(OPAQUE), None).map_err(fail)?.parent().unwrap_or_default();
            }
            Member::Put(path, Entry { kind: Kind::Hardlink { target }, .. }) => {
                *target = self.first_name(target.clone());
                if target == path {
                    // Another name of itself, said in a roundabout way: it is there already.
                    return Ok(Member::Ignored);
                }
            }
            _ => {}
        }
        match &member {
            Member::Ignored => {}
            Member::Whiteout(path) => {
                self.make_way(path).map_err(fail)?;
                match self.changes.changes.get_mut(path) {
                    None => {
                        self.changes.changes.insert(path.clone(), Change::Remove);
                    }
                    // Gone and there again: of a directory nothing is left.
                    Some(Change::Put { entry, .. }) if entry.is_directory() => {
                        let entry = entry.clone();
                        self.changes.changes.insert(path.clone(), Change::Replace { entry });
                    }
                    Some(_) => {}
                }
            }
            Member::Opaque(path) => {
                self.make_way(&path.child(OPAQUE)).map_err(fail)?;
                let entry = match self.changes.changes.get(path) {
                    Some(Change::Put { entry, .. }) if entry.is_directory() => Some(entry.clone()),
                    Some(Change::Put { .. }) => return Err(fail("is below a path that is not a directory")),
                    _ => None,
                };
                match entry {
                    Some(entry) => {
                        self.changes.changes.insert(path.clone(), Change::Replace { entry });
                    }
                    None => {
                        self.opaque.insert(path.clone());
                    }
                }
            }
            Member::Put(path, entry) => {
                self.make_way(path).map_err(fail)?;
                self.put(path, entry.clone());
            }
        }
        Ok(member)
    }

    /// The name that this layer has the file of a hard link's target at: not another link, not through one.
    fn first_name(&self, target: ImagePath) -> ImagePath {
        let changes = &self.changes.changes;
        let target = match self.resolve(&target, None) {
            Ok(real) if !changes.contains_key(&target) && changes.contains_key(&real) => real,
            _ => target,
        };
        match changes.get(&target).and_then(Change::entry).map(|entry| &entry.kind) {
            Some(Kind::Hardlink { target }) => target.clone(),
            _ => target,
        }
    }

    /// The directories above `path` are there: a whiteout among them becomes an empty directory.
    fn make_way(&mut self, path: &ImagePath) -> Result<(), &'static str> {
        for ancestor in path.ancestors() {
            match self.changes.changes.get_mut(&ancestor) {
                Some(change @ Change::Remove) => {
                    *change = Change::Replace { entry: Entry::directory(0o755) };
                }
                Some(Change::Put { entry, .. })
                    if !matches!(entry.kind, Kind::Directory | Kind::Symlink { .. }) =>
                {
                    return Err("is below a path that is not a directory");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &ImagePath, entry: Entry) {
        let changes = &mut self.changes.changes;
        let hides = self.opaque.remove(path)
            || matches!(changes.get(path), Some(Change::Remove | Change::Replace { .. }));
        if entry.is_directory() && hides {
            changes.insert(path.clone(), Change::Replace { entry });
            return;
        }
        if !entry.is_directory() {
            // 1 is the smallest byte of a name, so this is where the directory's entries begin.
            let inside = changes.range(path.child([1])..).map(|(other, _)| other);
            let gone: Vec<_> = inside.take_while(|other| other.below(path).is_some()).cloned().collect();
            for other in gone {
                changes.remove(&other);
            }
        }
        changes.insert(path.clone(), Change::Put { entry, content: None, hash: None });
    }

    /// What is known of the bytes of the file that was put at `path` last.
    fn set_content(&mut self, path: &ImagePath, bytes: Option<Vec<u8>>, known: Option<ContentHash>) {
        if let Some(Change::Put { content, hash, .. }) = self.changes.changes.get_mut(path) {
            *content = bytes.map(Content::inline);
            *hash = known;
        }
    }

    /// All changes.
    pub(super) fn finish(mut self) -> ChangeSet {
        for path in std::mem::take(&mut self.opaque) {
            let entry = Entry::directory(0o755);
            self.changes.changes.entry(path).or_insert(Change::Replace { entry });
        }
        self.changes
    }

    /// `path` with the links above it followed, as a process in the image would: through this layer's own
    /// links and those of the layers `below`.
    pub(super) fn resolve(&self, path: &ImagePath, below: Option<&Tree>) -> Result<ImagePath, &'static str> {
        let Some(parent) = path.parent() else {
            return Ok(path.clone());
        };
        let parent = follow(&parent, true, |at| self.link(at, below));
        Ok(parent.map_err(|_| "leads through too many symbolic links")?.child(path.name()))
    }

    fn link<'a>(&'a self, path: &ImagePath, below: Option<&'a Tree>) -> Option<&'a [u8]> {
        let kind = match self.changes.changes.get(path) {
            Some(change) => &change.entry()?.kind,
            None => {
                let hidden = path.ancestors().iter().any(|ancestor| {
                    self.opaque.contains(ancestor)
                        || matches!(
                            self.changes.changes.get(ancestor),
                            Some(Change::Remove | Change::Replace { .. })
                        )
                });
                &below.filter(|_| !hidden)?.get(path)?.entry.kind
            }
        };
        if let Kind::Symlink { target } = kind { Some(target) } else { None }
    }
}

fn classify(path: ImagePath, header: &Header) -> Result<Member, &'static str> {
    let name = path.name().to_vec();
    let parent = path.parent().unwrap_or_default();
    if parent.components().chain([name.as_slice()]).any(|c| c.starts_with(META) && c != OPAQUE) {
        return Ok(Member::Ignored);
    }
    if is_reserved(&parent) {
        return Err("is below a whiteout");
    }
    if name == OPAQUE {
        return Ok(Member::Opaque(parent));
    }
    if let Some(gone) = name.strip_prefix(WHITEOUT) {
        if matches!(gone, b"" | b"." | b"..") {
            return Err("is a whiteout of nothing");
        }
        return Ok(Member::Whiteout(parent.child(gone)));
    }
    let kind = match &header.kind {
        MemberKind::File { size } => Kind::File { size: *size },
        MemberKind::Directory => Kind::Directory,
        MemberKind::Symlink { target } if target.is_empty() => {
            return Err("is a symbolic link to nothing");
        }
        MemberKind::Symlink { target } => Kind::Symlink { target: target.clone() },
        MemberKind::Hardlink { target } => {
            let target = ImagePath::strict(target).ok_or("is a hard link that leads out of the image")?;
            if target.is_root() || target == path || is_reserved(&target) {
                return Err("is a hard link to no file");
            }
            Kind::Hardlink { target }
        }
        MemberKind::Device { block: false, major: 0, minor: 0 } => {
            return Err("is the device 0:0, which overlay file systems take for a whiteout");
        }
        MemberKind::Device { block, major, minor } => {
            Kind::Device { block: *block, major: *major, minor: *minor }
        }
        MemberKind::Fifo => Kind::Fifo,
    };
    let Metadata { mode, uid, gid, mtime, xattrs } = &header.metadata;
    let xattrs = xattrs.iter().filter(|(name, _)| !is_overlay_attribute(name));
    let xattrs = xattrs.map(|(name, value)| (name.clone(), value.clone())).collect();
    let metadata = Metadata { mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, xattrs };
    Ok(Member::Put(path, Entry { kind, metadata }))
}

/// What is done with each member.
pub(super) trait Visit {
    /// See a member that `seen` has taken note of. `data` gives the bytes of a file; what is not read of them
    /// is passed over.
    fn member(
        &mut self,
        member: &Member,
        seen: &Collector,
        data: &mut dyn Read,
    ) -> Result<(), ReadLayerError>;
}

/// Go through all members of `tar`, to the end of the source. With `hash`, all files are hashed.
pub(super) fn walk<R: Read>(
    ctx: &Ctx,
    tar: R,
    limits: Limits,
    hash: bool,
    visitor: &mut dyn Visit,
) -> Result<(ChangeSet, R), ReadLayerError> {
    let mut reader = Reader::new(tar);
    let mut collector = Collector::default();
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    while let Some(header) = reader.next()? {
        ctx.check()?;
        entries += 1;
        bytes = bytes.saturating_add(header.kind.size());
        if entries > limits.entries {
            return Err(ReadLayerError::Limit { what: "entries", limit: limits.entries });
        }
        if bytes > limits.bytes {
            return Err(ReadLayerError::Limit { what: "bytes", limit: limits.bytes });
        }
        let member = collector.add(&header)?;
        let file = match &member {
            Member::Put(path, Entry { kind: Kind::File { size }, .. }) => Some((path, *size)),
            _ => None,
        };
        let mut data = Watched {
            ctx,
            reader: &mut reader,
            hasher: (hash && file.is_some()).then(blake3::Hasher::new),
            kept: file.filter(|(path, size)| is_kept(path, *size)).map(|_| Vec::new()),
        };
        if let Err(error) = visitor.member(&member, &collector, &mut data) {
            // A read that was interrupted looks like a failed one.
            ctx.check()?;
            return Err(error);
        }
        if let Some((path, _)) = file {
            if data.hasher.is_some() || data.kept.is_some() {
                let source_error = |source| ReadLayerError::Disk { path: path.clone(), source };
                io::copy(&mut data, &mut io::sink()).map_err(source_error)?;
            }
            let hash = data.hasher.map(|hasher| ContentHash(*hasher.finalize().as_bytes()));
            let kept = data.kept;
            collector.set_content(path, kept, hash);
        }
    }
    let source = reader.drain()?;
    Ok((collector.finish(), source))
}

/// A member's bytes, seen on their way.
struct Watched<'a, R> {
    ctx: &'a Ctx,
    reader: &'a mut Reader<R>,
    hasher: Option<blake3::Hasher>,
    kept: Option<Vec<u8>>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ctx.check().map_err(io::Error::other)?;
        let count = self.reader.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}
