//! What lines of words ask of the library.

use ocistage::CachePlace;
use ocistage::oci::Repository;

use super::super::args::{self, Command};
use ocistage::{ImageSource, OutputRequest};

use super::*;

struct Line {
    environment: Environment,
    context: tempfile::TempDir,
}

impl Line {
    fn new(variables: &[(&str, &str)]) -> Line {
        let context = tempfile::tempdir().unwrap();
        std::fs::write(context.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        let mut all = vec![("HOME", "/home/u")];
        all.extend(variables);
        Line { environment: Environment::of(&all), context }
    }

    fn words(&self, words: &[&str]) -> Command {
        let words = std::iter::once("ocistage").chain(words.iter().copied()).map(OsString::from);
        args::parse(words, &self.environment).unwrap().command
    }

    fn build(&self, words: &[&str]) -> Result<BuildRequest, Failure> {
        let Command::Build(args) = self.words(&[&["build"], words].concat()) else { panic!() };
        self.request(&args.options, &args.common, false).map(|prepared| prepared.request)
    }

    fn request(
        &self,
        options: &BuildOptions,
        common: &CommonOptions,
        ephemeral: bool,
    ) -> Result<Prepared<BuildRequest>, Failure> {
        let streams = &mut Streams { stdin: &mut io::empty(), stdout_is_terminal: false };
        let context = self.context.path().as_os_str().to_owned();
        build(options, common, &context, ephemeral, &self.environment, streams)
    }

    fn push(&self, words: &[&str]) -> Result<PushForm, Failure> {
        let Command::Push(args) = self.words(&[&["push"], words].concat()) else { panic!() };
        push_form(&args)
    }
}

fn built(words: &[&str]) -> BuildRequest {
    Line::new(&[]).build(words).unwrap()
}

fn refusal(words: &[&str]) -> String {
    Line::new(&[]).build(words).unwrap_err().message
}

fn repository(text: &str) -> Option<Repository> {
    Some(text.parse().unwrap())
}

#[test]
fn an_image_without_a_place_goes_to_the_store() {
    assert_eq!(built(&[]).outputs, [OutputRequest::Store]);
    assert_eq!(built(&["-t", "app"]).outputs, [OutputRequest::Store]);
    assert_eq!(built(&["-t", "app"]).cache.repository, None);
    assert_eq!(built(&["-o", "type=image"]).outputs, [OutputRequest::Store]);
    assert_eq!(built(&["-o", "out"]).outputs, [OutputRequest::Local { dest: "out".into() }]);
}

#[test]
fn pushing_goes_to_the_registry_which_is_then_the_cache_too() {
    let request = built(&["-t", "r.io/team/app:1", "-t", "r.io/team/app:2", "--push"]);
    assert_eq!(request.outputs, [OutputRequest::Registry]);
    assert_eq!(request.cache.repository, repository("r.io/team/app/cache"));
    assert_eq!(request.tags.len(), 2);
    assert_eq!(built(&["-t", "r.io/a", "-o", "type=registry"]).cache.repository, repository("r.io/a/cache"));
    assert_eq!(built(&["-t", "team/app", "--push"]).cache.repository, repository("docker.io/team/app"));
    assert!(refusal(&["--push"]).contains("pushing needs a name"));
}

#[test]
fn a_cache_that_is_named_stands_in_for_the_default() {
    let request = built(&["-t", "r.io/a", "--push", "--cache-repo", "r.io/c"]);
    assert_eq!(request.cache.repository, repository("r.io/c"));
    let request =
        built(&["-t", "r.io/a", "--push", "--cache-to", "r.io/w", "--cache-from", "type=local,src=/f"]);
    assert_eq!(request.cache.repository, None);
    assert_eq!(request.cache.to, [CachePlace::Repository("r.io/w".parse().unwrap())]);
    assert_eq!(request.cache.from, [CachePlace::Folder("/f".into())]);
    let request = built(&["--no-cache-filter", "a,b", "--no-cache-filter", "c", "--no-cache"]);
    assert_eq!(request.cache.disabled_stages, ["a", "b", "c"]);
    assert!(request.cache.disabled);
}

#[test]
fn the_push_form_keeps_nothing_here() {
    let line = Line::new(&[("TMPDIR", "/scratch")]);
    let Command::Push(args) = line.words(&["push", "-t", "r.io/a", "."]) else { panic!() };
    // The credential text would be spooled to TMPDIR, which is not asked of here.
    let request = line.request(&args.options, &args.common, true).unwrap().request;
    assert_eq!(request.outputs, [OutputRequest::Registry]);
    assert_eq!(request.state, StateRequest { dir: "/scratch".into(), ephemeral: true });
}

#[test]
fn arguments_come_from_the_line_then_the_environment() {
    let line = Line::new(&[
        ("SET", "here"),
        ("http_proxy", "p1"),
        ("HTTPS_PROXY", "p2"),
        ("SOURCE_DATE_EPOCH", "1700000000"),
    ]);
    let request = line
        .build(&["--build-arg", "A=1", "--build-arg", "A=b=c", "--build-arg", "SET", "--build-arg", "UNSET"])
        .unwrap();
    let args: Vec<_> = request.build_args.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        args,
        [
            ("A", "b=c"),
            ("HTTPS_PROXY", "p2"),
            ("SET", "here"),
            ("SOURCE_DATE_EPOCH", "1700000000"),
            ("http_proxy", "p1"),
        ]
    );
    assert_eq!(request.source_date_epoch, Some(1_700_000_000));
    let request = line.build(&["--build-arg", "HTTP_PROXY=mine"]).unwrap();
    assert_eq!(request.build_args.get("http_proxy"), None);
    assert!(refusal(&["--build-arg", "=x"]).contains("the name is missing"));
}

#[test]
fn a_time_that_is_none_is_refused() {
    let message = |value| Line::new(&[("SOURCE_DATE_EPOCH", value)]).build(&[]).unwrap_err().message;
    assert!(message("yesterday").contains("is not a number of seconds"));
    assert!(message("-1").contains("is not a number of seconds"));
    assert_eq!(Line::new(&[("SOURCE_DATE_EPOCH", "")]).build(&[]).unwrap().source_date_epoch, None);
}

#[test]
fn one_platform_is_taken_and_a_list_is_refused_by_name() {
    assert_eq!(built(&["--platform", "linux/arm64"]).platform, Some(Platform::new("linux", "arm64", None)));
    assert!(refusal(&["--platform", "linux/arm64,linux/amd64"]).contains("several platforms"));
    assert!(refusal(&["--platform", "a/b/c/d"]).contains("malformed"));
    let line = Line::new(&[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")]);
    assert_eq!(line.build(&[]).unwrap().platform, Some(Platform::new("linux", "arm64", None)));
}

#[test]
fn hosts_are_names_with_addresses() {
    let request = built(&["--add-host", "a:1.2.3.4", "--add-host", "b=[::1]", "--add-host", "c:::1"]);
    let hosts: Vec<_> = request.extra_hosts.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
    assert_eq!(hosts, [("a", "1.2.3.4"), ("b", "::1"), ("c", "::1")]);
    for bad in ["a", ":1.2.3.4", "a:host", "a:host-gateway", "a b:1.2.3.4"] {
        refusal(&["--add-host", bad]);
    }
}

#[test]
fn labels_and_annotations_are_pairs() {
    let request = built(&["--label", "a=b=c", "--label", "empty", "--annotation", "manifest:x.y=z"]);
    assert_eq!(request.labels["a"], "b=c");
    assert_eq!(request.labels["empty"], "");
    assert_eq!(request.annotations["x.y"], "z");
    let request = built(&["--annotation", "org.url=https://a/b"]);
    assert_eq!(request.annotations["org.url"], "https://a/b");
    assert!(refusal(&["--annotation", "index:a=b"]).contains("annotations of `index` are not supported"));
    assert!(refusal(&["--annotation", "a"]).contains("KEY=VALUE"));
    assert!(refusal(&["--label", "=x"]).contains("key is missing"));
}

#[test]
fn compression_has_the_levels_that_it_has() {
    assert_eq!(built(&["--compression", "zstd", "--compression-level", "22"]).compression_level, Some(22));
    assert_eq!(built(&["-o", "type=oci,dest=x,compression=zstd"]).compression, Compression::Zstd);
    assert!(refusal(&["--compression-level", "10"]).contains("0 to 9"));
    refusal(&["--compression", "uncompressed", "--compression-level", "1"]);
    refusal(&["--compression", "zstd", "--compression-level", "0"]);
}

#[test]
fn standard_output_holds_one_thing() {
    assert!(refusal(&["-o", "-", "-o", "type=oci"]).contains("two outputs"));
    assert!(refusal(&["-o", "-", "-q"]).contains("--quiet"));
    let line = Line::new(&[]);
    let Command::Build(args) = line.words(&["build", "-o", "-"]) else { panic!() };
    let streams = &mut Streams { stdin: &mut io::empty(), stdout_is_terminal: true };
    let context = line.context.path().as_os_str().to_owned();
    let refused = build(&args.options, &args.common, &context, false, &line.environment, streams);
    assert!(refused.unwrap_err().message.contains("terminal"));
}

#[test]
fn a_name_is_taken_once_and_without_a_digest() {
    assert_eq!(built(&["-t", "a", "-t", "docker.io/library/a:latest"]).tags.len(), 1);
    let digest = format!("a@sha256:{}", "0".repeat(64));
    assert!(refusal(&["-t", &digest]).contains("the digest is a result"));
    assert!(refusal(&["-t", "UPPER/x"]).contains("lower case"));
}

#[test]
fn an_authfile_that_is_named_must_be_there() {
    assert!(
        refusal(&["--authfile", "/does/not/exist"]).contains("--authfile `/does/not/exist`: no such file")
    );
}

#[test]
fn credentials_given_as_text_are_a_file_while_the_request_lives() {
    let line = Line::new(&[("DOCKER_AUTH_CONFIG", r#"{"auths":{}}"#)]);
    let Command::Build(args) = line.words(&["build"]) else { panic!() };
    let prepared = line.request(&args.options, &args.common, false).unwrap();
    let file = &prepared.request.registries.auth_files[0];
    assert_eq!(std::fs::read_to_string(file).unwrap(), r#"{"auths":{}}"#);
}

#[test]
fn names_decide_which_form_of_push_is_meant() {
    let line = Line::new(&[]);
    assert!(matches!(line.push(&["-t", "r.io/a", "."]).unwrap(), PushForm::Build(context) if context == "."));
    match line.push(&["oci:dir:v1", "r.io/a", "r.io/b"]).unwrap() {
        PushForm::Send(source, references) => {
            assert_eq!((source.as_str(), references.len()), ("oci:dir:v1", 2));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(line.push(&["app:1"]).unwrap(), PushForm::Send(source, _) if source == "app:1"));
}

#[test]
fn a_push_that_may_mean_either_is_refused_with_both_ways_out() {
    let line = Line::new(&[]);
    let failure = line.push(&["-t", "r.io/a", "oci:dir"]).unwrap_err();
    assert!(failure.message.contains("which is meant?"));
    assert_eq!(failure.hints, ["to push the image, name it after it: ocistage push oci:dir r.io/a"]);
    assert!(line.push(&["-t", "r.io/a", "app", "r.io/b"]).unwrap_err().message.contains("one context"));
    assert!(line.push(&["."]).unwrap_err().message.contains("is a context, not an image"));
    assert!(line.push(&["--target", "x", "app"]).unwrap_err().message.contains("--target has no meaning"));
    assert!(line.push(&[]).unwrap_err().message.contains("nothing to push"));
}

#[test]
fn a_tag_from_the_environment_does_not_turn_sending_into_building() {
    let line = Line::new(&[("OCISTAGE_TAG", "r.io/a:1")]);
    assert!(matches!(line.push(&["."]).unwrap(), PushForm::Build(_)));
    assert!(matches!(line.push(&["oci:dir", "r.io/b"]).unwrap(), PushForm::Send(..)));
    assert!(matches!(line.push(&["app", "r.io/b"]).unwrap(), PushForm::Send(..)));
}

#[test]
fn an_image_in_a_file_needs_a_name_to_go_to() {
    let environment = Environment::of(&[("HOME", "/home/u")]);
    let dir = tempfile::tempdir().unwrap();
    let source = format!("oci:{}", dir.path().display());
    let send = |source: &str, names: &[&str]| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        push(source, names, &CommonOptions::default(), &environment)
    };
    assert!(send(&source, &[]).unwrap_err().message.contains("has no name"));
    assert!(send("oci:/does/not/exist", &["r.io/a"]).unwrap_err().message.contains("no such file"));
    assert!(send("docker-daemon:app", &["r.io/a"]).unwrap_err().message.contains("not supported"));
    let request = send(&format!("{source}:v1"), &["r.io/a"]).unwrap().request;
    assert_eq!(request.source, ImageSource::OciLayout(dir.path().to_owned(), Some("v1".to_owned())));
    assert_eq!(send("app:1", &[]).unwrap().request.source, ImageSource::Stored("app:1".to_owned()));
}
