//! The five examples, built over stand-in toolchains: what is in each image, and that its program runs.

use crate::support::{Build, Outcome, Registry, needs_root, run_image};
use serde_json::json;

/// What the program of the built image prints.
fn prints(built: &Outcome) -> String {
    run_image(&built.layout())
}

#[test]
fn stage_tree_merges_two_branches() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let built = Build::example("stage-tree", &registry).output().ok();
    let image = built.image();
    assert!(image.has("opt/venv/lib/site-packages/iniconfig"));
    assert_eq!(
        image.text("app/static/bundle.js"),
        "const clock = () => new Date().toISOString();\n\
         document.querySelector(\"#clock\").textContent = clock();\n"
    );
    for path in [
        "app/node_modules",
        "usr/bin/npm",
        "app/package.json",
        "app/requirements.txt",
        "var/lib/apt/lists/stand-in",
    ] {
        assert!(!image.has(path), "{path} belongs to another branch");
    }
    let path = "PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(*image.setting("Env"), json!([path]));
    assert_eq!(*image.setting("WorkingDir"), "/app");
    assert_eq!(*image.setting("ExposedPorts"), json!({"8000/tcp": {}}));
    assert_eq!(prints(&built), "stage-tree serves /app/static\n");
}

#[test]
fn stage_tree_chooses_its_runtime_by_argument() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let runtime = registry.at("toolchain/uv:1");
    let built = Build::example("stage-tree", &registry).build_arg("RUNTIME_BASE", &runtime).output().ok();
    let image = built.image();
    assert!(image.has("usr/bin/uv") && !image.has("usr/bin/apt-get"), "the runtime stands on the other base");
    assert_eq!(prints(&built), "stage-tree serves /app/static\n");
}

#[test]
fn go_layers_ends_in_one_file() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let built = Build::example("go-layers", &registry).output().ok();
    let image = built.image();
    assert_eq!(image.tree.keys().collect::<Vec<_>>(), ["hello"]);
    assert_eq!(*image.setting("Entrypoint"), json!(["/hello"]));
    assert_eq!(prints(&built), "hello from an image of one file\n");
}

#[test]
fn go_layers_builder_is_the_cache_of_others() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let builder = registry.at("go-layers/builder:1");
    let first = Build::example("go-layers", &registry).push().target("builder").tag(&builder).ok();
    first.says(&["go: downloading golang.org/x/text"]);
    let cache = registry.at("go-layers/builder/cache");
    let second = Build::example("go-layers", &registry).push().tag(&registry.at("go-layers:1"));
    let second = second.option("--cache-from", &cache).ok();
    assert!(
        !second.shown().contains("go: downloading"),
        "modules came from the builder:\n{}",
        second.shown()
    );
}

#[test]
fn rust_web_production_image_is_complete() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let built = Build::example("rust-web", &registry).build_arg("BUILD_VERSION", "1.2.0").output().ok();
    let image = built.image();
    assert_eq!(
        *image.setting("Healthcheck"),
        json!({"Test": ["CMD", "rust-web", "--health"], "Interval": 30_000_000_000_u64, "Timeout": 3_000_000_000_u64, "Retries": 2})
    );
    assert_eq!(*image.setting("User"), "10001:10001");
    assert_eq!(*image.setting("Labels"), json!({"org.opencontainers.image.version": "1.2.0"}));
    assert!(!image.has("src") && !image.has("usr/bin/cargo"));
    assert_eq!(prints(&built), "rust-web serves version 1.2.0\n");
}

#[test]
fn rust_web_development_image_runs_cargo() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let built = Build::example("rust-web", &registry).target("development").output().ok();
    assert!(built.image().has("src/target/release/deps/libitoa.rlib"));
    assert_eq!(prints(&built), "rust-web serves version dev\n");
}

#[test]
fn rust_web_compiles_dependencies_once() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let first = Build::example("rust-web", &registry).output().ok();
    first.says(&["Compiling itoa", "Compiling rust-web"]);
    let changed = "fn main() {\n    println!(\"other sources {}\", env!(\"BUILD_VERSION\"));\n}\n";
    let second = Build::example("rust-web", &registry)
        .file("src/main.rs", changed)
        .state(&first.state())
        .output()
        .ok();
    second.says(&["Compiling rust-web"]);
    assert!(!second.shown().contains("Compiling itoa"), "itoa was compiled again:\n{}", second.shown());
    assert_eq!(prints(&second), "other sources dev\n");
}

#[test]
fn python_uv_says_its_version() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let built = Build::example("python-uv", &registry).build_arg("VERSION", "2.0.0").output().ok();
    let image = built.image();
    assert_eq!(image.setting("Labels")["org.opencontainers.image.version"], "2.0.0");
    assert_eq!(image.text("app/.venv/synced"), "greeter\n");
    assert!(!image.has("app/pyproject.toml"), "the final stage takes only what it needs");
    assert_eq!(prints(&built), "hello from greeter 2.0.0\n");
}

#[test]
fn node_cache_installs_nothing_for_a_changed_source() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let first = Build::example("node-cache", &registry).output().ok();
    first.says(&["added 1 package"]);
    assert_eq!(prints(&first), "node-cache listens on 3000\n");
    let second = Build::example("node-cache", &registry)
        .file("src/server.js", "const ms = require(\"ms\");\nconsole.log(\"changed\");\n")
        .state(&first.state())
        .output()
        .ok();
    assert!(!second.shown().contains("added 1 package"), "npm ci ran again:\n{}", second.shown());
    assert_eq!(prints(&second), "changed\n");
}
