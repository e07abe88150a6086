//! The keys of steps, stages and builds.
//!
//! A step has two keys made of the same fields. Its **definition key** is known before anything runs: what
//! it copies from another stage stands in it as that stage's own definition key. Its **content key** has
//! the copied files themselves in that place. Where nothing is copied from a stage the two are equal. A
//! rebuilt stage whose copied files did not change gives its users new definition keys and the old content
//! keys, so they are found all the same.

use crate::cache::{CacheKey, KeyWriter};
use crate::dockerfile::RunMount;
use crate::oci::{DiffId, Digest, Platform};
use crate::plan::{FileOp, FileSource, RunOp, WorkdirOp};
use crate::tree::{ContentHash, Entry, ImagePath, Kind};

/// Changes when the fields of a key change: old records are then never found.
const STEP: &str = "ocistage.step.v1";
const BASE: &str = "ocistage.base.v1";
const STAGE: &str = "ocistage.stage.v1";
const BUILD: &str = "ocistage.build.v1";

/// What a step reads from outside its stage, as it enters a key.
#[derive(Clone, Debug)]
pub(super) enum Input<'a> {
    /// The files themselves: of a context, or for a content key.
    Files(Vec<SelectedFile<'a>>),
    /// The stage or image that the files are in, by its key.
    Whole(CacheKey),
}

/// One selected file as it enters a key. The time is no part of it.
#[derive(Clone, Debug)]
pub(super) struct SelectedFile<'a> {
    /// Its path where it comes from.
    pub(super) path: &'a ImagePath,
    /// What it is.
    pub(super) entry: &'a Entry,
    /// The hash of its bytes, of a regular file.
    pub(super) hash: Option<ContentHash>,
}

/// The key of an image as a base: its layers, not its manifest. Another name or config of the same layers
/// is the same base.
pub(super) fn base(diff_ids: &[DiffId]) -> CacheKey {
    let mut key = KeyWriter::new(BASE);
    key.list("layers", diff_ids.iter().map(|diff_id| diff_id.0.as_bytes().to_vec()));
    key.finish()
}

/// What a remote source is, wherever it comes from.
#[derive(Clone, Debug)]
pub(super) enum RemoteIdentity<'a> {
    /// A file.
    File {
        /// What it is called in a directory.
        name: String,
        /// The SHA-256 of its bytes. The same whether it was stated or computed.
        digest: Digest,
    },
    /// A commit.
    Commit {
        /// Its object name.
        id: &'a str,
        /// The ref that led to it, where `.git` is kept: it is in there.
        name: Option<&'a str>,
    },
}

/// The key of a COPY or ADD. `parent` is the key of what the stage was before, `remote` what the remote ones
/// among the sources are, in their order.
pub(super) fn files(
    parent: &CacheKey,
    platform: &Platform,
    op: &FileOp,
    input: &Input<'_>,
    remote: &[RemoteIdentity<'_>],
) -> CacheKey {
    let mut key = step(platform, "files");
    // With --link nothing of the image below is looked at, but names of users are.
    let names_users =
        op.chown.as_deref().is_some_and(|owner| owner.contains(|c: char| !c.is_ascii_digit() && c != ':'));
    if !op.link || names_users {
        key.key("parent", parent);
    }
    key.field("dest", &op.dest);
    if !op.dest.starts_with('/') {
        key.field("workdir", &op.workdir);
    }
    optional(&mut key, "chown", op.chown.as_deref());
    optional(&mut key, "chmod", op.chmod.as_deref());
    let flags = [("link", op.link), ("parents", op.parents), ("unpack", op.unpack)];
    for (name, flag) in flags {
        key.number(name, flag.into());
    }
    key.list("exclude", &op.exclude);
    for source in &op.sources {
        match source {
            FileSource::Path(pattern) => key.field("source", pattern),
            FileSource::Inline { name, content } => {
                key.field("inline.name", name).field("inline.content", content)
            }
            FileSource::Url { unpack, .. } => key.number("url.unpack", (*unpack).into()),
            FileSource::Git { subdir, keep_git_dir, submodules, .. } => {
                optional(&mut key, "git.subdir", subdir.as_deref());
                key.number("git.keep", (*keep_git_dir).into()).number("git.submodules", (*submodules).into())
            }
        };
    }
    for identity in remote {
        match identity {
            RemoteIdentity::File { name, digest } => {
                key.field("url.name", name).field("url.digest", digest.as_bytes())
            }
            RemoteIdentity::Commit { id, name } => {
                optional(&mut key, "git.name", *name);
                key.field("git.commit", id)
            }
        };
    }
    write_input(&mut key, input);
    key.finish()
}

/// The key of a WORKDIR.
pub(super) fn workdir(parent: &CacheKey, platform: &Platform, op: &WorkdirOp) -> CacheKey {
    let mut key = step(platform, "workdir");
    key.key("parent", parent).field("path", &op.path).field("user", &op.user);
    key.finish()
}

/// A mount of a RUN and what it reads.
#[derive(Clone, Debug)]
pub(super) struct MountInput<'a> {
    /// The mount.
    pub(super) mount: &'a RunMount,
    /// The files that the command can read in it; `None` for those that hold nothing of the build.
    pub(super) input: Option<Input<'a>>,
}

/// The key of a RUN. Proxies are no part of it, nor is where the network leads, nor are the values of
/// secrets, nor what is in a cache mount.
pub(super) fn run(
    parent: &CacheKey,
    platform: &Platform,
    op: &RunOp,
    mounts: &[MountInput<'_>],
    network_none: bool,
) -> CacheKey {
    let mut key = step(platform, "run");
    key.key("parent", parent).list("args", &op.args);
    let mut env: Vec<String> = op.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    env.sort();
    key.list("env", env).field("user", &op.user).field("workdir", &op.workdir);
    key.number("network.none", (network_none || op.network_none).into());
    if let Some(script) = &op.script {
        key.field("script.path", &script.path).field("script.content", &script.content);
    }
    key.number("mounts", mounts.len() as u64);
    for MountInput { mount, input } in mounts {
        key.field("mount.type", mount.kind.as_str()).number("mount.ro", mount.read_only.into());
        optional(&mut key, "mount.source", mount.source.as_deref());
        optional(&mut key, "mount.target", mount.target.as_deref());
        optional(&mut key, "mount.id", mount.id.as_deref());
        optional(&mut key, "mount.env", mount.env.as_deref());
        key.list("mount.size", mount.size.map(u64::to_le_bytes));
        for (name, number) in [("mount.mode", mount.mode), ("mount.uid", mount.uid), ("mount.gid", mount.gid)]
        {
            key.list(name, number.map(u32::to_le_bytes));
        }
        if let Some(input) = input {
            write_input(&mut key, input);
        }
    }
    key.finish()
}

/// What stands in the keys of a stage and a build besides the steps.
#[derive(Clone, Debug)]
pub(super) struct Form<'a> {
    /// Compression and level of new layers.
    pub(super) compression: &'a str,
    /// SOURCE_DATE_EPOCH.
    pub(super) epoch: Option<i64>,
}

/// The key of a stage's image: its last step and its config.
pub(super) fn stage(last: &CacheKey, config: &[u8], platform: &Platform, form: &Form<'_>) -> CacheKey {
    let mut key = KeyWriter::new(STAGE);
    key.key("last", last).field("config", config).field("platform", platform.to_string());
    write_form(&mut key, form);
    key.finish()
}

/// The key of a build's image: the target's key with what the request adds to the manifest.
pub(super) fn build<'a>(
    stage: &CacheKey,
    config: &[u8],
    annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    form: &Form<'_>,
) -> CacheKey {
    let mut key = KeyWriter::new(BUILD);
    key.key("stage", stage).field("config", config);
    key.list("annotations", annotations.into_iter().flat_map(|(name, value)| [name, value]));
    write_form(&mut key, form);
    key.finish()
}

fn step(platform: &Platform, kind: &str) -> KeyWriter {
    let mut key = KeyWriter::new(STEP);
    key.field("op", kind).field("platform", platform.to_string());
    key
}

fn optional(key: &mut KeyWriter, name: &str, value: Option<&str>) {
    key.list(name, value);
}

fn write_form(key: &mut KeyWriter, form: &Form<'_>) {
    key.field("compression", form.compression);
    key.list("epoch", form.epoch.map(i64::to_le_bytes));
}

fn write_input(key: &mut KeyWriter, input: &Input<'_>) {
    match input {
        Input::Whole(whole) => _ = key.key("from", whole),
        Input::Files(files) => {
            key.number("files", files.len() as u64);
            for file in files {
                write_file(key, file);
            }
        }
    }
}

fn write_file(key: &mut KeyWriter, file: &SelectedFile<'_>) {
    let metadata = &file.entry.metadata;
    key.field("path", file.path.as_bytes());
    key.number("mode", metadata.mode.into())
        .number("uid", metadata.uid.into())
        .number("gid", metadata.gid.into());
    key.list("xattrs", metadata.xattrs.iter().flat_map(|(name, value)| [name, value]));
    match &file.entry.kind {
        Kind::Directory => key.field("type", "directory"),
        Kind::File { .. } => match file.hash {
            Some(hash) => key.field("type", "file").field("content", hash.0),
            // Nobody reads this file's bytes for this step (it was left out); its path and mode count.
            None => key.field("type", "file-unread"),
        },
        Kind::Symlink { target } => key.field("type", "symlink").field("target", target),
        Kind::Hardlink { target } => key.field("type", "hardlink").field("target", target.as_bytes()),
        Kind::Device { block, major, minor } => key
            .field("type", "device")
            .number("block", (*block).into())
            .number("major", (*major).into())
            .number("minor", (*minor).into()),
        Kind::Fifo => key.field("type", "fifo"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FileOrigin;
    use crate::tree::Metadata;

    fn copy(dest: &str) -> FileOp {
        FileOp {
            sources: vec![FileSource::Path("a".into())],
            origin: FileOrigin::Context(None),
            dest: dest.into(),
            workdir: "/w".into(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            unpack: false,
        }
    }

    fn platform() -> Platform {
        Platform::new("linux", "amd64", None)
    }

    fn no_files() -> Input<'static> {
        Input::Files(Vec::new())
    }

    #[test]
    fn every_field_of_a_copy_changes_its_key() {
        let parent = base(&[]);
        let key = |op: &FileOp| files(&parent, &platform(), op, &no_files(), &[]);
        let mut all = vec![key(&copy("/d"))];
        let variants: [fn(&mut FileOp); 9] = [
            |op| op.dest = "/d/".into(),
            |op| op.sources = vec![FileSource::Path("b".into())],
            |op| op.sources.push(FileSource::Path("a".into())),
            |op| op.chown = Some("1".into()),
            |op| op.chown = Some(String::new()),
            |op| op.chmod = Some("1".into()),
            |op| op.parents = true,
            |op| op.exclude = vec!["x".into()],
            |op| op.unpack = true,
        ];
        for change in variants {
            let mut op = copy("/d");
            change(&mut op);
            all.push(key(&op));
        }
        all.push(files(&parent, &Platform::new("linux", "arm64", None), &copy("/d"), &no_files(), &[]));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_workdir_counts_only_for_a_relative_destination_and_the_base_only_without_link() {
        let (one, other) = (base(&[]), base(&[DiffId(Digest::of(b"x"))]));
        let key = |parent: &CacheKey, op: &FileOp| files(parent, &platform(), op, &no_files(), &[]);
        let mut moved = copy("/d");
        moved.workdir = "/v".into();
        assert_eq!(key(&one, &copy("/d")), key(&one, &moved));
        let mut moved = copy("d");
        moved.workdir = "/v".into();
        assert_ne!(key(&one, &copy("d")), key(&one, &moved));
        assert_ne!(key(&one, &copy("/d")), key(&other, &copy("/d")));
        let mut linked = copy("/d");
        linked.link = true;
        assert_eq!(key(&one, &linked), key(&other, &linked));
    }

    #[test]
    fn times_of_files_do_not_count_but_modes_and_contents_do() {
        let path = ImagePath::clamped("a");
        let entry = |mode, mtime| Entry {
            kind: Kind::File { size: 1 },
            metadata: Metadata { mode, mtime, ..Metadata::default() },
        };
        let key = |entry: &Entry, hash: u8| {
            let file = SelectedFile { path: &path, entry, hash: Some(ContentHash([hash; 32])) };
            files(&base(&[]), &platform(), &copy("/d"), &Input::Files(vec![file]), &[])
        };
        assert_eq!(key(&entry(0o644, 1), 1), key(&entry(0o644, 2), 1));
        assert_ne!(key(&entry(0o644, 1), 1), key(&entry(0o755, 1), 1));
        assert_ne!(key(&entry(0o644, 1), 1), key(&entry(0o644, 1), 2));
    }

    #[test]
    fn what_a_file_is_changes_the_key_of_its_copy() {
        let path = ImagePath::clamped("a");
        let key = |entry: &Entry| {
            let file = SelectedFile { path: &path, entry, hash: None };
            files(&base(&[]), &platform(), &copy("/d"), &Input::Files(vec![file]), &[])
        };
        let link = |target: &str| Kind::Symlink { target: target.into() };
        let device = |minor| Kind::Device { block: false, major: 1, minor };
        let kinds =
            [Kind::Directory, Kind::Fifo, Kind::File { size: 1 }, link("x"), link("y"), device(3), device(5)];
        let mut all: Vec<CacheKey> =
            kinds.into_iter().map(|kind| key(&Entry { kind, metadata: Metadata::default() })).collect();
        let with = |metadata| key(&Entry { kind: Kind::Directory, metadata });
        all.push(with(Metadata { uid: 1, ..Metadata::default() }));
        all.push(with(Metadata { gid: 1, ..Metadata::default() }));
        let xattrs = [(b"security.capability".to_vec(), b"x".to_vec())].into();
        all.push(with(Metadata { xattrs, ..Metadata::default() }));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_run_is_known_by_what_its_command_can_see_but_not_by_proxies() {
        let plain = || RunOp {
            args: vec!["c".into()],
            env: vec![("A".into(), "1".into()), ("B".into(), "2".into())],
            proxies: Vec::new(),
            user: "u".into(),
            workdir: "/w".into(),
            network_none: false,
            script: None,
            mounts: Vec::new(),
        };
        let key = |op: &RunOp| run(&base(&[]), &platform(), op, &[], false);
        let variants: [fn(&mut RunOp); 6] = [
            |_| {},
            |op| op.args = vec!["c".into(), String::new()],
            |op| op.env[0].1 = "3".into(),
            |op| op.user = "v".into(),
            |op| op.workdir = "/v".into(),
            |op| op.network_none = true,
        ];
        let mut all = Vec::new();
        for change in variants {
            let mut op = plain();
            change(&mut op);
            all.push(key(&op));
        }
        all.push(run(&base(&[DiffId(Digest::of(b"x"))]), &platform(), &plain(), &[], false));
        all.push(run(&base(&[]), &Platform::new("linux", "arm64", None), &plain(), &[], false));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        let mut proxied = plain();
        proxied.proxies.push(("http_proxy".into(), "p".into()));
        proxied.env.reverse();
        assert_eq!(key(&proxied), key(&plain()));
    }
}
