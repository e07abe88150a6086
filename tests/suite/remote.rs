//! What comes from other machines: ADD from URLs and git repositories, and contexts that are fetched.

use crate::support::{Build, Files, Outcome, Scratch, can_be_unprivileged, sha256};

/// Where something lies at time 1445412480, as the server says.
const CHANGED: u64 = 1_445_412_480;

/// What was found and what was carried out.
fn steps(outcome: &Outcome) -> (usize, usize) {
    let shown = outcome.shown();
    let line = shown.lines().find(|line| line.starts_with("steps")).unwrap_or_else(|| panic!("{shown}"));
    let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn a_url_becomes_a_file_that_only_root_may_read_with_the_servers_time() {
    let files = Files::start();
    files.put("dir/a%20name.txt", "body").tar("t.tar", &[("x", "y")]);
    let text = format!(
        "FROM scratch\nADD {0} /a/\nADD --chown=3:4 --chmod=751 {0} /b\nADD {1} /c/\nADD --unpack {1} /d/\n",
        files.at("dir/a%20name.txt"),
        files.at("t.tar")
    );
    let image = Build::of(&text).output().ok().image();
    let node = image.node("a/a name.txt");
    assert_eq!((node.mode, node.owner, image.time("a/a name.txt")), (0o600, (0, 0), CHANGED));
    assert_eq!(image.text("a/a name.txt"), "body");
    assert_eq!((image.node("b").mode, image.node("b").owner), (0o751, (3, 4)));
    assert!(image.has("c/t.tar") && !image.has("c/x"));
    assert_eq!(
        (image.text("d/x").as_str(), image.node("d/x").mode, image.has("d/t.tar")),
        ("y", 0o640, false)
    );
}

#[test]
fn a_checksum_finds_the_step_without_asking_the_server() {
    let (files, state) = (Files::start(), Scratch::new());
    files.put("a", "body");
    let build = |flag: &str| {
        let text = format!("FROM scratch\nADD {flag} {} /\n", files.at("a"));
        Build::of(&text).state(state.path()).output()
    };
    let checksum = format!("--checksum={}", sha256(b"body"));
    // The same step, whether the digest is stated or found.
    assert_eq!(steps(&build("").ok()), (0, 1));
    files.asked();
    assert_eq!(steps(&build(&checksum).ok()), (1, 0));
    assert!(files.asked().is_empty());
}

#[test]
fn other_bytes_than_the_checksum_says_end_the_build() {
    let files = Files::start();
    files.put("a", "evil");
    let text = format!("FROM scratch\nADD --checksum={} {} /\n", sha256(b"good"), files.at("a"));
    let outcome = Build::of(&text).output().exits(1);
    outcome.says(&[&sha256(b"good"), &sha256(b"evil"), "Dockerfile:2"]);
    assert!(!outcome.layout().join("index.json").exists());
}

#[test]
fn a_url_is_asked_again_and_its_content_decides() {
    let (files, state) = (Files::start(), Scratch::new());
    files.put("a", "one");
    let build =
        || Build::of(&format!("FROM scratch\nADD {} /\n", files.at("a"))).state(state.path()).output().ok();
    assert_eq!(steps(&build()), (0, 1));
    assert_eq!(steps(&build()), (1, 0));
    files.put("a", "two");
    let changed = build();
    assert_eq!((steps(&changed), changed.image().text("a").as_str()), ((0, 1), "two"));
    assert_eq!(files.asked(), ["/a", "/a", "/a"]);
}

#[test]
fn a_repository_becomes_its_files() {
    let files = Files::start();
    let first = files.commit("x", &[("a", "1"), ("d/b", "2"), (".dockerignore", "*")]);
    files.commit("x", &[("a", "3")]);
    let at = files.at("x.git");
    let text = format!(
        "FROM scratch\nADD {at} /all\nADD {at}#{first}:d /part/\nADD --keep-git-dir --exclude=d {at} /kept\n\
         ADD --checksum={} {at}#{first} /old\n",
        &first[..10]
    );
    let image = Build::of(&text).output().ok().image();
    assert_eq!((image.text("all/a").as_str(), image.text("all/d/b").as_str()), ("3", "2"));
    let node = image.node("all/a");
    assert_eq!((node.mode, node.owner, image.time("all/a")), (0o644, (0, 0), 1_700_000_000));
    assert!(image.has("part/b") && !image.has("part/d") && !image.has("all/.git"));
    assert!(image.has("kept/.git/HEAD") && !image.has("kept/d"));
    assert_eq!(image.text("old/a"), "1");
    let wrong = format!("FROM scratch\nADD --checksum=0123456 {at}#main /\n");
    Build::of(&wrong).output().exits(1).says(&["0123456"]);
}

#[test]
fn a_commit_is_found_without_asking_the_server_and_a_branch_that_moved_is_not() {
    let (files, state) = (Files::start(), Scratch::new());
    let first = files.commit("x", &[("a", "1")]);
    let build = |reference: &str| {
        let text = format!("FROM scratch\nADD {}#{reference} /x\n", files.at("x.git"));
        Build::of(&text).state(state.path()).output().ok()
    };
    assert_eq!(steps(&build("main")), (0, 1));
    files.asked();
    assert_eq!(steps(&build(&first)), (1, 0));
    assert!(files.asked().is_empty());
    files.commit("x", &[("a", "2")]);
    let moved = build("main");
    assert_eq!((steps(&moved), moved.image().text("x/a").as_str()), ((0, 1), "2"));
}

#[test]
fn contexts_are_repositories_archives_or_dockerfiles() {
    let files = Files::start();
    let dockerfile = "FROM scratch\nCOPY . /\n";
    files.commit(
        "x",
        &[("Dockerfile", dockerfile), (".dockerignore", "a"), ("a", "a"), ("d/Containerfile", dockerfile)],
    );
    files.tar("ctx.tar", &[("Dockerfile", dockerfile), ("t", "t"), ("other", "FROM scratch\nCOPY t /o\n")]);
    files.put("plain", "FROM scratch\nLABEL a=b\n");
    let image = |address: &str, flags: &[&str]| {
        let build = flags.iter().fold(Build::at(&files.at(address)), |build, flag| build.flag(flag));
        build.output().ok().image()
    };
    assert!(image("x.git", &[]).has("a"));
    let part = image("x.git#main:d", &[]);
    assert!(part.has("Containerfile") && !part.has("a"));
    assert!(image("x.git", &["--file=d/Containerfile"]).has("d/Containerfile"));
    assert!(image("ctx.tar", &[]).has("t"));
    assert_eq!(image("ctx.tar", &["-f", "other"]).text("o"), "t");
    assert_eq!(image("plain", &[]).setting("Labels")["a"], "b");
    let typed = Build::at(&files.at("x.git")).flag("--file=-").stdin("FROM scratch\nCOPY a /b\n");
    assert_eq!(typed.output().ok().image().text("b"), "a");
    let there = Build::of("").file("a", "here").option("--file", &files.at("plain"));
    assert_eq!(there.output().ok().image().setting("Labels")["a"], "b");
}

#[test]
fn named_contexts_are_repositories_archives_or_files() {
    let files = Files::start();
    files.commit("x", &[("a", "a")]);
    files.tar("ctx.tar", &[("t", "t")]).put("plain", "p");
    let text = "FROM scratch\nCOPY --from=g a /\nCOPY --from=t t /\nCOPY --from=p context /p\n";
    let build = Build::of(text)
        .option("--build-context", &format!("g={}", files.at("x.git")))
        .option("--build-context", &format!("t={}", files.at("ctx.tar")))
        .option("--build-context", &format!("p={}", files.at("plain")))
        // Nobody reads from it, so nobody asks for it.
        .option("--build-context", &format!("q={}", files.at("nothing")));
    let image = build.output().ok().image();
    assert_eq!(
        (image.text("a").as_str(), image.text("t").as_str(), image.text("p").as_str()),
        ("a", "t", "p")
    );
    assert!(!files.asked().iter().any(|path| path == "/nothing"));
}

#[test]
fn a_login_is_in_no_output_and_no_image() {
    let files = Files::start();
    files.put("a", "a").commit("x", &[("b", "b")]);
    let text = format!(
        "FROM scratch\nADD {} /\nADD --keep-git-dir {} /x\n",
        files.at_with_login("a"),
        files.at_with_login("x.git")
    );
    let outcome = Build::of(&text).output().ok();
    let history = outcome.image().config["history"].to_string();
    assert!(history.contains(&files.at("a")), "{history}");
    for secret in ["us3r", "s3cret"] {
        assert!(!outcome.shown().contains(secret) && !history.contains(secret), "{}", outcome.shown());
    }
    let config = outcome.image().text("x/.git/config");
    assert!(!config.contains("s3cret"), "{config}");
    for (address, code) in [("missing", 2), ("missing.git", 2)] {
        let outcome = Build::at(&files.at_with_login(address)).output().exits(code);
        assert!(!outcome.shown().contains("s3cret"), "{}", outcome.shown());
    }
}

#[test]
fn secrets_open_what_is_private_and_are_shown_to_nobody_else() {
    let files = Files::start();
    files.put("private/a", "a").commit("private/x", &[("b", "b")]);
    let text =
        format!("FROM scratch\nADD {} /\nADD {} /\n", files.at("private/a"), files.at("private/x.git"));
    let build = || Build::of(&text).environment("TOKEN", "t0ken").output();
    let outcome = build()
        .flag("--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN")
        .flag("--secret=id=GIT_AUTH_TOKEN,env=TOKEN")
        .ok();
    assert_eq!((outcome.image().text("a").as_str(), outcome.image().text("b").as_str()), ("a", "b"));
    assert!(!outcome.shown().contains("t0ken"));
    build().flag("--secret=id=GIT_AUTH_TOKEN,env=TOKEN").exits(77).says(&["401", "Dockerfile:2"]);
    let git = build().flag("--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN").exits(77);
    git.says(&["private/x.git", "Dockerfile:3"]);
    let login = format!("FROM scratch\nADD {} /\n", files.at_with_login("private/x.git"));
    assert_eq!(Build::of(&login).output().ok().image().text("b"), "b");
}

#[test]
fn what_is_missing_or_hostile_is_told_by_exit_code_and_line() {
    let files = Files::start();
    files.commit("x", &[("a", "a")]);
    for (source, code, says) in [
        (files.at("nothing"), 1, "404"),
        (files.at("nothing.git"), 1, "not found"),
        (files.at("x.git#gone"), 1, "no branch or tag `gone`"),
        (files.at("x.git#main:gone"), 1, "no folder `gone`"),
        ("http://169.254.169.254/latest".to_owned(), 1, "metadata"),
        ("http://127.0.0.1:1/x.git".to_owned(), 69, "127.0.0.1:1"),
    ] {
        let outcome = Build::of(&format!("FROM scratch\nADD {source} /x/\n")).output().exits(code);
        outcome.says(&[says, "Dockerfile:2"]);
    }
    for source in [files.at("x.git#main:../.."), files.at("x.git#main:a/../../b")] {
        Build::of(&format!("FROM scratch\nADD {source} /x/\n")).output().exits(2);
    }
    let marker = Scratch::new();
    let option = format!("--upload-pack=touch {}/marker", marker.path().display());
    let text = format!("FROM scratch\nADD [\"{}#{option}\", \"/x/\"]\n", files.at("x.git"));
    Build::of(&text).output().exits(1);
    assert!(!marker.path().join("marker").exists());
    for context in ["file:///etc", "ext::sh -c true"] {
        Build::at(context).output().exits(2);
    }
}

#[test]
fn without_git_the_build_says_what_is_missing() {
    let files = Files::start();
    files.commit("x", &[("a", "a")]);
    let outcome = Build::at(&files.at("x.git")).environment("PATH", "/nowhere").output().exits(78);
    outcome.says(&["`git`", "install git"]);
}

#[test]
fn an_ordinary_user_fetches_just_as_well() {
    if !can_be_unprivileged() {
        return;
    }
    let files = Files::start();
    files.commit("x", &[("Dockerfile", "FROM scratch\nCOPY a /\nADD . /all\n"), ("a", "a")]);
    let image = Build::at(&files.at("x.git")).unprivileged().output().ok().image();
    assert_eq!((image.text("a").as_str(), image.node("all/a").owner), ("a", (0, 0)));
}
