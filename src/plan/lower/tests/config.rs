//! Instructions whose effect is in the config.

use serde_json::json;

use crate::plan::model::{Op, WorkdirOp};

use super::rig::*;

#[test]
fn scratch_begins_with_a_path_and_the_root_directory() {
    let config = target("FROM scratch").config;
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        json!({
            "architecture": "arm64",
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "WorkingDir": "/"
            },
            "rootfs": {"type": "layers", "diff_ids": []}
        })
    );
}

#[test]
fn a_base_keeps_its_own_path() {
    let stage = rig("FROM b\nENV A=1").base("b", json!({"Env": ["Z=1", "PATH=/x"]})).run().target();
    assert_eq!(stage.config.config.env, ["Z=1", "PATH=/x", "A=1"]);
}

#[test]
fn everything_of_a_base_passes_on_but_its_triggers() {
    let base = json!({
        "User": "u", "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/x", "A=1"], "Entrypoint": ["e"],
        "Cmd": ["c"], "Healthcheck": {"Test": ["CMD", "t"], "Interval": 5}, "Volumes": {"/v": {}},
        "WorkingDir": "/w", "OnBuild": ["ENV T=1"], "Labels": {"l": "1"}, "StopSignal": "9",
        "Shell": ["/bin/bash", "-c"]
    });
    let mut want = base.clone();
    want["Env"] = json!(["A=1", "T=1"]);
    want.as_object_mut().unwrap().remove("OnBuild");
    assert_eq!(config_of(&rig("FROM b").base("b", base).run().target()), want);
}

#[test]
fn files_copied_from_a_stage_bring_no_config_with_them() {
    let text = "FROM scratch AS a\nENV A=1\nLABEL l=1\nUSER u\nFROM scratch\nCOPY --from=a /x /x";
    assert_eq!(config(text), json!({}));
}

#[test]
fn env_replaces_a_variable_where_it_stands() {
    let base = json!({"Env": ["A=1", "B=2", "PATH=/x"]});
    let stage = rig("FROM b\nENV A=3 C=4").base("b", base).run().target();
    assert_eq!(stage.config.config.env, ["A=3", "B=2", "PATH=/x", "C=4"]);
}

#[test]
fn the_old_form_of_env_takes_the_rest_of_the_line() {
    assert_eq!(config("FROM scratch\nENV ONE TWO= THREE=world")["Env"], json!(["ONE=TWO= THREE=world"]));
}

#[test]
fn names_and_values_of_labels_are_expanded() {
    let text = "FROM scratch\nARG v=1\nLABEL a=$v \"b $v\"='$v' c=\"x y\"";
    assert_eq!(config(text)["Labels"], json!({"a": "1", "b 1": "$v", "c": "x y"}));
    assert_eq!(lowered(text).history()[1], "LABEL a=1 b 1=$v c=x y");
}

#[test]
fn shell_form_is_wrapped_by_the_shell_of_its_moment() {
    let text = "FROM scratch\nCMD a\nSHELL [\"/bin/bash\", \"-ec\"]\nENTRYPOINT b\nRUN c";
    let stage = target(text);
    let config = config_of(&stage);
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-c", "a"]));
    assert_eq!(config["Entrypoint"], json!(["/bin/bash", "-ec", "b"]));
    assert_eq!(config["Shell"], json!(["/bin/bash", "-ec"]));
    assert_eq!(runs(&stage)[0].args, ["/bin/bash", "-ec", "c"]);
}

#[test]
fn an_entrypoint_clears_the_cmd_of_the_base_but_not_of_its_stage() {
    let base = json!({"Cmd": ["base"]});
    let cmd = |body: &str| {
        let stage = rig(&format!("FROM b\n{body}")).base("b", base.clone()).run().target();
        stage.config.config.cmd
    };
    assert_eq!(cmd("ENTRYPOINT [\"e\"]"), None);
    assert_eq!(cmd("CMD [\"own\"]\nENTRYPOINT [\"e\"]"), Some(vec!["own".to_owned()]));
    assert_eq!(cmd("LABEL a=1"), Some(vec!["base".to_owned()]));
    // A stage is a base too.
    let text = "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nENTRYPOINT [\"e\"]";
    assert_eq!(target(text).config.config.cmd, None);
}

#[test]
fn an_empty_json_array_unsets_cmd_and_entrypoint() {
    let base = json!({"Cmd": ["c"], "Entrypoint": ["e"]});
    let stage = rig("FROM b\nCMD []\nENTRYPOINT []").base("b", base).run().target();
    assert_eq!((stage.config.config.cmd, stage.config.config.entrypoint), (None, None));
}

#[test]
fn cmd_marks_its_arguments_as_escaped() {
    assert_eq!(config("FROM scratch\nCMD [\"a\"]"), json!({"Cmd": ["a"], "ArgsEscaped": true}));
}

#[test]
fn ports_are_expanded_split_sorted_and_ranged() {
    let text = "FROM scratch\nARG P=\"7000/UDP 53/udp\"\nEXPOSE 8001-8002 $P 80 80/tcp";
    let lowered = lowered(text);
    let ports = config_of(&lowered.target())["ExposedPorts"].clone();
    assert_eq!(ports, json!({"53/udp": {}, "7000/udp": {}, "80/tcp": {}, "8001/tcp": {}, "8002/tcp": {}}));
    assert_eq!(lowered.history()[1], "EXPOSE [53/udp 7000/udp 80/tcp 8001/tcp 8002/tcp]");
}

#[test]
fn a_wrong_port_is_refused_by_its_name() {
    let errors = rig("FROM scratch\nEXPOSE 80000 1-x").errors();
    assert_eq!(
        errors,
        [
            "bad-port: port `1-x`: a port is a number from 0 to 65535",
            "bad-port: port `80000`: a port is a number from 0 to 65535"
        ]
    );
}

#[test]
fn volumes_come_from_words_and_arrays_and_make_no_step() {
    let stage = target("FROM scratch\nARG d=data\nVOLUME /a $d\nVOLUME [\"/b c\"]");
    assert_eq!(config_of(&stage)["Volumes"], json!({"/a": {}, "data": {}, "/b c": {}}));
    assert!(stage.steps.iter().all(|step| !step.op.makes_layer()));
}

#[test]
fn a_relative_workdir_begins_where_the_last_one_ended() {
    let base = json!({"WorkingDir": "/base", "User": "u:g"});
    let stage = rig("FROM b\nARG d=x\nWORKDIR a//b/\nWORKDIR ../$d\nWORKDIR /\nWORKDIR c")
        .base("b", base)
        .run()
        .target();
    let made: Vec<_> = stage.steps.iter().map(|step| &step.op).collect();
    let paths: Vec<_> = made
        .iter()
        .filter_map(|op| match op {
            Op::Workdir(WorkdirOp { path, user }) => Some((path.as_str(), user.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(paths, [("/base/a/b", "u:g"), ("/base/a/x", "u:g"), ("/c", "u:g")]);
    assert_eq!(stage.config.config.working_dir, "/c");
}

#[test]
fn the_base_s_directory_and_the_root_make_no_layer() {
    let stage = rig("FROM b\nWORKDIR /").base("b", json!({"WorkingDir": "/base"})).run().target();
    assert!(stage.steps.iter().all(|step| !step.op.makes_layer()));
}

#[test]
fn an_empty_workdir_stays_where_it_is() {
    let stage = target("FROM scratch\nARG none\nWORKDIR /a\nWORKDIR $none");
    assert_eq!(stage.config.config.working_dir, "/a");
}

#[test]
fn user_and_stop_signal_are_expanded() {
    let text = "FROM scratch\nARG u=web s=SIGTERM\nUSER $u:grp\nSTOPSIGNAL $s";
    assert_eq!(config(text), json!({"User": "web:grp", "StopSignal": "SIGTERM"}));
    assert_eq!(rig("FROM scratch\nSTOPSIGNAL SIGNO").errors(), ["bad-signal: `SIGNO` is no signal"]);
}

#[test]
fn a_health_check_is_stored_as_written_and_says_only_what_it_says() {
    let text =
        "FROM scratch\nSHELL [\"/bin/bash\", \"-c\"]\nHEALTHCHECK --interval=30s --retries=3 CMD curl $X";
    let lowered = lowered(text);
    assert_eq!(
        config_of(&lowered.target())["Healthcheck"],
        json!({"Test": ["CMD-SHELL", "curl $X"], "Interval": 30_000_000_000_i64, "Retries": 3})
    );
    let line = r#"HEALTHCHECK &{["CMD-SHELL" "curl $X"] "30s" "0s" "0s" "0s" '\x03'}"#;
    assert_eq!(lowered.history()[1], line);
    assert!(lowered.codes().is_empty());
    let exec = "FROM scratch\nHEALTHCHECK CMD [\"a\", \"b\"]";
    assert_eq!(config(exec)["Healthcheck"], json!({"Test": ["CMD", "a", "b"]}));
}

#[test]
fn no_health_check_replaces_the_base_s() {
    let base = json!({"Healthcheck": {"Test": ["CMD", "t"], "Interval": 5}});
    let stage = rig("FROM b\nHEALTHCHECK NONE").base("b", base).run().target();
    assert_eq!(config_of(&stage)["Healthcheck"], json!({"Test": ["NONE"]}));
}

#[test]
fn maintainer_is_the_author_and_deprecated() {
    let lowered = lowered("FROM scratch\nMAINTAINER me <me@$host>");
    assert_eq!(lowered.target().config.author.as_deref(), Some("me <me@$host>"));
    assert_eq!(lowered.history(), ["MAINTAINER me <me@$host>"]);
}

#[test]
fn every_instruction_has_its_line_of_history() {
    let text = "FROM scratch\nENV a=1 b=2\nUSER u\nCMD [\"nginx\", \"-g\", \"d \\\"x\\\";\"]\nENTRYPOINT e\n\
                VOLUME /a /b\nSTOPSIGNAL 9\nSHELL [\"s\", \"-c\"]\nWORKDIR w\nONBUILD RUN x";
    assert_eq!(
        lowered(text).history(),
        [
            "ENV a=1 b=2",
            "USER u",
            r#"CMD ["nginx" "-g" "d \"x\";"]"#,
            r#"ENTRYPOINT ["/bin/sh" "-c" "e"]"#,
            "VOLUME [/a /b]",
            "STOPSIGNAL 9",
            "SHELL [s -c]",
            "WORKDIR /w",
            "ONBUILD RUN x",
        ]
    );
}
