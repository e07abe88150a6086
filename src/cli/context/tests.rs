//! Which Dockerfile of which context is taken, and what is said when there is none.

use ocistage::NamedContext;

use super::*;

/// A folder with these files (`/` at the end: a folder).
fn folder(entries: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in entries {
        let path = dir.path().join(name);
        match name.strip_suffix('/') {
            Some(_) => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
    dir
}

fn opened(argument: &OsStr, file: Option<&str>, stdin: &[u8]) -> Result<Opened, Failure> {
    let spool_dir = std::env::temp_dir();
    open(argument, file.map(Path::new), &mut Stdin { stream: &mut &stdin[..], spool_dir: &spool_dir })
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_dockerfile_is_preferred_to_a_containerfile() {
    let dir = folder(&[("Containerfile", "FROM c")]);
    assert_eq!(
        opened(dir.path().as_os_str(), None, b"").unwrap().dockerfile.source().unwrap().text(),
        "FROM c"
    );
    fs::write(dir.path().join("Dockerfile"), "FROM d").unwrap();
    let opened = opened(dir.path().as_os_str(), None, b"").unwrap();
    assert_eq!(opened.dockerfile.source().unwrap().text(), "FROM d");
    assert_eq!(opened.dockerfile_path, Some(dir.path().join("Dockerfile")));
    assert_eq!(opened.context, ContextRequest::Directory(dir.path().to_owned()));
}

#[test]
fn a_file_is_found_in_the_context_when_it_is_not_where_it_was_typed() {
    let dir = folder(&[("build.dockerfile", "FROM x")]);
    let opened = opened(dir.path().as_os_str(), Some("build.dockerfile"), b"").unwrap();
    assert_eq!(opened.dockerfile_path, Some(dir.path().join("build.dockerfile")));
}

#[test]
fn a_missing_dockerfile_names_what_was_looked_for_and_what_is_there() {
    let dir = folder(&[("dockerfile.prod", "")]);
    let failure = opened(dir.path().as_os_str(), None, b"").unwrap_err();
    assert!(failure.message.contains("/Dockerfile` and `"), "{}", failure.message);
    assert!(failure.message.contains("/Containerfile`"), "{}", failure.message);
    assert!(failure.hints[0].contains("dockerfile.prod"), "{:?}", failure.hints);
}

#[test]
fn a_dockerfile_that_is_a_directory_is_said_to_be_one() {
    let dir = folder(&[("Dockerfile/", "")]);
    let failure = opened(dir.path().as_os_str(), None, b"").unwrap_err();
    assert!(failure.message.ends_with("is a directory, not a Dockerfile"), "{}", failure.message);
}

#[test]
fn a_dash_for_the_file_reads_standard_input() {
    let dir = folder(&[]);
    let opened = opened(dir.path().as_os_str(), Some("-"), b"FROM scratch").unwrap();
    assert_eq!(opened.dockerfile.source().unwrap().text(), "FROM scratch");
    assert_eq!(opened.dockerfile_path, None);
}

#[test]
fn a_dash_for_the_context_takes_a_dockerfile_without_context() {
    let opened = opened(OsStr::new("-"), None, b"FROM scratch\nLABEL a=b\n").unwrap();
    assert_eq!(opened.context, ContextRequest::Empty);
    assert_eq!(opened.dockerfile.source().unwrap().text(), "FROM scratch\nLABEL a=b\n");
}

#[test]
fn a_dash_for_the_context_takes_an_archive() {
    let bytes = archive(&[("./Dockerfile", "FROM a"), ("sub/other", "FROM b")]);
    let default = opened(OsStr::new("-"), None, &bytes).unwrap();
    assert_eq!(default.dockerfile.source().unwrap().text(), "FROM a");
    let ContextRequest::Archive(path) = &default.context else { panic!("{:?}", default.context) };
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(
        opened(OsStr::new("-"), Some("sub/other"), &bytes).unwrap().dockerfile.source().unwrap().text(),
        "FROM b"
    );
    let failure = opened(OsStr::new("-"), Some("nope"), &bytes).unwrap_err();
    assert_eq!(failure.message, "the archive on standard input has no `nope`");
}

#[test]
fn standard_input_is_not_used_twice() {
    assert!(opened(OsStr::new("-"), Some("-"), b"").is_err());
    assert!(opened(OsStr::new("-"), Some("Dockerfile"), b"FROM scratch").is_err());
}

#[test]
fn contexts_that_are_not_directories_are_refused_with_what_to_do() {
    let dir = folder(&[("file.tar", "")]);
    let failure = opened(dir.path().join("file.tar").as_os_str(), None, b"").unwrap_err();
    assert!(failure.message.contains("is a file, not a directory"));
    let failure = opened(OsStr::new("ftp://u:secret@h/x"), None, b"").unwrap_err();
    assert_eq!(failure.message, "context `ftp://h/x` is neither a URL of a file nor a git repository");
    let failure = opened(OsStr::new("/does/not/exist"), None, b"").unwrap_err();
    assert_eq!(failure.message, "context `/does/not/exist`: no such file or directory");
}

#[test]
fn a_remote_context_has_its_dockerfile_in_it_unless_another_is_given() {
    for remote in
        ["https://h/a/b.git#v1:d", "HTTP://h/x.tar", "git@github.com:a/b", "github.com/a/b", "ssh://git@h/x"]
    {
        let opened = opened(OsStr::new(remote), None, b"").unwrap();
        assert_eq!(opened.context, ContextRequest::Remote(remote.to_owned()));
        assert!(matches!(opened.dockerfile, DockerfileRequest::InContext(None)), "{remote}");
    }
    let remote = OsStr::new("https://h/x.git");
    let named = opened(remote, Some("d/Containerfile"), b"").unwrap().dockerfile;
    assert!(
        matches!(named, DockerfileRequest::InContext(Some(file)) if file == Path::new("d/Containerfile"))
    );
    let typed = opened(remote, Some("-"), b"FROM x").unwrap().dockerfile;
    assert_eq!(typed.source().unwrap().text(), "FROM x");
    let dir = folder(&[]);
    let elsewhere = opened(dir.path().as_os_str(), Some("https://h/Dockerfile"), b"").unwrap();
    assert!(matches!(elsewhere.dockerfile, DockerfileRequest::Remote(url) if url == "https://h/Dockerfile"));
}

#[test]
fn named_contexts_are_folders_layouts_images_or_elsewhere() {
    let dir = folder(&[]);
    let path = dir.path().to_str().unwrap();
    let value = |text: &str| named(text).unwrap().1;
    assert_eq!(value(&format!("src={path}")), NamedContext::Directory(path.into()));
    assert_eq!(
        value("base=docker-image://alpine:3"),
        NamedContext::Image("docker.io/library/alpine:3".parse().unwrap())
    );
    assert_eq!(
        value(&format!("l=oci-layout://{path}:v1")),
        NamedContext::OciLayout(path.into(), Some("v1".to_owned()))
    );
    assert_eq!(value("g=https://h/x.git#v1"), NamedContext::Remote("https://h/x.git#v1".to_owned()));
    assert_eq!(value("g=git@h:x"), NamedContext::Remote("git@h:x".to_owned()));
    assert_eq!(named("base=docker-image://a").unwrap().0, "base");
}

#[test]
fn named_contexts_that_cannot_be_read_are_refused_by_name() {
    let refusal = |text: &str| named(text).unwrap_err();
    assert!(refusal("x").message.contains("NAME=VALUE"));
    assert!(refusal("x=ftp://a/b").message.contains("`ftp://` contexts are not supported"));
    assert!(refusal("x=docker-imge://a").message.contains("did you mean `docker-image`?"));
    assert!(refusal("x=alpine").hints[0].contains("x=docker-image://alpine"));
    assert!(refusal("x=docker-image://A:B:C").message.contains("malformed"));
}

#[test]
fn a_layout_place_has_a_tag_or_a_digest_or_neither() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let place = |text: &str| {
        let (dir, selector) = layout_place(text);
        (dir.to_str().unwrap().to_owned(), selector)
    };
    assert_eq!(place("dir"), ("dir".to_owned(), None));
    assert_eq!(place("dir:v1"), ("dir".to_owned(), Some("v1".to_owned())));
    assert_eq!(place("a:b/dir"), ("a:b/dir".to_owned(), None));
    assert_eq!(place(&format!("dir@{digest}")), ("dir".to_owned(), Some(digest.to_owned())));
}
