//! The build contexts: read once, and only what some instruction selects.

use std::collections::BTreeMap;
use std::io::Read;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use crate::blob::sniff_decoder;
use crate::context::{
    ArchiveError, Checkout, Download, IgnoreFile, Place, Root, Selected, SourcePattern, archive_tree,
    hash_files, open_archive, read_archive, select, walk,
};
use crate::ctx::{Ctx, Event};
use crate::dockerfile::RunMount;
use crate::plan::{FileOp, FileOrigin, FileSource, Op, Plan, RunOp, Step};
use crate::tree::{ChangeSet, Entry, ImagePath, Kind, Metadata, Tree};

use super::error::{BuildError, StepPlace};
use super::extract::Archive;
use super::mounts::reads;
use super::scratch::Scratch;

/// Where a context is.
#[derive(Clone, Debug)]
pub(crate) enum ContextPlace {
    /// A directory, with the files that may hold its ignore rules, the first that exists counts.
    Directory(PathBuf, Vec<PathBuf>),
    /// A tar file, plain or compressed.
    Archive(PathBuf),
    /// A commit of a repository. Ignore files in it are files like any other, as in BuildKit.
    Checkout(Arc<Checkout>),
    /// Files that are here already.
    Tree(Tree),
    /// There is none.
    Empty,
}

/// The contexts of a build by name; `None` is the main one.
#[derive(Default)]
pub(crate) struct Contexts {
    read: BTreeMap<Option<String>, ReadContext>,
}

struct ReadContext {
    tree: Tree,
    ignore: IgnoreFile,
    name: String,
    /// The files are read from there.
    _checkout: Option<Arc<Checkout>>,
}

/// Names of ignore files in the root of the build's own context, in order of precedence.
const IGNORE_FILES: [&str; 2] = [".containerignore", ".dockerignore"];
/// The same of a named context: as in BuildKit, which knows the second name only.
const NAMED_IGNORE_FILES: [&str; 1] = [".dockerignore"];
/// Largest ignore file that is read, in bytes.
const IGNORE_LIMIT: u64 = 16 << 20;

impl Contexts {
    /// Read what the steps of `plan` select from `places`. Blocks.
    pub(crate) fn read(
        ctx: &Ctx,
        plan: &Plan,
        places: &BTreeMap<Option<String>, ContextPlace>,
        scratch: &Scratch,
        threads: NonZero<usize>,
    ) -> Result<Self, BuildError> {
        let mut wanted: BTreeMap<Option<String>, Vec<SourcePattern>> = BTreeMap::new();
        for step in plan.stages.values().flat_map(|stage| &stage.steps) {
            if let Op::Files(op) = &step.op
                && let FileOrigin::Context(name) = &op.origin
            {
                let patterns = patterns(op, step)?;
                // Heredocs and remote sources need no context.
                if !patterns.is_empty() {
                    wanted.entry(name.clone()).or_default().extend(patterns);
                }
            }
            if let Op::Run(op) = &step.op {
                for (mount, origin) in op.mounts.iter().filter(|(mount, _)| reads(mount)) {
                    if let FileOrigin::Context(name) = origin {
                        let pattern = path_pattern(mount.source.as_deref().unwrap_or("/"), step)?;
                        wanted.entry(name.clone()).or_default().push(pattern);
                    }
                }
            }
        }
        let mut read = BTreeMap::new();
        for (name, patterns) in wanted {
            let place = places.get(&name).unwrap_or(&ContextPlace::Empty);
            let shown = shown(name.as_deref(), place);
            let (mut tree, ignore) = match place {
                ContextPlace::Empty => (Tree::default(), IgnoreFile::default()),
                ContextPlace::Directory(path, ignore_files) => {
                    let root =
                        Arc::new(Root::open(path).map_err(|error| BuildError::Context(error.to_string()))?);
                    let in_root = if name.is_some() { &NAMED_IGNORE_FILES[..] } else { &IGNORE_FILES };
                    let ignore = ignore_rules(&root, ignore_files, in_root)?;
                    let patterns: Vec<&SourcePattern> = patterns.iter().collect();
                    let tree = walk(&root, &ignore, &patterns)
                        .map_err(|error| BuildError::Context(error.to_string()))?;
                    (tree, ignore)
                }
                ContextPlace::Archive(path) => {
                    let name = format!("context {}", path.display());
                    let failed = |error| BuildError::Context(format!("{name}: {error}"));
                    let file = std::fs::File::open(path).map_err(failed)?;
                    let (_, tar) = sniff_decoder(file).map_err(failed)?;
                    (read_tar(Box::new(tar), &name, scratch)?, IgnoreFile::default())
                }
                ContextPlace::Checkout(checkout) => {
                    let patterns: Vec<&SourcePattern> = patterns.iter().collect();
                    let tree = checkout.tree(&patterns);
                    (tree.map_err(|error| BuildError::Context(error.to_string()))?, IgnoreFile::default())
                }
                ContextPlace::Tree(tree) => (tree.clone(), IgnoreFile::default()),
            };
            hash_files(ctx, &mut tree, threads).map_err(|error| match error {
                _ if ctx.is_cancelled() => BuildError::Cancelled,
                error => BuildError::Context(format!("{shown}: {error}")),
            })?;
            let sizes = tree.iter().filter_map(|(_, node)| match node.entry.kind {
                Kind::File { size } => Some(size),
                _ => None,
            });
            let (files, bytes) = sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size));
            ctx.emit(&Event::ContextScanned {
                name: name.clone().unwrap_or_else(|| "context".to_owned()),
                files,
                bytes,
            });
            let checkout = match place {
                ContextPlace::Checkout(checkout) => Some(Arc::clone(checkout)),
                _ => None,
            };
            read.insert(name, ReadContext { tree, ignore, name: shown, _checkout: checkout });
        }
        Ok(Self { read })
    }

    /// What the sources of `op` choose in its context: for each source that is a path, its matches.
    pub(crate) fn select<'a>(
        &'a self,
        op: &FileOp,
        step: &Step,
    ) -> Result<Vec<Vec<Selected<'a>>>, BuildError> {
        let FileOrigin::Context(name) = &op.origin else { return Ok(Vec::new()) };
        match self.read.get(name) {
            Some(context) => {
                let place = Place { tree: &context.tree, name: &context.name, ignore: Some(&context.ignore) };
                select_all(place, op, step)
            }
            None => Ok(Vec::new()),
        }
    }

    /// What is at a path of a context, for a mount.
    pub(crate) fn select_path<'a>(
        &'a self,
        name: &Option<String>,
        path: &str,
        step: &Step,
    ) -> Result<Vec<Selected<'a>>, BuildError> {
        let Some(context) = self.read.get(name) else { return Ok(Vec::new()) };
        let place = Place { tree: &context.tree, name: &context.name, ignore: Some(&context.ignore) };
        let pattern = path_pattern(path, step)?;
        select(place, &pattern, &IgnoreFile::default()).map_err(|error| wrong(step, error.to_string(), None))
    }

    /// The same in the tree of a stage.
    pub(crate) fn select_path_in<'a>(
        &self,
        tree: &'a Tree,
        path: &str,
        step: &Step,
    ) -> Result<Vec<Selected<'a>>, BuildError> {
        let place = Place { tree, name: "the stage", ignore: None };
        let pattern = path_pattern(path, step)?;
        select(place, &pattern, &IgnoreFile::default()).map_err(|error| wrong(step, error.to_string(), None))
    }

    /// What each mount of a RUN reads from a context; nothing for the others.
    pub(crate) fn select_mounts<'a>(
        &'a self,
        op: &RunOp,
        step: &Step,
    ) -> Result<Vec<Vec<Selected<'a>>>, BuildError> {
        let select = |(mount, origin): &(RunMount, FileOrigin)| match origin {
            FileOrigin::Context(name) if reads(mount) => {
                self.select_path(name, mount.source.as_deref().unwrap_or("/"), step)
            }
            _ => Ok(Vec::new()),
        };
        op.mounts.iter().map(select).collect()
    }

    /// The same in the tree of a stage or image.
    pub(crate) fn select_in<'a>(
        &self,
        tree: &'a Tree,
        name: &'a str,
        op: &FileOp,
        step: &Step,
    ) -> Result<Vec<Vec<Selected<'a>>>, BuildError> {
        select_all(Place { tree, name, ignore: None }, op, step)
    }

    /// For each match in order: its archive, when it is a regular file that is one (ADD). Blocks.
    pub(crate) fn archives(
        &self,
        scratch: &Scratch,
        matches: &[Vec<Selected<'_>>],
        step: &Step,
    ) -> Result<Vec<Option<Archive>>, BuildError> {
        matches.iter().flatten().map(|selected| archive(scratch, selected, step)).collect()
    }
}

fn archive(scratch: &Scratch, selected: &Selected<'_>, step: &Step) -> Result<Option<Archive>, BuildError> {
    let Some(node) = selected.node else { return Ok(None) };
    let (Kind::File { size: 1.. }, Some(content)) = (&node.entry.kind, &node.content) else {
        return Ok(None);
    };
    let name = format!("archive {}", selected.root);
    let failed = |error: std::io::Error| wrong(step, format!("{name}: {error}"), None);
    let Some(tar) = open_archive(content).map_err(failed)? else { return Ok(None) };
    let spool = tempfile::tempfile_in(scratch.path()).map_err(failed)?;
    match read_archive(tar, spool) {
        Ok(entries) => Ok(Some(Archive { entries })),
        Err(error) => Err(wrong(step, format!("{name}: {error}"), None)),
    }
}

fn select_all<'a>(place: Place<'a>, op: &FileOp, step: &Step) -> Result<Vec<Vec<Selected<'a>>>, BuildError> {
    let exclude = exclude(op, step)?;
    let matches = patterns(op, step)?
        .iter()
        .map(|pattern| select(place, pattern, &exclude).map_err(|error| wrong(step, error.to_string(), None)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(matches)
}

/// All of a tree but what `--exclude` leaves out: what ADD takes of a repository.
pub(super) fn select_root<'a>(
    tree: &'a Tree,
    op: &FileOp,
    step: &Step,
) -> Result<Vec<Selected<'a>>, BuildError> {
    let place = Place { tree, name: "the repository", ignore: None };
    select(place, &path_pattern(".", step)?, &exclude(op, step)?)
        .map_err(|error| wrong(step, error.to_string(), None))
}

fn exclude(op: &FileOp, step: &Step) -> Result<IgnoreFile, BuildError> {
    IgnoreFile::from_patterns("--exclude", op.exclude.iter().map(String::as_str))
        .map_err(|error| wrong(step, error.to_string(), None))
}

fn patterns(op: &FileOp, step: &Step) -> Result<Vec<SourcePattern>, BuildError> {
    let paths = op.sources.iter().filter_map(|source| match source {
        FileSource::Path(path) => Some(path),
        FileSource::Inline { .. } | FileSource::Url { .. } | FileSource::Git { .. } => None,
    });
    paths
        .map(|path| {
            SourcePattern::parse(path, op.parents).map_err(|error| wrong(step, error.to_string(), None))
        })
        .collect()
}

/// A mount's source: a path, not a pattern.
fn path_pattern(path: &str, step: &Step) -> Result<SourcePattern, BuildError> {
    let literal: String = path
        .chars()
        .flat_map(|c| ['\\'].into_iter().filter(move |_| "*?[\\".contains(c)).chain([c]))
        .collect();
    SourcePattern::parse(&literal, false).map_err(|error| wrong(step, error.to_string(), None))
}

fn wrong(step: &Step, message: String, hint: Option<String>) -> BuildError {
    let place = StepPlace { id: step.id, name: step.title.clone(), line: step.line };
    BuildError::Step { place, message, hint }
}

/// A context in words, with where it is: `the build context (/src/app)`.
fn shown(name: Option<&str>, place: &ContextPlace) -> String {
    let name = name.map_or_else(|| "the build context".to_owned(), |name| format!("context {name}"));
    match place {
        ContextPlace::Directory(path, _) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("{name} ({})", path.display())
        }
        ContextPlace::Archive(_)
        | ContextPlace::Checkout(_)
        | ContextPlace::Tree(_)
        | ContextPlace::Empty => name,
    }
}

/// The rules of the first ignore file that exists: `files`, which may lie anywhere, then those of the context's
/// root that have one of `names`.
fn ignore_rules(root: &Root, files: &[PathBuf], names: &[&str]) -> Result<IgnoreFile, BuildError> {
    for path in files {
        match std::fs::read(path) {
            Ok(text) => return parse_rules(&path.display().to_string(), &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(BuildError::Context(format!("read {}: {error}", path.display()))),
        }
    }
    for name in names {
        let text = root
            .read(&ImagePath::clamped(name), IGNORE_LIMIT)
            .map_err(|error| BuildError::Context(error.to_string()))?;
        if let Some(text) = text {
            return parse_rules(name, &text);
        }
    }
    Ok(IgnoreFile::default())
}

fn parse_rules(name: &str, text: &[u8]) -> Result<IgnoreFile, BuildError> {
    IgnoreFile::parse(name, text).map_err(|error| BuildError::Context(error.to_string()))
}

fn read_tar(tar: Box<dyn Read + Send>, name: &str, scratch: &Scratch) -> Result<Tree, BuildError> {
    let failed = |error: &dyn std::fmt::Display| BuildError::Context(format!("{name}: {error}"));
    let spool = tempfile::tempfile_in(scratch.path()).map_err(|error| failed(&error))?;
    let entries = read_archive(tar, spool).map_err(|error: ArchiveError| failed(&error))?;
    Ok(archive_tree(entries))
}

/// What a file that was fetched holds as a context: what an archive unpacks to, else the file itself, called
/// `context`, which is said too.
pub(crate) fn read_download(
    download: &Download,
    name: &str,
    scratch: &Scratch,
) -> Result<(Tree, bool), BuildError> {
    let tar = open_archive(&download.whole.content)
        .map_err(|error| BuildError::Context(format!("{name}: {error}")))?;
    if let Some(tar) = tar {
        return Ok((read_tar(tar, name, scratch)?, false));
    }
    let metadata = Metadata { mode: 0o600, mtime: download.mtime, ..Metadata::default() };
    let mut changes = ChangeSet::default();
    let entry = Entry { kind: Kind::File { size: download.whole.size }, metadata };
    let content = download.whole.content.clone();
    changes.put_file(ImagePath::clamped("context"), entry, content, Some(download.whole.hash));
    let mut tree = Tree::default();
    tree.apply(&changes);
    Ok((tree, true))
}
