//! RUN --mount.

use crate::dockerfile::{MountKind, RunMount, Sharing};
use crate::ids::StageId;
use crate::plan::model::FileOrigin;

use super::rig::*;

/// The mounts of the RUN that ends `text`.
fn mounts(text: &str) -> Vec<(RunMount, FileOrigin)> {
    runs(&target(text)).pop().unwrap().mounts
}

fn one(flag: &str) -> RunMount {
    mounts(&format!("FROM scratch\nWORKDIR /w\nARG v=val\nRUN --mount={flag} c")).remove(0).0
}

#[test]
fn values_are_expanded_against_the_stage() {
    let mount = one("type=cache,target=/c/$v,id=i-$v,sharing=locked,mode=0750,uid=1,gid=2");
    assert_eq!(mount.target.as_deref(), Some("/c/val"));
    assert_eq!(mount.id.as_deref(), Some("i-val"));
    assert_eq!(
        (mount.sharing, mount.mode, mount.uid, mount.gid),
        (Sharing::Locked, Some(0o750), Some(1), Some(2))
    );
}

#[test]
fn a_relative_target_begins_at_the_working_directory() {
    assert_eq!(one("target=x/../y").target.as_deref(), Some("/w/y"));
    assert_eq!(one("type=tmpfs,target=/t//u").target.as_deref(), Some("/t/u"));
    assert_eq!(one("type=bind").target.as_deref(), Some("/w"));
}

#[test]
fn a_cache_without_id_is_known_by_its_target() {
    assert_eq!(one("type=cache,target=/root//.cache/").id.as_deref(), Some("/root/.cache"));
    assert_eq!(one("type=cache,target=./x").id.as_deref(), Some("x"));
}

#[test]
fn the_root_is_no_target() {
    for flag in ["type=cache,target=/", "target=/x/..", "type=tmpfs,target=../.."] {
        let errors = rig(&format!("FROM scratch\nWORKDIR /w\nRUN --mount={flag} c")).errors();
        assert!(errors.len() == 1 && errors[0].starts_with("invalid-mount"), "{flag}: {errors:?}");
    }
}

#[test]
fn what_the_step_may_write_depends_on_the_kind() {
    let read_only = ["target=/x", "type=secret,id=a", "type=ssh"];
    assert!(read_only.iter().all(|flag| one(flag).read_only));
    let writable = ["target=/x,rw", "type=cache,target=/x", "type=tmpfs,target=/x"];
    assert!(writable.iter().all(|flag| !one(flag).read_only));
}

#[test]
fn a_secret_is_a_file_of_its_name_unless_a_variable_holds_it() {
    let place = |flag: &str| {
        let mount = one(flag);
        (mount.id.unwrap(), mount.target, mount.env)
    };
    let owned = |text: &str| Some(text.to_owned());
    assert_eq!(place("type=secret,id=a/b"), ("a/b".to_owned(), owned("/run/secrets/b"), None));
    assert_eq!(place("type=secret,source=s"), ("s".to_owned(), owned("/run/secrets/s"), None));
    assert_eq!(place("type=secret,target=/x/y"), ("y".to_owned(), owned("/x/y"), None));
    assert_eq!(place("type=secret,id=a,target=rel"), ("a".to_owned(), owned("/w/rel"), None));
    assert_eq!(place("type=secret,id=a,env=E"), ("a".to_owned(), None, owned("E")));
    assert_eq!(place("type=secret,id=a,env=E,target=/t"), ("a".to_owned(), owned("/t"), owned("E")));
}

#[test]
fn ssh_agents_have_an_id_and_a_socket_each() {
    let text =
        "FROM scratch\nRUN --mount=type=ssh --mount=type=ssh,id=b --mount=type=ssh,target=/s,required c";
    let mounts: Vec<_> = mounts(text).into_iter().map(|(mount, _)| mount).collect();
    let ids: Vec<_> = mounts.iter().map(|mount| mount.id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["default", "b", "default"]);
    let targets: Vec<_> = mounts.iter().map(|mount| mount.target.as_deref().unwrap()).collect();
    assert_eq!(targets, ["/run/buildkit/ssh_agent.0", "/run/buildkit/ssh_agent.1", "/s"]);
    assert!(mounts[2].required && !mounts[0].required);
}

#[test]
fn from_names_stages_and_takes_global_arguments_alone() {
    let text = "ARG S=dep\nFROM scratch AS dep\nFROM scratch\nARG S=other\n\
                RUN --mount=from=$S,source=/a,target=/b --mount=type=cache,target=/c c";
    let mounts = mounts(text);
    assert_eq!((mounts[0].0.kind, &mounts[0].1), (MountKind::Bind, &FileOrigin::Stage(StageId(0))));
    assert_eq!(mounts[0].0.source.as_deref(), Some("/a"));
    let errors =
        rig("FROM scratch AS dep\nFROM scratch\nARG S=dep\nRUN --mount=from=$S,target=/b c").errors();
    assert_eq!(errors, ["variable-in-from: --from: usage of undefined variable `$S`"]);
}

#[test]
fn only_what_is_read_is_an_origin_of_the_step() {
    let text = "FROM scratch AS dep\nFROM scratch\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t \
                --mount=type=secret,id=s --mount=target=/x --mount=type=cache,from=dep,target=/d c";
    let stage = target(text);
    let origins = stage.steps[0].op.origins();
    assert_eq!(origins, [&FileOrigin::Context(None), &FileOrigin::Stage(StageId(0))]);
}

#[test]
fn kinds_that_the_engine_can_not_mount_are_refused_by_name() {
    let text = "FROM scratch\nRUN --mount=type=ssh --mount=type=cache,target=/c --mount=target=/b c";
    let mut rig = rig(text);
    rig.lower.mounts = Default::default();
    rig.lower.mounts.bind = true;
    assert_eq!(
        rig.errors(),
        [
            "unsupported-mount: RUN --mount=type=ssh is not supported yet",
            "unsupported-mount: RUN --mount=type=cache is not supported yet"
        ]
    );
}

#[test]
fn what_expansion_makes_wrong_is_said_once() {
    let errors = |flag: &str| rig(&format!("FROM scratch\nARG t=bnd n=x\nRUN --mount={flag} c")).errors();
    assert_eq!(errors("type=$t,target=/x"), ["invalid-mount: unsupported mount type `bnd`"]);
    assert_eq!(
        errors("type=cache,target=/c,uid=$n"),
        ["invalid-mount: invalid value `x` of `uid` in --mount"]
    );
    assert_eq!(errors("target=${x:?gone}"), ["bad-substitution: x: gone"]);
}
