//! Writes images by hand, as an OCI layout: no other builder has a part in what the tests build upon.

use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// An entry of a layer. Names are written as given, hostile ones too.
#[derive(Clone)]
pub(crate) struct Entry {
    name: String,
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    link: String,
    bytes: Vec<u8>,
}

impl Entry {
    fn new(name: &str, kind: tar::EntryType, mode: u32) -> Self {
        Self { name: name.to_owned(), kind, mode, owner: (0, 0), link: String::new(), bytes: Vec::new() }
    }

    pub(crate) fn folder(name: &str, mode: u32) -> Self {
        Self::new(&format!("{name}/"), tar::EntryType::Directory, mode)
    }

    pub(crate) fn file(name: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::new(name, tar::EntryType::Regular, mode) }
    }

    pub(crate) fn symlink(name: &str, target: &str) -> Self {
        Self { link: target.to_owned(), ..Self::new(name, tar::EntryType::Symlink, 0o777) }
    }

    pub(crate) fn owner(mut self, user: u64, group: u64) -> Self {
        self.owner = (user, group);
        self
    }
}

/// An image to be written: layers as tar bytes, and the `config` object of its configuration.
#[derive(Clone, Default)]
pub(crate) struct NewImage {
    layers: Vec<Vec<u8>>,
    config: Value,
    annotations: BTreeMap<String, String>,
}

impl NewImage {
    pub(crate) fn new(config: Value) -> Self {
        Self { config, ..Self::default() }
    }

    /// With an annotation of its manifest.
    pub(crate) fn annotated(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn layer(mut self, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.layers.push(archive(entries));
        self
    }

    /// A layer that is a tar file already.
    pub(crate) fn packed(mut self, tar: &Path) -> Self {
        self.layers.push(fs::read(tar).unwrap());
        self
    }
}

/// An OCI layout that is being written.
pub(crate) struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    pub(crate) fn create(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { folder: folder.to_owned(), manifests: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes the image and names it.
    pub(crate) fn add(&mut self, tag: &str, image: &NewImage) {
        let mut descriptor = self.image(image);
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.manifests.push(descriptor);
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
    }

    fn image(&self, image: &NewImage) -> Value {
        let (mut layers, mut diff_ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
        for tar in &image.layers {
            diff_ids.push(sha256(tar));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
            gzip.write_all(tar).unwrap();
            layers.push(self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish().unwrap()));
            history.push(json!({"created": "2024-01-01T00:00:00Z", "created_by": "written by hand"}));
        }
        let config = json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            "layers": layers,
            "annotations": image.annotations,
        });
        self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        fs::write(self.folder.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }
}

fn archive(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(1_700_000_000);
        header.set_size(entry.bytes.len() as u64);
        if !entry.link.is_empty() {
            header.set_link_name_literal(&entry.link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, &*entry.bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// `sha256:HEX` of these bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
