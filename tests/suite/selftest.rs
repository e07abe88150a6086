//! The parts that the other tests trust: the bases, the proxy and the reader, tried on each other.

use crate::support::{
    Entry, Fault, Image, Layout, NewImage, Registry, Scratch, copy_image, debian, inspect, plain, sh,
};
use std::process::Command;

#[test]
fn bases_are_pulled_counted_and_read() {
    let registry = Registry::start();
    let base = Image::pull(&registry.at("base/busybox:1"));
    assert_eq!(base.node("tmp").mode, 0o1777);
    assert_eq!(base.node("bin/sh").link, "busybox");
    assert_eq!(base.node("home/app").owner, (1000, 1000));
    let (up, down) = registry.blob_bytes();
    assert_eq!(up, 0);
    assert!(down > 500_000, "{down}");
    assert_eq!(registry.asked("GET", "/manifests/"), 1);
    assert_eq!(inspect(&registry.past("toolchain/go:1"))["Os"], "linux");
}

#[test]
fn layers_hide_what_lies_below() {
    let scratch = Scratch::new();
    let mut layout = Layout::create(scratch.path());
    let below = [Entry::folder("a", 0o755), Entry::file("a/x", 0o644, "1"), Entry::file("b", 0o644, "2")];
    let above =
        [Entry::folder("a", 0o700), Entry::file("a/.wh..wh..opq", 0, ""), Entry::file(".wh.b", 0, "")];
    layout.add("t", &NewImage::new(plain()).layer(below).layer(above));
    let image = Image::open(layout.path(), Some("t"));
    assert_eq!(image.tree.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(image.node("a").mode, 0o700);
}

#[test]
fn faults_happen_as_scripted() {
    let registry = Registry::start();
    let get = |path: &str| {
        let url = format!("http://{}{path}", registry.address());
        sh("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", &url])
    };
    registry.fault(Fault::on("GET", "/v2/").after(1).times(1).answer(503, "retry-after: 1\r\n", ""));
    assert_eq!([get("/v2/"), get("/v2/"), get("/v2/")], ["200", "503", "200"]);
    registry.fault(Fault::on("GET", "/v2/").drop_connection());
    let url = format!("http://{}/v2/", registry.address());
    assert!(!Command::new("curl").args(["-s", "--noproxy", "*", &url]).status().unwrap().success());
    registry.reset();
    registry.fault(Fault::on("GET", "/blobs/").times(9).corrupt());
    let pulled = std::panic::catch_unwind(|| Image::pull(&registry.at("base/busybox:1")));
    assert!(pulled.is_err(), "a corrupt blob was taken");
}

#[test]
fn a_debian_base_is_kept() {
    let Some(layout) = debian() else { return };
    let image = Image::open(&layout, None);
    assert!(image.has("usr/bin/dpkg"));
    let registry = Registry::start();
    registry.add(&layout, "latest", "debian:1");
    let scratch = Scratch::new();
    copy_image(
        &format!("docker://{}", registry.at("debian:1")),
        &format!("oci:{}:x", scratch.path().join("l").display()),
    );
}
