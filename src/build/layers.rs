//! Layers as steps need them: their table of contents, single files of them, a directory for a RUN.
//!
//! Each is made on first need, once per build whoever asks, and in this order of cost: what is on this
//! machine, what a cache recorded, the layer's blob.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use crate::blob::{Hashing, Layout, decoder};
use crate::cache::{Caches, Record, RecordName, TOC_LAYER};
use crate::ctx::Ctx;
use crate::layer::{
    BlobHome, Layer, Limits, OverlayStyle, Owners, ReadLayerError, Rooted, UnpackOptions, extract, toc,
    unpack,
};
use crate::oci::{Compression, DiffId};
use crate::registry::Registries;
use crate::tree::{ChangeSet, Content, ContentSource, ImagePath};

use super::error::BuildError;
use super::scratch::Scratch;

/// Largest table of contents that is fetched, in bytes.
const TOC_LIMIT: u64 = 256 << 20;

/// The layers of one build.
pub(crate) struct LayerStore {
    registries: Registries,
    caches: Caches,
    scratch: Arc<Scratch>,
    /// Kept between builds: `layers/<diff id>` directories and `tocs/<diff id>` files.
    kept: Option<PathBuf>,
    unpacking: Unpacking,
    /// Where blobs of registries are put before they are read, because an output will want them too.
    blobs: Option<Layout>,
    known: Mutex<BTreeMap<DiffId, Arc<Known>>>,
}

/// How layers become directories here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacking {
    /// Which attributes the overlay looks at.
    pub(crate) style: OverlayStyle,
    /// What becomes of owners.
    pub(crate) owners: Owners,
}

/// What is known of one layer in this build.
#[derive(Default)]
struct Known {
    toc: OnceCell<Arc<ChangeSet>>,
    directory: OnceCell<PathBuf>,
    files: OnceLock<Arc<LayerFiles>>,
    stored: OnceCell<()>,
}

/// The files of one layer, of which some will be read. They are fetched together before the first is
/// opened.
pub(crate) struct LayerFiles {
    layer: Layer,
    wanted: Mutex<BTreeSet<ImagePath>>,
    sources: Mutex<Vec<Fetched>>,
}

/// Files that were fetched together, and where they are.
type Fetched = (BTreeSet<ImagePath>, Arc<dyn ContentSource>);

impl LayerStore {
    /// Layers are fetched through `registries`; tables of contents are shared through `caches`. `kept` is
    /// where directories outlive the build, `None` to keep nothing.
    pub(crate) fn new(
        registries: Registries,
        caches: Caches,
        scratch: Arc<Scratch>,
        kept: Option<PathBuf>,
        unpacking: Unpacking,
        blobs: Option<Layout>,
    ) -> Self {
        Self { registries, caches, scratch, kept, unpacking, blobs, known: Mutex::default() }
    }

    fn known(&self, diff_id: DiffId) -> Arc<Known> {
        Arc::clone(self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(diff_id).or_default())
    }

    /// A layer that this build made, with its table of contents.
    pub(crate) fn made(&self, layer: &Layer, contents: Arc<ChangeSet>) {
        // The same layer may have been made twice; the first serves.
        let _ = self.known(layer.diff_id).toc.set(contents);
    }

    /// What is in a layer. File contents are behind [`LayerFiles`].
    pub(crate) async fn changes(&self, ctx: &Ctx, layer: &Layer) -> Result<ChangeSet, BuildError> {
        let contents = self.toc(ctx, layer).await?;
        let known = self.known(layer.diff_id);
        let files = known.files.get_or_init(|| {
            Arc::new(LayerFiles { layer: layer.clone(), wanted: Mutex::default(), sources: Mutex::default() })
        });
        Ok(contents.with_source(&(Arc::clone(files) as Arc<dyn ContentSource>)))
    }

    /// After a RUN: the step's upper directory is the layer's directory.
    pub(crate) fn made_by_run(&self, layer: &Layer, upper: PathBuf) {
        let _ = self.known(layer.diff_id).directory.set(upper);
    }

    /// The table of contents of a layer.
    async fn toc(&self, ctx: &Ctx, layer: &Layer) -> Result<Arc<ChangeSet>, BuildError> {
        let known = self.known(layer.diff_id);
        let contents = known.toc.get_or_try_init(|| self.find_toc(ctx, layer)).await?;
        Ok(Arc::clone(contents))
    }

    async fn find_toc(&self, ctx: &Ctx, layer: &Layer) -> Result<Arc<ChangeSet>, BuildError> {
        let file = self.kept.as_ref().map(|kept| kept.join("tocs").join(layer.diff_id.0.hex()));
        if let Some(bytes) = file.as_ref().and_then(|file| std::fs::read(file).ok())
            && let Ok(contents) = toc::decode(bytes.as_slice())
        {
            return Ok(Arc::new(contents));
        }
        if let Some(found) = self.caches.lookup(ctx, &RecordName::Toc(layer.diff_id)).await
            && let [blob] = found.manifest.value().layers.as_slice()
            && blob.media_type == TOC_LAYER
            && let Ok(bytes) = found.blob(ctx, blob, TOC_LIMIT).await
            && let Ok(contents) = toc::decode(&*bytes)
        {
            return Ok(Arc::new(contents));
        }
        let (inner, diff_id) = (ctx.clone(), layer.diff_id);
        let contents = self
            .read(ctx, layer, move |tar| checked(tar, diff_id, |tar| toc::read(&inner, tar, true)))
            .await?;
        let contents = Arc::new(contents);
        self.keep_toc(ctx, layer.diff_id, &contents).await;
        Ok(contents)
    }

    /// Let later builds have a table of contents without the layer.
    pub(crate) async fn keep_toc(&self, ctx: &Ctx, diff_id: DiffId, contents: &Arc<ChangeSet>) {
        let shared = Arc::clone(contents);
        let Ok(bytes) = ctx.blocking(move || toc::encode(&shared)).await else { return };
        if let Some(kept) = &self.kept {
            // Losing it costs time only.
            let _ = write_atomically(&kept.join("tocs"), &diff_id.0.hex(), &bytes);
        }
        if self.caches.is_written() {
            self.caches.store(ctx, &RecordName::Toc(diff_id), &Record::of_toc(bytes.into())).await;
        }
    }

    /// The layer as a directory for an overlay.
    pub(crate) async fn directory(&self, ctx: &Ctx, layer: &Layer) -> Result<PathBuf, BuildError> {
        let known = self.known(layer.diff_id);
        known.directory.get_or_try_init(|| self.make_directory(ctx, layer)).await.cloned()
    }

    async fn make_directory(&self, ctx: &Ctx, layer: &Layer) -> Result<PathBuf, BuildError> {
        let name = layer.diff_id.0.hex();
        let parent = match &self.kept {
            Some(kept) => kept.join("layers"),
            None => self.scratch.path().join("layers"),
        };
        let target = parent.join(&name);
        if target.is_dir() {
            return Ok(target);
        }
        std::fs::create_dir_all(&parent).map_err(BuildError::io(format!("create {}", parent.display())))?;
        // Unpacked aside and renamed: a directory under its name is whole.
        let partial = self
            .scratch
            .directory(&format!("unpack-{name}"))
            .map_err(BuildError::io("create a directory for a layer"))?;
        let contents = self.unpack_into(ctx, layer, partial.clone()).await?;
        match std::fs::rename(&partial, &target) {
            Ok(()) => {}
            // Another build was first.
            Err(_) if target.is_dir() => {}
            Err(error) => return Err(BuildError::io(format!("rename to {}", target.display()))(error)),
        }
        let contents = Arc::new(contents);
        if self.known(layer.diff_id).toc.set(Arc::clone(&contents)).is_ok() {
            self.keep_toc(ctx, layer.diff_id, &contents).await;
        }
        Ok(target)
    }

    async fn unpack_into(&self, ctx: &Ctx, layer: &Layer, into: PathBuf) -> Result<ChangeSet, BuildError> {
        let (inner, expected) = (ctx.clone(), layer.diff_id);
        let Unpacking { style, owners } = self.unpacking;
        let work = move |tar| {
            let options = UnpackOptions {
                style,
                owners,
                expected: Some(expected),
                below: None,
                limits: Limits::default(),
            };
            unpack(&inner, tar, &into, &options)
        };
        self.read(ctx, layer, work).await
    }

    /// A layer that is of this build only, as a directory of this build.
    pub(crate) async fn temporary_directory(&self, ctx: &Ctx, layer: &Layer) -> Result<PathBuf, BuildError> {
        let into = tempfile::tempdir_in(self.scratch.path())
            .map_err(BuildError::io("create a directory for a mount"))?
            .keep();
        self.unpack_into(ctx, layer, into.clone()).await?;
        Ok(into)
    }

    /// Have the files that were [prepared](ContentSource::prepare) since the last call at hand.
    pub(crate) async fn fetch(&self, ctx: &Ctx) -> Result<(), BuildError> {
        let all: Vec<Arc<Known>> =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let fetches = all.iter().filter_map(|known| {
            let files = known.files.get()?;
            let wanted = std::mem::take(&mut *files.wanted.lock().unwrap_or_else(PoisonError::into_inner));
            (!wanted.is_empty()).then(|| self.fetch_from(ctx, known, files, wanted))
        });
        futures_util::future::try_join_all(fetches).await?;
        Ok(())
    }

    async fn fetch_from(
        &self,
        ctx: &Ctx,
        known: &Known,
        files: &Arc<LayerFiles>,
        wanted: BTreeSet<ImagePath>,
    ) -> Result<(), BuildError> {
        let on_disk = known.directory.get().cloned().or_else(|| {
            let kept = self.kept.as_ref()?.join("layers").join(files.layer.diff_id.0.hex());
            kept.is_dir().then_some(kept)
        });
        let source: Arc<dyn ContentSource> = match on_disk {
            Some(directory) => Arc::new(
                Rooted::open(&directory).map_err(BuildError::io(format!("open {}", directory.display())))?,
            ),
            None => {
                let name = format!("files-{}", files.layer.diff_id.0.hex());
                let into = tempfile::Builder::new()
                    .prefix(&name)
                    .tempdir_in(self.scratch.path())
                    .map_err(BuildError::io("create a directory for files of a layer"))?
                    .keep();
                let contents = self.toc(ctx, &files.layer).await?;
                let (inner, paths, diff_id) = (ctx.clone(), wanted.clone(), files.layer.diff_id);
                let work =
                    move |tar| checked(tar, diff_id, |tar| extract(&inner, tar, &contents, &paths, &into));
                Arc::new(Extracted(self.read(ctx, &files.layer, work).await?))
            }
        };
        files.sources.lock().unwrap_or_else(PoisonError::into_inner).push((wanted, source));
        Ok(())
    }

    /// Read a layer's tar. What `work` makes of it must be compared with the diff ID: see [`checked`].
    async fn read<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        layer: &Layer,
        work: impl FnOnce(Box<dyn Read + Send>) -> Result<T, ReadLayerError> + Send + 'static,
    ) -> Result<T, BuildError> {
        let blob = self.open(ctx, layer).await?;
        let compression = Compression::of_media_type(&layer.descriptor.media_type).unwrap_or_default();
        let digest = layer.descriptor.digest;
        let result = ctx
            .blocking(move || {
                let start = |source| ReadLayerError::Disk { path: ImagePath::root(), source };
                work(decoder(compression, blob).map_err(start)?)
            })
            .await;
        result.map_err(|source: ReadLayerError| {
            if ctx.is_cancelled() { BuildError::Cancelled } else { BuildError::Layer { digest, source } }
        })
    }

    /// The blob of a layer, verified while it is read.
    async fn open(&self, ctx: &Ctx, layer: &Layer) -> Result<Box<dyn Read + Send>, BuildError> {
        match &self.blobs {
            Some(layout) => {
                let layer = self.localise(ctx, layer, layout).await?;
                self.stream(ctx, &layer).await
            }
            None => self.stream(ctx, layer).await,
        }
    }

    /// The blob from where it is.
    async fn stream(&self, ctx: &Ctx, layer: &Layer) -> Result<Box<dyn Read + Send>, BuildError> {
        match &layer.home {
            BlobHome::Local(path) => open_local(path, layer)
                .map_err(BuildError::io(format!("open blob {}", layer.descriptor.digest))),
            BlobHome::Remote(repository) => {
                Ok(Box::new(self.registries.open_blob(ctx, repository, &layer.descriptor).await?))
            }
        }
    }

    /// The layer with its blob in a file of `layout`; fetched once, however many ask.
    pub(crate) async fn localise(
        &self,
        ctx: &Ctx,
        layer: &Layer,
        layout: &Layout,
    ) -> Result<Layer, BuildError> {
        let target = layout.path(&layer.descriptor.digest);
        let known = self.known(layer.diff_id);
        known.stored.get_or_try_init(|| self.store(ctx, layer, layout)).await?;
        Ok(Layer { home: BlobHome::Local(target), ..layer.clone() })
    }

    async fn store(&self, ctx: &Ctx, layer: &Layer, layout: &Layout) -> Result<(), BuildError> {
        let target = layout.path(&layer.descriptor.digest);
        if layout.has(&layer.descriptor) {
            return Ok(());
        }
        // A second name of a file that never changes costs nothing.
        if let BlobHome::Local(path) = &layer.home
            && std::fs::hard_link(path, &target).is_ok()
        {
            return Ok(());
        }
        let mut blob = self.stream(ctx, layer).await?;
        let (layout, descriptor) = (layout.clone(), layer.descriptor.clone());
        ctx.blocking(move || layout.put_stream(&descriptor, &mut *blob))
            .await
            .map_err(BuildError::io(format!("store blob {}", layer.descriptor.digest)))
    }
}

fn open_local(path: &Path, layer: &Layer) -> io::Result<Box<dyn Read + Send>> {
    Ok(Box::new(crate::blob::Verified::new(std::fs::File::open(path)?, &layer.descriptor)))
}

/// Files of a layer that were written out one by one.
struct Extracted(BTreeMap<ImagePath, Content>);

impl ContentSource for Extracted {
    fn open(&self, path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        let absent = || io::Error::new(io::ErrorKind::NotFound, format!("{path} is no file of its layer"));
        self.0.get(path).ok_or_else(absent)?.open()
    }
}

/// What `work` makes of a layer's tar, when it is the tar of this diff ID.
fn checked<T>(
    tar: Box<dyn Read + Send>,
    expected: DiffId,
    work: impl FnOnce(&mut Hashing<Box<dyn Read + Send>>) -> Result<T, ReadLayerError>,
) -> Result<T, ReadLayerError> {
    let mut tar = Hashing::new(tar);
    let value = work(&mut tar)?;
    // Readers stop at the tar's end; what follows it counts all the same.
    io::copy(&mut tar, &mut io::sink())
        .map_err(|source| ReadLayerError::Disk { path: ImagePath::root(), source })?;
    let actual = DiffId(tar.finish().0);
    if actual == expected { Ok(value) } else { Err(ReadLayerError::DiffId { expected, actual }) }
}

impl ContentSource for LayerFiles {
    fn open(&self, path: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
        let source = {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.iter().find(|(paths, _)| paths.contains(path)).map(|(_, source)| Arc::clone(source))
        };
        let absent = || io::Error::new(io::ErrorKind::NotFound, format!("{path} was not fetched"));
        source.ok_or_else(absent)?.open(path)
    }

    fn prepare(&self, path: &ImagePath) {
        let held = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.iter().any(|(paths, _)| paths.contains(path)) {
            self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
    }
}

fn write_atomically(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, bytes)?;
    file.persist(directory.join(name))?;
    Ok(())
}

/// Tell the sources of all files in `changes` that they will be read.
pub(crate) fn prepare(changes: &ChangeSet) {
    changes.contents().for_each(Content::prepare);
}
