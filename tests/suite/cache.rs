//! When a step is done again and when it is not, what it costs to find out, and what a cache must never do.

use crate::support::{
    Build, Entry, Fault, Image, Layout, NewImage, Registry, Scratch, busybox, inspect, needs_root, sh,
};
use serde_json::json;

/// A step whose result differs each time it really runs.
const ONCE: &str = "RUN cat /proc/sys/kernel/random/uuid > /ran\n";

fn from(registry: &Registry) -> String {
    format!("FROM {}\n", registry.at("base/busybox:1"))
}

/// What the step that ran once left in the pushed image.
fn ran(registry: &Registry, name: &str) -> String {
    Image::pull(&registry.past(name)).text("ran")
}

fn digest(registry: &Registry, name: &str) -> String {
    inspect(&registry.past(name))["Digest"].as_str().unwrap().to_owned()
}

/// A build of six steps over files, pushed to `app:1`.
fn six_steps(registry: &Registry, name: &str) -> Build {
    let dockerfile = format!(
        "{}ENV A=1\nWORKDIR /app\nCOPY lock ./\n{ONCE}COPY src ./src\nRUN ls src > listing\nLABEL b=2\n",
        from(registry)
    );
    let mut build = Build::of(&dockerfile).file("lock", "locked").push().tag(&registry.at(name));
    for number in 0..200 {
        build = build.file(&format!("src/{number}"), number.to_string());
    }
    build
}

#[test]
fn a_rebuild_on_a_fresh_machine_moves_no_layer() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    six_steps(&registry, "app:1").ok();
    let first = digest(&registry, "app:1");
    registry.reset();
    six_steps(&registry, "app:1").ok();
    let seen = registry.exchanges();
    assert!(seen.len() <= 8, "{} requests: {seen:#?}", seen.len());
    let (up, down) = registry.blob_bytes();
    assert_eq!(up, 0, "{seen:#?}");
    // The base's configuration at most.
    assert!(down < 4096, "{seen:#?}");
    assert_eq!(digest(&registry, "app:1"), first);
}

#[test]
fn requests_of_a_rebuild_do_not_grow_with_the_steps() {
    let registry = Registry::start();
    let requests = |steps: usize| {
        let name = format!("steps:{steps}");
        let mut dockerfile = from(&registry);
        for step in 0..steps {
            dockerfile += &format!("COPY a /copied/{step}\n");
        }
        let build = || Build::of(&dockerfile).file("a", "a").push().tag(&registry.at(&name));
        build().ok();
        registry.reset();
        build().ok();
        registry.exchanges().len()
    };
    let few = requests(6);
    assert!(few > 0);
    assert!(requests(100) <= few);
}

#[test]
fn a_changed_file_repeats_what_follows_it_only() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    six_steps(&registry, "app:1").ok();
    let before = ran(&registry, "app:1");
    six_steps(&registry, "app:2").file("src/new", "").ok();
    let image = Image::pull(&registry.past("app:2"));
    assert_eq!(image.text("ran"), before, "the step before the changed file");
    assert!(image.text("app/listing").contains("new"), "the step after it");
    six_steps(&registry, "app:3").file("lock", "changed").ok();
    assert_ne!(ran(&registry, "app:3"), before);
}

#[test]
fn time_of_a_file_is_no_change_and_its_mode_is_one() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("{}COPY a /\n{ONCE}", from(&registry));
    let build = |name: &str| Build::of(&dockerfile).file("a", "a").push().tag(&registry.at(name));
    build("app:1").ok();
    let first = build("app:2");
    sh("touch", &["-d", "2001-01-01", first.folder().join("a").to_str().unwrap()]);
    first.ok();
    assert_eq!(ran(&registry, "app:1"), ran(&registry, "app:2"));
    let second = build("app:3");
    sh("chmod", &["755", second.folder().join("a").to_str().unwrap()]);
    second.ok();
    assert_ne!(ran(&registry, "app:1"), ran(&registry, "app:3"));
}

#[test]
fn labels_repeat_nothing_and_environment_does() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let build = |name: &str, line: &str| {
        Build::of(&format!("{}{line}\n{ONCE}", from(&registry))).push().tag(&registry.at(name)).ok();
        ran(&registry, name)
    };
    let first = build("app:1", "LABEL a=1");
    assert_eq!(build("app:2", "LABEL a=2"), first);
    assert_eq!(build("app:3", "EXPOSE 80"), first);
    assert_ne!(build("app:4", "ENV A=1"), first);
    assert_ne!(build("app:5", "WORKDIR /tmp"), first);
}

#[test]
fn an_argument_repeats_only_runs_that_can_see_it() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("{}{ONCE}ARG VERSION\nRUN echo $VERSION > /version\n", from(&registry));
    let build = |name: &str, version: &str| {
        let build = Build::of(&dockerfile).push().tag(&registry.at(name)).build_arg("VERSION", version);
        build
            .environment("HTTP_PROXY", format!("http://proxy-{version}.invalid"))
            .environment("no_proxy", "127.0.0.1")
            .ok();
        Image::pull(&registry.past(name))
    };
    let (one, two) = (build("app:1", "1"), build("app:2", "2"));
    assert_eq!(one.text("ran"), two.text("ran"));
    assert_eq!((one.text("version"), two.text("version")), ("1\n".to_owned(), "2\n".to_owned()));
}

#[test]
fn a_rebuilt_stage_with_the_same_output_repeats_nothing_after_it() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let head = from(&registry);
    let dockerfile = format!(
        "{} AS planner\nCOPY . /all\nRUN grep '^needs' /all/source > /recipe\n{head}COPY --from=planner /recipe /\n{ONCE}",
        head.trim_end()
    );
    let build = |name: &str, source: &str| {
        Build::of(&dockerfile).file("source", source).push().tag(&registry.at(name)).ok();
        ran(&registry, name)
    };
    let first = build("app:1", "needs a\ncode 1\n");
    assert_eq!(build("app:2", "needs a\ncode 2\n"), first, "the recipe is the same");
    assert_ne!(build("app:3", "needs b\ncode 2\n"), first, "the recipe is another");
}

#[test]
fn no_cache_repeats_everything_or_the_stage_that_is_named() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let head = from(&registry);
    let dockerfile = format!(
        "{0} AS one\n{ONCE}{0} AS two\nRUN cat /proc/sys/kernel/random/uuid > /two\n{head}COPY --from=one /ran /\nCOPY --from=two /two /\n",
        head.trim_end()
    );
    let build = |name: &str, flags: &[&str]| {
        let build = Build::of(&dockerfile).push().tag(&registry.at(name));
        flags.iter().fold(build, |build, flag| build.flag(flag)).ok();
        let image = Image::pull(&registry.past(name));
        (image.text("ran"), image.text("two"))
    };
    let first = build("app:1", &[]);
    let filtered = build("app:2", &["--no-cache-filter", "two"]);
    assert_eq!(filtered.0, first.0);
    assert_ne!(filtered.1, first.1);
    let none = build("app:3", &["--no-cache"]);
    assert!(none.0 != first.0 && none.1 != filtered.1);
}

#[test]
fn caches_to_read_and_to_write_are_separate() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("{}{ONCE}", from(&registry));
    let build = |name: &str| Build::of(&dockerfile).push().tag(&registry.at(name));
    build("app:1").option("--cache-to", &registry.at("written/here")).ok();
    registry.reset();
    let empty = registry.at("empty/cache");
    build("other:1").option("--cache-from", &registry.at("written/here")).option("--cache-repo", &empty).ok();
    assert_eq!(ran(&registry, "other:1"), ran(&registry, "app:1"));
    let to_source = registry
        .exchanges()
        .into_iter()
        .filter(|seen| seen.path.starts_with("/v2/written/here/manifests/") && seen.method == "PUT");
    assert_eq!(to_source.count(), 0, "a cache that is only read was written");
}

#[test]
fn a_record_whose_blob_is_gone_is_a_miss() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("{}{ONCE}", from(&registry));
    let build = || Build::of(&dockerfile).push().tag(&registry.at("app:1"));
    build().ok();
    let before = Image::pull(&registry.past("app:1"));
    let gone =
        before.manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap().to_owned();
    for repository in ["app", "app/cache"] {
        registry.delete_blob(repository, &gone);
    }
    build().ok();
    assert_ne!(ran(&registry, "app:1"), before.text("ran"), "what is pushed can be pulled");
}

#[test]
fn a_recorded_stage_whose_blob_is_gone_is_built_again() {
    let registry = Registry::start();
    let head = from(&registry);
    let build = |name: &str, to: &str| {
        let dockerfile =
            format!("{} AS one\nCOPY a /made\n{head}COPY --from=one /made {to}\n", head.trim_end());
        Build::of(&dockerfile).file("a", "a").push().tag(&registry.at(name)).ok();
    };
    build("app:1", "/first");
    // The stage's own layer is in no image that was pushed.
    let image = Image::pull(&registry.past("app:1"));
    let kept: Vec<_> =
        image.manifest["layers"].as_array().unwrap().iter().map(|l| l["digest"].clone()).collect();
    for seen in registry.exchanges() {
        let digest = seen.path.split("digest=").nth(1).map(|text| text.replace("%3A", ":"));
        if let Some(digest) = digest.filter(|digest| !kept.contains(&json!(digest))) {
            registry.delete_blob("app/cache", &digest);
        }
    }
    build("app:2", "/second");
    assert_eq!(Image::pull(&registry.past("app:2")).text("second"), "a");
}

#[test]
fn a_cache_that_fails_is_a_warning() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    registry.fault(Fault::on("GET", "app/cache/").times(10_000).answer(500, "", ""));
    registry.fault(Fault::on("HEAD", "app/cache/").times(10_000).answer(500, "", ""));
    registry.fault(Fault::on("PUT", "app/cache/").times(10_000).answer(403, "", ""));
    registry.fault(Fault::on("POST", "app/cache/").times(10_000).answer(403, "", ""));
    let built = Build::of(&format!("{}{ONCE}", from(&registry))).push().tag(&registry.at("app:1")).ok();
    built.says(&["warning"]);
    assert!(Image::pull(&registry.past("app:1")).has("ran"));
}

#[test]
fn without_a_registry_the_cache_is_a_local_folder() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("{}{ONCE}", from(&registry));
    let first = Build::of(&dockerfile).output().ok();
    let second = Build::of(&dockerfile).state(&first.state()).output().ok();
    assert_eq!(second.image().digest, first.image().digest);
    let elsewhere = Build::of(&dockerfile).output().ok();
    assert_ne!(elsewhere.image().text("ran"), first.image().text("ran"));
}

#[test]
fn a_base_with_the_same_layers_is_the_same_base() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let scratch = Scratch::new();
    let mut layout = Layout::create(scratch.path());
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    layout.add("relabelled", &busybox(json!({"Env": [path], "Cmd": ["sh"], "Labels": {"new": "label"}})));
    registry.add(layout.path(), "relabelled", "base/relabelled:1");
    let build = |name: &str, base: &str| {
        let dockerfile = format!("FROM {}\n{ONCE}", registry.at(base));
        Build::of(&dockerfile)
            .push()
            .tag(&registry.at(name))
            .option("--cache-repo", &registry.at("cache"))
            .ok();
    };
    build("app:1", "base/busybox:1");
    build("app:2", "base/relabelled:1");
    assert_eq!(ran(&registry, "app:1"), ran(&registry, "app:2"));
    assert_eq!(Image::pull(&registry.past("app:2")).setting("Labels")["new"], "label");
}

#[test]
fn with_an_epoch_two_uncached_builds_are_the_same_bytes() {
    if !needs_root() {
        return;
    }
    let build = || {
        let registry = Registry::start();
        let dockerfile = format!(
            "{}WORKDIR /app\nCOPY a ./\nRUN mkdir made && echo made > made/file && ln -s file made/link\n",
            from(&registry)
        );
        let build =
            Build::of(&dockerfile).file("a", "a").push().tag(&registry.at("app:1")).flag("--no-cache");
        build.environment("SOURCE_DATE_EPOCH", "1700000000").ok();
        Image::pull(&registry.past("app:1"))
    };
    let (one, two) = (build(), build());
    assert_eq!(one.config, two.config);
    assert_eq!(one.digest, two.digest);
}

#[test]
fn copies_are_the_same_bytes_on_every_machine() {
    let build = || {
        let build = Build::of("FROM scratch\nCOPY . /all\n").file("b/c", "c").file("a", "a");
        for file in ["a", "b/c", "b", "Dockerfile"] {
            sh("touch", &["-d", "2024-05-05T05:05:05Z", build.folder().join(file).to_str().unwrap()]);
        }
        build.output().ok().image().digest
    };
    assert_eq!(build(), build());
}

#[test]
fn an_image_without_its_layer_is_not_offered() {
    // The whole build is known, but the tag goes to a repository of its own: all blobs must be there too.
    let registry = Registry::start();
    let build = |name: &str| {
        Build::of("FROM scratch\nCOPY a /\n")
            .file("a", "a")
            .push()
            .tag(&registry.at(name))
            .option("--cache-repo", &registry.at("cache"))
    };
    build("one:1").ok();
    build("two:1").ok();
    assert_eq!(Image::pull(&registry.past("two:1")).text("a"), "a");
}

#[test]
fn an_empty_layer_image_is_read_back() {
    let registry = Registry::start();
    let scratch = Scratch::new();
    let mut layout = Layout::create(scratch.path());
    layout.add("t", &NewImage::new(json!({})).layer([Entry::file("only", 0o600, "x")]));
    registry.add(layout.path(), "t", "odd:1");
    let image = Build::of(&format!("FROM {}\nLABEL a=b\n", registry.at("odd:1"))).output().ok().image();
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.setting("Labels")["a"], "b");
}

#[test]
fn records_that_are_too_old_are_misses() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    // The copied file is older than any record: its age is not the record's.
    let dockerfile = format!("{}COPY a /\n{ONCE}", from(&registry));
    let build = |name: &str, ttl: &str| {
        let build = Build::of(&dockerfile).file("a", "a").push().tag(&registry.at(name));
        let path = build.folder().join("a");
        sh("touch", &["-d", "2001-01-01", path.to_str().unwrap()]);
        let built = build.option("--cache-ttl", ttl).ok();
        (ran(&registry, name), built.shown())
    };
    let (first, _) = build("app:1", "1h");
    assert_eq!(build("app:2", "1h").0, first);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (again, said) = build("app:3", "1s");
    assert_ne!(again, first);
    assert!(said.contains("older than --cache-ttl"), "{said}");
    assert_eq!(build("app:4", "1h").0, again, "what was made anew is the record now");
    Build::of("FROM scratch\n").option("--cache-ttl", "soon").exits(2).says(&["--cache-ttl"]);
}

#[test]
fn who_may_not_write_a_cache_reads_it() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("{}{ONCE}", from(&registry));
    let cache = registry.at("shared/cache");
    let build =
        |name: &str| Build::of(&dockerfile).push().tag(&registry.at(name)).option("--cache-repo", &cache);
    build("app:1").ok();
    let first = ran(&registry, "app:1");
    let written = || registry.asked("PUT", "shared/cache") + registry.asked("POST", "shared/cache");
    let scratch = Scratch::new();
    let event = scratch.write(
        "event.json",
        r#"{"pull_request":{"head":{"repo":{"full_name":"stranger/app"}},"base":{"repo":{"full_name":"o/app"}}}}"#,
    );
    let fork = |build: Build| {
        build.environment("GITHUB_EVENT_NAME", "pull_request").environment("GITHUB_EVENT_PATH", event.clone())
    };
    registry.reset();
    fork(build("fork:1")).ok().says(&["a pull request from a fork"]);
    assert_eq!(ran(&registry, "fork:1"), first);
    fork(build("fork:2").flag("--no-cache")).ok();
    build("fork:3").flag("--no-cache").option("--cache-write", "never").ok();
    assert_eq!(written(), 0);
    fork(build("fork:4").flag("--no-cache").option("--cache-write", "always")).ok();
    assert!(written() > 0);
}
