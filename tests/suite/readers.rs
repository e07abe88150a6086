//! What we pushed, read by others: skopeo, podman, umoci, and an independent client library.

use crate::support::{Build, Image, Registry, Scratch, have, inspect, needs_root, sh, sha256};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// An image with files, links and owners, pushed to `app:1`.
fn pushed(registry: &Registry) {
    let dockerfile = format!(
        "FROM {}\nLABEL said=\"a b\"\nENV A=1\nCOPY --chown=1000:50 --chmod=640 a /opt/a\nCOPY b /opt/b\n\
         RUN rm /bin/vi && ln /opt/b /opt/hard && ln -s b /opt/soft\nENTRYPOINT [\"cat\"]\nCMD [\"/opt/b\"]\n",
        registry.at("base/busybox:1")
    );
    let build = Build::of(&dockerfile).file("a", "a").file("b", "bytes of b\n").push();
    build.tag(&registry.at("app:1")).ok();
}

#[test]
fn skopeo_reads_it() {
    if !needs_root() || !have(&["skopeo"]) {
        return;
    }
    let registry = Registry::start();
    pushed(&registry);
    let seen = inspect(&registry.past("app:1"));
    assert_eq!(seen["Labels"]["said"], "a b");
    assert_eq!(seen["RepoTags"][0], "1");
    assert!(seen["Env"].to_string().contains("A=1"));
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 4, "base, two copies, one run");
}

#[test]
fn podman_pulls_it() {
    if !needs_root() || !have(&["podman"]) {
        return;
    }
    let registry = Registry::start();
    pushed(&registry);
    let store = Scratch::new();
    let (root, run) = (store.folder("root").display().to_string(), store.folder("run").display().to_string());
    let podman = |arguments: &[&str]| {
        let store = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
        sh("podman", &[&store[..], arguments].concat())
    };
    podman(&["pull", "--quiet", "--tls-verify=false", &registry.past("app:1")]);
    let said =
        podman(&["inspect", "--format", "{{.Config.Entrypoint}} {{.Config.Cmd}}", &registry.past("app:1")]);
    assert_eq!(said.trim(), "[cat] [/opt/b]");
    podman(&["rmi", "--all", "--force"]);
}

#[test]
fn umoci_unpacks_it() {
    if !needs_root() || !have(&["umoci"]) {
        return;
    }
    let registry = Registry::start();
    pushed(&registry);
    let scratch = Scratch::new();
    let (layout, bundle) = (scratch.path().join("layout"), scratch.path().join("bundle"));
    let from = format!("docker://{}", registry.past("app:1"));
    crate::support::copy_image(&from, &format!("oci:{}:app", layout.display()));
    sh("umoci", &["unpack", "--image", &format!("{}:app", layout.display()), bundle.to_str().unwrap()]);
    let root = bundle.join("rootfs");
    let a = fs::metadata(root.join("opt/a")).unwrap();
    assert_eq!((a.uid(), a.gid(), a.permissions().mode() & 0o7777), (1000, 50, 0o640));
    assert_eq!(
        fs::metadata(root.join("opt/hard")).unwrap().ino(),
        fs::metadata(root.join("opt/b")).unwrap().ino()
    );
    assert_eq!(fs::read_link(root.join("opt/soft")).unwrap().to_str(), Some("b"));
    assert!(fs::symlink_metadata(root.join("bin/vi")).is_err());
}

#[test]
fn an_independent_client_pulls_it() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    pushed(&registry);
    // The client's HTTP library leaves this choice to the program; another test may have made it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let reference: Reference = registry.past("app:1").parse().unwrap();
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let types = vec!["application/vnd.oci.image.layer.v1.tar+gzip"];
    let pulled = runtime.block_on(client.pull(&reference, &RegistryAuth::Anonymous, types)).unwrap();
    let ours = Image::pull(&registry.past("app:1"));
    assert_eq!(pulled.digest.as_deref(), Some(&*ours.digest));
    let digests: BTreeSet<_> = pulled.layers.iter().map(|layer| sha256(&layer.data)).collect();
    let named: BTreeSet<_> = ours.manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(digests, named);
}

#[test]
fn an_image_as_an_archive_is_read_by_skopeo() {
    let scratch = Scratch::new();
    for (kind, notation) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let file = scratch.path().join(format!("{kind}.tar")).display().to_string();
        let build = Build::of("FROM scratch\nCOPY a /\nLABEL x=y\n").file("a", "a").tag("name/of:1");
        build.option("--output", &format!("type={kind},dest={file}")).ok();
        let seen = sh("skopeo", &["inspect", &format!("{notation}:{file}")]);
        assert!(seen.contains("\"x\": \"y\""), "{kind}: {seen}");
    }
}

#[test]
fn a_tar_output_is_the_root_filesystem() {
    let scratch = Scratch::new();
    let file = scratch.path().join("root.tar").display().to_string();
    let build = Build::of("FROM scratch\nCOPY a /d/a\nCOPY b /d/b\n").file("a", "a").file("b", "b");
    build.option("--output", &format!("type=tar,dest={file}")).ok();
    let names = sh("tar", &["-tf", &file]);
    let mut names: Vec<_> =
        names.lines().map(|name| name.trim_start_matches("./")).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    assert_eq!(names, ["d/", "d/a", "d/b"]);
}

#[test]
fn a_local_output_is_a_folder() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("root");
    let build = Build::of("FROM scratch\nCOPY a /d/a\n").file("a", "a");
    build.option("--output", &format!("type=local,dest={}", folder.display())).ok();
    assert_eq!(fs::read_to_string(folder.join("d/a")).unwrap(), "a");
}
