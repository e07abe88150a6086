//! Records: manifests under key tags.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::layer::BlobHome;
use crate::oci::{ChainId, Descriptor, DiffId, Document, Manifest, media_type};

use super::CacheKey;

/// Artifact type of a step record.
const STEP_ARTIFACT: &str = "application/vnd.ocistage.step.v1";
/// Media type of a step record's config.
const STEP_CONFIG: &str = "application/vnd.ocistage.step.config.v1+json";
/// Artifact type of a layer's table of contents.
const TOC_ARTIFACT: &str = "application/vnd.ocistage.toc.v1";
/// Media type of a table of contents.
pub(crate) const TOC_LAYER: &str = "application/vnd.ocistage.toc.v1.zstd";

/// What a record is found under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordName {
    /// A whole build.
    Build(CacheKey),
    /// A stage.
    Stage(CacheKey),
    /// A step.
    Step(CacheKey),
    /// A layer's table of contents.
    Toc(DiffId),
}

/// A manifest with its blobs, to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The manifest; its bytes are kept as they are.
    pub(crate) manifest: Document<Manifest>,
    /// All blobs that the manifest names.
    pub(crate) blobs: Vec<RecordBlob>,
}

/// A blob of a record and where its bytes are.
#[derive(Clone, Debug)]
pub(crate) enum RecordBlob {
    /// In memory.
    Bytes(Descriptor, Arc<[u8]>),
    /// In a file or a repository.
    Home(Descriptor, BlobHome),
}

/// What is known of a step that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepRecord {
    /// The layers below the step when it was carried out: the record serves no other stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<ChainId>,
    /// The layer that it made; `None` when nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) diff_id: Option<DiffId>,
    /// The newest time of what it made, seconds since 1970.
    pub(crate) created: i64,
    /// When it was carried out, seconds since 1970. Aliases of the record say the same.
    #[serde(default)]
    pub(crate) recorded: i64,
    /// How long it took, in milliseconds.
    pub(crate) duration_ms: u64,
    /// The instruction.
    pub(crate) instruction: String,
    /// Its inputs by name, hashed; never values that could be secret.
    #[serde(default)]
    pub(crate) inputs: BTreeMap<String, String>,
}

impl RecordName {
    /// The tag.
    pub(crate) fn tag(&self) -> String {
        match self {
            Self::Build(key) => format!("build-{key}"),
            Self::Stage(key) => format!("stage-{key}"),
            Self::Step(key) => format!("step-{key}"),
            Self::Toc(diff_id) => format!("toc-{}", diff_id.0.hex()),
        }
    }
}

impl RecordName {
    /// What `tag` is the tag of; `None` when it is no record's.
    pub(crate) fn parse(tag: &str) -> Option<Self> {
        let (kind, hex) = tag.split_once('-')?;
        let key = || CacheKey::from_hex(hex);
        match kind {
            "build" => key().map(Self::Build),
            "stage" => key().map(Self::Stage),
            "step" => key().map(Self::Step),
            // The digits of a digest have the same form as those of a key.
            "toc" => key().and_then(|_| format!("sha256:{hex}").parse().ok()).map(DiffId).map(Self::Toc),
            _ => None,
        }
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tag())
    }
}

impl Record {
    /// The record of a step.
    pub(crate) fn of_step(step: &StepRecord, layer: Option<(Descriptor, BlobHome)>) -> Self {
        // A struct of strings and numbers always encodes.
        let config: Arc<[u8]> = serde_json::to_vec(step).expect("step records encode as JSON").into();
        let config_descriptor = Descriptor::of(STEP_CONFIG, &config);
        let layers = layer.iter().map(|(descriptor, _)| descriptor.clone()).collect();
        let mut blobs = vec![RecordBlob::Bytes(config_descriptor.clone(), config)];
        blobs.extend(layer.map(|(descriptor, home)| RecordBlob::Home(descriptor, home)));
        Self { manifest: artifact(STEP_ARTIFACT, config_descriptor, layers), blobs }
    }

    /// The record of a table of contents.
    pub(crate) fn of_toc(bytes: Arc<[u8]>) -> Self {
        let empty: Arc<[u8]> = b"{}".as_slice().into();
        let config = Descriptor::of(media_type::OCI_EMPTY, &empty);
        let layer = Descriptor::of(TOC_LAYER, &bytes);
        let blobs = vec![RecordBlob::Bytes(config.clone(), empty), RecordBlob::Bytes(layer.clone(), bytes)];
        Self { manifest: artifact(TOC_ARTIFACT, config, vec![layer]), blobs }
    }
}

impl RecordBlob {
    /// What blob it is.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Bytes(descriptor, _) | Self::Home(descriptor, _) => descriptor,
        }
    }
}

/// Whether `manifest` is a record of a step.
pub(super) fn is_step(manifest: &Manifest) -> bool {
    manifest.artifact_type.as_deref() == Some(STEP_ARTIFACT) && manifest.config.media_type == STEP_CONFIG
}

fn artifact(kind: &str, config: Descriptor, layers: Vec<Descriptor>) -> Document<Manifest> {
    Document::write(
        media_type::OCI_MANIFEST,
        Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: Some(kind.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_record_s_only_in_its_exact_form() {
        let hex = "0123456789abcdef".repeat(4);
        for kind in ["build", "stage", "step", "toc"] {
            let tag = format!("{kind}-{hex}");
            assert_eq!(RecordName::parse(&tag).unwrap().tag(), tag);
        }
        let upper = hex.to_uppercase();
        for tag in [
            "latest",
            "build-1",
            "step",
            &hex,
            &format!("image-{hex}"),
            &format!("step-{hex}0"),
            &format!("step-{upper}"),
        ] {
            assert_eq!(RecordName::parse(tag), None, "{tag}");
        }
    }
}
