//! `type=oci` into a folder.

use std::path::Path;

use super::names::Name;
use super::{Export, OpenBlob, WriteError};
use crate::blob::Layout;
use crate::ctx::Ctx;

/// Write `export` into the OCI layout at `directory`, which is made when it is not there. Blobs that it has are
/// not read; names come last, so a reader never finds one without its blobs.
pub(crate) fn write_layout(
    ctx: &Ctx,
    export: Export<'_>,
    open_blob: &OpenBlob<'_>,
    directory: &Path,
) -> Result<(), WriteError> {
    let layout = Layout::create(directory)?;
    let failed = |what: &dyn std::fmt::Display, source| WriteError::Write { what: what.to_string(), source };
    for image in export.images {
        for layer in &image.layers {
            ctx.check()?;
            let digest = layer.descriptor.digest;
            if !layout.has(&layer.descriptor) {
                let blob_failed = |source| WriteError::Blob { digest, source };
                let mut blob = open_blob(layer).map_err(blob_failed)?;
                layout.put_stream(&layer.descriptor, &mut blob).map_err(blob_failed)?;
            }
        }
        for bytes in [image.config.bytes(), image.manifest.bytes()] {
            layout.put(bytes).map_err(|source| failed(&directory.display(), source))?;
        }
    }
    if let Some(index) = export.index {
        layout.put(index.bytes()).map_err(|source| failed(&directory.display(), source))?;
    }
    if let Some(root) = export.root() {
        if export.names.is_empty() {
            layout.list(root)?;
        }
        for name in export.names {
            let name = Name::new(name);
            layout.tag(&name.tag, name.reference.as_deref(), root)?;
        }
    }
    Ok(())
}
