use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use super::super::diff::DiffError;
use super::*;

/// Two directories that stand for an overlay's.
struct Stack {
    directory: tempfile::TempDir,
}

impl Stack {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["low", "mid", "up"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        fs::File::options().write(true).open(self.at(name)).unwrap().set_modified(time).unwrap();
    }

    fn whiteout(&self, name: &str) {
        mknodat(CWD, self.at(name), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    fn opaque(&self, name: &str) {
        fs::create_dir_all(self.at(name)).unwrap();
        setxattr(self.at(name), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }

    fn diff(&self) -> Result<ChangeSet, DiffError> {
        diff(&ctx(), &self.at("up"), &[self.at("low"), self.at("mid")])
    }

    fn paths(&self) -> Vec<String> {
        paths(&self.diff().unwrap())
    }
}

#[test]
fn nothing_changed_is_an_empty_change_set() {
    let stack = Stack::new();
    stack.file("low/d/f", "same");
    stack.file("up/d/f", "same");
    fs::create_dir(stack.at("up/d/.")).unwrap_err();
    assert!(stack.diff().unwrap().is_empty());
}

#[test]
fn only_what_differs_is_there_with_its_parents() {
    let stack = Stack::new();
    for name in ["a/b/bytes", "a/b/same", "a/mode", "c/time", "e/untouched"] {
        stack.file(&format!("low/{name}"), "text");
        stack.file(&format!("up/{name}"), "text");
    }
    stack.file("up/a/b/bytes", "texT");
    fs::set_permissions(stack.at("up/a/mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::options()
        .write(true)
        .open(stack.at("up/c/time"))
        .unwrap()
        .set_modified(SystemTime::now())
        .unwrap();
    let changes = stack.diff().unwrap();
    assert_eq!(paths(&changes), ["/a", "/a/b", "/a/b/bytes", "/a/mode", "/c", "/c/time"]);
    let Change::Put { content: Some(content), .. } = &changes.changes[&path("a/b/bytes")] else { panic!() };
    assert_eq!(content.read_up_to(9).unwrap(), b"texT");
}

#[test]
fn a_whiteout_that_hides_nothing_is_left_out() {
    let stack = Stack::new();
    stack.file("low/there", "x");
    stack.file("low/gone-before", "x");
    stack.whiteout("mid/gone-before");
    for name in ["there", "gone-before", "never"] {
        stack.whiteout(&format!("up/{name}"));
    }
    assert_eq!(stack.paths(), ["-/there"]);
}

#[test]
fn an_opaque_directory_replaces_only_a_directory() {
    let stack = Stack::new();
    stack.file("low/d/f", "x");
    stack.file("low/file", "x");
    stack.opaque("up/d");
    stack.file("up/d/f", "x");
    stack.opaque("up/file");
    stack.opaque("up/new");
    // In an opaque directory nothing is compared: the lower file is hidden.
    assert_eq!(stack.paths(), ["!/d", "/d/f", "/file", "/new"]);
}

#[test]
fn an_opaque_lower_directory_hides_what_is_below_it() {
    let stack = Stack::new();
    stack.file("low/d/hidden", "x");
    stack.opaque("mid/d");
    stack.whiteout("mid/unrelated");
    fs::create_dir(stack.at("up/d")).unwrap();
    stack.whiteout("up/d/hidden");
    assert!(stack.diff().unwrap().is_empty());
}

#[test]
fn hard_links_stay_links_and_bring_their_file_along() {
    let stack = Stack::new();
    stack.file("low/old", "x");
    stack.file("up/old", "x");
    fs::hard_link(stack.at("up/old"), stack.at("up/new")).unwrap();
    let changes = stack.diff().unwrap();
    assert_eq!(paths(&changes), ["/new", "/old"]);
    assert!(changes.changes[&path("new")].entry().unwrap().is_file());
    assert_eq!(changes.changes[&path("old")].entry().unwrap().kind, Kind::Hardlink { target: path("new") });
    tar_of(&changes);
}

#[test]
fn sockets_are_left_out_and_everything_else_is_kept() {
    let stack = Stack::new();
    std::os::unix::net::UnixListener::bind(stack.at("up/socket")).unwrap();
    symlink("/nowhere", stack.at("up/link")).unwrap();
    mknodat(CWD, stack.at("up/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let changes = stack.diff().unwrap();
    assert_eq!(paths(&changes), ["/link", "/pipe"]);
    let kind = Kind::Symlink { target: b"/nowhere".to_vec() };
    assert_eq!(changes.changes[&path("link")].entry().unwrap().kind, kind);
}

#[test]
fn attributes_of_the_image_are_kept_and_the_overlays_are_not() {
    let stack = Stack::new();
    stack.file("up/f", "x");
    setxattr(stack.at("up/f"), "user.mine", b"1", XattrFlags::empty()).unwrap();
    setxattr(stack.at("up/f"), "user.overlay.origin", b"", XattrFlags::empty()).unwrap();
    let changes = stack.diff().unwrap();
    let xattrs = &changes.changes[&path("f")].entry().unwrap().metadata.xattrs;
    assert_eq!(xattrs.keys().collect::<Vec<_>>(), [b"user.mine"]);
    // The same attribute below: nothing changed.
    stack.file("low/f", "x");
    setxattr(stack.at("low/f"), "user.mine", b"1", XattrFlags::empty()).unwrap();
    assert!(stack.diff().unwrap().is_empty());
    setxattr(stack.at("low/f"), "user.mine", b"2", XattrFlags::empty()).unwrap();
    assert_eq!(stack.paths(), ["/f"]);
}

#[test]
fn entries_that_refer_to_lower_layers_are_refused() {
    for attribute in ["user.overlay.redirect", "user.overlay.metacopy"] {
        let stack = Stack::new();
        fs::create_dir(stack.at("up/d")).unwrap();
        setxattr(stack.at("up/d"), attribute, b"/x", XattrFlags::empty()).unwrap();
        let error = stack.diff().unwrap_err().to_string();
        assert!(error.contains(attribute), "{error}");
    }
}

#[test]
fn whiteouts_by_name_are_understood() {
    let stack = Stack::new();
    for name in ["low/a", "low/d/f", "low/d/g"] {
        stack.file(name, "x");
    }
    stack.file("up/.wh.a", "");
    stack.file("up/.wh.never", "");
    stack.file("up/d/.wh..opq", "");
    stack.file("up/d/f", "x");
    assert_eq!(stack.paths(), ["-/a", "!/d", "/d/f"]);
    stack.file("up/.wh.full", "not empty");
    assert!(matches!(stack.diff(), Err(DiffError::Reserved(_))));
}

#[test]
fn contents_never_come_through_a_link() {
    let stack = Stack::new();
    stack.file("up/d/f", "inside");
    stack.file("outside/f", "outside");
    let changes = stack.diff().unwrap();
    fs::rename(stack.at("up/d"), stack.at("up/moved")).unwrap();
    symlink(stack.at("outside"), stack.at("up/d")).unwrap();
    let Change::Put { content: Some(content), .. } = &changes.changes[&path("d/f")] else { panic!() };
    assert!(content.open().is_err());
}

/// A real overlay, where mounting is allowed: a command works in it, and what it did is read back.
#[test]
fn what_a_command_does_in_an_overlay_is_what_is_read() {
    let stack = Stack::new();
    for name in ["low/d/kept", "low/d/removed", "low/whole/x", "low/renamed", "low/touched", "low/linked"] {
        stack.file(name, "text");
    }
    stack.file("mid/e/f", "text");
    let script = r#"
        set -e
        mount -t overlay overlay -o lowerdir=mid:low,upperdir=up,workdir=work,redirect_dir=off,metacopy=off root
        cd root
        rm d/removed && rm -r whole && mkdir whole && echo new > whole/y
        mv renamed aside && mv aside renamed
        touch -d @1700000000 touched
        ln linked linked-too
        touch scratch && rm scratch
        chmod 700 e
        mkdir -p new/deep && echo hello > new/deep/file
    "#;
    for name in ["work", "root"] {
        fs::create_dir(stack.at(name)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(stack.directory.path());
    match command.output() {
        Ok(output) if output.status.success() => {}
        other => {
            // Nothing can be shown where overlays can not be mounted; the tests above do not need one.
            let why = other.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            let mut out = std::io::stderr().lock();
            std::io::Write::write_fmt(&mut out, format_args!("NOT RUN: no overlay here: {why:?}\n")).unwrap();
            return;
        }
    }
    assert_eq!(
        stack.paths(),
        [
            "/d",
            "-/d/removed",
            "/e",
            "/linked",
            "/linked-too",
            "/new",
            "/new/deep",
            "/new/deep/file",
            "/touched",
            "!/whole",
            "/whole/y"
        ]
    );
}
