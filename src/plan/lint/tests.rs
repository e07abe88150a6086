//! Each rule on files that break it and on files that nearly do.

use std::collections::BTreeMap;

use crate::dockerfile::{CheckOptions, parse};
use crate::oci::{ImageConfig, Platform};
use crate::plan::{
    ImageKey, LowerSettings, MountSupport, RemoteSupport, ScanSettings, copied_but_ignored, judge, lint,
    lower, scan,
};
use crate::text::{Diagnostic, Source};

/// Everything that is found in `text` with these build arguments: `Rule line`, in the order of the text.
fn found_with(text: &str, build_args: &[(&str, &str)], options: Option<&CheckOptions>) -> Vec<Diagnostic> {
    let source = Source::new("Dockerfile", text);
    let parsed = parse(&source);
    assert!(!parsed.has_errors(), "{text}: {:?}", parsed.diagnostics);
    let build_args: BTreeMap<String, String> =
        build_args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut findings = parsed.diagnostics;
    let settings = ScanSettings {
        build_args: build_args.clone(),
        target: None,
        also: Vec::new(),
        build_platform: Platform::new("linux", "amd64", None),
        target_platform: Platform::new("linux", "amd64", None),
        contexts: BTreeMap::new(),
    };
    let Some(stages) = scan(&parsed.file, settings, &mut findings) else { return findings };
    findings.extend(lint(&parsed.file, &stages));
    let settings = LowerSettings {
        build_args,
        mounts: MountSupport::ALL,
        remotes: RemoteSupport::ALL,
        network_none: false,
        check: true,
    };
    let configs: BTreeMap<ImageKey, ImageConfig> = BTreeMap::new();
    if let Some(plan) = lower(&stages, &configs, &settings, &mut findings) {
        findings.extend(copied_but_ignored(&stages, &plan, &|path| path.starts_with("ignored")));
    }
    let mut findings = judge(&parsed.file, options, findings);
    findings.sort_by_key(Diagnostic::span);
    findings
}

fn named(text: &str, findings: &[Diagnostic]) -> Vec<String> {
    let source = Source::new("Dockerfile", text);
    let line = |finding: &Diagnostic| finding.span().map_or(0, |span| source.line_of(span.start));
    findings.iter().map(|finding| format!("{} {}", finding.code, line(finding))).collect()
}

fn found(text: &str) -> Vec<String> {
    named(text, &found_with(text, &[], None))
}

/// The file breaks these rules on these lines and no others.
#[track_caller]
fn expect(text: &str, want: &[&str]) {
    assert_eq!(found(text), want, "{text}");
}

#[test]
fn stage_names_are_in_lower_case() {
    expect("FROM scratch AS Base\nFROM Base AS fine", &["StageNameCasing 1"]);
}

#[test]
fn as_follows_its_from() {
    expect("FROM scratch as a", &["FromAsCasing 1"]);
    expect("from scratch AS a", &["FromAsCasing 1"]);
    expect("FROM scratch \\\n  As a", &["FromAsCasing 2"]);
    expect("from scratch as a", &[]);
    expect("FROM scratch AS a", &[]);
    // A FROM that is neither is the other rule's.
    expect("From scratch as a", &["ConsistentInstructionCasing 1"]);
}

#[test]
fn empty_lines_in_continuations_are_found_once() {
    expect("FROM scratch\nRUN a \\\n\n\n  b", &["NoEmptyContinuation 3"]);
    expect("FROM scratch\nRUN a \\\n# comment\n  b", &[]);
}

#[test]
fn keywords_follow_the_majority() {
    expect("FROM scratch\nCopy a /\nUSER a", &["ConsistentInstructionCasing 2"]);
    expect("from scratch\ncopy a /\nUSER a", &["ConsistentInstructionCasing 3"]);
    expect("from scratch\nUSER a", &["ConsistentInstructionCasing 1"]);
    expect("from scratch\ncopy a /", &[]);
    expect("arg A\nFROM scratch", &[]);
}

#[test]
fn stage_names_are_unique_and_not_reserved() {
    expect("FROM scratch AS a\nFROM scratch AS b\nFROM a AS a", &["DuplicateStageName 3"]);
    expect(
        "FROM scratch AS scratch\nFROM scratch AS context",
        &["ReservedStageName 1", "ReservedStageName 2"],
    );
    expect("FROM scratch\nFROM scratch AS a", &[]);
}

#[test]
fn cmd_and_entrypoint_are_arrays_unless_the_shell_was_chosen() {
    expect("FROM scratch\nENTRYPOINT e\nCMD c", &["JSONArgsRecommended 2", "JSONArgsRecommended 3"]);
    expect("FROM scratch\nSHELL [\"sh\", \"-c\"]\nCMD c", &[]);
    expect("FROM scratch\nENTRYPOINT [\"e\"]\nHEALTHCHECK CMD c\nRUN c", &[]);
}

#[test]
fn maintainer_is_deprecated() {
    expect("FROM scratch\nMAINTAINER me", &["MaintainerDeprecated 2"]);
}

#[test]
fn from_uses_declared_arguments() {
    expect("FROM busybox:${V:-1}", &[]);
    expect("ARG V=1\nFROM busybox:$V$W", &["UndefinedArgInFrom 2"]);
    expect("FROM --platform=$BUILDPLATFORM busybox", &[]);
    let misspelt = found_with("FROM --platform=${BULIDPLATFORM}linux/amd64 busybox", &[], None);
    assert_eq!(misspelt[0].code, "UndefinedArgInFrom");
    assert_eq!(misspelt[0].help, ["did you mean `$BUILDPLATFORM`?"]);
}

#[test]
fn a_relative_workdir_needs_an_absolute_one_above() {
    expect("FROM scratch\nWORKDIR app/\nWORKDIR b", &["WorkdirRelativePath 2"]);
    expect("FROM scratch\nWORKDIR /app\nWORKDIR b", &[]);
    expect("FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub", &[]);
    expect("FROM scratch AS a\nWORKDIR /app\nFROM scratch\nWORKDIR sub", &["WorkdirRelativePath 4"]);
    expect("FROM scratch\nARG d=/x\nWORKDIR $d", &[]);
}

#[test]
fn variables_are_defined_before_use() {
    expect("FROM scratch\nCOPY $a /\nARG a=1\nCOPY $a /", &["UndefinedVar 2"]);
    expect("FROM scratch\nARG a\nENV PATH=$a:$PATH b=${c:-d}", &[]);
    expect("FROM scratch\nCOPY <<EOF /x\n$a\nEOF", &["UndefinedVar 2"]);
    // A base that nobody has read may define anything; a slip of a known name is one all the same.
    expect("FROM busybox\nENV PATH=$JAVA_HOME:$GOPATH:$PATH", &[]);
    expect("FROM busybox\nARG VERSION\nCOPY $VERSOIN /", &["UndefinedVar 3"]);
    expect("FROM busybox\nCOPY a-$TARGETARCH /", &["UndefinedVar 2"]);
    expect("FROM busybox\nARG TARGETARCH\nCOPY a-$TARGETARCH /", &[]);
}

#[test]
fn of_several_commands_the_first_is_void() {
    let text = "FROM scratch\nCMD [\"a\"]\nHEALTHCHECK NONE\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n\
                HEALTHCHECK NONE\nENTRYPOINT [\"b\"]";
    expect(
        text,
        &[
            "MultipleInstructionsDisallowed 2",
            "MultipleInstructionsDisallowed 3",
            "MultipleInstructionsDisallowed 4",
            "MultipleInstructionsDisallowed 5",
        ],
    );
    expect("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]", &[]);
}

#[test]
fn pairs_are_written_with_an_equals_sign() {
    expect(
        "FROM scratch\nENV a b\nLABEL c d\nENV e=f",
        &["LegacyKeyValueFormat 2", "LegacyKeyValueFormat 3"],
    );
}

#[test]
fn a_platform_flag_says_something_and_is_no_constant() {
    expect("FROM --platform=$TARGETPLATFORM busybox", &["RedundantTargetPlatform 1"]);
    expect("FROM --platform=${TARGETPLATFORM} busybox", &["RedundantTargetPlatform 1"]);
    expect("FROM --platform=linux/arm64 busybox", &["FromPlatformFlagConstDisallowed 1"]);
    expect("FROM --platform=linux/arm64 busybox AS build_arm64", &[]);
    expect("ARG P=linux/arm64\nFROM --platform=$P busybox", &[]);
}

#[test]
fn names_of_secrets_are_found() {
    let text = "FROM scratch\nARG SECRET_PASSPHRASE\nENV SUPER_Secret=foo\nENV password=bar secret=baz\n\
                ARG super_duper_secret_token=foo auth=bar\nENV apikey=bar sunflower=foo\nENV git_key=\n\
                ENV PUBLIC_KEY=\nARG public_token\nARG SECRET_PASSPHRASE_FILE\n\
                ENV password_file=bar secret_File=baz\nARG AUTH_MODULE_VERSION\nENV monkey=1 tokens=2";
    let lines = [2, 3, 4, 4, 5, 5, 6, 7];
    assert_eq!(found(text), lines.map(|line| format!("SecretsUsedInArgOrEnv {line}")));
}

#[test]
fn the_defaults_of_arguments_name_an_image() {
    let invalid = "ARG TAG\nFROM busybox:${TAG}";
    assert_eq!(named(invalid, &found_with(invalid, &[("TAG", "1")], None)), ["InvalidDefaultArgInFrom 2"]);
    let empty = "ARG BASE\nFROM $BASE";
    assert_eq!(named(empty, &found_with(empty, &[("BASE", "x")], None)), ["InvalidDefaultArgInFrom 2"]);
    let fine = "ARG TAG=1\nFROM busybox:$TAG\nFROM ${BASE:-busybox}";
    assert_eq!(found(fine), Vec::<String>::new());
}

#[test]
fn what_is_ignored_can_not_be_copied() {
    let text = "FROM scratch AS s\nFROM scratch\nCOPY ignored /\nADD ./ignored/x a b/\nCOPY --from=s ignored /\n\
                COPY <<ignored /x\nEOF\nignored\nADD https://h/ignored /";
    expect(text, &["CopyIgnoredFile 3", "CopyIgnoredFile 4"]);
}

#[test]
fn comments_above_names_describe_them_when_asked_for() {
    let body = "# base is the base\nFROM scratch AS base\n# nothing of the kind\nARG a=1\n\n# a comment\n\nARG b\n\
                # check=skip=UndefinedVar\nARG c\n# of no stage\nFROM scratch\n# d e f\nARG e d";
    expect(body, &[]);
    let text = format!("# check=experimental=InvalidDefinitionDescription\n{body}");
    expect(&text, &["InvalidDefinitionDescription 5"]);
    let all = format!("# check=experimental=all;skip=InvalidDefinitionDescription\n{body}");
    expect(&all, &[]);
}

#[test]
fn ports_are_plain_and_protocols_in_lower_case() {
    expect(
        "FROM scratch\nEXPOSE 80/TCP\nEXPOSE 127.0.0.1:80:80\nEXPOSE 5000-5001/udp",
        &["ExposeProtoCasing 2", "ExposeInvalidFormat 3"],
    );
}

#[test]
fn the_file_chooses_its_rules() {
    expect(
        "# check=skip=StageNameCasing,FromAsCasing\nFROM scratch as A\nMAINTAINER a",
        &["MaintainerDeprecated 3"],
    );
    expect("# check=skip=all\nFROM scratch as A\nMAINTAINER a", &[]);
    let errors = "# check=skip=FromAsCasing;error=true\nFROM scratch as A\nMAINTAINER a";
    assert!(found_with(errors, &[], None).iter().all(Diagnostic::is_error));
    assert_eq!(found(errors), ["StageNameCasing 2", "MaintainerDeprecated 3"]);
}

#[test]
fn an_instruction_chooses_its_own_rules_too() {
    let text = "FROM scratch\n# check=skip=WorkdirRelativePath\nWORKDIR app/\n\
                # check=skip=all // this one only\nENV password=x\nENV token=x\n\
                # check=error=true\nMAINTAINER a";
    expect(text, &["SecretsUsedInArgOrEnv 6", "MaintainerDeprecated 8"]);
    let findings = found_with(text, &[], None);
    assert_eq!(findings.iter().map(Diagnostic::is_error).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn the_request_s_choice_stands_in_the_place_of_the_file_s() {
    let text = "# check=skip=all\nFROM scratch\nMAINTAINER a";
    let options = CheckOptions { error: true, ..CheckOptions::default() };
    let findings = found_with(text, &[], Some(&options));
    assert!(named(text, &findings) == ["MaintainerDeprecated 3"] && findings[0].is_error());
}

#[test]
fn findings_that_are_no_rules_can_not_be_skipped() {
    let text = "# check=skip=all\nFROM scratch\nEXPOSE x";
    assert_eq!(found(text), ["bad-port 3"]);
}

#[test]
fn rules_are_listed_once_and_by_name() {
    let names: Vec<&str> = super::RULES.iter().map(|rule| rule.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
}
