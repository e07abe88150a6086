//! ONBUILD.

use serde_json::json;

use crate::ids::StageId;
use crate::plan::model::FileOrigin;

use super::rig::*;

#[test]
fn triggers_of_a_base_come_first_and_in_order() {
    let base = json!({"OnBuild": ["ENV A=1", "RUN a $A", "ENV A=2"]});
    let lowered = rig("FROM b\nRUN b").base("b", base).run();
    assert_eq!(
        lowered.history(),
        ["ENV A=1", "RUN /bin/sh -c a $A # buildkit", "ENV A=2", "RUN /bin/sh -c b # buildkit"]
    );
    let stage = lowered.target();
    assert_eq!(stage.steps.iter().map(|step| step.line).collect::<Vec<_>>(), [1, 1, 1, 2]);
    assert_eq!(env(&runs(&stage)[0], "A"), Some("1"));
    assert!(stage.config.config.on_build.is_empty());
}

#[test]
fn triggers_may_have_heredocs() {
    let base = json!({"OnBuild": ["RUN <<EOF\necho a\nEOF\n"]});
    let stage = rig("FROM b").base("b", base).run().target();
    assert_eq!(runs(&stage)[0].args[2], "echo a\n");
}

#[test]
fn a_trigger_may_need_another_stage() {
    let base = json!({"OnBuild": ["COPY --from=dep /x /y"]});
    let lowered = rig("FROM scratch AS dep\nFROM b").base("b", base).run();
    assert_eq!(copies(&lowered.target())[0].origin, FileOrigin::Stage(StageId(0)));
    assert_eq!(lowered.plan().stages.len(), 2);
}

#[test]
fn a_trigger_may_need_an_image_with_triggers_of_its_own() {
    let outer = json!({"OnBuild": ["COPY --from=dep /x /y"]});
    let inner = json!({"OnBuild": ["LABEL inner=1"]});
    let text = "FROM inner AS dep\nFROM outer";
    let lowered = rig(text).base("outer", outer).base("inner", inner).run();
    assert_eq!(lowered.stage(0).config.config.labels["inner"], "1");
}

#[test]
fn a_trigger_that_names_no_stage_is_reported_at_the_from() {
    let base = json!({"OnBuild": ["COPY --from=7 /x /y"]});
    let lowered = rig("FROM b").base("b", base).run();
    assert!(lowered.plan.is_none());
    let finding = &lowered.findings[0];
    assert_eq!((finding.code, finding.span().unwrap().start), ("unknown-stage", 5));
    assert!(finding.message.starts_with("in an ONBUILD trigger of the base: "));
}

#[test]
fn a_broken_trigger_is_an_error_at_the_from() {
    for text in ["FROM x", "ONBUILD RUN x", "NONSENSE", "RUN a\nRUN b", ""] {
        let lowered = rig("FROM b").base("b", json!({"OnBuild": [text]})).run();
        assert_eq!(lowered.codes(), ["bad-trigger"], "{text:?}");
        assert_eq!(lowered.findings[0].span().unwrap().start, 5);
    }
}

#[test]
fn triggers_of_a_stage_fire_in_the_stages_that_begin_with_it_and_no_further() {
    let text = "FROM scratch AS a\nONBUILD ENV A=1\nONBUILD RUN t\nFROM a AS b\nRUN b\nFROM b\nRUN c";
    let lowered = lowered(text);
    assert_eq!(lowered.stage(0).config.config.on_build, ["ENV A=1", "RUN t"]);
    assert_eq!(runs(lowered.stage(0)).len(), 0);
    let commands: Vec<_> = runs(lowered.stage(1)).iter().map(|run| run.args[2].clone()).collect();
    assert_eq!(commands, ["t", "b"]);
    assert_eq!(runs(lowered.stage(2)).len(), 1);
    assert!(lowered.stage(1).config.config.on_build.is_empty());
}
