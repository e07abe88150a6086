//! `type=oci` and `type=docker` as one tar.
//!
//! Both are an OCI layout in a tar. For docker a `manifest.json` is added, which names the config and the
//! layers by their paths in the layout; `docker load`, podman and skopeo read it so. The tar is the same bytes
//! for the same image: blobs by digest, no times, no owners.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::json;

use super::names::Name;
use super::{Export, OpenBlob, WriteError};
use crate::blob::{ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Verified};
use crate::ctx::Ctx;
use crate::layer::{Image, Layer};
use crate::oci::{Digest, Document, Index, media_type};
use crate::tar::{Header, MemberKind, Writer};
use crate::tree::Metadata;

/// Who shall read the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveFormat {
    /// Readers of `oci-archive:`.
    Oci,
    /// `docker load` and readers of `docker-archive:`; those of `oci-archive:` as well.
    Docker,
}

enum Blob<'a> {
    Bytes(&'a [u8]),
    Layer(&'a Layer),
}

/// Write `export` as a tar into `sink`.
pub(crate) fn write_archive<W: Write>(
    ctx: &Ctx,
    export: Export<'_>,
    open_blob: &OpenBlob<'_>,
    format: ArchiveFormat,
    sink: W,
) -> Result<W, WriteError> {
    let mut blobs: BTreeMap<Digest, Blob<'_>> = BTreeMap::new();
    for image in export.images {
        for layer in &image.layers {
            blobs.insert(layer.descriptor.digest, Blob::Layer(layer));
        }
        blobs.insert(image.config.descriptor().digest, Blob::Bytes(image.config.bytes()));
        blobs.insert(image.manifest.descriptor().digest, Blob::Bytes(image.manifest.bytes()));
    }
    if let Some(index) = export.index {
        blobs.insert(index.descriptor().digest, Blob::Bytes(index.bytes()));
    }
    let mut archive = Archive { tar: Writer::new(sink) };
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    for (digest, blob) in &blobs {
        ctx.check()?;
        match blob {
            Blob::Bytes(bytes) => archive.bytes(&blob_path(digest), bytes)?,
            Blob::Layer(layer) => archive.layer(layer, open_blob)?,
        }
    }
    archive.bytes("index.json", Document::write(media_type::OCI_INDEX, index(export)).bytes())?;
    if format == ArchiveFormat::Docker {
        let [image] = export.images else {
            return Err(WriteError::OnePlatform("a docker archive"));
        };
        archive.bytes("manifest.json", docker_manifest(image, export.names).to_string().as_bytes())?;
    }
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.tar.finish().map_err(|source| WriteError::Write { what: "the archive".to_owned(), source })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn index(export: Export<'_>) -> Index {
    let mut manifests = Vec::new();
    if let Some(root) = export.root() {
        for name in export.names {
            let name = Name::new(name);
            let mut entry = root.clone();
            entry.annotations.insert(ANNOTATION_REF_NAME.to_owned(), name.tag);
            if let Some(reference) = name.reference {
                entry.annotations.insert(ANNOTATION_CONTAINERD_NAME.to_owned(), reference);
            }
            manifests.push(entry);
        }
        if manifests.is_empty() {
            manifests.push(root.clone());
        }
    }
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests,
        annotations: BTreeMap::new(),
        other: BTreeMap::new(),
    }
}

/// docker's list of the images of an archive (moby, image/spec/spec.md).
fn docker_manifest(image: &Image, names: &[String]) -> serde_json::Value {
    let tags: Vec<String> = names.iter().filter_map(|name| Name::new(name).familiar).collect();
    let layers: Vec<String> = image.layers.iter().map(|layer| blob_path(&layer.descriptor.digest)).collect();
    json!([{ "Config": blob_path(&image.config.descriptor().digest), "RepoTags": tags, "Layers": layers }])
}

struct Archive<W> {
    tar: Writer<W>,
}

impl<W: Write> Archive<W> {
    fn directory(&mut self, name: &str) -> Result<(), WriteError> {
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        let header = Header { name: name.into(), kind: MemberKind::Directory, metadata };
        self.tar.header(&header).map_err(|source| WriteError::Write { what: name.to_owned(), source })
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.tar.file(&file(name, bytes.len() as u64), &mut &*bytes, &mut |_| Ok(()));
        written.map(drop).map_err(|source| WriteError::Write { what: name.to_owned(), source })
    }

    fn layer(&mut self, layer: &Layer, open_blob: &OpenBlob<'_>) -> Result<(), WriteError> {
        let digest = layer.descriptor.digest;
        let failed = |source| WriteError::Blob { digest, source };
        let mut blob = Verified::new(open_blob(layer).map_err(failed)?, &layer.descriptor);
        let header = file(&blob_path(&digest), layer.descriptor.size);
        // A blob of another size or digest fails by itself at its end.
        self.tar.file(&header, &mut blob, &mut |_| Ok(())).map(drop).map_err(failed)
    }
}

fn file(name: &str, size: u64) -> Header {
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    Header { name: name.into(), kind: MemberKind::File { size }, metadata }
}
