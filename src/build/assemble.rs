//! From a plan and its layers to an image: config and manifest bytes. Pure.

use std::collections::BTreeMap;

use crate::ctx::rfc3339;
use crate::layer::{Image, Layer};
use crate::oci::{Compression, Document, HistoryEntry, ImageConfig, Manifest, media_type};
use crate::plan::StagePlan;

/// What a stage has become.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageImage {
    /// Its layers, the base's first.
    pub(crate) layers: Vec<Layer>,
    /// Its history, the base's first.
    pub(crate) history: Vec<HistoryEntry>,
    /// The newest time of what its steps made, seconds since 1970; of the base where they made nothing.
    pub(crate) created: Option<i64>,
}

/// The remark in the history lines that are ours.
const COMMENT: &str = "ocistage";

/// Our history line of an instruction.
pub(crate) fn history_entry(created_by: &str, created: Option<i64>, empty_layer: bool) -> HistoryEntry {
    HistoryEntry {
        created: created.map(rfc3339),
        created_by: created_by.to_owned(),
        author: String::new(),
        comment: COMMENT.to_owned(),
        empty_layer,
    }
}

/// The image of a stage. `labels` and `annotations` are what the request adds.
pub(crate) fn assemble(
    plan: &StagePlan,
    stage: &StageImage,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Image {
    let mut config = labelled(&plan.config, labels);
    config.created = stage.created.map(rfc3339);
    config.rootfs.diff_ids = stage.layers.iter().map(|layer| layer.diff_id).collect();
    config.history = aligned(&stage.history, stage.layers.len());
    let config = Document::write(media_type::OCI_CONFIG, config);
    let layers = stage.layers.iter().map(|layer| {
        let mut descriptor = layer.descriptor.clone();
        // An OCI manifest names OCI media types; the bytes of a Docker layer are the same.
        if let Some(compression) = Compression::of_media_type(&descriptor.media_type) {
            descriptor.media_type = compression.layer_media_type().to_owned();
        }
        // Annotations and urls of a base's descriptor speak of the base.
        descriptor.annotations.clear();
        descriptor.other.clear();
        descriptor
    });
    let manifest = Document::write(
        media_type::OCI_MANIFEST,
        Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: config.descriptor().clone(),
            layers: layers.collect(),
            annotations: annotations.clone(),
            other: BTreeMap::new(),
        },
    );
    Image { manifest, config, layers: stage.layers.clone() }
}

/// The config with the request's labels.
pub(crate) fn labelled(config: &ImageConfig, labels: &BTreeMap<String, String>) -> ImageConfig {
    let mut config = config.clone();
    config.config.labels.extend(labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    config
}

/// The history with as many lines that made a layer as there are layers: readers match the two by count.
/// Images exist whose history lacks lines, or is missing.
fn aligned(history: &[HistoryEntry], layers: usize) -> Vec<HistoryEntry> {
    let stated = history.iter().filter(|entry| !entry.empty_layer).count();
    let missing = layers.saturating_sub(stated);
    let unknown = (0..missing).map(|_| history_entry("", None, false));
    unknown.chain(history.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_gets_a_line_for_each_layer_that_the_base_does_not_mention() {
        let history = [history_entry("RUN x", Some(0), false), history_entry("ENV a=1", Some(0), true)];
        let full = aligned(&history, 3);
        assert_eq!(full.len(), 4);
        assert_eq!(full.iter().filter(|entry| !entry.empty_layer).count(), 3);
        assert_eq!(full[3].created_by, "ENV a=1");
    }
}
