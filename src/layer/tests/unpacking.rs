use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;
use crate::oci::{DiffId, Digest};
use crate::tree::Tree;

#[test]
fn a_layer_becomes_a_directory_with_all_its_metadata() {
    let mut changes = ChangeSet::default();
    changes.put(path("d"), directory(0o500));
    put_file(&mut changes, "d/f", b"bytes");
    changes.put(path("d/hard"), hardlink("d/f"));
    changes.put(path("d/link"), symlink("../../outside"));
    changes.put(path("pipe"), Entry { kind: Kind::Fifo, metadata: metadata(0o622) });
    if let Some(Change::Put { entry, .. }) = changes.changes.get_mut(&path("d/f")) {
        entry.metadata.mode = 0o4711;
        if is_root() {
            (entry.metadata.uid, entry.metadata.gid) = (1234, 5678);
        }
        entry.metadata.xattrs.insert(b"user.note".to_vec(), b"hello".to_vec());
    }
    let place = tempfile::tempdir().unwrap();
    let toc = unpacked(&tar_of(&changes), place.path()).unwrap();
    assert_eq!(paths(&toc), ["/d", "/d/f", "/d/hard", "/d/link", "/pipe"]);
    let stat = |name: &str| fs::symlink_metadata(place.path().join(name)).unwrap();
    assert_eq!(fs::read(place.path().join("d/f")).unwrap(), b"bytes");
    assert_eq!(stat("d/f").permissions().mode() & 0o7777, 0o4711);
    if is_root() {
        assert_eq!((stat("d/f").uid(), stat("d/f").gid()), (1234, 5678));
    }
    assert_eq!(stat("d/f").ino(), stat("d/hard").ino());
    assert_eq!(fs::read_link(place.path().join("d/link")).unwrap().to_str(), Some("../../outside"));
    assert!(stat("pipe").file_type().is_fifo());
    assert_eq!(stat("pipe").permissions().mode() & 0o7777, 0o622);
    // What is in a directory does not move its time.
    for name in ["d", "d/f", "d/link", "pipe"] {
        assert_eq!(stat(name).mtime(), 1_600_000_000, "{name}");
    }
    assert_eq!(stat("d").permissions().mode() & 0o7777, 0o500);
    let attributes = rooted::attributes_at(fs::File::open(place.path().join("d")).unwrap(), b"f").unwrap();
    assert_eq!(attributes[b"user.note".as_slice()], b"hello");
}

#[test]
fn whiteouts_and_opaque_directories_take_the_overlays_form() {
    let mut changes = ChangeSet::default();
    changes.changes.insert(path("gone"), Change::Remove);
    changes.changes.insert(path("o"), Change::Replace { entry: directory(0o755) });
    let place = tempfile::tempdir().unwrap();
    unpacked(&tar_of(&changes), place.path()).unwrap();
    let gone = fs::symlink_metadata(place.path().join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let root = fs::File::open(place.path()).unwrap();
    let attributes = rooted::attributes_at(&root, b"o").unwrap();
    let name = if is_root() { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
    assert_eq!(attributes[name.as_bytes()], b"y");
    // Read back as the upper directory of nothing, there is nothing to remove.
    let seen = diff(&ctx(), place.path(), &[]).unwrap();
    assert_eq!(paths(&seen), ["/o"]);
}

#[test]
fn with_the_tree_below_links_are_followed_and_implied_directories_are_as_they_were() {
    let mut base = ChangeSet::default();
    base.put(path("usr"), directory(0o751));
    base.put(path("usr/bin"), directory(0o755));
    base.put(path("bin"), symlink("usr/bin"));
    let mut below = Tree::default();
    below.apply(&base);
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "bin/tool", b"x");
    changes.changes.insert(path("never-there"), Change::Remove);
    changes.changes.insert(path("usr/bin/ls"), Change::Remove);
    let place = tempfile::tempdir().unwrap();
    let tar = std::io::Cursor::new(tar_of(&changes));
    unpack(&ctx(), tar, place.path(), &UnpackOptions { below: Some(&below), ..options() }).unwrap();
    assert!(place.path().join("usr/bin/tool").is_file());
    let mut names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["usr"]);
    assert_eq!(fs::metadata(place.path().join("usr")).unwrap().permissions().mode() & 0o7777, 0o751);
}

#[test]
fn a_wrong_diff_id_is_refused() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "f", b"x");
    let tar = tar_of(&changes);
    let place = tempfile::tempdir().unwrap();
    let expected = Some(DiffId(Digest::of(&tar)));
    let right = UnpackOptions { expected, ..options() };
    unpack(&ctx(), std::io::Cursor::new(tar.clone()), place.path(), &right).unwrap();
    let wrong = UnpackOptions { expected: Some(DiffId(Digest::of(b"other"))), ..options() };
    let error = unpack(&ctx(), std::io::Cursor::new(tar), place.path(), &wrong).unwrap_err();
    assert!(error.to_string().starts_with("layer is damaged: its tar has diff ID sha256:"), "{error}");
}

#[test]
fn limits_stop_a_layer() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "a", &[0; 100]);
    put_file(&mut changes, "b", &[0; 100]);
    let tar = tar_of(&changes);
    for (limits, word) in [
        (Limits { bytes: 199, ..Limits::default() }, "199 bytes"),
        (Limits { entries: 1, ..Limits::default() }, "1 entries"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let tar = std::io::Cursor::new(tar.clone());
        let error = unpack(&ctx(), tar, place.path(), &UnpackOptions { limits, ..options() }).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn bytes_are_extracted_by_any_user_also_of_hard_links() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "a", b"aaa");
    put_file(&mut changes, "b", b"bbb");
    changes.put(path("link"), hardlink("b"));
    changes.put(path("sym"), symlink("a"));
    let tar = tar_of(&changes);
    let toc = toc::read(&ctx(), &tar[..], true).unwrap();
    let place = tempfile::tempdir().unwrap();
    let wanted = BTreeSet::from(["link", "a", "sym", "missing"].map(path));
    let contents = extract(&ctx(), &tar[..], &toc, &wanted, place.path()).unwrap();
    let texts: Vec<_> =
        contents.iter().map(|(path, content)| (path.to_string(), content.read_up_to(9).unwrap())).collect();
    assert_eq!(texts, [("/a".to_owned(), b"aaa".to_vec()), ("/link".to_owned(), b"bbb".to_vec())]);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn links_to_links_are_links_to_the_file() {
    use crate::tar::{Header, MemberKind, Writer};
    let mut writer = Writer::new(Vec::new());
    let member = |name: &str, kind| Header { name: name.into(), kind, metadata: metadata(0o755) };
    let hard = |name, target: &str| member(name, MemberKind::Hardlink { target: target.into() });
    let file = member("usr/f", MemberKind::File { size: 1 });
    assert!(writer.file(&file, &mut &b"x"[..], &mut |_| Ok(())).unwrap());
    for header in [
        hard("a", "usr/f"),
        hard("b", "a"),
        member("l", MemberKind::Symlink { target: b"usr".to_vec() }),
        hard("c", "l/f"),
        hard("usr/f", "b"),
    ] {
        writer.header(&header).unwrap();
    }
    let tar = writer.finish().unwrap();
    let place = tempfile::tempdir().unwrap();
    let toc = unpacked(&tar, place.path()).unwrap();
    for name in ["a", "b", "c"] {
        let kind = Kind::Hardlink { target: path("usr/f") };
        assert_eq!(toc.changes[&path(name)].entry().unwrap().kind, kind, "{name}");
        assert_eq!(fs::read(place.path().join(name)).unwrap(), b"x");
    }
    assert_eq!(fs::metadata(place.path().join("a")).unwrap().nlink(), 4);
}

#[test]
fn a_cancelled_build_unpacks_nothing() {
    let mut changes = ChangeSet::default();
    put_file(&mut changes, "f", b"x");
    let ctx = ctx();
    ctx.cancel();
    let place = tempfile::tempdir().unwrap();
    let tar = std::io::Cursor::new(tar_of(&changes));
    let error = unpack(&ctx, tar, place.path(), &options()).unwrap_err();
    assert!(matches!(error, ReadLayerError::Cancelled(_)));
}

#[test]
fn devices_that_can_not_be_made_are_a_warning() {
    let mut changes = ChangeSet::default();
    let kind = Kind::Device { block: false, major: 1, minor: 3 };
    changes.put(path("null"), Entry { kind: kind.clone(), metadata: metadata(0o666) });
    let place = tempfile::tempdir().unwrap();
    let warnings = Arc::new(Warnings::default());
    let tar = std::io::Cursor::new(tar_of(&changes));
    let toc = unpack(&ctx_with(warnings.clone()), tar, place.path(), &options()).unwrap();
    assert_eq!(toc.changes[&path("null")].entry().unwrap().kind, kind);
    let made = fs::symlink_metadata(place.path().join("null")).is_ok();
    assert_eq!(warnings.0.lock().unwrap().len(), usize::from(!made));
}
