//! What the sources of a COPY or ADD choose in a tree.
//!
//! Works on any [`Tree`]: a context, a stage, an image. A named source is followed through links inside the
//! tree, its last component too; what is found below it is taken as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::glob::Glob;
use super::ignore::{IgnoreFile, Verdict};
use super::pattern::{SourcePattern, spellings};
use crate::text::suggest;
use crate::tree::{ImagePath, Kind, Node, Tree};

/// One source after matching: a file, or a directory with what is chosen below it.
#[derive(Clone, Debug)]
pub(crate) struct Selected<'t> {
    /// Where it is in its tree, links followed.
    pub(crate) root: ImagePath,
    /// What is there; `None` is the root of a tree that does not state its root.
    pub(crate) node: Option<&'t Node>,
    /// The name it gets when it is put into a directory: the last component as matched, not of what a link
    /// leads to.
    pub(crate) name: Vec<u8>,
    /// What is chosen below the root, in order. Empty unless the root is a directory.
    pub(crate) picks: Vec<Pick<'t>>,
}

/// A path below a selected directory.
#[derive(Clone, Debug)]
pub(crate) struct Pick<'t> {
    /// Relative to the selected directory.
    pub(crate) path: ImagePath,
    /// What it is.
    pub(crate) node: &'t Node,
    /// False for a directory that was not chosen itself but holds something that was.
    pub(crate) chosen: bool,
}

/// A source that chooses nothing, or cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectError {
    /// Nothing has this name.
    #[error("{source_path:?} is not in {place}{}", hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default())]
    Missing {
        /// As written.
        source_path: String,
        /// The tree in words: `the build context`, `stage builder`.
        place: String,
        /// What may help.
        hint: Option<String>,
    },
    /// A link that leads in a circle.
    #[error("{source_path:?} leads through too many symbolic links in {place}")]
    Loop {
        /// As written.
        source_path: String,
        /// The tree in words.
        place: String,
    },
}

/// A tree to choose from.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t> {
    /// What is there.
    pub(crate) tree: &'t Tree,
    /// In words, for messages: `the build context`, `stage builder`.
    pub(crate) name: &'t str,
    /// The ignore file that the tree was walked with, to explain what is missing.
    pub(crate) ignore: Option<&'t IgnoreFile>,
}

impl<'t> Selected<'t> {
    /// Whether a directory was selected: then its contents are copied, not itself.
    pub(crate) fn is_directory(&self) -> bool {
        self.node.is_none_or(|node| node.entry.is_directory())
    }
}

/// What `pattern` chooses, in the order in which it is to be copied. Empty when a wildcard matches nothing.
///
/// `exclude` takes out of a directory what its rules match relative to that directory, and of the files that a
/// wildcard names those whose names match.
pub(crate) fn select<'t>(
    place: Place<'t>,
    pattern: &SourcePattern,
    exclude: &IgnoreFile,
) -> Result<Vec<Selected<'t>>, SelectError> {
    let tree = place.tree;
    let missing = || missing(place, pattern);
    let base = pattern.names().iter().try_fold(ImagePath::root(), |directory, name| {
        // What is behind a link to nowhere does not exist, so the escapes are tried there too.
        spellings(name).find_map(|name| {
            let path = directory.child(name);
            tree.get(&resolve(place, pattern, &path).ok()?).map(|_| path)
        })
    });
    let Some(base) = base else {
        // Tell a circle from an absence.
        let written: ImagePath = ImagePath::clamped(pattern.names().join(&b'/'));
        resolve(place, pattern, &written)?;
        return Err(missing());
    };
    let matches = if pattern.globs().is_empty() {
        vec![base]
    } else {
        let directory = resolve(place, pattern, &base)?;
        let mut matches = Vec::new();
        expand(tree, &directory, pattern.globs(), &mut matches);
        matches.retain(|path| {
            let by_name = path.below(&directory).unwrap_or_default();
            tree.get(path).is_some_and(|node| node.entry.is_directory()) || !exclude.excluded(&by_name)
        });
        matches
    };
    let mut selected = Vec::with_capacity(matches.len());
    for path in matches {
        let root = resolve(place, pattern, &path)?;
        let node = tree.get(&root);
        if node.is_none() && !root.is_root() {
            return Err(missing());
        }
        let mut one = Selected { root, node, name: path.name().to_vec(), picks: Vec::new() };
        if one.is_directory() {
            one.picks = picks(tree, &one.root, pattern.below(), exclude);
            let wanted = pattern.below().is_some() && !pattern.has_wildcard();
            if wanted && one.picks.is_empty() {
                return Err(missing());
            }
        }
        selected.push(one);
    }
    Ok(selected)
}

fn resolve(place: Place<'_>, pattern: &SourcePattern, path: &ImagePath) -> Result<ImagePath, SelectError> {
    place.tree.resolve(path, true).map(|resolved| resolved.path).map_err(|_| SelectError::Loop {
        source_path: pattern.text().to_owned(),
        place: place.name.to_owned(),
    })
}

fn missing(place: Place<'_>, pattern: &SourcePattern) -> SelectError {
    let path = ImagePath::clamped(pattern.text());
    let excluded = place.ignore.and_then(|ignore| ignore.why_excluded(&path));
    let hint = excluded
        .map(|rule| format!("it is excluded by {rule:?}"))
        .or_else(|| match place.tree.get(&path).map(|node| &node.entry.kind) {
            Some(Kind::Symlink { target }) => {
                let target = String::from_utf8_lossy(target);
                Some(format!("it is a symbolic link to {target:?}, which is not there or left out"))
            }
            _ => None,
        })
        .or_else(|| similar(place.tree, &path).map(|similar| format!("did you mean {similar:?}?")));
    SelectError::Missing { source_path: pattern.text().to_owned(), place: place.name.to_owned(), hint }
}

/// The path that is there and differs from `path` in one component that looks like a slip of the keyboard.
fn similar(tree: &Tree, path: &ImagePath) -> Option<String> {
    let mut real = ImagePath::root();
    let mut slip = false;
    for component in path.components() {
        let next = tree.resolve(&real.child(component), true).ok()?.path;
        if tree.get(&next).is_some() {
            real = next;
            continue;
        }
        let names = tree.children(&real).filter_map(|(path, _)| std::str::from_utf8(path.name()).ok());
        let meant = suggest(std::str::from_utf8(component).ok()?, names).filter(|_| !slip)?;
        if meant.as_bytes() == component {
            return None;
        }
        real = real.child(meant);
        slip = true;
    }
    slip.then(|| String::from_utf8_lossy(real.as_bytes()).into_owned())
}

/// The paths below `directory` that `globs` match, component by component in the order of their names. Links
/// on the way are not followed.
fn expand(tree: &Tree, directory: &ImagePath, globs: &[Glob], matches: &mut Vec<ImagePath>) {
    let Some((glob, rest)) = globs.split_first() else { return };
    for (path, node) in tree.children(directory) {
        if !glob.matches(path.name()) {
            continue;
        }
        if rest.is_empty() {
            matches.push(path.clone());
        } else if node.entry.is_directory() {
            expand(tree, path, rest, matches);
        }
    }
}

fn picks<'t>(tree: &'t Tree, root: &ImagePath, below: Option<&Glob>, exclude: &IgnoreFile) -> Vec<Pick<'t>> {
    let relative = |path: &ImagePath| path.below(root).unwrap_or_default();
    let all = tree.below(root).map(|(path, node)| Pick { path: relative(path), node, chosen: true });
    if below.is_none() && exclude.is_empty() {
        return all.collect();
    }
    // What a directory was judged to be decides over what is in it.
    let mut verdicts = BTreeMap::from([(ImagePath::root(), (below.is_none(), exclude.root()))]);
    let mut picks: Vec<Pick<'t>> = Vec::new();
    for mut pick in all {
        let parent = pick.path.parent().unwrap_or_default();
        let Some((inside, verdict)) = verdicts.get(&parent) else { continue };
        let inside = *inside || below.is_some_and(|glob| glob.matches(pick.path.as_bytes()));
        if pick.node.entry.is_directory() {
            let verdict: Verdict = exclude.child(verdict, &pick.path);
            pick.chosen = inside && !verdict.excluded;
            verdicts.insert(pick.path.clone(), (inside, verdict));
            picks.push(pick);
        } else if inside && !exclude.excludes(verdict, &pick.path) {
            picks.push(pick);
        }
    }
    let needed: BTreeSet<ImagePath> =
        picks.iter().filter(|pick| pick.chosen).flat_map(|pick| pick.path.ancestors()).collect();
    picks.retain(|pick| pick.chosen || needed.contains(&pick.path));
    picks
}
