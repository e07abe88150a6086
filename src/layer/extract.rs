//! The bytes of some files of a layer, without laying the layer out.
//!
//! COPY from an image needs bytes only: owners, modes and times are in the table of contents. So any user can
//! do this, on any file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::members::{Collector, Limits, Member, ReadLayerError, Visit, walk};
use super::rooted::Rooted;
use crate::ctx::Ctx;
use crate::tree::{Change, ChangeSet, Content, ImagePath, Kind};

/// Write the files at the paths `wanted` of the layer `tar` (not compressed) with the table of contents
/// `toc` into `directory`, under names that say nothing. Answers where to read each; a path that is no file of
/// this layer is not among them.
pub(crate) fn extract(
    ctx: &Ctx,
    tar: impl Read,
    toc: &ChangeSet,
    wanted: &BTreeSet<ImagePath>,
    directory: &Path,
) -> Result<BTreeMap<ImagePath, Content>, ReadLayerError> {
    let disk = |source| ReadLayerError::Disk { path: ImagePath::root(), source };
    let root = Arc::new(Rooted::open(directory).map_err(disk)?);
    let mut sources: BTreeMap<&ImagePath, &ImagePath> = BTreeMap::new();
    for path in wanted {
        let Some(Change::Put { entry, .. }) = toc.changes.get(path) else { continue };
        match &entry.kind {
            Kind::File { .. } => drop(sources.insert(path, path)),
            Kind::Hardlink { target } => drop(sources.insert(path, target)),
            _ => {}
        }
    }
    let files: BTreeSet<&ImagePath> = sources.values().copied().collect();
    let names = files.iter().enumerate().map(|(number, path)| ((*path).clone(), number.to_string()));
    let mut extractor = Extractor { directory, names: names.collect(), found: BTreeSet::new() };
    if extractor.names.is_empty() {
        return Ok(BTreeMap::new());
    }
    walk(ctx, tar, Limits::default(), false, &mut extractor)?;
    let mut contents = BTreeMap::new();
    for (path, source) in sources {
        if extractor.found.contains(source) {
            let name = ImagePath::clamped(&extractor.names[source]);
            contents.insert(path.clone(), Content::new(root.clone(), name));
        }
    }
    Ok(contents)
}

/// What is done with each file of a layer.
pub(crate) trait FileVisit {
    /// See the regular file at `path`; what is not read of `bytes` is passed over. A path may come twice:
    /// then the last counts.
    fn file(&mut self, path: &ImagePath, bytes: &mut dyn Read) -> io::Result<()>;
}

/// Go through the regular files of `tar`, in its order.
pub(crate) fn each_file(
    ctx: &Ctx,
    tar: impl Read,
    visitor: &mut dyn FileVisit,
) -> Result<(), ReadLayerError> {
    struct Files<'a>(&'a mut dyn FileVisit);
    impl Visit for Files<'_> {
        fn member(
            &mut self,
            member: &Member,
            _: &Collector,
            data: &mut dyn Read,
        ) -> Result<(), ReadLayerError> {
            match member {
                Member::Put(path, entry) if entry.is_file() => self
                    .0
                    .file(path, data)
                    .map_err(|source| ReadLayerError::Disk { path: path.clone(), source }),
                _ => Ok(()),
            }
        }
    }
    walk(ctx, tar, Limits::default(), false, &mut Files(visitor)).map(drop)
}

struct Extractor<'a> {
    directory: &'a Path,
    names: BTreeMap<ImagePath, String>,
    found: BTreeSet<ImagePath>,
}

impl Visit for Extractor<'_> {
    fn member(&mut self, member: &Member, _: &Collector, data: &mut dyn Read) -> Result<(), ReadLayerError> {
        let Member::Put(path, entry) = member else { return Ok(()) };
        let Some(name) = self.names.get(path) else { return Ok(()) };
        if !entry.is_file() {
            self.found.remove(path);
            return Ok(());
        }
        // Of two entries of one name the last counts: the file is written anew.
        let written = File::create(self.directory.join(name)).and_then(|mut file| io::copy(data, &mut file));
        written.map_err(|source| ReadLayerError::Disk { path: path.clone(), source })?;
        self.found.insert(path.clone());
        Ok(())
    }
}
