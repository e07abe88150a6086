use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use std::io::{self, Read};

use super::*;
use crate::blob::{CompressOptions, Layout};
use crate::ctx::{Ctx, Event, EventSink};
use crate::layer::{BlobHome, Image, ImageFile, Layer, PackOptions, load, pack};
use crate::oci::{
    Compression, Descriptor, Document, ImageConfig, Index, Manifest, Platform, RootFs, media_type,
};
use crate::tree::{Change, ChangeSet, Content, Entry, ImagePath, Kind, Metadata};

struct Silent;

impl EventSink for Silent {
    fn event(&self, _: &Event) {}
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(Silent), CancellationToken::new(), 2)
}

fn path(text: &str) -> ImagePath {
    ImagePath::clamped(text)
}

fn metadata(mode: u32) -> Metadata {
    Metadata { mode, mtime: 1_600_000_000, ..Metadata::default() }
}

fn put_file(changes: &mut ChangeSet, at: &str, text: &str, mode: u32) {
    let entry = Entry { kind: Kind::File { size: text.len() as u64 }, metadata: metadata(mode) };
    changes.put_file(path(at), entry, Content::inline(text.as_bytes()), None);
}

fn put(changes: &mut ChangeSet, at: &str, kind: Kind) {
    changes.put(path(at), Entry { kind, metadata: metadata(0o755) });
}

/// Two layers, of which the second removes, replaces, links and empties.
fn image(store: &Layout, architecture: &str) -> Image {
    let mut first = ChangeSet::default();
    put(&mut first, "bin", Kind::Directory);
    put_file(&mut first, "bin/old", "old", 0o755);
    put_file(&mut first, "bin/tool", "tool", 0o755);
    put(&mut first, "bin/tool2", Kind::Hardlink { target: path("bin/tool") });
    put(&mut first, "bin/tool3", Kind::Hardlink { target: path("bin/tool") });
    put(&mut first, "data", Kind::Directory);
    put_file(&mut first, "data/x", "x", 0o644);
    put(&mut first, "sbin", Kind::Symlink { target: b"bin".to_vec() });
    let mut second = ChangeSet::default();
    second.changes.insert(path("bin/old"), Change::Remove);
    second.changes.insert(path("bin/tool"), Change::Remove);
    let entry = Entry { kind: Kind::Directory, metadata: metadata(0o700) };
    second.changes.insert(path("data"), Change::Replace { entry });
    put_file(&mut second, "data/y", "y", 0o4600);
    put_file(&mut second, "sbin/new", architecture, 0o755);
    let mut layers = Vec::new();
    for (changes, compression) in [(&first, Compression::Gzip), (&second, Compression::Gzip)] {
        let options = PackOptions { compression, ..PackOptions::default() };
        layers.push(pack(&ctx(), changes, &options, store).unwrap().layer);
    }
    let config = ImageConfig {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs { diff_ids: layers.iter().map(|l| l.diff_id).collect(), ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = Document::write(media_type::OCI_CONFIG, config);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: config.descriptor().clone(),
        layers: layers.iter().map(|l| l.descriptor.clone()).collect(),
        annotations: BTreeMap::new(),
        other: BTreeMap::new(),
    };
    Image { manifest: Document::write(media_type::OCI_MANIFEST, manifest), config, layers }
}

fn open_local(layer: &Layer) -> io::Result<Box<dyn Read + Send>> {
    match &layer.home {
        BlobHome::Local(path) => Ok(Box::new(File::open(path)?)),
        BlobHome::Remote(_) => Err(io::Error::other("not on this machine")),
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    store: Layout,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Layout::create(directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }
}

fn single<'a>(images: &'a [Image], names: &'a [String]) -> Export<'a> {
    Export { images, index: None, names }
}

/// What a program says, or `None`, loudly, where it is not installed.
fn program(name: &str, arguments: &[&str], directory: &Path) -> Option<String> {
    match Command::new(name).args(arguments).current_dir(directory).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {arguments:?}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            let mut out = io::stderr().lock();
            io::Write::write_fmt(&mut out, format_args!("NOT RUN: {name}: {error}\n")).unwrap();
            None
        }
    }
}

#[test]
fn a_layout_is_written_read_back_and_read_by_others() {
    let fixture = Fixture::new();
    let images = [image(&fixture.store, "amd64")];
    let names = ["example.com/app:1.0".to_owned(), "edge".to_owned()];
    write_layout(&ctx(), single(&images, &names), &open_local, &fixture.at("out")).unwrap();
    // Again: nothing is read.
    let closed = |_: &Layer| -> io::Result<Box<dyn Read + Send>> { Err(io::Error::other("read")) };
    write_layout(&ctx(), single(&images, &names), &closed, &fixture.at("out")).unwrap();
    let out = Layout::open(fixture.at("out")).unwrap();
    for name in ["1.0", "edge", "example.com/app:1.0"] {
        let source = ImageFile::Layout { directory: fixture.at("out"), name: Some(name.to_owned()) };
        let loaded = load(&ctx(), &source, &fixture.store, CompressOptions::default()).unwrap();
        assert_eq!(loaded.images[0].manifest.bytes(), images[0].manifest.bytes());
        assert_eq!(
            loaded.images[0].layers[1].home,
            BlobHome::Local(out.path(&images[0].layers[1].descriptor.digest))
        );
    }
    if let Some(text) = program("skopeo", &["inspect", "oci:out:1.0"], fixture.directory.path()) {
        assert!(text.contains(&images[0].layers[0].descriptor.digest.to_string()), "{text}");
    }
    let arguments = ["unpack", "--image", "out:1.0", "bundle"];
    let arguments = if rustix::process::geteuid().is_root() {
        arguments.to_vec()
    } else {
        ["unpack", "--rootless", "--image", "out:1.0", "bundle"].to_vec()
    };
    if program("umoci", &arguments, fixture.directory.path()).is_some() {
        let root = fixture.at("bundle/rootfs");
        assert_eq!(fs::read_to_string(root.join("bin/tool2")).unwrap(), "tool");
        assert_eq!(fs::read_to_string(root.join("bin/new")).unwrap(), "amd64");
        for gone in ["bin/old", "bin/tool", "data/x"] {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        let stat = |name: &str| fs::metadata(root.join(name)).unwrap();
        assert_eq!(stat("bin/tool2").ino(), stat("bin/tool3").ino());
        assert_eq!(stat("data").permissions().mode() & 0o7777, 0o700);
    }
}

#[test]
fn a_missing_or_damaged_blob_names_no_image() {
    let fixture = Fixture::new();
    let images = [image(&fixture.store, "amd64")];
    let victim = fixture.store.path(&images[0].layers[0].descriptor.digest);
    let mut bytes = fs::read(&victim).unwrap();
    bytes[20] ^= 1;
    fs::write(&victim, &bytes).unwrap();
    let names = ["1.0".to_owned()];
    let out = fixture.at("out");
    let error = write_layout(&ctx(), single(&images, &names), &open_local, &out).unwrap_err().to_string();
    assert!(error.starts_with("read layer sha256:") && error.contains("damaged"), "{error}");
    assert!(Layout::open(&out).unwrap().tags().unwrap().is_empty());
    let archive = write_archive(&ctx(), single(&images, &names), &open_local, ArchiveFormat::Oci, Vec::new());
    assert!(archive.unwrap_err().to_string().contains("damaged"));
    fs::remove_file(victim).unwrap();
    write_layout(&ctx(), single(&images, &names), &open_local, &out).unwrap_err();
}

#[test]
fn archives_are_the_same_bytes_each_time_and_are_read_by_us_and_by_others() {
    let fixture = Fixture::new();
    let images = [image(&fixture.store, "amd64")];
    let names = ["example.com/app:1.0".to_owned()];
    for (format, transport) in
        [(ArchiveFormat::Oci, "oci-archive"), (ArchiveFormat::Docker, "docker-archive")]
    {
        let write =
            || write_archive(&ctx(), single(&images, &names), &open_local, format, Vec::new()).unwrap();
        let bytes = write();
        assert!(bytes == write());
        fs::write(fixture.at("image.tar"), &bytes).unwrap();
        fs::write(fixture.at("image.tar.zst"), zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        for file in ["image.tar", "image.tar.zst"] {
            let text = format!("{transport}:{}", fixture.at(file).display());
            let path = fixture.at(file);
            let source = match format {
                ArchiveFormat::Oci => ImageFile::LayoutArchive { file: path, name: None },
                ArchiveFormat::Docker => ImageFile::DockerArchive { file: path, name: None },
            };
            assert_eq!(source.to_string(), text);
            let store = Layout::create(fixture.at("imported")).unwrap();
            let loaded = load(&ctx(), &source, &store, CompressOptions::default()).unwrap();
            assert_eq!(loaded.images[0].manifest.bytes(), images[0].manifest.bytes(), "{text}");
            assert!(loaded.images[0].layers.iter().all(|layer| store.has(&layer.descriptor)));
        }
        let source = format!("{transport}:image.tar");
        if let Some(text) = program("skopeo", &["inspect", "--config", &source], fixture.directory.path()) {
            assert!(text.contains(&images[0].layers[1].diff_id.0.to_string()), "{text}");
            let copy = format!("dir:copy-{transport}");
            program("skopeo", &["copy", "--insecure-policy", &source, &copy], fixture.directory.path());
        }
    }
}

#[test]
fn an_archive_that_docker_saved_is_read() {
    let fixture = Fixture::new();
    let images = [image(&fixture.store, "amd64")];
    let names = ["example.com/app:1.0".to_owned()];
    write_layout(&ctx(), single(&images, &names), &open_local, &fixture.at("out")).unwrap();
    let copy = ["copy", "--insecure-policy", "oci:out:1.0", "docker-archive:saved.tar:example.com/app:1.0"];
    if program("skopeo", &copy, fixture.directory.path()).is_none() {
        return;
    }
    let loaded = load(
        &ctx(),
        &ImageFile::DockerArchive {
            file: fixture.at("saved.tar"),
            name: Some("example.com/app:1.0".to_owned()),
        },
        &fixture.store,
        CompressOptions { compression: Compression::Gzip, level: None, threads: 2 },
    )
    .unwrap();
    // The same tars, compressed by us, are the same blobs.
    let digests = |image: &Image| image.layers.iter().map(|l| l.descriptor.clone()).collect::<Vec<_>>();
    assert_eq!(digests(&loaded.images[0]), digests(&images[0]));
}

#[test]
fn several_platforms_are_one_index() {
    let fixture = Fixture::new();
    let images = [image(&fixture.store, "amd64"), image(&fixture.store, "arm64")];
    let manifests = images.iter().map(|image| {
        let platform = Platform::new("linux", &image.config.value().architecture, None);
        Descriptor { platform: Some(platform), ..image.manifest.descriptor().clone() }
    });
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: manifests.collect(),
        annotations: BTreeMap::new(),
        other: BTreeMap::new(),
    };
    let index = Document::write(media_type::OCI_INDEX, index);
    let names = ["multi".to_owned()];
    let export = Export { images: &images, index: Some(&index), names: &names };
    write_layout(&ctx(), export, &open_local, &fixture.at("out")).unwrap();
    let source = ImageFile::Layout { directory: fixture.at("out"), name: None };
    let loaded = load(&ctx(), &source, &fixture.store, CompressOptions::default()).unwrap();
    assert_eq!(loaded.index.unwrap().bytes(), index.bytes());
    assert_eq!(loaded.images.len(), 2);
    let docker = write_archive(&ctx(), export, &open_local, ArchiveFormat::Docker, Vec::new());
    assert!(matches!(docker, Err(WriteError::OnePlatform(_))));
    let bytes = write_archive(&ctx(), export, &open_local, ArchiveFormat::Oci, Vec::new()).unwrap();
    fs::write(fixture.at("multi.tar"), bytes).unwrap();
    let raw = ["inspect", "--raw", "oci-archive:multi.tar:multi"];
    if let Some(text) = program("skopeo", &raw, fixture.directory.path()) {
        assert_eq!(text.trim_end().as_bytes(), &index.bytes()[..]);
    }
}

#[test]
fn unclear_names_are_refused_with_the_choice() {
    let fixture = Fixture::new();
    let images = [image(&fixture.store, "amd64"), image(&fixture.store, "arm64")];
    for (image, name) in images.iter().zip(["one", "two"]) {
        let names = [name.to_owned()];
        let export = single(std::slice::from_ref(image), &names);
        write_layout(&ctx(), export, &open_local, &fixture.at("out")).unwrap();
    }
    let error = |name: Option<&str>| {
        let source = ImageFile::Layout { directory: fixture.at("out"), name: name.map(str::to_owned) };
        load(&ctx(), &source, &fixture.store, CompressOptions::default()).unwrap_err().to_string()
    };
    assert!(error(None).ends_with("has several images: name one of one, two"), "{}", error(None));
    assert!(error(Some("three")).ends_with("has no image \"three\""));
}

#[test]
fn the_merged_root_is_laid_out_as_files() {
    let fixture = Fixture::new();
    let image = image(&fixture.store, "amd64");
    let out = fixture.at("root");
    // Twice: what is there is replaced.
    for _ in 0..2 {
        write_root(&ctx(), &image, &open_local, &out).unwrap();
    }
    let mut names: Vec<String> = Vec::new();
    let mut todo = vec![out.clone()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
            names.push(entry.path().strip_prefix(&out).unwrap().display().to_string());
        }
    }
    names.sort();
    assert_eq!(names, ["bin", "bin/new", "bin/tool2", "bin/tool3", "data", "data/y", "sbin"]);
    let stat = |name: &str| fs::symlink_metadata(out.join(name)).unwrap();
    assert_eq!(fs::read_to_string(out.join("bin/tool2")).unwrap(), "tool");
    assert_eq!(stat("bin/tool2").ino(), stat("bin/tool3").ino());
    assert_eq!(stat("data").permissions().mode() & 0o7777, 0o700);
    assert_eq!(stat("data/y").permissions().mode() & 0o7777, 0o600);
    assert_eq!(stat("bin").mtime(), 1_600_000_000);
}

#[test]
fn the_merged_root_is_never_written_through_a_link_of_the_destination() {
    let fixture = Fixture::new();
    let image = image(&fixture.store, "amd64");
    let (out, canary) = (fixture.at("root"), fixture.at("canary"));
    fs::create_dir_all(&out).unwrap();
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("y"), "tweet").unwrap();
    std::os::unix::fs::symlink(&canary, out.join("data")).unwrap();
    write_root(&ctx(), &image, &open_local, &out).unwrap();
    assert_eq!(fs::read_to_string(canary.join("y")).unwrap(), "tweet");
    assert!(fs::symlink_metadata(out.join("data")).unwrap().is_dir());
}

#[test]
fn the_merged_root_is_a_tar() {
    let fixture = Fixture::new();
    let image = image(&fixture.store, "amd64");
    let bytes = write_root_tar(&ctx(), &image, &open_local, Vec::new()).unwrap();
    let changes = crate::layer::toc::read(&ctx(), &bytes[..], false).unwrap();
    let paths: Vec<String> = changes.changes.keys().map(ToString::to_string).collect();
    assert_eq!(paths, ["/bin", "/bin/new", "/bin/tool2", "/bin/tool3", "/data", "/data/y", "/sbin"]);
    fs::write(fixture.at("root.tar"), &bytes).unwrap();
    if let Some(list) = program("tar", &["--numeric-owner", "-tvf", "root.tar"], fixture.directory.path()) {
        let lines: Vec<&str> = list.lines().collect();
        assert!(lines[0].starts_with("drwxr-xr-x 0/0") && lines[0].ends_with(" bin/"), "{list}");
        assert!(list.contains(" bin/tool3 link to bin/tool2"), "{list}");
        assert!(list.contains("-rws") || list.contains("-rwS"), "{list}");
    }
}
