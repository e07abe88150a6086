//! ARG and ENV: scope and precedence.

use serde_json::json;

use super::rig::*;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn env_expands_against_what_was_before_and_arg_item_by_item() {
    let text = "FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nARG a=1 b=$a\nENV c=$b";
    let want = json!(["abc=bye", "def=hello", "ghi=bye", "c=1"]);
    assert_eq!(config(text)["Env"], want);
}

#[test]
fn the_later_of_arg_and_env_wins() {
    let cases = [
        ("ENV X=1\nARG X", "2"),
        ("ENV X=1\nARG X=3", "2"),
        ("ARG X=1\nENV X=4", "4"),
        ("ARG X\nENV Y=$X", "2"),
    ];
    for (body, want) in cases {
        let stage = rig(&format!("FROM scratch\n{body}\nRUN c")).arg("X", "2").run().target();
        assert_eq!(env(&runs(&stage)[0], "X"), Some(want), "{body}");
    }
}

#[test]
fn an_arg_without_any_value_leaves_an_env_alone() {
    let stage = target("FROM scratch\nENV X=1\nARG X\nARG Y\nRUN c");
    let run = &runs(&stage)[0];
    assert_eq!((env(run, "X"), env(run, "Y")), (Some("1"), None));
}

#[test]
fn an_arg_is_in_the_step_but_not_in_the_image() {
    let stage = target("FROM scratch\nARG X=1\nRUN c");
    assert_eq!(env(&runs(&stage)[0], "X"), Some("1"));
    assert_eq!(stage.config.config.env, [format!("PATH={PATH}")]);
}

#[test]
fn an_arg_before_from_is_seen_in_a_stage_only_after_it_is_declared_there() {
    let text = "ARG V=1\nARG W=$V.5\nFROM base:$W\nRUN a\nARG V\nRUN b\nARG V=own\nRUN c";
    let lowered = lowered(text);
    let runs = runs(&lowered.target());
    assert_eq!(env(&runs[0], "V"), None);
    assert_eq!(env(&runs[1], "V"), Some("1"));
    assert_eq!(env(&runs[2], "V"), Some("own"));
    assert_eq!(lowered.stages.unwrap().images().first().unwrap().name, "base:1.5");
}

#[test]
fn a_build_argument_wins_over_defaults_before_and_after_from() {
    let text = "ARG V=1\nFROM base:$V\nARG V\nARG W=2\nRUN c";
    let lowered = rig(text).arg("V", "x").arg("W", "y").run();
    assert_eq!(lowered.stages.as_ref().unwrap().images().first().unwrap().name, "base:x");
    let stage = lowered.target();
    assert_eq!((env(&runs(&stage)[0], "V"), env(&runs(&stage)[0], "W")), (Some("x"), Some("y")));
}

#[test]
fn a_default_that_is_not_used_is_not_expanded() {
    let text = "ARG A=${B:?none}\nFROM scratch\nARG C=${D:?none}\nRUN c";
    assert!(rig(text).arg("A", "1").arg("C", "2").run().plan.is_some());
    assert_eq!(rig(text).errors(), ["bad-substitution: B: none"]);
}

#[test]
fn platform_arguments_are_global_until_a_stage_declares_them() {
    let text = "FROM --platform=$BUILDPLATFORM base\nRUN a\nARG TARGETARCH BUILDARCH TARGETSTAGE\nRUN b";
    let lowered = lowered(text);
    let stage = lowered.target();
    assert_eq!(stage.platform.to_string(), "linux/amd64");
    let runs = runs(&stage);
    assert_eq!(env(&runs[0], "TARGETARCH"), None);
    assert_eq!(env(&runs[1], "TARGETARCH"), Some("arm64"));
    assert_eq!(env(&runs[1], "BUILDARCH"), Some("amd64"));
    assert_eq!(env(&runs[1], "TARGETSTAGE"), Some("default"));
}

#[test]
fn there_are_eleven_platform_arguments() {
    let names = [
        "TARGETPLATFORM",
        "TARGETOS",
        "TARGETOSVERSION",
        "TARGETARCH",
        "TARGETVARIANT",
        "TARGETSTAGE",
        "BUILDPLATFORM",
        "BUILDOS",
        "BUILDOSVERSION",
        "BUILDARCH",
        "BUILDVARIANT",
    ];
    let text = format!("FROM scratch AS end\nARG {}\nRUN c", names.join(" "));
    let mut rig = rig(&text);
    rig.scan.target_platform = crate::oci::Platform::new("linux", "arm", Some("v6"));
    rig.scan.target = Some("end".to_owned());
    let stage = rig.run().target();
    let values = names.map(|name| env(&runs(&stage)[0], name).map(str::to_owned).unwrap());
    let want = ["linux/arm/v6", "linux", "", "arm", "v6", "end", "linux/amd64", "linux", "", "amd64", ""];
    assert_eq!(values, want);
}

#[test]
fn a_build_argument_replaces_a_platform_argument() {
    let text = "FROM base:$TARGETARCH\nARG TARGETARCH\nRUN c";
    let lowered = rig(text).arg("TARGETARCH", "x").run();
    assert_eq!(env(&runs(&lowered.target())[0], "TARGETARCH"), Some("x"));
    assert_eq!(lowered.stages.unwrap().images().first().unwrap().name, "base:x");
    assert!(lowered.findings.is_empty(), "{:?}", lowered.findings);
}

#[test]
fn arguments_pass_on_to_a_stage_that_begins_with_this_one_and_to_no_other() {
    let text = "FROM scratch AS a\nARG X=1\nFROM scratch AS c\nRUN c\nFROM a AS b\nRUN b\nCOPY --from=c / /";
    let lowered = lowered(text);
    assert_eq!(env(&runs(lowered.stage(2))[0], "X"), Some("1"));
    assert_eq!(env(&runs(lowered.stage(1))[0], "X"), None);
}

#[test]
fn proxies_reach_a_step_in_both_spellings_and_no_history() {
    let lowered = rig("FROM scratch\nRUN c").arg("http_proxy", "p").arg("NO_PROXY", "n").run();
    let run = &runs(&lowered.target())[0];
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let want =
        [pair("HTTP_PROXY", "p"), pair("http_proxy", "p"), pair("NO_PROXY", "n"), pair("no_proxy", "n")];
    assert_eq!(run.proxies, want);
    assert_eq!(env(run, "http_proxy"), None);
    assert_eq!(lowered.history(), ["RUN /bin/sh -c c # buildkit"]);
    assert!(lowered.findings.is_empty(), "{:?}", lowered.findings);
}

#[test]
fn a_declared_proxy_is_an_argument_like_any_other() {
    let lowered = rig("FROM scratch\nARG http_proxy\nRUN c").arg("http_proxy", "p").run();
    assert_eq!(env(&runs(&lowered.target())[0], "http_proxy"), Some("p"));
    assert_eq!(lowered.history()[1], "RUN |1 http_proxy=p /bin/sh -c c # buildkit");
}

#[test]
fn build_arguments_that_nothing_declares_are_one_warning() {
    let text = "ARG G\nFROM scratch\nARG S";
    let lowered = rig(text).arg("G", "1").arg("S", "1").arg("B", "1").arg("A", "1").run();
    let messages: Vec<_> = lowered.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["[Warning] One or more build-args [A B] were not consumed"]);
}

#[test]
fn arguments_for_the_builder_need_no_declaration() {
    let lowered = rig("FROM scratch").arg("BUILDKIT_INLINE_CACHE", "1").arg("SOURCE_DATE_EPOCH", "0").run();
    assert!(lowered.findings.is_empty(), "{:?}", lowered.findings);
}

#[test]
fn the_history_of_an_arg_has_the_value_that_it_got() {
    let lowered = rig("ARG G=g\nFROM scratch\nARG G A=1 B C=$A").arg("A", "2").run();
    assert_eq!(lowered.history(), ["ARG G=g A=2 B C=2"]);
}

#[test]
fn an_unset_variable_is_a_warning_and_empty_unless_an_arg_names_it() {
    let lowered = lowered("FROM scratch\nARG B\nENV x=a${A}b y=$B z=${C:-d} home=$PATH\nUSER $B");
    assert_eq!(lowered.codes(), ["UndefinedVar"]);
    assert!(lowered.findings[0].message.contains("`$A`"));
    let want = json!(["x=ab", "y=", "z=d", format!("home={PATH}")]);
    assert_eq!(config_of(&lowered.target())["Env"], want);
}

#[test]
fn a_global_argument_that_the_stage_did_not_declare_is_named_as_such() {
    let lowered = lowered("FROM scratch\nCOPY app-$TARGETARCH /app");
    assert_eq!(lowered.codes(), ["UndefinedVar"]);
    assert_eq!(lowered.findings[0].help, ["bring it into the stage: `ARG TARGETARCH` after its FROM"]);
}

#[test]
fn what_the_shell_would_expand_is_left_to_it() {
    let stage = target("FROM scratch\nENV A=1\nRUN echo $A ${B} \\$C '$D'\nCMD echo $A\nENTRYPOINT [\"$A\"]");
    assert_eq!(runs(&stage)[0].args, ["/bin/sh", "-c", "echo $A ${B} \\$C '$D'"]);
    assert_eq!(stage.config.config.cmd.as_ref().unwrap()[2], "echo $A");
    assert_eq!(stage.config.config.entrypoint.as_ref().unwrap()[0], "$A");
}

#[test]
fn words_are_expanded_with_the_files_escape_character() {
    let stage = target("# escape=`\nFROM scratch\nENV A=1 B=`$A C=c:\\d");
    assert_eq!(config_of(&stage)["Env"], json!(["A=1", "B=$A", "C=c:\\d"]));
}
