//! COPY and ADD: from what their sources chose to a change set.
//!
//! Pure: no file is opened, and the time of day plays no part. The rules are BuildKit's; where they are
//! surprising a comment says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chmod::Chmod;
use super::extract::Archive;
use super::owner::Owner;
use super::target::{NotADirectory, Target};
use crate::context::Selected;
use crate::tree::{ChangeSet, Content, ContentHash, Entry, ImagePath, Kind, Metadata, Node, Tree, TreeError};

/// A COPY or ADD with everything decided but where it leads.
pub(crate) struct CopyOp<'a> {
    /// What the written sources matched, in order.
    pub(crate) sources: Vec<Source<'a>>,
    /// As written, variables expanded. A slash at its end means a directory.
    pub(crate) destination: &'a str,
    /// What a relative destination starts from.
    pub(crate) workdir: &'a str,
    /// `--chown`: the owner of everything put, made directories included. Otherwise sources keep their owners
    /// and made directories are root's.
    pub(crate) chown: Option<Owner>,
    /// `--chmod`
    pub(crate) chmod: Option<&'a Chmod>,
    /// `--link`: nothing of the image is looked at. Directories take the place of links.
    pub(crate) link: bool,
}

/// One source.
pub(crate) enum Source<'a> {
    /// Files and directories of a tree.
    Files(Vec<Selected<'a>>),
    /// A file with bytes of our own: a heredoc, a download.
    Inline(Inline),
    /// ADD of a local archive: its entries, to be laid out in the destination.
    Archive(&'a Archive),
}

/// A file that is in no tree.
#[derive(Clone, Debug)]
pub(crate) struct Inline {
    /// Its name in a directory.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) content: Content,
    /// How many there are.
    pub(crate) size: u64,
    /// Their hash, when known.
    pub(crate) hash: Option<ContentHash>,
    /// Mode, owner and time.
    pub(crate) metadata: Metadata,
}

/// A COPY or ADD that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CopyError {
    /// A directory would have to go where something else is.
    #[error("cannot copy to non-directory {0}")]
    NotADirectory(ImagePath),
    /// A file would have to go where a directory is.
    #[error("cannot replace directory {0} with a file")]
    IsADirectory(ImagePath),
    /// The root as a file.
    #[error("cannot replace the root directory with a file")]
    Root,
    /// A hard link of an archive that leads to nothing, or to a file whose bytes are not at hand.
    #[error(
        "archive entry {path} is a hard link to {target}, which is no earlier file of it and none at the destination"
    )]
    HardLink {
        /// In the archive.
        path: ImagePath,
        /// In the archive.
        target: ImagePath,
    },
    /// A circle of links in the image.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl From<NotADirectory> for CopyError {
    fn from(NotADirectory(path): NotADirectory) -> Self {
        Self::NotADirectory(path)
    }
}

impl Inline {
    /// A heredoc: mode 0644, root's, at time 0.
    pub(crate) fn heredoc(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            content: Content::inline(text.as_bytes()),
            size: text.len() as u64,
            hash: None,
            metadata: Metadata { mode: 0o644, ..Metadata::default() },
        }
    }
}

/// What `op` changes in `image`. The directories above each changed path are in the change set, as the image
/// has them.
pub(crate) fn copy(image: &Tree, op: &CopyOp<'_>) -> Result<ChangeSet, CopyError> {
    let nothing = Tree::default();
    let mut copier = Copier { target: Target::new(if op.link { &nothing } else { image }), op };
    for source in &op.sources {
        match source {
            Source::Files(matches) => {
                // One after the other: of two files for one path the last wins, even where the reference says
                // that several sources need a directory. That is what BuildKit does.
                for selected in matches {
                    copier.copy_selected(selected)?;
                }
            }
            Source::Inline(inline) => copier.copy_inline(inline)?,
            Source::Archive(archive) => copier.lay_out(archive)?,
        }
    }
    Ok(copier.target.finish())
}

struct Copier<'a> {
    target: Target<'a>,
    op: &'a CopyOp<'a>,
}

impl Copier<'_> {
    fn destination(&self) -> ImagePath {
        ImagePath::clamped(self.op.workdir).join_clamped(self.op.destination)
    }

    /// Whether the destination is a directory by how it is written.
    fn is_written_as_directory(&self) -> bool {
        matches!(self.op.destination.rsplit('/').next(), None | Some("" | "." | ".."))
    }

    /// The destination with its links followed, the last one too. What must be a directory for it is made.
    fn prepare(&mut self) -> Result<ImagePath, CopyError> {
        let written = self.destination();
        let directory = if self.is_written_as_directory() {
            written.clone()
        } else {
            written.parent().unwrap_or_default()
        };
        let directory = self.target.resolve(&ImagePath::root(), &directory, true)?;
        self.make_directories(&directory)?;
        Ok(self.target.resolve(&ImagePath::root(), &written, true)?)
    }

    fn make_directories(&mut self, path: &ImagePath) -> Result<(), CopyError> {
        let mode = self.op.chmod.map_or(0o755, Chmod::for_made_directories);
        Ok(self.target.make_directories(path, mode, self.op.chown.unwrap_or_default())?)
    }

    fn copy_selected(&mut self, selected: &Selected<'_>) -> Result<(), CopyError> {
        let destination = self.prepare()?;
        match selected.node.filter(|_| !selected.is_directory()) {
            Some(node) => {
                let path = self.file_path(destination, &selected.name)?;
                self.place(path, node, None)
            }
            None => {
                // The top directory is made like any parent and keeps its own mode and owner: what is copied
                // is the contents.
                self.make_directories(&destination)?;
                self.copy_picks(&destination, selected)
            }
        }
    }

    fn copy_picks(&mut self, destination: &ImagePath, selected: &Selected<'_>) -> Result<(), CopyError> {
        let mut first_names: BTreeMap<*const (), ImagePath> = BTreeMap::new();
        for pick in &selected.picks {
            let path = destination.join(&pick.path);
            if pick.node.entry.is_directory() {
                self.place_directory(path, &pick.node.entry, pick.chosen)?;
                continue;
            }
            let mut first = None;
            if let Some(inode) = &pick.node.inode {
                first = first_names.get(&Arc::as_ptr(inode)).cloned();
                first_names.entry(Arc::as_ptr(inode)).or_insert_with(|| path.clone());
            }
            self.place(path, pick.node, first)?;
        }
        Ok(())
    }

    fn lay_out(&mut self, archive: &Archive) -> Result<(), CopyError> {
        let destination = self.target.resolve(&ImagePath::root(), &self.destination(), true)?;
        self.target.make_directories(&destination, 0o755, self.op.chown.unwrap_or_default())?;
        archive.lay_out(&mut self.target, &destination, self.op.chown)
    }

    fn copy_inline(&mut self, inline: &Inline) -> Result<(), CopyError> {
        let destination = self.prepare()?;
        let path = self.file_path(destination, inline.name.as_bytes())?;
        let entry = Entry { kind: Kind::File { size: inline.size }, metadata: inline.metadata.clone() };
        let entry = self.changed(&entry);
        self.put_file(path, entry, Some(inline.content.clone()), inline.hash)
    }

    /// Where a file goes: into the destination when that is a directory, else there.
    fn file_path(&mut self, destination: ImagePath, name: &[u8]) -> Result<ImagePath, CopyError> {
        let path = if !self.target.is_directory(&destination) {
            destination
        } else if name.is_empty() {
            return Err(CopyError::IsADirectory(destination));
        } else {
            destination.child(name)
        };
        // A destination behind a link to nowhere may lack directories still.
        self.make_directories(&path.parent().ok_or(CopyError::Root)?)?;
        Ok(path)
    }

    fn place(&mut self, path: ImagePath, node: &Node, first: Option<ImagePath>) -> Result<(), CopyError> {
        let mut entry = self.changed(&node.entry);
        if let Some(target) = first {
            entry.kind = Kind::Hardlink { target };
            return self.put_file(path, entry, None, None);
        }
        self.put_file(path, entry, node.content.clone(), node.hash)
    }

    fn place_directory(&mut self, path: ImagePath, source: &Entry, chosen: bool) -> Result<(), CopyError> {
        let mut entry = self.changed(source);
        if let Some(there) = self.target.get(&path) {
            if !there.is_directory() {
                return Err(CopyError::NotADirectory(path));
            }
            if chosen {
                let mut xattrs = there.metadata.xattrs.clone();
                xattrs.append(&mut entry.metadata.xattrs);
                entry.metadata.xattrs = xattrs;
            } else {
                // A directory on the way to something chosen lends only its mode to one that exists.
                entry = there.clone();
                entry.metadata.mode = source.metadata.mode;
            }
        }
        self.target.put(path, entry, None, None);
        Ok(())
    }

    fn put_file(
        &mut self,
        path: ImagePath,
        entry: Entry,
        content: Option<Content>,
        hash: Option<ContentHash>,
    ) -> Result<(), CopyError> {
        if self.target.is_directory(&path) {
            return Err(CopyError::IsADirectory(path));
        }
        self.target.put(path, entry, content, hash);
        Ok(())
    }

    /// `entry` after `--chown` and `--chmod`.
    fn changed(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        if let Some(owner) = self.op.chown {
            (entry.metadata.uid, entry.metadata.gid) = (owner.uid, owner.gid);
        }
        // A link's own mode means nothing.
        if let Some(chmod) = self.op.chmod.filter(|_| !matches!(entry.kind, Kind::Symlink { .. })) {
            entry.metadata.mode = chmod.apply(entry.metadata.mode, entry.is_directory());
        }
        entry
    }
}

#[cfg(test)]
mod tests;
