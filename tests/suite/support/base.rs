//! The base images: a static busybox with the stand-in toolchains of `testdata/bases`, and one real Debian.

use super::{Entry, Layout, NewImage, Server, copy_image, repository, skip};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/sh\n\
                      app:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nstaff:x:50:app\nvideo:x:44:app,daemon\napp:x:1000:\nnogroup:x:65534:\n";

/// Busybox with its applets, users and the usual folders. Its `config` is given so that a test can shape it.
pub(crate) fn busybox(config: Value) -> NewImage {
    NewImage::new(config).layer(busybox_layer())
}

/// The configuration of `base/busybox:1`.
pub(crate) fn plain() -> Value {
    json!({"Env": [PATH], "Cmd": ["sh"]})
}

pub(crate) fn busybox_layer() -> Vec<Entry> {
    let program = which("busybox").expect("busybox-static is installed");
    let listed = Command::new(&program).arg("--list").output().unwrap().stdout;
    let mut entries: Vec<_> =
        ["bin", "etc", "home", "proc", "sys", "dev", "usr", "usr/bin", "usr/local", "usr/local/bin", "var"]
            .map(|name| Entry::folder(name, 0o755))
            .into();
    entries.push(Entry::folder("tmp", 0o1777));
    entries.push(Entry::folder("root", 0o700));
    entries.push(Entry::folder("home/app", 0o755).owner(1000, 1000));
    entries.push(Entry::file("etc/passwd", 0o644, PASSWD));
    entries.push(Entry::file("etc/group", 0o644, GROUP));
    entries.push(Entry::file("bin/busybox", 0o755, fs::read(program).unwrap()));
    for applet in String::from_utf8(listed).unwrap().lines().filter(|applet| *applet != "busybox") {
        entries.push(Entry::symlink(&format!("bin/{applet}"), "busybox"));
    }
    entries
}

fn stand_in(name: &str, to: &str) -> Entry {
    let script = fs::read(repository().join("testdata/bases/stand-ins").join(name)).unwrap();
    Entry::file(to, 0o755, script)
}

/// What the stand-in compilers link into every program: compiled once, static.
fn launcher(folder: &Path) -> Entry {
    let out = folder.join("launcher");
    let source = repository().join("testdata/bases/launcher.c");
    let done =
        Command::new("cc").args(["-static", "-Os", "-s", "-o"]).arg(&out).arg(source).status().unwrap();
    assert!(done.success(), "cc could not link a static program");
    Entry::file("usr/local/lib/stand-ins/launcher", 0o755, fs::read(out).unwrap())
}

/// The data folder of a registry that holds all bases but Debian; made once a run.
pub(crate) fn bases() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder = own_folder();
        let mut layout = Layout::create(&folder.join("layout"));
        let tools = |names: &[&str]| {
            let folders =
                ["usr", "usr/local", "usr/local/bin", "usr/bin"].map(|name| Entry::folder(name, 0o755));
            let scripts = names.iter().map(|name| stand_in(name, &format!("usr/bin/{name}")));
            busybox(plain()).layer(folders.into_iter().chain(scripts))
        };
        let compiler = |name| {
            let folders = ["usr", "usr/local", "usr/local/lib", "usr/local/lib/stand-ins"]
                .map(|name| Entry::folder(name, 0o755));
            tools(&[name, "link-program"]).layer(folders.into_iter().chain([launcher(&folder)]))
        };
        // Packages that the stand-in apt-get can install.
        let mut packages: Vec<_> =
            ["usr", "usr/share", "usr/share/stand-ins"].map(|n| Entry::folder(n, 0o755)).into();
        for (package, programs) in
            [("python3", &["python3"][..]), ("python3-venv", &[]), ("npm", &["npm", "node"])]
        {
            let top = format!("usr/share/stand-ins/{package}");
            packages.extend(
                [&*top, &format!("{top}/usr"), &format!("{top}/usr/bin")].map(|n| Entry::folder(n, 0o755)),
            );
            packages.extend(programs.iter().map(|name| stand_in(name, &format!("{top}/usr/bin/{name}"))));
        }
        let images = [
            ("base/busybox:1", busybox(plain())),
            ("toolchain/debian:1", tools(&["apt-get"]).layer(packages)),
            ("toolchain/go:1", compiler("go")),
            ("toolchain/rust:1", compiler("cargo")),
            ("toolchain/uv:1", tools(&["uv", "python3"])),
            ("toolchain/node:1", tools(&["npm", "node"])),
        ];
        let server = Server::start(&folder, "");
        for (name, image) in images {
            let tag = name.replace(['/', ':'], "-");
            layout.add(&tag, &image);
            let from = format!("oci:{}:{tag}", layout.path().display());
            copy_image(&from, &format!("docker://{}/{name}", server.address()));
        }
        drop(server);
        folder.join("data")
    })
}

/// A folder of this process under `target`. A value that lives as long as the process is never dropped, so what ended
/// processes left is removed here.
fn own_folder() -> PathBuf {
    let top = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(top).unwrap().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix("bases-"));
        if of.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let own = top.join(format!("bases-{}", std::process::id()));
    fs::create_dir_all(&own).unwrap();
    own
}

/// A layout whose `latest` is a minimal Debian. Made once by debootstrap and kept under `target/test-bases`.
pub(crate) fn debian() -> Option<PathBuf> {
    static DEBIAN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match DEBIAN.get_or_init(make_debian) {
        Ok(layout) => Some(layout.clone()),
        Err(reason) => {
            skip(&format!("no Debian base: {reason}"));
            None
        }
    }
}

fn make_debian() -> Result<PathBuf, String> {
    let keep = repository().join("target/test-bases");
    let layout = keep.join("debian");
    if layout.join("index.json").exists() {
        return Ok(layout);
    }
    if !super::is_root() {
        return Err("debootstrap needs root".to_owned());
    }
    fs::create_dir_all(&keep).map_err(|error| error.to_string())?;
    let (suite, mirror) = apt_source().ok_or("no apt source names a suite and a mirror")?;
    let work = tempfile::Builder::new()
        .prefix("debootstrap-")
        .tempdir_in(&keep)
        .map_err(|error| error.to_string())?;
    let (root, tar) = (work.path().join("root"), work.path().join("root.tar"));
    let log = File::create(keep.join("debootstrap.log")).map_err(|error| error.to_string())?;
    let done = Command::new("debootstrap")
        .args(["--variant=minbase", &suite])
        .arg(&root)
        .arg(mirror)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(|error| error.to_string())?)
        .stderr(log)
        .status()
        .map_err(|error| error.to_string())?;
    if !done.success() {
        return Err(format!("debootstrap failed, see {}", keep.join("debootstrap.log").display()));
    }
    let packed = Command::new("tar")
        .args(["--numeric-owner", "--exclude=./var/cache/apt/*", "--exclude=./dev/*", "-C"])
        .arg(&root)
        .args(["-cf"])
        .arg(&tar)
        .arg(".")
        .status();
    if !packed.is_ok_and(|status| status.success()) {
        return Err("tar failed".to_owned());
    }
    let made = work.path().join("layout");
    let mut writer = Layout::create(&made);
    writer.add("latest", &NewImage::new(json!({"Env": [PATH], "Cmd": ["bash"]})).packed(&tar));
    fs::rename(&made, &layout).map_err(|error| error.to_string())?;
    Ok(layout)
}

/// Suite and mirror of the first apt source of this machine, in either of the two forms.
fn apt_source() -> Option<(String, String)> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut more: Vec<_> =
        fs::read_dir("/etc/apt/sources.list.d").ok()?.flatten().map(|entry| entry.path()).collect();
    more.sort();
    files.extend(more);
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let suite =
        release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?.trim_matches('"').to_owned();
    for text in files.iter().filter_map(|file| fs::read_to_string(file).ok()) {
        let one_line = text.lines().filter(|line| line.starts_with("deb ")).find_map(|line| {
            let mut words = line.split_whitespace().skip(1).skip_while(|word| !word.contains("://"));
            Some((words.next()?.to_owned(), words.next()?.to_owned())).filter(|(_, of)| *of == suite)
        });
        let stanza = text.split("\n\n").find_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            let suites = field("Suites:")?;
            let uri = field("URIs:")?.split_whitespace().next()?;
            suites.split_whitespace().any(|of| of == suite).then(|| (uri.to_owned(), suite.clone()))
        });
        if let Some((mirror, suite)) = one_line.or(stanza) {
            return Some((suite, mirror));
        }
    }
    None
}

pub(crate) fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
