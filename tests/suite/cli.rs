//! The command line: commands, aliases, where input comes from, and what is said.

use crate::support::{Build, Image, Registry, Scratch, inspect, sh};

const SMALL: &str = "FROM scratch\nCOPY a /\n";

fn small() -> Build {
    Build::of(SMALL).file("a", "a")
}

#[test]
fn version_is_one_line() {
    let said = Build::command(&["version"]).ok();
    assert_eq!(said.stdout.lines().count(), 1);
    assert!(said.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", said.stdout);
    Build::command(&["--version"]).ok().says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let said = Build::command(&["completion", shell]).ok();
        assert!(said.stdout.contains("ocistage") && said.stdout.len() > 500, "{shell}");
    }
    Build::command(&["completion", "unheard"]).exits(2);
}

#[test]
fn help_names_commands_and_flags() {
    Build::command(&["--help"]).ok().says(&["build", "push", "version", "completion"]);
    let flags = [
        "--file",
        "--tag",
        "--target",
        "--build-arg",
        "--build-context",
        "--push",
        "--output",
        "--cache-repo",
    ];
    let more =
        ["--cache-from", "--cache-to", "--no-cache", "--no-cache-filter", "--pull", "--label", "--platform"];
    let rest = ["--backend", "--jobs", "--iidfile", "--metadata-file", "--progress", "--quiet"];
    Build::command(&["build", "--help"]).ok().says(&[&flags[..], &more, &rest].concat());
}

#[test]
fn a_command_that_is_missing_is_a_usage_error() {
    Build::command(&[]).exits(2);
    Build::command(&["biuld", "."]).exits(2).says(&["biuld", "build"]);
}

#[test]
fn aliases_of_build() {
    for alias in ["b", "bud"] {
        let scratch = Scratch::new();
        let (context, state) = (scratch.folder("context"), scratch.folder("state"));
        scratch.write("context/Dockerfile", "FROM scratch\nLABEL a=1\n");
        let words = [alias, "--state-dir", state.to_str().unwrap(), context.to_str().unwrap()];
        Build::command(&words).ok().says(&["sha256:"]);
    }
}

#[test]
fn an_image_without_a_name_goes_to_the_local_store_under_its_digest() {
    let said = small().ok();
    said.says(&["sha256:"]);
    let digest = said.shown();
    let at = digest.rfind("sha256:").unwrap();
    assert!(digest[at + 7..].chars().take(64).all(|c| c.is_ascii_hexdigit()), "{digest}");
}

#[test]
fn quiet_prints_the_digest_alone() {
    let registry = Registry::start();
    let said = small().push().tag(&registry.at("app:1")).flag("--quiet").ok();
    let digest = inspect(&registry.past("app:1"))["Digest"].as_str().unwrap().to_owned();
    assert_eq!(said.stdout.trim(), digest);
    assert_eq!(said.stderr, "");
}

#[test]
fn a_dockerfile_comes_from_standard_input() {
    let image =
        small().option("--file", "-").stdin("FROM scratch\nCOPY a /from-stdin\n").output().ok().image();
    assert!(image.has("from-stdin"));
}

#[test]
fn a_dockerfile_elsewhere_is_given_by_path() {
    let build =
        small().beside("Other", "FROM scratch\nCOPY a /other\n", |build, path| build.option("-f", path));
    assert!(build.output().ok().image().has("other"));
}

#[test]
fn containerfile_is_read_when_there_is_no_dockerfile() {
    let build = small().file("Containerfile", "FROM scratch\nCOPY a /container\n");
    std::fs::remove_file(build.folder().join("Dockerfile")).unwrap();
    assert!(build.output().ok().image().has("container"));
    let build = small().file("Containerfile", "FROM scratch\nCOPY a /container\n");
    assert!(build.output().ok().image().has("a"), "Dockerfile comes first");
}

#[test]
fn labels_and_arguments_come_from_the_command_line() {
    let build = Build::of("FROM scratch\nARG A=default\nARG B\nCOPY a /$A-$B\n").file("a", "");
    let build = build
        .option("--label", "x=y")
        .option("--label", "z")
        .build_arg("A", "given")
        .option("--build-arg", "B");
    let image = build.environment("B", "from-environment").output().ok().image();
    assert!(image.has("given-from-environment"), "{:?}", image.tree.keys());
    assert_eq!(image.setting("Labels").to_string(), "{\"x\":\"y\",\"z\":\"\"}");
}

#[test]
fn a_flag_can_be_set_in_the_environment() {
    let image = small().environment("OCISTAGE_LABEL", "from=environment").output().ok().image();
    assert_eq!(image.setting("Labels")["from"], "environment");
}

#[test]
fn named_contexts_of_each_kind() {
    let registry = Registry::start();
    let other = Scratch::new();
    other.write("folder/file", "from a folder");
    let layout = other.path().join("layout");
    sh(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            &format!("docker://{}", registry.past("base/busybox:1")),
            &format!("oci:{}:v1", layout.display()),
        ],
    );
    let build = Build::of(
        "FROM scratch\nCOPY --from=folder file /a\nCOPY --from=layout etc/passwd /b\nCOPY --from=image etc/passwd /c\n",
    );
    let image = build
        .option("--build-context", &format!("folder={}", other.path().join("folder").display()))
        .option("--build-context", &format!("layout=oci-layout://{}:v1", layout.display()))
        .option("--build-context", &format!("image=docker-image://{}", registry.at("base/busybox:1")))
        .output()
        .ok()
        .image();
    assert_eq!(image.text("a"), "from a folder");
    assert!(image.text("b").starts_with("root:") && image.text("c") == image.text("b"));
}

#[test]
fn progress_in_plain_form_names_steps() {
    let said = small().output().ok();
    said.says(&["#1 ", "COPY a /"]);
    let quiet = Build::of(SMALL).file("a", "a").option("--progress", "quiet").ok();
    assert_eq!(quiet.shown().lines().count(), 1, "the digest alone: {}", quiet.shown());
}

#[test]
fn an_argument_that_is_spelled_with_a_dollar_is_read_with_a_warning() {
    let image = Build::of("FROM scratch\nARG $NAME\nCOPY a /$NAME\n")
        .file("a", "")
        .build_arg("NAME", "named")
        .output()
        .ok();
    image.says(&["ARG", "NAME", "warning"]);
    assert!(image.image().has("named"));
}

#[test]
fn instructions_reach_the_configuration() {
    let dockerfile = "FROM scratch\nMAINTAINER someone\nENV A=1 B=\"two $A\"\nLABEL l=\"$A\"\nEXPOSE 80 53/udp\nVOLUME /data /more\n\
                      STOPSIGNAL SIGINT\nUSER 5\nWORKDIR /w\nWORKDIR x\nSHELL [\"/bin/ash\", \"-c\"]\n\
                      HEALTHCHECK --interval=5s --start-period=1m CMD true\nONBUILD COPY . /app\nENTRYPOINT run it\nCMD [\"x\"]\n";
    let image = Build::of(dockerfile).output().ok().image();
    let config = &image.config["config"];
    assert_eq!(image.config["author"], "someone");
    assert!(config["Env"].to_string().contains("\"A=1\",\"B=two \""), "{}", config["Env"]);
    assert_eq!(config["Labels"]["l"], "1");
    assert_eq!(config["ExposedPorts"].to_string(), "{\"53/udp\":{},\"80/tcp\":{}}");
    assert_eq!(config["Volumes"].to_string(), "{\"/data\":{},\"/more\":{}}");
    assert_eq!((config["StopSignal"].as_str(), config["User"].as_str()), (Some("SIGINT"), Some("5")));
    assert_eq!(config["WorkingDir"], "/w/x");
    assert_eq!(config["Entrypoint"].to_string(), "[\"/bin/ash\",\"-c\",\"run it\"]");
    assert_eq!(config["Cmd"].to_string(), "[\"x\"]");
    assert_eq!(config["Healthcheck"]["Test"].to_string(), "[\"CMD-SHELL\",\"true\"]");
    assert_eq!(config["Healthcheck"]["StartPeriod"], 60_000_000_000_u64);
    assert_eq!(config["OnBuild"].to_string(), "[\"COPY . /app\"]");
    assert_eq!((image.node("w/x").owner.0, image.node("w/x").mode), (5, 0o755));
}

#[test]
fn triggers_of_a_base_run_in_the_child() {
    let registry = Registry::start();
    let parent = format!("FROM {}\nONBUILD COPY a /triggered\n", registry.at("base/busybox:1"));
    Build::of(&parent).push().tag(&registry.at("parent:1")).ok();
    let image =
        Build::of(&format!("FROM {}\n", registry.at("parent:1"))).file("a", "a").output().ok().image();
    assert_eq!(image.text("triggered"), "a");
    assert!(image.setting("OnBuild").as_array().is_none_or(Vec::is_empty), "triggers fire once");
}

#[test]
fn copies_in_their_common_forms() {
    let registry = Registry::start();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o600);
    archive.append_data(&mut header, "inside/file", &b"x"[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    let dockerfile = format!(
        "FROM {} AS first\nCOPY one /from-stage\nFROM {0}\nCOPY one /file\nCOPY one two /folder/\nCOPY tree /tree\n\
         COPY *.txt /globbed/\nCOPY --from=first /from-stage /a\nCOPY --from=0 /from-stage /b\nCOPY --from={0} /etc/group /c\n\
         COPY --chown=app --chmod=0600 one /owned\nADD archive.tar /extracted\nCOPY archive.tar /kept\nCOPY [\"with space\", \"/with space\"]\n\
         COPY one /bin/linked\nWORKDIR /w\nCOPY one two ./\n",
        registry.at("base/busybox:1")
    );
    let build = Build::of(&dockerfile)
        .file("one", "1")
        .file("two", "2")
        .file("tree/sub/deep", "d")
        .file("tree/.hidden", "h");
    let build = build
        .file("x.txt", "x")
        .file("y.txt", "y")
        .file("z.md", "z")
        .file("archive.tar", archive)
        .file("with space", "s");
    let image = build.output().ok().image();
    assert_eq!(
        (image.text("file"), image.text("folder/one"), image.text("folder/two")),
        ("1".into(), "1".into(), "2".into())
    );
    assert_eq!((image.text("tree/sub/deep"), image.text("tree/.hidden")), ("d".into(), "h".into()));
    assert!(image.has("globbed/x.txt") && image.has("globbed/y.txt") && !image.has("globbed/z.md"));
    assert_eq!((image.text("a"), image.text("b")), ("1".into(), "1".into()));
    assert!(image.text("c").starts_with("root:x:0:"));
    assert_eq!((image.node("owned").owner, image.node("owned").mode), ((1000, 1000), 0o600));
    assert_eq!(image.text("extracted/inside/file"), "x");
    assert!(image.node("kept").bytes.len() > 512);
    assert_eq!(image.text("with space"), "s");
    assert_eq!(image.node("file").owner, (0, 0), "files of a context belong to root");
    assert!(image.has("w/one") && image.has("w/two") && image.has("bin/linked"));
}

#[test]
fn a_copy_goes_through_links_of_the_image() {
    let registry = Registry::start();
    let one = format!("FROM {}\nCOPY tree /\n", registry.at("base/busybox:1"));
    let build = Build::of(&one).file("tree/real/keep", "k").push().tag(&registry.at("linked:1"));
    std::os::unix::fs::symlink("real", build.folder().join("tree/way")).unwrap();
    build.ok();
    let two = format!("FROM {}\nCOPY a /way/a\n", registry.at("linked:1"));
    let image = Build::of(&two).file("a", "a").push().tag(&registry.at("app:1")).ok();
    drop(image);
    let image = Image::pull(&registry.past("app:1"));
    assert_eq!(image.text("real/a"), "a");
    assert_eq!(image.node("way").kind, tar::EntryType::Symlink);
}

#[test]
fn ignored_files_stay_out() {
    let ignore = "# comment\n*.log\n!keep.log\nsecret\n/deep/*/x\n";
    let build = Build::of("FROM scratch\nCOPY . /\n")
        .file(".dockerignore", ignore)
        .file("a.log", "")
        .file("keep.log", "");
    let build = build.file("secret/in", "").file("deep/1/x", "").file("deep/1/y", "").file("b", "");
    let image = build.output().ok().image();
    for (path, there) in [
        ("a.log", false),
        ("keep.log", true),
        ("secret/in", false),
        ("deep/1/x", false),
        ("deep/1/y", true),
        ("b", true),
    ] {
        assert_eq!(image.has(path), there, "{path}");
    }
}

#[test]
fn stages_that_are_not_needed_do_not_run() {
    let dockerfile = "FROM 127.0.0.1:1/never/asked:1 AS unneeded\nRUN false\nFROM scratch AS needed\nCOPY a /\n\
                      FROM needed AS final\nLABEL x=y\n";
    Build::of(dockerfile).file("a", "a").output().ok();
    let image = Build::of(dockerfile).file("a", "a").target("needed").output().ok().image();
    assert!(image.setting("Labels").is_null());
}
