use std::io;

use proptest::prelude::*;

use super::*;
use crate::oci::{Compression, DiffId, Digest};
use crate::tar::{Header, MemberKind, Reader};
use crate::tree::ContentHash;

fn members(tar: &[u8]) -> Vec<Header> {
    let mut reader = Reader::new(tar);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn names(tar: &[u8]) -> Vec<String> {
    members(tar).iter().map(|member| String::from_utf8_lossy(&member.name).into_owned()).collect()
}

fn error(changes: &ChangeSet) -> String {
    let store = tempfile::tempdir().unwrap();
    let layout = Layout::create(store.path()).unwrap();
    let error = pack(&ctx(), changes, &PackOptions::default(), &layout).unwrap_err().to_string();
    assert!(layout.digests().unwrap().is_empty(), "nothing half-written is kept");
    error
}

#[test]
fn whiteouts_come_before_their_siblings_and_markers_right_after_their_directory() {
    let mut changes = ChangeSet::default();
    changes.put(path("a"), directory(0o755));
    changes.put(path("a/a"), directory(0o755));
    put_file(&mut changes, "a/a/deep", b"x");
    changes.changes.insert(path("a/gone"), Change::Remove);
    changes.changes.insert(path("b"), Change::Replace { entry: directory(0o700) });
    put_file(&mut changes, "b/f", b"y");
    changes.changes.insert(path("z"), Change::Remove);
    let tar = tar_of(&changes);
    assert_eq!(names(&tar), [".wh.z", "a", "a/.wh.gone", "a/a", "a/a/deep", "b", "b/.wh..wh..opq", "b/f"]);
    let whiteout = &members(&tar)[0];
    assert_eq!(whiteout.kind, MemberKind::File { size: 0 });
    assert_eq!(whiteout.metadata, Metadata::default());
}

#[test]
fn a_layer_of_whiteouts_only_is_a_layer() {
    let mut changes = ChangeSet::default();
    changes.changes.insert(path("d/gone"), Change::Remove);
    assert_eq!(names(&tar_of(&changes)), ["d/.wh.gone"]);
}

#[test]
fn hard_links_are_relative_and_point_backwards() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "usr/m", b"bytes");
    changes.put(path("usr/a"), hardlink("usr/m"));
    changes.put(path("usr/z"), hardlink("usr/m"));
    let members = members(&tar_of(&changes));
    assert_eq!(members[0].name, b"usr/a");
    assert_eq!(members[0].kind, MemberKind::File { size: 5 });
    for (member, name) in members[1..].iter().zip([b"usr/m", b"usr/z"]) {
        assert_eq!(member.name, name);
        assert_eq!(member.kind, MemberKind::Hardlink { target: b"usr/a".to_vec() });
    }
    changes.put(path("usr/y"), hardlink("usr/missing"));
    assert_eq!(
        error(&changes),
        "/usr/y is a hard link to /usr/missing, which is not a file of the same layer"
    );
}

#[test]
fn times_are_clamped_not_set_and_the_newest_is_known() {
    let mut changes = ChangeSet::default();
    for (name, mtime) in [("old", 10), ("new", 2_000)] {
        put_file(&mut changes, name, b"");
        if let Some(Change::Put { entry, .. }) = changes.changes.get_mut(&path(name)) {
            entry.metadata.mtime = mtime;
        }
    }
    let store = tempfile::tempdir().unwrap();
    let layout = Layout::create(store.path()).unwrap();
    let packed = |clamp| pack(&ctx(), &changes, &PackOptions { clamp, ..PackOptions::default() }, &layout);
    assert_eq!(packed(None).unwrap().newest, Some(2_000));
    let clamped = packed(Some(1_000)).unwrap();
    assert_eq!(clamped.newest, Some(1_000));
    let times: Vec<i64> =
        clamped.toc.changes.values().map(|change| change.entry().unwrap().metadata.mtime).collect();
    assert_eq!(times, [1_000, 10]);
}

#[test]
fn a_file_that_changed_is_an_error() {
    for (size, bytes) in [(3, &b"ab"[..]), (3, b"abcd")] {
        let mut changes = ChangeSet::default();
        let entry = Entry { kind: Kind::File { size }, metadata: metadata(0o644) };
        changes.put_file(path("f"), entry, Content::inline(bytes), None);
        assert_eq!(error(&changes), "/f changed during the build: build again when nothing writes to it");
    }
    let mut changes = ChangeSet::default();
    let entry = Entry { kind: Kind::File { size: 2 }, metadata: metadata(0o644) };
    let other = ContentHash(*blake3::hash(b"xy").as_bytes());
    changes.put_file(path("f"), entry, Content::inline(&b"ab"[..]), Some(other));
    assert!(error(&changes).starts_with("/f changed during the build"));
}

#[test]
fn an_unreadable_file_is_told_by_its_path() {
    struct Failing;
    impl crate::tree::ContentSource for Failing {
        fn open(&self, _: &ImagePath) -> io::Result<Box<dyn Read + Send>> {
            Err(io::Error::other("disk on fire"))
        }
    }
    let mut changes = ChangeSet::default();
    let entry = Entry { kind: Kind::File { size: 2 }, metadata: metadata(0o644) };
    changes.put_file(path("f"), entry, Content::new(Arc::new(Failing), path("f")), None);
    assert_eq!(error(&changes), "read /f: disk on fire");
}

#[test]
fn names_that_mean_whiteouts_are_refused() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "d/.wh.x", b"");
    assert!(error(&changes).starts_with("/d/.wh.x can not be in a layer"));
}

#[test]
fn a_cancelled_build_packs_nothing() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "f", b"x");
    let ctx = ctx();
    ctx.cancel();
    let store = tempfile::tempdir().unwrap();
    let layout = Layout::create(store.path()).unwrap();
    assert!(matches!(pack(&ctx, &changes, &PackOptions::default(), &layout), Err(PackError::Cancelled(_))));
}

#[test]
fn users_files_keep_their_bytes_in_the_table_of_contents() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "etc/passwd", b"root:x:0:0::/:\n");
    put_file(&mut changes, "etc/hosts", b"127.0.0.1 localhost\n");
    let store = tempfile::tempdir().unwrap();
    let layout = Layout::create(store.path()).unwrap();
    let packed = pack(&ctx(), &changes, &PackOptions::default(), &layout).unwrap();
    let again = toc::decode(&toc::encode(&packed.toc).unwrap()[..]).unwrap();
    let content = |set: &ChangeSet, name: &str| match &set.changes[&path(name)] {
        Change::Put { content, .. } => content.as_ref().map(|c| c.read_up_to(100).unwrap()),
        _ => None,
    };
    assert_eq!(content(&again, "etc/passwd").unwrap(), b"root:x:0:0::/:\n");
    assert!(content(&again, "etc/hosts").is_none());
    let read = toc::read(&ctx(), &tar_of(&changes)[..], false).unwrap();
    assert_eq!(content(&read, "etc/passwd").unwrap(), b"root:x:0:0::/:\n");
}

#[test]
fn a_malformed_table_of_contents_is_refused() {
    let packed = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (text, word) in [
        ("", "line 1"),
        ("{\"toc\":2}\n", "version 2"),
        ("{\"toc\":1}\n{\"p\":\"a\",\"t\":\"d\"}", "line 2"),
        ("{\"toc\":1}\n{\"p\":\"../a\",\"t\":\"d\"}\n", "leads out"),
        ("{\"toc\":1}\n{\"p\":\"/a\",\"t\":\"d\"}\n", "normal form"),
        ("{\"toc\":1}\n{\"p\":\"a\",\"t\":\"l\"}\n", "no target"),
        ("{\"toc\":1}\n{\"p\":\"a\",\"t\":\"q\"}\n", "not known"),
        ("{\"toc\":1}\n{\"p\":\"a\",\"t\":\"f\",\"h\":\"zz\"}\n", "line 2"),
    ] {
        let error = toc::decode(&packed(text)[..]).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    toc::decode(&b"no zstd"[..]).unwrap_err();
}

/// Change sets that a layer can hold: any names, every kind, links that have their file.
fn change_sets() -> impl Strategy<Value = ChangeSet> {
    let component = prop_oneof![
        4 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(1_u8..=255, 1..6),
        1 => "[a-z]{90,120}".prop_map(String::into_bytes),
    ];
    let name = proptest::collection::vec(component, 1..4).prop_map(|parts| parts.join(&b'/'));
    let bytes = proptest::collection::vec(any::<u8>(), 0..1500);
    let change = (0..8, any::<u32>(), 0_u32..=0o7777, -5_i64..1 << 34, bytes);
    proptest::collection::vec((name, change), 1..12).prop_map(|list| {
        let mut set = ChangeSet::default();
        for (name, (kind, owner, mode, mtime, bytes)) in list {
            let path = ImagePath::clamped(&name);
            let clash = path.is_root()
                || path.components().any(|c| c.starts_with(b".wh."))
                || path
                    .ancestors()
                    .iter()
                    .any(|a| set.changes.get(a).is_some_and(|c| !c.entry().is_some_and(Entry::is_directory)))
                || set.changes.keys().any(|other| other.below(&path).is_some());
            if clash {
                continue;
            }
            let xattrs = BTreeMap::from([(b"user.x".to_vec(), bytes.iter().take(40).copied().collect())]);
            let metadata = Metadata { mode, uid: owner, gid: owner / 3, mtime, xattrs };
            let first =
                set.changes.iter().find(|(other, c)| **other < path && c.entry().is_some_and(Entry::is_file));
            let first = first.map(|(path, _)| path.clone());
            match (kind, first) {
                (0, _) => set.put(path, Entry { kind: Kind::Directory, metadata }),
                (1, _) => drop(set.changes.insert(path, Change::Remove)),
                (2, _) => {
                    let entry = Entry { kind: Kind::Directory, metadata };
                    set.changes.insert(path, Change::Replace { entry });
                }
                (3, _) => set.put(path, Entry { kind: Kind::Symlink { target: name }, metadata }),
                (4, _) => set.put(
                    path,
                    Entry { kind: Kind::Device { block: true, major: 8, minor: owner % 9 }, metadata },
                ),
                (5, _) => set.put(path, Entry { kind: Kind::Fifo, metadata }),
                (6, Some(target)) => set.put(path, Entry { kind: Kind::Hardlink { target }, metadata }),
                _ => {
                    let size = bytes.len() as u64;
                    set.put_file(
                        path,
                        Entry { kind: Kind::File { size }, metadata },
                        Content::inline(bytes),
                        None,
                    );
                }
            }
        }
        set
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_packed_change_set_is_read_back_as_it_was(changes in change_sets()) {
        let store = tempfile::tempdir().unwrap();
        let layout = Layout::create(store.path()).unwrap();
        let mut blobs = Vec::new();
        for threads in [1, 2, 8] {
            let packed = pack(&ctx(), &changes, &PackOptions { threads, ..PackOptions::default() }, &layout).unwrap();
            blobs.push(packed.layer.descriptor.clone());
            let blob = layout.open_blob(&packed.layer.descriptor).unwrap();
            let mut tar = Vec::new();
            crate::blob::decoder(Compression::Gzip, blob).unwrap().read_to_end(&mut tar).unwrap();
            prop_assert_eq!(packed.layer.diff_id, DiffId(Digest::of(&tar)));
            let read = toc::read(&ctx(), &tar[..], true).unwrap();
            prop_assert_eq!(described(&read), described(&packed.toc));
            let decoded = toc::decode(&toc::encode(&read).unwrap()[..]).unwrap();
            prop_assert_eq!(described(&decoded), described(&packed.toc));
        }
        prop_assert!(blobs.iter().all(|blob| *blob == blobs[0]));
        // But for the hashes, which packing adds, it is what was given.
        let mut given = changes.clone();
        for change in given.changes.values_mut() {
            if let Change::Put { content: Some(content), hash, .. } = change {
                let bytes = content.read_up_to(1 << 20).unwrap();
                *hash = Some(ContentHash(*blake3::hash(&bytes).as_bytes()));
            }
        }
        let read = toc::read(&ctx(), &tar_of(&changes)[..], true).unwrap();
        prop_assert_eq!(described(&read), described(&given));
    }
}
