//! An image being changed: what it was, and the change set that grows on it.

use std::collections::{BTreeMap, BTreeSet};

use super::owner::Owner;
use crate::tree::{
    Change, ChangeSet, Content, ContentHash, Entry, ImagePath, Kind, Metadata, Tree, TreeError, follow,
};

/// What a layer is made of. Looked at, it is the image with the changes made so far.
pub(super) struct Target<'i> {
    image: &'i Tree,
    changes: BTreeMap<ImagePath, Change>,
    /// Directories that were made because something was to be in them; their times come at the end.
    made: BTreeSet<ImagePath>,
    /// Directories of the image that something else took the place of.
    gone: BTreeSet<ImagePath>,
    /// Changed paths that hard links lead to.
    linked: BTreeSet<ImagePath>,
}

/// A path that should be a directory is something else.
#[derive(Debug)]
pub(super) struct NotADirectory(pub(super) ImagePath);

impl<'i> Target<'i> {
    /// `image` without a change.
    pub(super) fn new(image: &'i Tree) -> Self {
        Self {
            image,
            changes: BTreeMap::new(),
            made: BTreeSet::new(),
            gone: BTreeSet::new(),
            linked: BTreeSet::new(),
        }
    }

    /// What is at `path` now, not following a link there.
    pub(super) fn get(&self, path: &ImagePath) -> Option<&Entry> {
        if let Some(change) = self.changes.get(path) {
            return change.entry();
        }
        if !self.gone.is_empty() && self.gone.iter().any(|gone| path.below(gone).is_some()) {
            return None;
        }
        self.image.get(path).map(|node| &node.entry)
    }

    /// Whether `path` is a directory now. The root always is.
    pub(super) fn is_directory(&self, path: &ImagePath) -> bool {
        path.is_root() || self.get(path).is_some_and(Entry::is_directory)
    }

    /// Follow the links of `path` inside `root` (a directory of the image), as a process in a chroot there
    /// would. As [`Tree::resolve`], with the changes.
    pub(super) fn resolve(
        &self,
        root: &ImagePath,
        path: &ImagePath,
        follow_last: bool,
    ) -> Result<ImagePath, TreeError> {
        let found = follow(path, follow_last, |at| self.get(&root.join(at))?.link());
        found
            .map(|found| root.join(&found))
            .map_err(|TreeError::Loop(path)| TreeError::Loop(root.join(&path)))
    }

    /// Make `path` and the directories above it where they are missing. `path` has no links.
    pub(super) fn make_directories(
        &mut self,
        path: &ImagePath,
        mode: u32,
        owner: Owner,
    ) -> Result<(), NotADirectory> {
        if path.is_root() {
            return Ok(());
        }
        match self.get(path) {
            Some(entry) if entry.is_directory() => return Ok(()),
            Some(_) => return Err(NotADirectory(path.clone())),
            None => {}
        }
        self.make_directories(&path.parent().unwrap_or_default(), mode, owner)?;
        let metadata = Metadata { mode, uid: owner.uid, gid: owner.gid, ..Metadata::default() };
        self.put(path.clone(), Entry { kind: Kind::Directory, metadata }, None, None);
        self.made.insert(path.clone());
        Ok(())
    }

    /// Put something at `path`. What is there goes, except that a directory over a directory keeps what is
    /// in it. `path` has no links and its parent is a directory.
    pub(super) fn put(
        &mut self,
        path: ImagePath,
        entry: Entry,
        content: Option<Content>,
        hash: Option<ContentHash>,
    ) {
        let directory = entry.is_directory();
        if !directory && self.is_directory(&path) {
            let below: Vec<ImagePath> = self
                .changes
                .keys()
                .filter(|changed| *changed != &path && changed.below(&path).is_some())
                .cloned()
                .collect();
            for lost in below {
                self.hand_on(&lost);
                self.changes.remove(&lost);
            }
            self.made.retain(|made| made.below(&path).is_none());
            if self.image.is_directory(&path) {
                self.gone.insert(path.clone());
            }
        }
        self.made.remove(&path);
        self.hand_on(&path);
        if let Kind::Hardlink { target } = &entry.kind {
            self.linked.insert(target.clone());
        }
        // A directory that comes back must not show what the first one had.
        let change = if directory && self.gone.contains(&path) {
            Change::Replace { entry }
        } else {
            Change::Put { entry, content, hash }
        };
        self.changes.insert(path, change);
    }

    /// The name that a hard link to `path` is to lead to, given that the layer has to hold the file itself: the
    /// file's first name among the changes, to which a file of the image is added. `None` when there is no file
    /// or its bytes are not at hand.
    pub(super) fn first_name(&mut self, path: &ImagePath) -> Option<ImagePath> {
        if let Some(change) = self.changes.get(path) {
            return match &change.entry()?.kind {
                Kind::Directory => None,
                Kind::Hardlink { target } => Some(target.clone()),
                _ => Some(path.clone()),
            };
        }
        self.get(path).filter(|entry| !entry.is_directory())?;
        let node = self.image.get(path)?;
        if node.entry.is_file() && node.content.is_none() {
            return None;
        }
        self.put(path.clone(), node.entry.clone(), node.content.clone(), node.hash);
        Some(path.clone())
    }

    /// Before the file at `path` is replaced: another of its names becomes the one that the rest lead to.
    fn hand_on(&mut self, path: &ImagePath) {
        if !self.linked.remove(path) {
            return;
        }
        let leads_here = |change: &Change| link_target(change) == Some(path);
        let names = self.changes.iter().filter(|(_, change)| leads_here(change)).map(|(name, _)| name);
        let names: Vec<ImagePath> = names.cloned().collect();
        let (Some(file), Some((heir, rest))) = (self.changes.get(path).cloned(), names.split_first()) else {
            return;
        };
        self.changes.insert(heir.clone(), file);
        for name in rest {
            if let Some(Change::Put { entry, .. }) = self.changes.get_mut(name) {
                entry.kind = Kind::Hardlink { target: heir.clone() };
                self.linked.insert(heir.clone());
            }
        }
    }

    /// Let every hard link lead to a path before it, so that whoever reads the layer in order has the file by
    /// then.
    fn order_links(&mut self) {
        let mut first_links: BTreeMap<ImagePath, ImagePath> = BTreeMap::new();
        for (path, change) in &self.changes {
            if let Some(target) = link_target(change) {
                first_links.entry(target.clone()).or_insert_with(|| path.clone());
            }
        }
        for (target, first) in first_links.into_iter().filter(|(target, first)| first < target) {
            let Some(mut entry) = self.changes.get(&first).and_then(Change::entry).cloned() else { continue };
            self.linked.insert(target.clone());
            self.hand_on(&target);
            entry.kind = Kind::Hardlink { target: first };
            self.changes.insert(target, Change::Put { entry, content: None, hash: None });
        }
    }

    /// The change set: with the directories above each path as the image has them, and with times for the
    /// directories that were made: that of the newest file they were made for.
    pub(super) fn finish(mut self) -> ChangeSet {
        self.order_links();
        let mut newest: BTreeMap<ImagePath, i64> = BTreeMap::new();
        if !self.made.is_empty() {
            for (path, change) in &self.changes {
                let Some(entry) = change.entry().filter(|_| !self.made.contains(path)) else { continue };
                for ancestor in path.ancestors() {
                    if self.made.contains(&ancestor) {
                        let time = newest.entry(ancestor).or_insert(i64::MIN);
                        *time = (*time).max(entry.metadata.mtime);
                    }
                }
            }
        }
        // In order, so that a directory made for nothing can take the time of the one it is in.
        for path in &self.made {
            let time = newest.get(path).copied().unwrap_or_else(|| {
                let above = path.parent().unwrap_or_default();
                self.get(&above).map_or(0, |entry| entry.metadata.mtime)
            });
            if let Some(Change::Put { entry, .. } | Change::Replace { entry }) = self.changes.get_mut(path) {
                entry.metadata.mtime = time;
            }
        }
        let mut above: BTreeMap<ImagePath, Entry> = BTreeMap::new();
        for path in self.changes.keys() {
            let mut next = path.parent();
            while let Some(directory) = next.filter(|directory| !directory.is_root()) {
                if self.changes.contains_key(&directory) || above.contains_key(&directory) {
                    break;
                }
                let entry = self.get(&directory).cloned().unwrap_or_else(|| Entry::directory(0o755));
                next = directory.parent();
                above.insert(directory, entry);
            }
        }
        let mut changes = self.changes;
        for (path, entry) in above {
            changes.insert(path, Change::Put { entry, content: None, hash: None });
        }
        ChangeSet { changes }
    }
}

/// Where a hard link leads.
fn link_target(change: &Change) -> Option<&ImagePath> {
    match change.entry().map(|entry| &entry.kind) {
        Some(Kind::Hardlink { target }) => Some(target),
        _ => None,
    }
}
