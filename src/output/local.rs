//! `type=local` and `type=tar`: the merged root file system of an image.
//!
//! Two passes over the layers. The first reads only what is in them and finds, for every path of the merged
//! tree, the layer that it comes from; the second streams the layers again and writes each surviving file
//! from there. So a file that a later layer replaces is never written, and nothing is kept in between.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, linkat, openat, symlinkat, utimensat};

use super::{OpenBlob, WriteError};
use crate::blob::{Verified, decoder};
use crate::ctx::Ctx;
use crate::layer::{FileVisit, Image, Layer, Rooted, each_file, rooted, toc};
use crate::oci::Compression;
use crate::tar::{Header, MemberKind, Writer};
use crate::tree::{Change, Entry, ImagePath, Kind, Metadata, Tree};

/// Write the merged root file system of `image` into the directory `directory`, which is made when it is not
/// there; what it holds already stays where nothing takes its place. Everything belongs to who runs this;
/// device nodes are left out.
pub(crate) fn write_root(
    ctx: &Ctx,
    image: &Image,
    open_blob: &OpenBlob<'_>,
    directory: &Path,
) -> Result<(), WriteError> {
    let merged = Merged::read(ctx, image, open_blob)?;
    let failed = |source| WriteError::Write { what: directory.display().to_string(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let root = Rooted::open(directory).map_err(failed)?;
    let mut sink = Folder { root, times: Vec::new() };
    merged.write(ctx, image, open_blob, &mut sink)?;
    sink.finish()
}

/// Write the merged root file system of `image` as a tar into `sink`.
pub(crate) fn write_root_tar<W: Write>(
    ctx: &Ctx,
    image: &Image,
    open_blob: &OpenBlob<'_>,
    sink: W,
) -> Result<W, WriteError> {
    let merged = Merged::read(ctx, image, open_blob)?;
    let mut sink = Tar(Writer::new(sink));
    merged.write(ctx, image, open_blob, &mut sink)?;
    sink.0.finish().map_err(|source| WriteError::Write { what: "the archive".to_owned(), source })
}

/// A file of the merged tree: which layer has its bytes, and under which name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    layer: usize,
    name: ImagePath,
}

struct Merged {
    tree: Tree,
    /// The names of the merged tree by where their bytes come from; several are hard links of one file.
    files: BTreeMap<Origin, Vec<ImagePath>>,
}

/// Where entries of the merged tree go.
trait Sink {
    /// Anything but a regular file. A hard link's target is there already.
    fn entry(&mut self, path: &ImagePath, entry: &Entry) -> io::Result<()>;
    /// A regular file.
    fn file(&mut self, path: &ImagePath, entry: &Entry, bytes: &mut dyn Read) -> io::Result<()>;
}

impl Merged {
    fn read(ctx: &Ctx, image: &Image, open_blob: &OpenBlob<'_>) -> Result<Self, WriteError> {
        let mut tree = Tree::default();
        let mut origins: BTreeMap<ImagePath, Origin> = BTreeMap::new();
        for (number, layer) in image.layers.iter().enumerate() {
            let changes = toc::read(ctx, plain(layer, open_blob)?, false)
                .map_err(|source| WriteError::Unpack { digest: layer.descriptor.digest, source })?;
            tree.apply(&changes);
            for (path, change) in &changes.changes {
                let Change::Put { entry, .. } = change else { continue };
                let name = match &entry.kind {
                    Kind::File { .. } => path.clone(),
                    Kind::Hardlink { target } => target.clone(),
                    _ => continue,
                };
                let place = tree.resolve(path, false).map_or_else(|_| path.clone(), |resolved| resolved.path);
                origins.insert(place, Origin { layer: number, name });
            }
        }
        let mut files: BTreeMap<Origin, Vec<ImagePath>> = BTreeMap::new();
        for (path, node) in tree.iter() {
            if node.entry.is_file()
                && let Some(origin) = origins.get(path)
            {
                files.entry(origin.clone()).or_default().push(path.clone());
            }
        }
        Ok(Self { tree, files })
    }

    fn write(
        &self,
        ctx: &Ctx,
        image: &Image,
        open_blob: &OpenBlob<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), WriteError> {
        for (path, node) in self.tree.iter() {
            ctx.check()?;
            if !matches!(node.entry.kind, Kind::File { .. } | Kind::Hardlink { .. }) {
                sink.entry(path, &node.entry).map_err(|source| failed(path, source))?;
            }
        }
        for (number, layer) in image.layers.iter().enumerate() {
            let mut copier = Copier { merged: self, number, sink, failed: None };
            if !self.files.keys().any(|origin| origin.layer == number) {
                continue;
            }
            let result = each_file(ctx, plain(layer, open_blob)?, &mut copier);
            if let Some(error) = copier.failed {
                return Err(error);
            }
            result.map_err(|source| WriteError::Unpack { digest: layer.descriptor.digest, source })?;
        }
        Ok(())
    }
}

struct Copier<'a> {
    merged: &'a Merged,
    number: usize,
    sink: &'a mut dyn Sink,
    failed: Option<WriteError>,
}

impl FileVisit for Copier<'_> {
    fn file(&mut self, path: &ImagePath, bytes: &mut dyn Read) -> io::Result<()> {
        let origin = Origin { layer: self.number, name: path.clone() };
        let Some(names) = self.merged.files.get(&origin) else { return Ok(()) };
        for (position, name) in names.iter().enumerate() {
            let Some(node) = self.merged.tree.get(name) else { continue };
            let written = if position == 0 {
                self.sink.file(name, &node.entry, bytes)
            } else {
                let kind = Kind::Hardlink { target: names[0].clone() };
                self.sink.entry(name, &Entry { kind, metadata: node.entry.metadata.clone() })
            };
            if let Err(source) = written {
                let kind = source.kind();
                self.failed = Some(failed(name, source));
                return Err(kind.into());
            }
        }
        Ok(())
    }
}

fn failed(path: &ImagePath, source: io::Error) -> WriteError {
    WriteError::Write { what: path.to_string(), source }
}

/// A layer's tar.
fn plain(layer: &Layer, open_blob: &OpenBlob<'_>) -> Result<Box<dyn Read + Send>, WriteError> {
    let blob_failed = |source| WriteError::Blob { digest: layer.descriptor.digest, source };
    let Some(compression) = Compression::of_media_type(&layer.descriptor.media_type) else {
        let what = format!("{} is not the media type of a layer", layer.descriptor.media_type);
        return Err(blob_failed(io::Error::new(io::ErrorKind::InvalidData, what)));
    };
    let blob = Verified::new(open_blob(layer).map_err(blob_failed)?, &layer.descriptor);
    decoder(compression, blob).map_err(blob_failed)
}

struct Tar<W>(Writer<W>);

impl<W: Write> Sink for Tar<W> {
    fn entry(&mut self, path: &ImagePath, entry: &Entry) -> io::Result<()> {
        let kind = match &entry.kind {
            Kind::Directory => MemberKind::Directory,
            Kind::Symlink { target } => MemberKind::Symlink { target: target.clone() },
            Kind::Hardlink { target } => MemberKind::Hardlink { target: target.as_bytes().to_vec() },
            Kind::Device { block, major, minor } => {
                MemberKind::Device { block: *block, major: *major, minor: *minor }
            }
            Kind::Fifo => MemberKind::Fifo,
            Kind::File { .. } => return Ok(()),
        };
        let name = if path.is_root() { b".".to_vec() } else { path.as_bytes().to_vec() };
        self.0.header(&Header { name, kind, metadata: entry.metadata.clone() })
    }

    fn file(&mut self, path: &ImagePath, entry: &Entry, bytes: &mut dyn Read) -> io::Result<()> {
        let Kind::File { size } = entry.kind else { return Ok(()) };
        let kind = MemberKind::File { size };
        let header = Header { name: path.as_bytes().to_vec(), kind, metadata: entry.metadata.clone() };
        self.0.file(&header, bytes, &mut |_| Ok(())).map(drop)
    }
}

/// A directory that the root file system is laid into, without following any link there.
struct Folder {
    root: Rooted,
    /// Directories get their modes and times when all is in them.
    times: Vec<(ImagePath, Metadata)>,
}

impl Folder {
    fn parent(&self, path: &ImagePath) -> io::Result<std::os::fd::OwnedFd> {
        self.root.make_directory(&path.parent().unwrap_or_default(), &mut |_, _| {})
    }

    fn finish(self) -> Result<(), WriteError> {
        for (path, metadata) in self.times.iter().rev() {
            let set = || -> io::Result<()> {
                let directory = self.root.directory(path)?;
                rustix::fs::fchmod(&directory, Mode::from_raw_mode(metadata.mode))?;
                Ok(rustix::fs::futimens(&directory, &times(metadata))?)
            };
            set().map_err(|source| failed(path, source))?;
        }
        Ok(())
    }
}

impl Sink for Folder {
    fn entry(&mut self, path: &ImagePath, entry: &Entry) -> io::Result<()> {
        if path.is_root() {
            return Ok(());
        }
        let parent = self.parent(path)?;
        let name = path.name();
        match &entry.kind {
            Kind::Directory => {
                if rooted::open_directory_at(&parent, name).is_err() {
                    rooted::remove_at(&parent, name)?;
                    rooted::make_directory_at(&parent, name)?;
                }
                self.times.push((path.clone(), entry.metadata.clone()));
            }
            Kind::Symlink { target } => {
                rooted::remove_at(&parent, name)?;
                symlinkat(target.as_slice(), &parent, name)?;
                utimensat(&parent, name, &times(&entry.metadata), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Kind::Hardlink { target } => {
                rooted::remove_at(&parent, name)?;
                linkat(&self.parent(target)?, target.name(), &parent, name, AtFlags::empty())?;
            }
            // Not for a user to make, and of no use in a folder.
            Kind::Device { .. } | Kind::Fifo | Kind::File { .. } => {}
        }
        Ok(())
    }

    fn file(&mut self, path: &ImagePath, entry: &Entry, bytes: &mut dyn Read) -> io::Result<()> {
        let parent = self.parent(path)?;
        rooted::remove_at(&parent, path.name())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&parent, path.name(), flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(bytes, &mut file)?;
        // Set-id bits would now mean who runs this.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.metadata.mode & 0o777))?;
        Ok(rustix::fs::futimens(&file, &times(&entry.metadata))?)
    }
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: metadata.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
