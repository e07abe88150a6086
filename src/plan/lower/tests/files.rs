//! COPY and ADD.

use crate::ids::StageId;
use crate::plan::model::{FileOrigin, FileSource};

use super::rig::*;

fn path(text: &str) -> FileSource {
    FileSource::Path(text.to_owned())
}

#[test]
fn sources_destination_and_flags_are_expanded() {
    let text = "FROM scratch\nARG a=x o=1:2 m=644\nWORKDIR /w\n\
                COPY --chown=$o --chmod=$m --exclude=*.$a --link --parents f-$a \"$a\"y d-$a/";
    let copy = &copies(&target(text))[0];
    assert_eq!(copy.sources, [path("f-x"), path("xy")]);
    assert_eq!((copy.dest.as_str(), copy.workdir.as_str()), ("d-x/", "/w"));
    assert_eq!((copy.chown.as_deref(), copy.chmod.as_deref()), (Some("1:2"), Some("644")));
    assert_eq!(copy.exclude, ["*.x"]);
    assert!(copy.link && copy.parents && !copy.unpack);
    assert_eq!(copy.origin, FileOrigin::Context(None));
}

#[test]
fn history_is_what_was_copied_where() {
    let text = "FROM scratch AS s\nFROM scratch\nARG d=dst\nCOPY --from=s --chown=1 --link a b $d/\nADD x /y";
    let history = lowered(text).history();
    assert_eq!(history[1], "COPY --chown=1 --link a b dst/ # buildkit");
    assert_eq!(history[2], "ADD x /y # buildkit");
}

#[test]
fn an_empty_destination_is_the_working_directory() {
    assert_eq!(copies(&target("FROM scratch\nARG d\nCOPY a $d"))[0].dest, ".");
}

#[test]
fn copy_reads_from_stage_number_context_and_image() {
    let text = "FROM scratch AS Base\nFROM scratch\nCOPY --from=base a /\nCOPY --from=0 a /\n\
                COPY --from=ctx a /\nCOPY --from=img a /\nCOPY --from=reg.example/x:1 a /";
    let mut rig = rig(text);
    rig.scan.contexts = [("ctx".to_owned(), true), ("img".to_owned(), false)].into();
    let lowered = rig.run();
    let origins: Vec<_> = copies(&lowered.target()).into_iter().map(|copy| copy.origin).collect();
    assert_eq!(origins[0], FileOrigin::Stage(StageId(0)));
    assert_eq!(origins[1], FileOrigin::Stage(StageId(0)));
    assert_eq!(origins[2], FileOrigin::Context(Some("ctx".to_owned())));
    let names: Vec<_> = lowered.stages.unwrap().images().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["img", "reg.example/x:1"]);
}

#[test]
fn from_takes_global_arguments_and_refuses_others() {
    let good = "ARG S=base\nFROM scratch AS base\nFROM scratch\nCOPY --from=$S a /";
    assert_eq!(copies(&target(good))[0].origin, FileOrigin::Stage(StageId(0)));
    let errors = rig("FROM scratch AS base\nFROM scratch\nARG S=base\nCOPY --from=$S a /").errors();
    assert_eq!(errors[0], "variable-in-from: --from: usage of undefined variable `$S`");
}

#[test]
fn heredoc_files_are_expanded_unless_quoted_and_keep_quotes() {
    let text =
        "# escape=`\nFROM scratch\nARG v=1\nCOPY <<a <<-'b' /d/\n\"$v\" '${v}' \\$v `$v\na\n\tt $v\nb\n";
    let copy = &copies(&target(text))[0];
    let inline = |name: &str, content: &str| FileSource::Inline {
        name: name.to_owned(),
        content: content.as_bytes().into(),
    };
    assert_eq!(copy.sources, [inline("a", "\"1\" '1' $v `1\n"), inline("b", "t $v\n")]);
    assert_eq!(lowered(text).history()[1], "COPY <<a <<b /d/ # buildkit");
}

#[test]
fn add_unpacks_local_archives_unless_told_not_to() {
    let stage = target("FROM scratch\nADD a /\nADD --unpack=false a /\nADD --unpack a /");
    assert_eq!(copies(&stage).iter().map(|add| add.unpack).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn add_fetches_urls_with_their_checksum() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let text = format!(
        "FROM scratch\nARG v=1 c={digest}\nADD --checksum=$c https://h/x-$v.tar /d/\nADD --unpack http://h/y /"
    );
    let adds = copies(&target(&text));
    let url = |url: &str, checksum: Option<&str>, unpack| FileSource::Url {
        url: url.to_owned(),
        checksum: checksum.map(str::to_owned),
        unpack,
    };
    assert_eq!(adds[0].sources, [url("https://h/x-1.tar", Some(&digest), false)]);
    assert_eq!(adds[1].sources, [url("http://h/y", None, true)]);
}

#[test]
fn add_fetches_git_repositories() {
    let text = "FROM scratch\nADD --keep-git-dir --checksum=0123456789abcdef https://h/x.git#v1:docs /d";
    let git = FileSource::Git {
        remote: "https://h/x.git".to_owned(),
        reference: Some("v1".to_owned()),
        subdir: Some("docs".to_owned()),
        checksum: Some("0123456789abcdef".to_owned()),
        keep_git_dir: true,
        submodules: true,
    };
    assert_eq!(copies(&target(text))[0].sources, [git]);
}

#[test]
fn a_login_in_an_address_is_in_no_record() {
    let text = "FROM scratch\nADD https://u:secret@h/x /\nADD https://u:secret@h/x.git#v1:d /x";
    let stage = target(text);
    let lines: Vec<_> = stage.steps.iter().map(|step| (&step.created_by, &step.title)).collect();
    assert!(!format!("{lines:?}").contains("secret"), "{lines:?}");
    assert!(matches!(&copies(&stage)[0].sources[0], FileSource::Url { url, .. } if url.contains("secret")));
}

#[test]
fn a_checksum_is_for_one_source_that_is_fetched() {
    for text in [
        "ADD --checksum=sha256:00 https://h/x /",
        "ADD --checksum=main https://h/x.git /",
        "ADD --checksum=sha256:00 local /",
        "ADD --checksum=0123456 https://h/x.git https://h/y.git /d/",
        "ADD --checksum=0123456 https://h/x.git?checksum=abcdef0 /d/",
    ] {
        let errors = rig(&format!("FROM scratch\n{text}")).errors();
        assert!(errors.len() == 1 && errors[0].starts_with("bad-checksum"), "{text}: {errors:?}");
    }
}

#[test]
fn remote_sources_that_the_engine_can_not_fetch_are_refused_by_name() {
    let mut rig = rig("FROM scratch\nADD https://h/x /\nADD git@h:x.git /x");
    rig.lower.remotes = Default::default();
    assert_eq!(
        rig.errors(),
        [
            "unsupported-add: ADD from a URL is not supported yet: `https://h/x`",
            "unsupported-add: ADD from a git repository is not supported yet: `git@h:x.git`"
        ]
    );
}

#[test]
fn copy_fetches_nothing() {
    assert_eq!(
        rig("FROM scratch\nCOPY https://h/x /").errors(),
        ["remote-copy: COPY can not fetch `https://h/x`"]
    );
}
