//! tmp
use super::OutputError;
use crate::blob::Layout;
use crate::layer::Image;
use std::path::Path;
pub(crate) fn store(layout: &Layout, image: &Image, tags: &[String]) -> Result<Vec<String>, OutputError> {
    let io = |source| OutputError::Io { what: "write the local store".into(), source };
    layout.put(image.config.bytes()).map_err(io)?;
    layout.put(image.manifest.bytes()).map_err(io)?;
    if tags.is_empty() {
        layout.list(image.manifest.descriptor())?;
    }
    for tag in tags {
        layout.tag(tag, Some(tag), image.manifest.descriptor())?;
    }
    Ok(tags.to_vec())
}
pub(crate) fn oci(_: &Image, _: &[String], _: Option<&Path>, _: bool) -> Result<Vec<String>, OutputError> {
    Ok(vec![])
}
pub(crate) fn docker(_: &Image, _: &[String], _: Option<&Path>) -> Result<Vec<String>, OutputError> {
    Ok(vec![])
}
pub(crate) fn tar(_: &Image, _: Option<&Path>) -> Result<Vec<String>, OutputError> {
    Ok(vec![])
}
pub(crate) fn local(_: &Image, _: &Path) -> Result<Vec<String>, OutputError> {
    Ok(vec![])
}
