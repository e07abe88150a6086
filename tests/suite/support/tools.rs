//! The programs of others that look at what was built: skopeo, podman, umoci, runc.

use super::{Scratch, which};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program to its end and returns its standard output; panics with its errors when it fails.
pub(crate) fn sh(program: &str, arguments: &[&str]) -> String {
    let scratch = Scratch::new();
    let output = Command::new(program)
        .args(arguments)
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("start {program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {}\n{errors}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies an image as it is between layouts and registries, in skopeo's notation.
pub(crate) fn copy_image(from: &str, to: &str) {
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let policy = ["--insecure-policy", "copy", "--quiet", "--preserve-digests"];
    sh("skopeo", &[&policy[..], &insecure, &[from, to]].concat());
}

/// What `skopeo inspect` says of an image in a registry.
pub(crate) fn inspect(reference: &str) -> Value {
    let said = sh("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{reference}")]);
    serde_json::from_str(&said).expect("skopeo inspect prints JSON")
}

/// Unpacks an image of a layout with umoci and runs its own command with runc; returns what it printed.
pub(crate) fn run_image(layout: &Path) -> String {
    let scratch = Scratch::new();
    let (copy, bundle) = (scratch.path().join("layout"), scratch.path().join("bundle"));
    copy_image(&format!("oci:{}", layout.display()), &format!("oci:{}:run", copy.display()));
    sh("umoci", &["unpack", "--image", &format!("{}:run", copy.display()), bundle.to_str().unwrap()]);
    let config = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    fs::write(&config, spec.to_string()).unwrap();
    let state = scratch.folder("runc");
    let name = format!("run-{}", scratch.path().file_name().unwrap().to_string_lossy());
    sh("runc", &["--root", state.to_str().unwrap(), "run", "-b", bundle.to_str().unwrap(), &name])
}

/// Whether all these programs are here; says which is not.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| which(program).is_none()).copied().collect();
    if !missing.is_empty() {
        super::skip(&format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}
