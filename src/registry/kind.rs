//! What a manifest is, when it is one thing.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::oci::media_type;

/// Just enough of a manifest to tell an image from an index. A field that occurs twice is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

/// The media type of a manifest's bytes, or why they are not a manifest that can be trusted to mean one thing.
///
/// A document that is both an image and an index means different things to different readers (CVE-2021-41190).
pub(super) fn kind_of(bytes: &[u8], stated: Option<&str>) -> Result<String, String> {
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest in JSON: {error}"))?;
    let stated = stated.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let known = |kind: &String| media_type::is_index(kind) || media_type::is_manifest(kind);
    if shape.schema_version == Some(1) {
        return Err(
            "it is a schema 1 manifest, which is not supported: push the image again with a newer tool"
                .into(),
        );
    }
    let image = shape.layers.is_some() || shape.config.is_some();
    let index = shape.manifests.is_some();
    if image && index {
        return Err("it has both layers and manifests, so it is neither an image nor an index".into());
    }
    let kind = match (shape.media_type, stated.filter(known)) {
        (Some(own), Some(stated)) if own != stated => {
            return Err(format!("it says that it is {own:?} and the registry says {stated:?}"));
        }
        (Some(own), _) => own,
        (None, Some(stated)) => stated,
        (None, None) if index => media_type::OCI_INDEX.to_owned(),
        (None, None) => media_type::OCI_MANIFEST.to_owned(),
    };
    match () {
        () if !known(&kind) => Err(format!("its media type {kind:?} is not of an image or index")),
        () if media_type::is_index(&kind) && !index => Err(format!("it is a {kind} without manifests")),
        () if media_type::is_manifest(&kind) && !image => Err(format!("it is a {kind} without layers")),
        () => Ok(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_means_one_thing() {
        const INDEX: &str = media_type::OCI_INDEX;
        const IMAGE: &str = media_type::OCI_MANIFEST;
        const DOCKER: &str = media_type::DOCKER_MANIFEST;
        let image = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let kind = |bytes: &str, stated: Option<&str>| kind_of(bytes.as_bytes(), stated);
        assert_eq!(kind(image, Some(IMAGE)).unwrap(), IMAGE);
        assert_eq!(kind(image, Some(DOCKER)).unwrap(), DOCKER);
        assert_eq!(kind(image, Some("application/json; charset=utf-8")).unwrap(), IMAGE);
        assert_eq!(kind(r#"{"manifests":[]}"#, None).unwrap(), INDEX);
        let own = format!(r#"{{"mediaType":"{DOCKER}","config":{{}},"layers":[]}}"#);
        assert_eq!(kind(&own, None).unwrap(), DOCKER);
        assert_eq!(kind(&own, Some("text/plain")).unwrap(), DOCKER);
        for (bytes, stated) in [
            (own.as_str(), Some(IMAGE)),
            (r#"{"layers":[],"manifests":[]}"#, None),
            (r#"{"config":{},"layers":[],"layers":[]}"#, None),
            (r#"{"manifests":[]}"#, Some(IMAGE)),
            (image, Some(INDEX)),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            (r#"{"mediaType":"text/plain","layers":[]}"#, None),
            ("{}", None),
            ("", None),
            ("[]", None),
        ] {
            assert!(kind(bytes, stated).is_err(), "{bytes} {stated:?}");
        }
    }
}
