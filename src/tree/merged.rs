//! The merged view of some layers.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Change, ChangeSet, Content, ContentHash, Entry, ImagePath, Kind, follow};

/// All paths of an image, without the root directory itself unless a layer stated it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<ImagePath, Node>,
}

/// One path of a tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) entry: Entry,
    /// Where a regular file's bytes are, when they are at hand.
    pub(crate) content: Option<Content>,
    /// The hash of a regular file's bytes, when it is known.
    pub(crate) hash: Option<ContentHash>,
    /// Shared by the names of one file; `None` for a file with one name.
    pub(crate) inode: Option<Arc<()>>,
}

#[cfg(test)]
impl Node {
    /// Whether both are names of one file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        matches!((&self.inode, &other.inode), (Some(one), Some(two)) if Arc::ptr_eq(one, two))
    }
}

/// Where a path leads once links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The path without links in it. It need not exist.
    pub(crate) path: ImagePath,
}

/// A path could not be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TreeError {
    /// More than 40 links, as the kernel counts (`ELOOP`).
    #[error("{0} leads through too many symbolic links")]
    Loop(ImagePath),
}

impl Tree {
    /// What is at `path`, not following a link there.
    pub(crate) fn get(&self, path: &ImagePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// What is at `path`, to be added to.
    pub(crate) fn get_mut(&mut self, path: &ImagePath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Whether `path` is a directory. The root always is.
    pub(crate) fn is_directory(&self, path: &ImagePath) -> bool {
        path.is_root() || self.get(path).is_some_and(|node| node.entry.is_directory())
    }

    /// All below `path`, without `path` itself, in order.
    pub(crate) fn below(&self, path: &ImagePath) -> impl Iterator<Item = (&ImagePath, &Node)> {
        // "dir/" is the smallest and "dir0" the first string past everything in the directory.
        let (lower, upper) = if path.is_root() {
            (Bound::Excluded(ImagePath::root()), Bound::Unbounded)
        } else {
            let mut after = path.name().to_vec();
            after.push(b'/' + 1);
            let sibling = path.parent().unwrap_or_default().child(after);
            (Bound::Excluded(path.clone()), Bound::Excluded(sibling))
        };
        let directory = path.clone();
        self.nodes.range((lower, upper)).filter(move |(candidate, _)| candidate.below(&directory).is_some())
    }

    /// The names directly in the directory `path`, in order.
    pub(crate) fn children(&self, path: &ImagePath) -> impl Iterator<Item = (&ImagePath, &Node)> {
        let directory = path.clone();
        self.below(path).filter(move |(candidate, _)| candidate.parent().as_ref() == Some(&directory))
    }

    /// All paths, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ImagePath, &Node)> {
        self.nodes.iter()
    }

    /// Follow the symbolic links of `path` inside the tree, as a process in a chroot would; `follow_last`
    /// also follows a link at the path itself. What does not exist is taken as written.
    pub(crate) fn resolve(&self, path: &ImagePath, follow_last: bool) -> Result<Resolved, TreeError> {
        follow(path, follow_last, |at| self.get(at)?.entry.link()).map(|path| Resolved { path })
    }

    /// Lay a layer over this tree (OCI image-spec, layer.md, "Applying Changesets"): removals and opaque
    /// directories hide what was below, then the layer's own entries appear.
    ///
    /// A layer that names a path below a link changes what the link leads to.
    pub(crate) fn apply(&mut self, layer: &ChangeSet) {
        for (path, change) in &layer.changes {
            let path = self.real(path);
            match change {
                Change::Remove => {
                    self.remove_below(&path);
                    self.nodes.remove(&path);
                }
                Change::Replace { .. } => self.remove_below(&path),
                Change::Put { .. } => {}
            }
        }
        // Hard links last: the order of paths is not the order of the tar, where the file comes first.
        let is_link =
            |change: &Change| matches!(change.entry().map(|entry| &entry.kind), Some(Kind::Hardlink { .. }));
        let (links, others): (Vec<_>, Vec<_>) = layer.changes.iter().partition(|(_, change)| is_link(change));
        for (path, change) in others.into_iter().chain(links) {
            let path = self.real(path);
            let (entry, content, hash) = match change {
                Change::Put { entry, content, hash } => (entry, content.clone(), *hash),
                Change::Replace { entry } => (entry, None, None),
                Change::Remove => continue,
            };
            let node = match &entry.kind {
                // Another name of a file is that file.
                Kind::Hardlink { target } => {
                    let target = self.real(layer.first_name(target));
                    match self.nodes.get_mut(&target) {
                        Some(first) => {
                            first.inode.get_or_insert_default();
                            first.clone()
                        }
                        None => Node { entry: entry.clone(), content, hash, inode: None },
                    }
                }
                _ => Node { entry: entry.clone(), content, hash, inode: None },
            };
            if !node.entry.is_directory() {
                self.remove_below(&path);
            }
            for ancestor in path.ancestors() {
                // A layer may leave out the directories above its paths; unpackers then make them so.
                if !ancestor.is_root() && !self.is_directory(&ancestor) {
                    let entry = Entry::directory(0o755);
                    self.nodes.insert(ancestor, Node { entry, content: None, hash: None, inode: None });
                }
            }
            self.nodes.insert(path, node);
        }
    }

    fn real(&self, path: &ImagePath) -> ImagePath {
        self.resolve(path, false).map_or_else(|_| path.clone(), |resolved| resolved.path)
    }

    fn remove_below(&mut self, path: &ImagePath) {
        let gone: Vec<ImagePath> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.nodes.remove(&path);
        }
    }
}

/// A tree of exactly these paths. The directories above each must be among them.
impl FromIterator<(ImagePath, Node)> for Tree {
    fn from_iter<T: IntoIterator<Item = (ImagePath, Node)>>(nodes: T) -> Self {
        Self { nodes: nodes.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Metadata;

    fn file() -> Entry {
        Entry { kind: Kind::File { size: 0 }, metadata: Metadata { mode: 0o644, ..Metadata::default() } }
    }

    fn link(target: &str) -> Entry {
        Entry { kind: Kind::Symlink { target: target.into() }, metadata: Metadata::default() }
    }

    fn path(text: &str) -> ImagePath {
        ImagePath::clamped(text)
    }

    fn layer(entries: &[(&str, Entry)]) -> ChangeSet {
        let mut layer = ChangeSet::default();
        for (name, entry) in entries {
            layer.put(path(name), entry.clone());
        }
        layer
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn links_are_followed_inside_the_root_only() {
        let mut tree = Tree::default();
        tree.apply(&layer(&[
            ("usr", Entry::directory(0o755)),
            ("bin", link("usr/bin")),
            ("up", link("../../../usr")),
            ("abs", link("/usr")),
            ("loop", link("loop")),
        ]));
        let resolved = |text: &str| tree.resolve(&path(text), true).map(|r| r.path.to_string());
        assert_eq!(resolved("/bin/sh"), Ok("/usr/bin/sh".into()));
        assert_eq!(resolved("/up/x"), Ok("/usr/x".into()));
        assert_eq!(resolved("/abs"), Ok("/usr".into()));
        assert_eq!(resolved("/loop/x"), Err(TreeError::Loop(path("/loop/x"))));
        assert_eq!(tree.resolve(&path("/abs"), false).unwrap().path, path("/abs"));
    }

    #[test]
    fn a_whiteout_hides_lower_paths_and_an_opaque_directory_empties_first() {
        let mut tree = Tree::default();
        tree.apply(&layer(&[
            ("a", Entry::directory(0o755)),
            ("a/x", file()),
            ("b", Entry::directory(0o755)),
            ("b/y", file()),
        ]));
        let mut upper = layer(&[("b/z", file())]);
        upper.changes.insert(path("a"), Change::Remove);
        upper.changes.insert(path("b"), Change::Replace { entry: Entry::directory(0o700) });
        tree.apply(&upper);
        assert_eq!(paths(&tree), ["/b", "/b/z"]);
        assert_eq!(tree.get(&path("b")).unwrap().entry.metadata.mode, 0o700);
    }

    #[test]
    fn a_file_over_a_directory_removes_what_was_in_it() {
        let mut tree = Tree::default();
        tree.apply(&layer(&[("a", Entry::directory(0o755)), ("a/x", file()), ("a-b", file())]));
        tree.apply(&layer(&[("a", file())]));
        assert_eq!(paths(&tree), ["/a", "/a-b"]);
    }

    #[test]
    fn a_directory_over_a_directory_merges_and_has_the_newer_metadata() {
        let mut tree = Tree::default();
        tree.apply(&layer(&[("a", Entry::directory(0o755)), ("a/x", file()), ("b", link("a"))]));
        tree.apply(&layer(&[
            ("a", Entry::directory(0o700)),
            ("a/y", file()),
            ("b", Entry::directory(0o711)),
        ]));
        assert_eq!(paths(&tree), ["/a", "/a/x", "/a/y", "/b"]);
        let mode = |name: &str| tree.get(&path(name)).unwrap().entry.metadata.mode;
        assert_eq!((mode("a"), mode("b")), (0o700, 0o711));
    }

    #[test]
    fn below_stops_at_the_directory() {
        let mut tree = Tree::default();
        tree.apply(&layer(&[
            ("a", Entry::directory(0o755)),
            ("a/x", file()),
            ("a-b", file()),
            ("a0", file()),
            ("b", file()),
        ]));
        let names: Vec<_> = tree.below(&path("a")).map(|(path, _)| path.to_string()).collect();
        assert_eq!(names, ["/a/x"]);
    }

    #[test]
    fn names_of_one_file_are_known_until_one_is_replaced() {
        let mut tree = Tree::default();
        let link = Entry { kind: Kind::Hardlink { target: path("a") }, metadata: Metadata::default() };
        tree.apply(&layer(&[("a", file()), ("b", link.clone()), ("c", link), ("d", file())]));
        let same =
            |tree: &Tree, one, two| tree.get(&path(one)).unwrap().same_file(tree.get(&path(two)).unwrap());
        assert!(same(&tree, "a", "b") && same(&tree, "b", "c") && !same(&tree, "a", "d"));
        tree.apply(&layer(&[("a", file())]));
        assert!(!same(&tree, "a", "b") && same(&tree, "b", "c"));
    }

    #[test]
    fn a_hard_link_that_sorts_before_its_file_is_that_file() {
        let link =
            |target| Entry { kind: Kind::Hardlink { target: path(target) }, metadata: Metadata::default() };
        let mut tree = Tree::default();
        tree.apply(&layer(&[("a", link("b")), ("b", link("z")), ("z", file())]));
        for name in ["a", "b", "z"] {
            assert_eq!(tree.get(&path(name)).unwrap().entry, file());
        }
    }
}
