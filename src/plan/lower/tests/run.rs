//! RUN without mounts.

use super::rig::*;

#[test]
fn a_step_sees_user_directory_and_variables_of_its_moment() {
    let text = "FROM scratch\nUSER u\nWORKDIR /w\nENV A=1\nRUN a\nUSER v\nENV A=2 B=3\nRUN [\"b\", \"$A\"]";
    let runs = runs(&target(text));
    assert_eq!((runs[0].user.as_str(), runs[0].workdir.as_str()), ("u", "/w"));
    assert_eq!((env(&runs[0], "A"), env(&runs[0], "B")), (Some("1"), None));
    assert_eq!((runs[1].user.as_str(), env(&runs[1], "A")), ("v", Some("2")));
    assert_eq!(runs[1].args, ["b", "$A"]);
}

#[test]
fn history_has_the_declared_arguments_as_the_command_saw_them() {
    let text = "FROM scratch\nRUN a\nARG X=1 Y\nENV X=2\nARG X=3\nRUN [\"b\", \"c d\"]\nENV X=4\nRUN e";
    let history = lowered(text).history();
    assert_eq!(history[0], "RUN /bin/sh -c a # buildkit");
    assert_eq!(history[4], "RUN |2 X=3 Y= b c d # buildkit");
    assert_eq!(history[6], "RUN |2 X=4 Y= /bin/sh -c e # buildkit");
}

#[test]
fn a_lone_heredoc_is_the_shell_s_text() {
    let stage = target("FROM scratch\nSHELL [\"bash\", \"-c\"]\nRUN <<-EOF\n\techo $A\n\t\techo b\nEOF");
    assert_eq!(runs(&stage)[0].args, ["bash", "-c", "echo $A\necho b\n"]);
    assert_eq!(runs(&stage)[0].script, None);
}

#[test]
fn a_lone_heredoc_with_a_shebang_is_a_file() {
    let run = &runs(&target("FROM scratch\nRUN <<EOF\n#!/usr/bin/python3\nprint($x)\nEOF"))[0];
    assert_eq!(run.args, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    let script = run.script.as_ref().unwrap();
    assert_eq!(script.path, "/dev/pipes/EOF");
    assert_eq!(&*script.content, b"#!/usr/bin/python3\nprint($x)\n");
}

#[test]
fn heredocs_of_a_longer_command_are_the_shell_s() {
    let run = &runs(&target("FROM scratch\nRUN cat <<A - 3<<'B' > /f\na $x\nA\nb\nB"))[0];
    assert_eq!(run.args[2], "cat <<A - 3<<'B' > /f\na $x\nA\nb\nB");
}

#[test]
fn the_network_is_the_build_s_unless_the_step_says_otherwise() {
    let text = "FROM scratch\nRUN a\nRUN --network=none b\nRUN --network=host c\nRUN --network=default d";
    let networks: Vec<_> = runs(&target(text)).iter().map(|run| run.network_none).collect();
    assert_eq!(networks, [false, true, false, false]);
    let mut closed = rig(text);
    closed.lower.network_none = true;
    let refused = ["unsupported-flag: RUN --network=host is refused: the build has no network"];
    assert_eq!(closed.errors(), refused);
}

#[test]
fn privileges_and_devices_are_refused_by_name_and_line() {
    let text = "FROM scratch\nRUN --security=sandbox a\nRUN --security=insecure b\nRUN --device=x c";
    let lowered = lowered(text);
    assert_eq!(lowered.codes(), ["unsupported-flag", "unsupported-flag"]);
    assert!(lowered.findings[0].message.contains("--security=insecure"));
    assert!(lowered.findings[1].message.contains("--device"));
    assert_eq!(lowered.findings[0].span().unwrap().start, text.find("RUN --security=insecure").unwrap());
}

#[test]
fn the_title_is_one_line_of_readable_length() {
    let long = format!("FROM scratch\nRUN a  \\\n  b {}", "x".repeat(500));
    let stage = target(&long);
    assert!(stage.steps[0].title.starts_with("RUN a b xxx"));
    assert_eq!(stage.steps[0].title.chars().count(), 201);
    assert_eq!(stage.steps[0].line, 2);
}
