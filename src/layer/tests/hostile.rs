//! Layers that try to reach what is outside. Beside the place that they are unpacked into lies a canary,
//! which must stay as it is to the byte, mode, time and owner.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::tar::{Header, MemberKind, Writer};

struct Arena {
    directory: tempfile::TempDir,
    before: Vec<String>,
}

impl Arena {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let canary = directory.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("secret"), "tweet").unwrap();
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o751)).unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        let mut arena = Self { directory, before: Vec::new() };
        arena.before = arena.outside();
        arena
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// All that is outside, with everything that could be changed of it.
    fn outside(&self) -> Vec<String> {
        let mut list = Vec::new();
        let mut todo = vec![self.directory.path().to_owned()];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.path() == self.root() {
                    continue;
                }
                let stat = entry.metadata().unwrap();
                if stat.is_dir() {
                    todo.push(entry.path());
                }
                list.push(format!(
                    "{:?} {:o} {}:{} {}.{} {} {:?}",
                    entry.path(),
                    stat.mode(),
                    stat.uid(),
                    stat.gid(),
                    stat.mtime(),
                    stat.mtime_nsec(),
                    stat.nlink(),
                    fs::read(entry.path()).ok()
                ));
            }
        }
        list.sort();
        list
    }

    fn unpack(&self, members: &[Header]) -> Result<ChangeSet, ReadLayerError> {
        let result = unpacked(&tar(members), &self.root());
        assert_eq!(self.outside(), self.before, "{members:?}");
        result
    }
}

fn tar(members: &[Header]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for member in members {
        let bytes = vec![b'!'; member.kind.size() as usize];
        if member.kind.size() > 0 {
            assert!(writer.file(member, &mut &bytes[..], &mut |_| Ok(())).unwrap());
        } else {
            writer.header(member).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn member(name: &str, kind: MemberKind) -> Header {
    let own = if is_root() { 7 } else { 0 };
    let metadata = Metadata { mode: 0o777, uid: own, gid: own, mtime: 5, ..Metadata::default() };
    Header { name: name.into(), kind, metadata }
}

fn file(name: &str) -> Header {
    member(name, MemberKind::File { size: 4 })
}

fn empty(name: &str) -> Header {
    member(name, MemberKind::File { size: 0 })
}

fn dir(name: &str) -> Header {
    member(name, MemberKind::Directory)
}

fn link(name: &str, target: &str) -> Header {
    member(name, MemberKind::Symlink { target: target.into() })
}

fn hard(name: &str, target: &str) -> Header {
    member(name, MemberKind::Hardlink { target: target.into() })
}

#[test]
fn names_that_leave_the_root_are_refused_with_their_name() {
    for name in ["../x", "a/../../x", "./../x", "..", "../root/../canary/secret"] {
        let error = Arena::new().unpack(&[file(name)]).unwrap_err().to_string();
        assert_eq!(error, format!("layer entry {name:?} leads out of the image"));
    }
}

#[test]
fn absolute_and_untidy_names_are_inside() {
    for (name, place) in [("/x", "x"), ("//x", "x"), ("./a//./x", "a/x"), ("a/../x", "x")] {
        let arena = Arena::new();
        arena.unpack(&[file(name)]).unwrap();
        assert_eq!(fs::read(arena.root().join(place)).unwrap(), b"!!!!");
    }
}

#[test]
fn links_are_followed_as_in_a_chroot() {
    for target in ["/", "../../..", "..", "/canary", "../canary"] {
        let arena = Arena::new();
        arena.unpack(&[link("d", target), file("d/secret"), dir("d/new"), empty("d/.wh.gone")]).unwrap();
        let inside = if target.contains("canary") { "canary" } else { "" };
        assert_eq!(fs::read(arena.root().join(inside).join("secret")).unwrap(), b"!!!!");
    }
    let chain: Vec<Header> =
        (0..50).map(|n| link(&format!("l{n}"), &format!("l{}", n + 1))).chain([file("l0/x")]).collect();
    let error = Arena::new().unpack(&chain).unwrap_err().to_string();
    assert!(error.contains("too many symbolic links"), "{error}");
}

#[test]
fn metadata_never_goes_through_a_link() {
    // A directory, file, node or link over a link replaces it.
    for over in [dir("foo"), file("foo"), member("foo", MemberKind::Fifo), link("foo", "x"), hard("foo", "f")]
    {
        let arena = Arena::new();
        let is_directory = over.kind == MemberKind::Directory;
        arena.unpack(&[file("f"), link("foo", "../canary"), over]).unwrap();
        let stat = fs::symlink_metadata(arena.root().join("foo")).unwrap();
        assert_eq!(stat.is_dir(), is_directory);
    }
    // And a link with an odd mode, owner and time is itself described.
    Arena::new().unpack(&[link("foo", "../canary/secret")]).unwrap();
}

#[test]
fn a_link_over_a_full_directory_replaces_it() {
    let arena = Arena::new();
    let toc =
        arena.unpack(&[dir("d"), file("d/x"), dir("d/e"), file("d/e/y"), link("d", "../canary")]).unwrap();
    assert_eq!(paths(&toc), ["/d"]);
    assert!(fs::symlink_metadata(arena.root().join("d")).unwrap().is_symlink());
}

#[test]
fn hard_links_reach_only_this_layers_files() {
    for target in ["../canary/secret", "/../canary/secret"] {
        let error = Arena::new().unpack(&[hard("x", target)]).unwrap_err().to_string();
        assert!(error.contains("leads out of the image"), "{error}");
    }
    for target in ["canary/secret", "/etc/passwd", "later", "Cargo.toml"] {
        let error = Arena::new().unpack(&[hard("x", target), file("later")]).unwrap_err().to_string();
        assert!(error.contains("not in this layer"), "{target}: {error}");
    }
    // Through a link: inside the root. Of a link: the link itself.
    let arena = Arena::new();
    let through = arena.unpack(&[link("d", "../../canary"), hard("x", "d/secret")]);
    assert!(through.unwrap_err().to_string().contains("not in this layer"));
    let arena = Arena::new();
    arena.unpack(&[link("l", "../canary/secret"), hard("x", "l")]).unwrap();
    assert!(fs::symlink_metadata(arena.root().join("x")).unwrap().is_symlink());
    for bad in [hard("x", "d"), hard("x", "x"), hard("x", "/")] {
        Arena::new().unpack(&[dir("d"), bad]).unwrap_err();
    }
}

#[test]
fn the_root_can_only_be_a_directory() {
    for name in [".", "/", "./", "a/.."] {
        for kind in [
            MemberKind::Symlink { target: b"../canary".to_vec() },
            MemberKind::Hardlink { target: b"f".to_vec() },
            MemberKind::Fifo,
        ] {
            let error = Arena::new().unpack(&[member(name, kind)]).unwrap_err().to_string();
            assert!(error.contains("names the root"), "{error}");
        }
    }
    let arena = Arena::new();
    let toc = arena.unpack(&[dir(".")]).unwrap();
    assert_eq!(paths(&toc), ["/"]);
    assert_eq!(fs::metadata(arena.root()).unwrap().permissions().mode() & 0o7777, 0o777);
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", "a/.wh.", "a/.wh..", ".wh...", "a/.wh..."] {
        let error = Arena::new().unpack(&[empty(name)]).unwrap_err().to_string();
        assert!(error.contains("whiteout of nothing"), "{name}: {error}");
    }
    let error = Arena::new().unpack(&[file(".wh.a/b")]).unwrap_err().to_string();
    assert!(error.contains("below a whiteout"), "{error}");
}

#[test]
fn whiteouts_and_markers_below_a_link_stay_inside() {
    for name in ["l/.wh.secret", "l/.wh..wh..opq"] {
        let arena = Arena::new();
        arena.unpack(&[link("l", "../canary"), empty(name)]).unwrap();
        assert!(arena.root().join("canary").is_dir());
    }
}

#[test]
fn notes_of_storage_drivers_are_passed_over() {
    let toc = Arena::new().unpack(&[dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file("a")]).unwrap();
    assert_eq!(paths(&toc), ["/a"]);
}

#[test]
fn the_order_inside_a_layer_does_not_matter() {
    let members =
        [dir("d"), empty("d/.wh..wh..opq"), file("d/a"), empty("d/.wh.b"), dir("e"), empty(".wh.e")];
    let orders = [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 1, 5, 3, 4], [1, 2, 3, 5, 4, 0]];
    for order in orders {
        let arena = Arena::new();
        let toc = arena.unpack(&order.map(|n| members[n].clone())).unwrap();
        assert_eq!(paths(&toc), ["!/d", "/d/a", "-/d/b", "!/e"], "{order:?}");
        let root = fs::File::open(arena.root()).unwrap();
        for opaque in [b"d", b"e"] {
            let attributes = rooted::attributes_at(&root, opaque).unwrap();
            assert!(attributes.keys().any(|key| key.ends_with(b".overlay.opaque")), "{order:?}");
        }
    }
}

#[test]
fn of_two_entries_of_one_name_the_last_counts() {
    let arena = Arena::new();
    let toc = arena.unpack(&[link("etc/passwd", "/canary"), file("etc/passwd")]).unwrap();
    assert_eq!(paths(&toc), ["/etc/passwd"]);
    assert_eq!(fs::read(arena.root().join("etc/passwd")).unwrap(), b"!!!!");
}

#[test]
fn overlay_attributes_of_an_archive_are_dropped() {
    let mut directory = dir("d");
    for name in ["trusted.overlay.redirect", "user.overlay.opaque", "trusted.overlay.opaque", "user.mine"] {
        directory.metadata.xattrs.insert(name.into(), b"y".to_vec());
    }
    let arena = Arena::new();
    let toc = arena.unpack(&[directory]).unwrap();
    let kept = &toc.changes[&path("d")].entry().unwrap().metadata.xattrs;
    assert_eq!(kept.keys().collect::<Vec<_>>(), [b"user.mine"]);
    let found = rooted::attributes_at(fs::File::open(arena.root()).unwrap(), b"d").unwrap();
    assert!(found.keys().all(|key| !key.windows(9).any(|part| part == b".overlay.")), "{found:?}");
}

#[test]
fn the_whiteout_device_is_refused() {
    let device = member("x", MemberKind::Device { block: false, major: 0, minor: 0 });
    let error = Arena::new().unpack(&[device]).unwrap_err().to_string();
    assert!(error.contains("device 0:0"), "{error}");
}

#[test]
fn an_entry_below_a_file_is_refused() {
    let error = Arena::new().unpack(&[file("f"), file("f/x")]).unwrap_err().to_string();
    assert!(error.contains("not a directory"), "{error}");
}

#[test]
fn a_directory_can_be_as_deep_as_names_are_long() {
    let arena = Arena::new();
    let deep = vec!["deep"; 800].join("/");
    arena.unpack(&[file(&deep)]).unwrap();
    // And replaced by a file again.
    let arena = Arena::new();
    let toc = arena.unpack(&[file(&deep), file("deep")]).unwrap();
    assert_eq!(paths(&toc), ["/deep"]);
    let long = vec!["deep"; 820].join("/");
    let error = Arena::new().unpack(&[file(&long)]).unwrap_err().to_string();
    assert!(error.contains("4096"), "{error}");
}

#[test]
fn a_cut_tar_is_an_error() {
    let whole = tar(&[file("a"), file("b")]);
    let arena = Arena::new();
    for cut in [100, 513, 600, 1100, 1540] {
        unpacked(&whole[..cut], &arena.root()).unwrap_err();
    }
}

#[test]
fn swapping_a_directory_for_a_link_leads_nowhere() {
    let arena = Arena::new();
    let members: Vec<Header> = (0..300).map(|n| file(&format!("d/{n}"))).collect();
    let (root, canary) = (arena.root(), arena.directory.path().join("canary"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(root.join("d"), root.join("aside"));
                let _ = symlink(&canary, root.join("d"));
                let _ = fs::remove_file(root.join("d"));
                let _ = fs::rename(root.join("aside"), root.join("d"));
            }
        });
        for _ in 0..20 {
            // May fail, must not follow.
            let _ = unpacked(&tar(&members), &root);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(arena.outside(), arena.before);
}
