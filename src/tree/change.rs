//! What one layer changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Content, ContentHash, ContentSource, Entry, ImagePath, Kind};

/// The changes of a layer by path. At most one change per path; parents need not be present.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeSet {
    /// By path; a directory comes before what is in it.
    pub(crate) changes: BTreeMap<ImagePath, Change>,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The path is now this. A directory over a directory keeps what is in it; any other combination
    /// removes what was there.
    Put {
        /// What it is now.
        entry: Entry,
        /// The bytes of a regular file. `None` for other kinds, and in change sets read from a table of
        /// contents, which have no bytes.
        content: Option<Content>,
        /// The hash of the bytes, when it is known without reading them.
        hash: Option<ContentHash>,
    },
    /// The path is now this directory, and nothing that lower layers had in it is left (opaque).
    Replace {
        /// The directory.
        entry: Entry,
    },
    /// The path is gone (whiteout).
    Remove,
}

impl ChangeSet {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Put an entry without bytes: a directory, a link, a node.
    pub(crate) fn put(&mut self, path: ImagePath, entry: Entry) {
        self.changes.insert(path, Change::Put { entry, content: None, hash: None });
    }

    /// Put a regular file.
    pub(crate) fn put_file(
        &mut self,
        path: ImagePath,
        entry: Entry,
        content: Content,
        hash: Option<ContentHash>,
    ) {
        self.changes.insert(path, Change::Put { entry, content: Some(content), hash });
    }

    /// The bytes of all regular files that have them at hand.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Content> {
        self.changes.values().filter_map(|change| match change {
            Change::Put { content, .. } => content.as_ref(),
            Change::Replace { .. } | Change::Remove => None,
        })
    }

    /// The same changes with the bytes of regular files that lack them in `source`, by their paths.
    pub(crate) fn with_source(&self, source: &Arc<dyn ContentSource>) -> Self {
        let mut changes = self.clone();
        for (path, change) in &mut changes.changes {
            if let Change::Put { entry, content: content @ None, .. } = change
                && entry.is_file()
            {
                *content = Some(Content::new(Arc::clone(source), path.clone()));
            }
        }
        changes
    }

    /// The name that a hard link to `path` leads to in the end, when links of this layer lead on.
    pub(crate) fn first_name<'a>(&'a self, path: &'a ImagePath) -> &'a ImagePath {
        // As many steps as there are changes, so that a circle ends.
        (0..self.changes.len())
            .try_fold(path, |path, _| {
                match self.changes.get(path).and_then(Change::entry).map(|entry| &entry.kind) {
                    Some(Kind::Hardlink { target }) => Ok(target),
                    _ => Err(path),
                }
            })
            .unwrap_or_else(|end| end)
    }

    /// The newest modification time of what is put, in whole seconds.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.changes.values().filter_map(Change::entry).map(|entry| entry.metadata.mtime).max()
    }
}

impl Change {
    /// The entry that is there after the change.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Put { entry, .. } | Self::Replace { entry } => Some(entry),
            Self::Remove => None,
        }
    }
}
