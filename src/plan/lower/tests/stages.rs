//! FROM, targets, and which stages are needed.

use serde_json::json;

use crate::plan::model::Base;

use super::rig::*;

fn target_of(text: &str, target: &str) -> Lowered {
    let mut rig = rig(text);
    rig.scan.target = Some(target.to_owned());
    rig.run()
}

#[test]
fn names_of_stages_mean_the_same_in_any_case_and_the_last_of_two_wins() {
    let text = "FROM scratch AS A\nLABEL n=1\nFROM scratch AS a\nLABEL n=2\nFROM a";
    assert_eq!(config(text)["Labels"], json!({"n": "2"}));
    assert_eq!(target_of(text, "A").target().config.config.labels["n"], "2");
}

#[test]
fn a_target_is_named_or_numbered() {
    let text = "FROM scratch AS a\nFROM scratch\nLABEL n=1\nFROM scratch AS c";
    assert_eq!(target_of(text, "1").target().config.config.labels["n"], "1");
    let lowered = target_of(text, "b");
    assert_eq!(lowered.codes(), ["unknown-target"]);
    assert_eq!(lowered.findings[0].help, ["the stages are: a, c"]);
}

#[test]
fn a_stage_called_scratch_is_what_from_scratch_then_means() {
    let lowered = lowered("FROM scratch AS scratch\nLABEL a=1\nFROM scratch");
    assert!(matches!(lowered.target().base, Base::Stage(_)));
}

#[test]
fn only_stages_that_the_target_reaches_are_lowered() {
    let text = "FROM scratch AS a\nFROM scratch AS unused\nRUN x\nFROM a AS b\nFROM b";
    let ids: Vec<_> = lowered(text).plan().stages.keys().map(|id| id.0).collect();
    assert_eq!(ids, [0, 2, 3]);
    let mut rig = rig(text);
    rig.lower.check = true;
    assert_eq!(rig.run().plan().stages.len(), 4);
}

#[test]
fn a_stage_has_the_platform_of_the_stage_it_begins_with() {
    let text = "FROM --platform=linux/386 b AS a\nFROM a\nFROM --platform=linux/s390x a";
    let lowered = lowered(text);
    assert_eq!(lowered.target().platform.to_string(), "linux/386");
}

#[test]
fn scratch_is_for_the_platform_of_the_build() {
    let lowered = lowered("FROM --platform=freebsd/s390x scratch");
    assert_eq!(lowered.target().platform.to_string(), "linux/arm64");
    assert_eq!(lowered.target().config.architecture, "arm64");
}

#[test]
fn a_wrong_or_empty_platform_is_refused() {
    for platform in ["$NONE", "a/b/c/d"] {
        let errors = rig(&format!("FROM --platform={platform} scratch")).errors();
        assert!(errors.len() == 1 && errors[0].starts_with("bad-platform"), "{platform}: {errors:?}");
    }
}

#[test]
fn an_empty_base_name_is_refused_and_says_why() {
    let lowered = lowered("ARG BASE\nFROM $BASE");
    assert_eq!(lowered.codes(), ["empty-base"]);
    let lowered = super::rig::lowered("FROM $BASE");
    assert_eq!(lowered.codes(), ["UndefinedArgInFrom", "empty-base"]);
}

#[test]
fn a_stage_can_not_use_itself_or_a_later_one() {
    let own = rig("FROM scratch AS a\nCOPY --from=a x /").errors();
    assert!(own[0].starts_with("stage-order: stage `a` copies from itself"), "{own:?}");
    let later = rig("FROM scratch AS a\nCOPY --from=b x /\nFROM scratch AS b").errors();
    assert!(later[0].starts_with("stage-order: stage `b` comes later"), "{later:?}");
    let number = rig("FROM scratch\nCOPY --from=1 x /\nFROM scratch").errors();
    assert_eq!(number, ["unknown-stage: stage 1 does not come before stage 0"]);
}

#[test]
fn a_misspelt_stage_is_suggested() {
    let lowered = lowered("FROM scratch AS builder\nFROM scratch\nCOPY --from=buidler x /");
    assert_eq!(lowered.stages.unwrap().near_stage("buidler"), Some("builder"));
}

#[test]
fn a_named_context_stands_in_for_an_image_and_a_stage() {
    let mut rig = rig("FROM scratch AS base\nFROM base\nCOPY --from=base a /");
    rig.scan.contexts = [("base".to_owned(), false)].into();
    let lowered = rig.base("base", json!({"User": "ctx"})).run();
    assert_eq!(lowered.target().config.config.user, "ctx");
    assert_eq!(lowered.plan().stages.len(), 1);
}

#[test]
fn a_base_for_another_platform_is_a_warning() {
    let lowered = rig("FROM b").base("b", json!({})).run();
    assert!(lowered.codes().is_empty());
    let mut other = rig("FROM b").base("b", json!({}));
    other.scan.target_platform = crate::oci::Platform::new("linux", "amd64", None);
    assert_eq!(other.run().codes(), ["InvalidBaseImagePlatform"]);
}
