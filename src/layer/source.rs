//! Images in files: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`.
//!
//! A layout's blobs are used where they are. Archives are read as streams, compressed or not, and their blobs
//! put into a store on the way, verified; so afterwards all layers are local files. The layers of a docker
//! archive are mostly plain tars: these are compressed then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{BlobHome, Image, Layer};
use crate::blob::{CompressOptions, Hashing, LayerWriter, Layout, LayoutError, decoder, sniff_decoder};
use crate::ctx::{Cancelled, Ctx};
use crate::oci::{
    Compression, Descriptor, DiffId, Digest, Document, DocumentError, ImageConfig, Index, Manifest,
    media_type,
};
use crate::tar::{MemberKind, Reader, TarError};
use crate::tree::ImagePath;

/// Where an image is, in skopeo's notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageFile {
    /// A folder that is an OCI layout.
    Layout {
        /// The folder.
        directory: PathBuf,
        /// Which of its images; may be left out when it has one.
        name: Option<String>,
    },
    /// A tar of an OCI layout.
    LayoutArchive {
        /// The file.
        file: PathBuf,
        /// Which of its images; may be left out when it has one.
        name: Option<String>,
    },
    /// A tar as `docker save` writes it.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// Which of its images; may be left out when it has one.
        name: Option<String>,
    },
}

/// What a source holds under one name.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The index, where it is an image of several platforms.
    pub(crate) index: Option<Document<Index>>,
    /// The images: of the index, in its order, else one.
    pub(crate) images: Vec<Image>,
}

/// An image could not be read from a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// A layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A tar.
    #[error("{path}: {source}", path = .path.display())]
    Tar {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TarError,
    },
    /// A document in it.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Reading or storing.
    #[error("{path}: {what}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The part of it.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {reason}", path = .path.display())]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Largest manifest, index or config that is read: what registries take.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// Indexes in indexes.
const DEPTH_LIMIT: usize = 4;

impl ImageFile {
    fn path(&self) -> &Path {
        match self {
            Self::Layout { directory, .. } => directory,
            Self::LayoutArchive { file, .. } | Self::DockerArchive { file, .. } => file,
        }
    }
}

impl fmt::Display for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, name) = match self {
            Self::Layout { name, .. } => ("oci", name),
            Self::LayoutArchive { name, .. } => ("oci-archive", name),
            Self::DockerArchive { name, .. } => ("docker-archive", name),
        };
        write!(f, "{transport}:{}", self.path().display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

/// Read the image at `source`. Blobs of archives are put into `store`; plain layers of docker archives are
/// compressed as `compress` says.
pub(crate) fn load(
    ctx: &Ctx,
    source: &ImageFile,
    store: &Layout,
    compress: CompressOptions,
) -> Result<Loaded, SourceError> {
    let loader = Loader { ctx, path: source.path() };
    match source {
        ImageFile::Layout { directory, name } => {
            let layout = Layout::open(directory)?;
            let index = layout.index()?;
            loader.select(&layout, index.value(), name.as_deref())
        }
        ImageFile::LayoutArchive { name, .. } => {
            let index = loader.import(store)?;
            loader.select(store, &index, name.as_deref())
        }
        ImageFile::DockerArchive { name, .. } => loader.docker(store, name.as_deref(), compress),
    }
}

struct Loader<'a> {
    ctx: &'a Ctx,
    path: &'a Path,
}

/// An image in the `manifest.json` of a docker archive (moby, image/spec/spec.md).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Loader<'_> {
    fn malformed(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Malformed { path: self.path.to_owned(), reason: reason.into() }
    }

    fn failed(&self, what: impl fmt::Display) -> impl FnOnce(io::Error) -> SourceError {
        let (path, what) = (self.path.to_owned(), what.to_string());
        move |source| SourceError::Io { path, what, source }
    }

    /// The image `name` of a layout.
    fn select(&self, layout: &Layout, index: &Index, name: Option<&str>) -> Result<Loaded, SourceError> {
        let names = |entry: &Descriptor| {
            entry.annotations.get(crate::blob::ANNOTATION_REF_NAME).cloned().unwrap_or_default()
        };
        let mut found = index.manifests.iter().filter(|entry| match name {
            None => true,
            Some(name) => {
                names(entry) == name
                    || entry.digest.to_string() == name
                    || entry
                        .annotations
                        .get(crate::blob::ANNOTATION_CONTAINERD_NAME)
                        .is_some_and(|n| n == name)
            }
        });
        let Some(entry) = found.next() else {
            return Err(self.malformed(match name {
                Some(name) => format!("has no image {name:?}"),
                None => "has no image".to_owned(),
            }));
        };
        // Several names of one image are one image.
        if found.any(|other| other.digest != entry.digest) {
            let all: BTreeSet<String> = index.manifests.iter().map(names).filter(|n| !n.is_empty()).collect();
            let all: Vec<String> = all.into_iter().collect();
            return Err(self.malformed(format!("has several images: name one of {}", all.join(", "))));
        }
        if !media_type::is_index(&entry.media_type) {
            return Ok(Loaded { index: None, images: vec![self.image(layout, entry)?] });
        }
        let index: Document<Index> = self.document(layout, entry)?;
        let mut images = Vec::new();
        self.collect(layout, index.value(), 1, &mut images)?;
        Ok(Loaded { index: Some(index), images })
    }

    fn collect(
        &self,
        layout: &Layout,
        index: &Index,
        depth: usize,
        images: &mut Vec<Image>,
    ) -> Result<(), SourceError> {
        if depth > DEPTH_LIMIT {
            return Err(self.malformed("has indexes nested too deep"));
        }
        for entry in &index.manifests {
            if media_type::is_index(&entry.media_type) {
                let nested: Document<Index> = self.document(layout, entry)?;
                self.collect(layout, nested.value(), depth + 1, images)?;
            } else {
                images.push(self.image(layout, entry)?);
            }
        }
        Ok(())
    }

    fn document<T: serde::de::DeserializeOwned>(
        &self,
        layout: &Layout,
        entry: &Descriptor,
    ) -> Result<Document<T>, SourceError> {
        let bytes = layout.read(entry, DOCUMENT_LIMIT).map_err(self.failed(entry.digest))?;
        Ok(Document::parse(&entry.media_type, bytes)?)
    }

    fn image(&self, layout: &Layout, entry: &Descriptor) -> Result<Image, SourceError> {
        if !media_type::is_manifest(&entry.media_type) {
            return Err(self.malformed(format!("{} is not an image but {}", entry.digest, entry.media_type)));
        }
        let manifest: Document<Manifest> = self.document(layout, entry)?;
        let config: Document<ImageConfig> = self.document(layout, &manifest.value().config)?;
        let (blobs, diff_ids) = (&manifest.value().layers, &config.value().rootfs.diff_ids);
        if blobs.len() != diff_ids.len() {
            return Err(self.malformed(format!(
                "manifest {} has {} layers, its config {}",
                entry.digest,
                blobs.len(),
                diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        for (descriptor, diff_id) in blobs.iter().zip(diff_ids) {
            if !layout.has(descriptor) {
                return Err(self.malformed(format!("blob {} is missing or incomplete", descriptor.digest)));
            }
            let home = BlobHome::Local(layout.path(&descriptor.digest));
            layers.push(Layer { diff_id: *diff_id, descriptor: descriptor.clone(), home });
        }
        Ok(Image { manifest, config, layers })
    }

    /// The archive as a tar, whatever it is compressed with.
    fn open(&self) -> Result<Reader<Box<dyn Read + Send>>, SourceError> {
        let file = File::open(self.path).map_err(self.failed("open"))?;
        let (_, plain) = sniff_decoder(file).map_err(self.failed("decompress"))?;
        Ok(Reader::new(plain))
    }

    fn each(
        &self,
        mut visit: impl FnMut(&ImagePath, &MemberKind, &mut dyn Read) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let tar = |source| SourceError::Tar { path: self.path.to_owned(), source };
        let mut reader = self.open()?;
        while let Some(header) = reader.next().map_err(tar)? {
            self.ctx.check()?;
            visit(&ImagePath::clamped(&header.name), &header.kind, &mut reader)?;
        }
        Ok(())
    }

    /// Put all blobs of a layout archive into `store`; answers its index.
    fn import(&self, store: &Layout) -> Result<Index, SourceError> {
        let mut index = None;
        self.each(|path, kind, data| {
            let MemberKind::File { size } = kind else { return Ok(()) };
            let text = path.to_string();
            if text == "/index.json" {
                index = Some(self.small(data, &text)?);
            } else if let Some(hex) = text.strip_prefix("/blobs/sha256/") {
                let digest: Digest = format!("sha256:{hex}")
                    .parse()
                    .map_err(|_| self.malformed(format!("{text} is no digest")))?;
                let descriptor = Descriptor::new("", digest, *size);
                store.put_stream(&descriptor, data).map_err(self.failed(&text))?;
            }
            Ok(())
        })?;
        let index = index.ok_or_else(|| self.malformed("is not an OCI archive: it has no index.json"))?;
        Ok(Document::<Index>::parse(media_type::OCI_INDEX, index)?.value().clone())
    }

    fn small(&self, data: &mut dyn Read, what: &str) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        data.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).map_err(self.failed(what))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(self.malformed(format!("{what} is larger than {DOCUMENT_LIMIT} bytes")));
        }
        Ok(bytes)
    }

    /// Read a docker archive in two passes: its description can be at the end.
    fn docker(
        &self,
        store: &Layout,
        name: Option<&str>,
        compress: CompressOptions,
    ) -> Result<Loaded, SourceError> {
        let mut list = None;
        let mut links: BTreeMap<ImagePath, ImagePath> = BTreeMap::new();
        self.each(|path, kind, data| {
            match kind {
                MemberKind::File { .. } if path.as_bytes() == b"manifest.json" => {
                    list = Some(self.small(data, "manifest.json")?);
                }
                // Older dockers write a layer that occurs twice as a link.
                MemberKind::Symlink { target } => {
                    let target = path.parent().unwrap_or_default().join_clamped(target);
                    links.insert(path.clone(), target);
                }
                MemberKind::Hardlink { target } => {
                    drop(links.insert(path.clone(), ImagePath::clamped(target)));
                }
                _ => {}
            }
            Ok(())
        })?;
        let list = list.ok_or_else(|| self.malformed("is not a docker archive: it has no manifest.json"))?;
        let list: Vec<DockerImage> = serde_json::from_slice(&list)
            .map_err(|error| self.malformed(format!("manifest.json is not valid: {error}")))?;
        let image = self.choose(&list, name)?;
        let place = |text: &str| {
            let path = ImagePath::clamped(text);
            links.get(&path).cloned().unwrap_or(path)
        };
        let config_path = place(&image.config);
        let layer_paths: Vec<ImagePath> = image.layers.iter().flatten().map(|layer| place(layer)).collect();
        let wanted: BTreeSet<&ImagePath> = layer_paths.iter().collect();
        let mut config = None;
        let mut stored: BTreeMap<ImagePath, (DiffId, Descriptor)> = BTreeMap::new();
        self.each(|path, kind, data| {
            if !matches!(kind, MemberKind::File { .. }) {
                return Ok(());
            }
            if *path == config_path {
                config = Some(self.small(data, &image.config)?);
            } else if wanted.contains(path) {
                stored.insert(path.clone(), store_layer(store, data, compress).map_err(self.failed(path))?);
            }
            Ok(())
        })?;
        let config = config.ok_or_else(|| self.malformed(format!("{} is missing", image.config)))?;
        let config: Document<ImageConfig> = Document::parse(media_type::OCI_CONFIG, config)?;
        store.put(config.bytes()).map_err(self.failed("config"))?;
        let diff_ids = &config.value().rootfs.diff_ids;
        if diff_ids.len() != layer_paths.len() {
            return Err(self.malformed("manifest.json and the config differ in the number of layers"));
        }
        let mut layers = Vec::new();
        for (path, expected) in layer_paths.iter().zip(diff_ids) {
            let (diff_id, descriptor) =
                stored.get(path).cloned().ok_or_else(|| self.malformed(format!("{path} is missing")))?;
            if diff_id != *expected {
                return Err(self.malformed(format!("{path} is damaged: its diff ID is {}", diff_id.0)));
            }
            let home = BlobHome::Local(store.path(&descriptor.digest));
            layers.push(Layer { diff_id, descriptor, home });
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: config.descriptor().clone(),
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        };
        let manifest = Document::write(media_type::OCI_MANIFEST, manifest);
        store.put(manifest.bytes()).map_err(self.failed("manifest"))?;
        Ok(Loaded { index: None, images: vec![Image { manifest, config, layers }] })
    }

    fn choose<'i>(
        &self,
        list: &'i [DockerImage],
        name: Option<&str>,
    ) -> Result<&'i DockerImage, SourceError> {
        let tags = |image: &'i DockerImage| image.repo_tags.iter().flatten();
        match (name, list) {
            (Some(name), list) => list
                .iter()
                .find(|image| tags(image).any(|tag| tag == name || *tag == format!("{name}:latest")))
                .ok_or_else(|| self.malformed(format!("has no image {name:?}"))),
            (None, [image]) => Ok(image),
            (None, []) => Err(self.malformed("has no image")),
            (None, list) => {
                let all: Vec<&str> = list.iter().flat_map(tags).map(String::as_str).collect();
                Err(self.malformed(format!("has several images: name one of {}", all.join(", "))))
            }
        }
    }
}

/// Store a layer as it is when it is compressed, else compressed.
fn store_layer(
    store: &Layout,
    data: &mut dyn Read,
    compress: CompressOptions,
) -> io::Result<(DiffId, Descriptor)> {
    let mut first = Vec::new();
    data.take(8).read_to_end(&mut first)?;
    let mut whole = first.as_slice().chain(data);
    let compression = Compression::sniff(&first);
    if compression == Compression::None {
        let mut writer = LayerWriter::new(store.writer()?, compress);
        io::copy(&mut whole, &mut writer)?;
        let written = writer.finish()?;
        return Ok((written.diff_id, written.descriptor));
    }
    let mut writer = store.writer()?;
    io::copy(&mut whole, &mut writer)?;
    let (digest, size) = writer.finish()?;
    let descriptor = Descriptor::new(compression.layer_media_type(), digest, size);
    let mut plain = Hashing::new(decoder(compression, store.open_blob(&descriptor)?)?);
    io::copy(&mut plain, &mut io::sink())?;
    Ok((DiffId(plain.finish().0), descriptor))
}
