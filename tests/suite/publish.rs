//! Stages pushed under names of their own, beside the image.

use crate::support::{Build, Image, Registry, Scratch};
use serde_json::Value;

/// Three stages; nothing needs the second for the last.
fn stages(registry: &Registry) -> Build {
    let base = registry.at("base/busybox:1");
    let dockerfile = format!(
        "FROM {base} AS builder\nCOPY a /made\nENV WHO=builder\nFROM builder AS tests\nCOPY a /tested\n\
         FROM scratch\nCOPY --from=builder /made /final\n"
    );
    Build::of(&dockerfile).file("a", "a").push().tag(&registry.at("app:1"))
}

fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    let url = format!("http://{}/tags/list", registry.past(&format!("v2/{repository}")));
    let said = crate::support::sh("curl", &["-s", "--noproxy", "*", &url]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let mut tags: Vec<String> =
        said["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap().to_owned()).collect();
    tags.sort();
    tags
}

#[test]
fn one_command_pushes_the_image_and_the_stages_that_are_named() {
    let registry = Registry::start();
    let files = Scratch::new();
    let metadata = files.path().join("metadata");
    let build = || {
        stages(&registry)
            .option("--publish-stage", &format!("builder={}", registry.at("app/builder:main")))
            .option("--publish-stage", &format!("tests={}", registry.at("app/tests")))
            .option("--metadata-file", metadata.to_str().unwrap())
    };
    build().ok().says(&["stage  ", "app/builder:main (builder)"]);
    let builder = Image::pull(&registry.past("app/builder:main"));
    assert_eq!((builder.text("made"), builder.has("tested")), ("a".to_owned(), false));
    assert!(builder.setting("Env").to_string().contains("WHO=builder"));
    let tests = Image::pull(&registry.past("app/tests:latest"));
    assert_eq!(tests.text("tested"), "a", "a stage that nothing needs is built to be published");
    assert_eq!(Image::pull(&registry.past("app:1")).text("final"), "a");
    let values: Value = serde_json::from_str(&std::fs::read_to_string(&metadata).unwrap()).unwrap();
    assert_eq!(values["ocistage.stages"]["builder"]["containerimage.digest"], builder.digest);
    // A published stage is an image like any other.
    let user = format!("FROM {}\nCOPY --from={0} /made /again\n", registry.at("app/builder:main"));
    assert_eq!(Build::of(&user).output().ok().image().text("again"), "a");
}

#[test]
fn publishing_again_moves_no_layer() {
    let registry = Registry::start();
    let folder = Scratch::new();
    let dockerfile = format!(
        "FROM {} AS builder\nCOPY a /made\nFROM scratch\nCOPY --from=builder /made /\n",
        registry.at("base/busybox:1")
    );
    folder.write("Dockerfile", dockerfile);
    folder.write("a", "a");
    let build = || {
        let words =
            ["push", "-t", &registry.at("app:1"), "--publish-stages", "all", folder.path().to_str().unwrap()];
        Build::command(&words).ok()
    };
    build();
    let first = tags(&registry, "app");
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(first[1].starts_with("builder-") && first[1].len() == "builder-".len() + 12, "{first:?}");
    assert!(first[2].starts_with("stage-1-"), "{first:?}");
    assert_eq!(Image::pull(&registry.past(&format!("app:{}", first[1]))).text("made"), "a");
    registry.reset();
    build().says(&["0 run"]);
    assert_eq!(tags(&registry, "app"), first);
    assert_eq!(registry.blob_bytes().0, 0);
    folder.write("a", "changed");
    build();
    let second = tags(&registry, "app");
    assert_eq!(second.len(), 5, "another state has another tag: {second:?}");
}

#[test]
fn named_stages_are_those_that_the_file_names() {
    let registry = Registry::start();
    stages(&registry).option("--publish-stages", "named").ok();
    let tags = tags(&registry, "app");
    assert_eq!(tags.len(), 2, "only what the build needs: {tags:?}");
    assert!(tags.iter().any(|tag| tag.starts_with("builder-")), "{tags:?}");
}

#[test]
fn stages_that_do_not_exist_and_names_that_lead_nowhere_are_refused() {
    let registry = Registry::start();
    let publish = |value: &str| stages(&registry).option("--publish-stage", value);
    publish(&format!("bilder={}", registry.at("x")))
        .exits(2)
        .says(&["stage to publish `bilder`", "`builder`"]);
    publish("builder").exits(2).says(&["STAGE=REF"]);
    Build::of("FROM scratch\n").option("--publish-stages", "all").exits(2).says(&["no tag"]);
    assert!(tags(&registry, "app").is_empty());
}
