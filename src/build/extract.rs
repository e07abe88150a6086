//! ADD of a local archive: its entries laid out in the destination.

use super::copy::CopyError;
use super::owner::Owner;
use super::target::Target;
use crate::context::ArchiveEntry;
use crate::tree::{ImagePath, Kind};

/// The entries of a tar archive.
pub(crate) struct Archive {
    /// In the archive's order; a later entry of a path wins.
    pub(crate) entries: Vec<ArchiveEntry>,
}

impl Archive {
    /// Lay the entries out below `destination`, a directory without links. Owners are the archive's unless
    /// `chown` is given; directories that the archive does not state are root's.
    ///
    /// Links at the destination, and links that the archive itself brought, are followed inside
    /// `destination`, as if that were the root.
    pub(super) fn lay_out(
        &self,
        target: &mut Target<'_>,
        destination: &ImagePath,
        chown: Option<Owner>,
    ) -> Result<(), CopyError> {
        for ArchiveEntry { path, entry, content, hash } in &self.entries {
            let mut entry = entry.clone();
            if let Some(owner) = chown {
                (entry.metadata.uid, entry.metadata.gid) = (owner.uid, owner.gid);
            }
            // A directory where a link to a directory is means that directory: `bin/` in a tree whose `/bin`
            // is `usr/bin`.
            let mut place = target.resolve(destination, path, false)?;
            if entry.is_directory() {
                let followed = target.resolve(destination, path, true)?;
                if target.is_directory(&followed) {
                    place = followed;
                }
            }
            if place.below(destination).is_none_or(|below| below.is_root()) {
                continue;
            }
            target.make_directories(&place.parent().unwrap_or_default(), 0o755, Owner::default())?;
            if let Kind::Hardlink { target: first } = &entry.kind {
                let real = target.resolve(destination, first, false)?;
                if real == place {
                    continue;
                }
                let Some(first) = target.first_name(&real) else {
                    return Err(CopyError::HardLink { path: path.clone(), target: first.clone() });
                };
                entry.kind = Kind::Hardlink { target: first };
            }
            target.put(place, entry, content.clone(), *hash);
        }
        Ok(())
    }
}
