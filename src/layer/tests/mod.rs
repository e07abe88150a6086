//! Layers made, read, laid out and read back.

mod diffing;
mod hostile;
mod packing;
mod unpacking;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::blob::Layout;
use crate::ctx::{Ctx, Event, EventSink};
use crate::tree::{Change, ChangeSet, Content, Entry, ImagePath, Kind, Metadata};

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl EventSink for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

fn ctx() -> Ctx {
    ctx_with(Arc::new(Warnings::default()))
}

fn ctx_with(sink: Arc<Warnings>) -> Ctx {
    Ctx::new(sink, CancellationToken::new(), 2)
}

fn path(text: &str) -> ImagePath {
    ImagePath::clamped(text)
}

fn metadata(mode: u32) -> Metadata {
    Metadata { mode, mtime: 1_600_000_000, ..Metadata::default() }
}

fn directory(mode: u32) -> Entry {
    Entry { kind: Kind::Directory, metadata: metadata(mode) }
}

fn symlink(target: &str) -> Entry {
    Entry { kind: Kind::Symlink { target: target.into() }, metadata: metadata(0o777) }
}

fn hardlink(target: &str) -> Entry {
    Entry { kind: Kind::Hardlink { target: path(target) }, metadata: metadata(0o644) }
}

fn put_file(changes: &mut ChangeSet, at: &str, bytes: &[u8]) {
    let entry = Entry { kind: Kind::File { size: bytes.len() as u64 }, metadata: metadata(0o644) };
    changes.put_file(path(at), entry, Content::inline(bytes), None);
}

/// Pack without compression and give the tar.
fn tar_of(changes: &ChangeSet) -> Vec<u8> {
    let store = tempfile::tempdir().unwrap();
    let layout = Layout::create(store.path()).unwrap();
    let options = PackOptions { compression: crate::oci::Compression::None, ..PackOptions::default() };
    let packed = pack(&ctx(), changes, &options, &layout).unwrap();
    let mut tar = Vec::new();
    layout.open_blob(&packed.layer.descriptor).unwrap().read_to_end(&mut tar).unwrap();
    tar
}

/// A change set as text, for comparing: `kind mode uid:gid mtime path details`.
fn described(changes: &ChangeSet) -> Vec<String> {
    let line = |(path, change): (&ImagePath, &Change)| {
        let Some(Entry { kind, metadata }) = change.entry() else {
            return format!("gone {path}");
        };
        let opaque = if matches!(change, Change::Replace { .. }) { "opaque " } else { "" };
        let hash = match change {
            Change::Put { hash: Some(hash), .. } => format!(" {}", &hash.to_string()[..8]),
            _ => String::new(),
        };
        let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
        let xattrs: BTreeMap<_, _> =
            xattrs.iter().map(|(k, v)| (String::from_utf8_lossy(k), String::from_utf8_lossy(v))).collect();
        let xattrs = if xattrs.is_empty() { String::new() } else { format!(" {xattrs:?}") };
        format!("{opaque}{kind:?} {mode:o} {uid}:{gid} {mtime} {path}{hash}{xattrs}")
    };
    changes.changes.iter().map(line).collect()
}

/// The paths of a change set, whiteouts with `-`, opaque directories with `!`.
fn paths(changes: &ChangeSet) -> Vec<String> {
    let mark = |change: &Change| match change {
        Change::Put { .. } => "",
        Change::Replace { .. } => "!",
        Change::Remove => "-",
    };
    changes.changes.iter().map(|(path, change)| format!("{}{path}", mark(change))).collect()
}

/// Real root, with all ids: root of a user namespace can neither set trusted attributes nor use any owner.
fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let identity = map.split_whitespace().eq(["0", "0", "4294967295"]);
    identity && rustix::process::geteuid().is_root()
}

fn options<'a>() -> UnpackOptions<'a> {
    UnpackOptions {
        style: if is_root() { OverlayStyle::Trusted } else { OverlayStyle::User },
        owners: if is_root() { Owners::Kept } else { Owners::Single },
        expected: None,
        below: None,
        limits: Limits::default(),
    }
}

fn unpacked(tar: &[u8], directory: &Path) -> Result<ChangeSet, ReadLayerError> {
    unpack(&ctx(), std::io::Cursor::new(tar.to_vec()), directory, &options())
}
