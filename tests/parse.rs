//! The parser against the cases in `testdata/parse`, and against text that nobody wrote.
//!
//! A case is a folder with a `Dockerfile` and what is expected of it in `expected.json`: the nodes as
//! `Parsed::to_json` gives them, without keys that say nothing (`"flags": []`, `"json": false`), and the findings as
//! `severity code line:column`.

use std::fs;
use std::path::Path;

use ocistage::dockerfile::{
    Command, FileSource, Healthcheck, InstructionKind, Parsed, Quotes, Script, expand, expand_words, parse,
    parse_trigger,
};
use ocistage::text::Source;
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse_text(text: &str) -> Parsed {
    parse(&Source::new("Dockerfile", text))
}

/// The kinds of a text without findings.
fn kinds(text: &str) -> Vec<InstructionKind> {
    let parsed = parse_text(text);
    assert_eq!(parsed.diagnostics, []);
    parsed.file.instructions.into_iter().map(|instruction| instruction.kind).collect()
}

fn without_silent_keys(nodes: &mut Value) {
    for node in nodes.as_array_mut().into_iter().flatten() {
        let Some(node) = node.as_object_mut() else { continue };
        node.retain(|key, value| {
            !(key == "flags" && *value == json!([]) || key == "json" && *value == json!(false))
        });
        if let Some(args) = node.get_mut("args") {
            without_silent_keys(args);
        }
    }
}

#[test]
fn every_case_gives_its_nodes_and_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/parse");
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let case = entry.unwrap().path();
        let source = Source::from_bytes("Dockerfile", fs::read(case.join("Dockerfile")).unwrap());
        let mut expected: Value =
            serde_json::from_slice(&fs::read(case.join("expected.json")).unwrap()).unwrap();
        let parsed = parse(&source);
        let mut nodes = parsed.to_json()["nodes"].take();
        without_silent_keys(&mut nodes);
        let findings = parsed.diagnostics.iter().map(|diagnostic| {
            let place = source.position(diagnostic.span().unwrap().start);
            format!("{} {} {}:{}", diagnostic.severity.as_str(), diagnostic.code, place.line, place.column)
        });
        let findings: Value = findings.collect();
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if expected["diagnostics"].take() != findings {
            wrong.push(format!("{name}: findings are {findings:#}"));
        }
        let empty = Vec::new();
        let (want, got) = (expected["nodes"].as_array().unwrap(), nodes.as_array().unwrap_or(&empty));
        for index in 0..want.len().max(got.len()) {
            let (want, got) = (want.get(index), got.get(index));
            // Keys have no order of their own.
            if want != got {
                wrong.push(format!("{name}: node {index}\n  want {want:?}\n  got  {got:?}"));
            }
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 20, "the cases are missing from {}", folder.display());
}

#[test]
fn copy_and_add_are_typed() {
    let kinds = kinds(
        "FROM scratch\nCOPY --from=b --link --exclude=x --parents <<f a /d\n1\nf\nADD --unpack=false u /v\n",
    );
    let InstructionKind::Copy(copy) = &kinds[1] else { panic!("{kinds:?}") };
    assert_eq!(copy.from.as_ref().unwrap().text, "b");
    assert!(copy.files.link && copy.parents && copy.files.exclude[0].text == "x");
    assert_eq!(copy.files.dest.text, "/d");
    let FileSource::Heredoc(heredoc) = &copy.files.sources[0] else { panic!("{copy:?}") };
    assert_eq!((heredoc.name.as_str(), heredoc.body.as_str()), ("f", "1\n"));
    assert!(matches!(&copy.files.sources[1], FileSource::Path(word) if word.text == "a"));
    let InstructionKind::Add(add) = &kinds[2] else { panic!("{kinds:?}") };
    assert_eq!((add.unpack, add.keep_git_dir, add.files.link), (Some(false), None, false));
}

#[test]
fn a_run_hands_over_its_script() {
    let script = |text: &str| {
        let kinds = kinds(&format!("FROM scratch\nRUN {text}\n"));
        let InstructionKind::Run(run) = &kinds[1] else { panic!("{kinds:?}") };
        match run.script() {
            Script::Command(Command::Shell(text)) => format!("shell:{}", text.text),
            Script::Command(Command::Exec(words)) => format!("exec:{}", words.join("|")),
            Script::Body(body) => format!("body:{body}"),
            Script::File { name, content } => format!("file {name}:{content}"),
            Script::Inline(text) => format!("inline:{text}"),
        }
    };
    assert_eq!(script("a  b"), "shell:a  b");
    assert_eq!(script("[\"a\", \"b\"]"), "exec:a|b");
    assert_eq!(script("<<-EOF\n\tx\n\tEOF"), "body:x\n");
    assert_eq!(script("<<EOF\n#!/bin/x\ny\nEOF"), "file EOF:#!/bin/x\ny\n");
    assert_eq!(script("cat <<-A <<'B'\n\t1\nA\n2\nB"), "inline:cat <<-A <<'B'\n\t1\nA\n2\nB");
}

#[test]
fn durations_and_retries_of_a_health_check_are_numbers() {
    let kinds =
        kinds("FROM scratch\nHEALTHCHECK --interval=1m --timeout=0s --retries=3 CMD x\nHEALTHCHECK NONE\n");
    let InstructionKind::Healthcheck(Healthcheck::Test(test)) = &kinds[1] else { panic!("{kinds:?}") };
    assert_eq!((test.interval, test.timeout, test.retries), (Some(60_000_000_000), None, Some(3)));
    assert_eq!(kinds[2], InstructionKind::Healthcheck(Healthcheck::None));
}

#[test]
fn an_onbuild_keeps_its_text_and_gives_it_back() {
    let kinds = kinds("FROM scratch\nONBUILD   copy --from=x <<A \\\n  /d\n1\nA\n");
    let InstructionKind::Onbuild(onbuild) = &kinds[1] else { panic!("{kinds:?}") };
    assert_eq!(onbuild.text, "copy --from=x <<A   /d\n1\nA");
    let trigger = parse_trigger(&onbuild.text).unwrap();
    let (InstructionKind::Copy(first), InstructionKind::Copy(again)) = (&onbuild.trigger.kind, &trigger.kind)
    else {
        panic!("{trigger:?}")
    };
    assert_eq!((&first.from.as_ref().unwrap().text, first.files.dest.text.as_str()), (&"x".to_owned(), "/d"));
    assert_eq!(first.files.sources.len(), again.files.sources.len());
}

#[test]
fn a_trigger_is_one_allowed_instruction() {
    for text in ["", "FROM x", "ONBUILD RUN x", "MAINTAINER x", "RUN a\nRUN b", "FOO", "COPY a"] {
        assert!(parse_trigger(text).is_err(), "{text}");
    }
}

#[test]
fn words_point_into_the_source_across_lines() {
    let text = "FROM scratch\nENV a=1 \\\n  # note\n  bb=$x\n";
    let parsed = parse_text(text);
    let InstructionKind::Env(pairs) = &parsed.file.instructions[1].kind else { panic!("{parsed:?}") };
    assert_eq!(&text[pairs.items[1].0.span.range()], "bb");
    assert_eq!(&text[pairs.items[1].1.span.range()], "$x");
}

#[test]
fn an_instruction_carries_its_comments_and_checks() {
    let parsed = parse_text(
        "# base the first stage\nFROM scratch AS base\n# check=skip=RuleA,RuleB // why\n# a the one\nARG a b\n",
    );
    let [from, arg] = &parsed.file.instructions[..] else { panic!("{parsed:?}") };
    assert_eq!(from.doc_comment("base").as_deref(), Some("the first stage"));
    assert_eq!(arg.check.as_ref().unwrap().skip, ["RuleA", "RuleB"]);
    let InstructionKind::Arg(items) = &arg.kind else { panic!("{arg:?}") };
    assert_eq!((items[0].comment.as_deref(), items[1].comment.as_deref()), (Some("the one"), None));
}

#[test]
fn the_original_is_one_line_without_heredocs() {
    let parsed = parse_text("FROM scratch\n  run a \\\n # x\n  b <<E  \nbody\nE\n");
    assert_eq!(parsed.file.instructions[1].original, "run a   b <<E");
    assert_eq!(parsed.file.instructions[1].keyword.text, "run");
}

#[test]
fn bytes_that_are_not_utf8_harm_instructions_and_not_comments() {
    let findings = |bytes: &[u8]| {
        let parsed = parse(&Source::from_bytes("Dockerfile", bytes.to_vec()));
        parsed.diagnostics.iter().map(|d| (d.code, d.is_error())).collect::<Vec<_>>()
    };
    assert_eq!(findings(b"# caf\xe9\nFROM scratch\n"), [("not-utf8", false)]);
    assert_eq!(findings(b"FROM scratch\nENV a=\xe9\n"), [("not-utf8", true)]);
    assert_eq!(findings(b"FROM scratch\nCOPY <<E /x\n# \xe9\nE\n"), [("not-utf8", true)]);
}

#[test]
fn a_very_long_line_and_a_very_long_heredoc_are_read() {
    let long = format!(
        "FROM scratch\nENV a={}\nLABEL b={}\n",
        "x".repeat(1 << 20),
        "'y' ".repeat(1 << 17).trim_end()
    );
    assert_eq!(parse_text(&long).diagnostics.len(), (1 << 17) - 1);
    let body = "echo a line\n".repeat(100_000);
    let text = format!("FROM scratch\nRUN <<EOF\n{body}EOF\nRUN after\n");
    let kinds = kinds(&text);
    let InstructionKind::Run(run) = &kinds[1] else { panic!() };
    assert_eq!(run.heredocs[0].body, body);
    assert_eq!(kinds.len(), 3);
}

/// Pieces of Dockerfiles: random text alone would never get past the keyword.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "FROM ",
        "scratch",
        " AS x",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "LABEL ",
        "ARG ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "CMD ",
        "SHELL ",
        "EXPOSE ",
        "VOLUME ",
        "WORKDIR ",
        "USER ",
        "MAINTAINER ",
        "STOPSIGNAL ",
        "--from=x ",
        "--mount=",
        "type=cache",
        ",target=/x",
        "--link",
        "--interval=1",
        "<<EOF",
        "<<-'E'",
        "\nEOF\n",
        "\nE\n",
        "\n",
        "\r\n",
        "\\\n",
        " \\ \n",
        "`\n",
        "# escape=`\n",
        "# check=skip=A\n",
        "# syntax=a\n",
        "#",
        "$x",
        "${x",
        "${x:-",
        "}",
        "'",
        "\"",
        "\\",
        "[\"a\"",
        ", ",
        "]",
        "1",
        "=",
        " ",
        "\t",
        "a",
        "é",
        "\u{feff}",
        "\u{a0}",
        "NONE",
        "/",
        "//",
        "%",
        "*",
    ])
    .prop_map(str::to_owned);
    prop_oneof![8 => known, 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_parses_and_every_place_is_in_it(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        let source = Source::new("f", text.clone());
        let parsed = parse(&source);
        parsed.to_json();
        for diagnostic in &parsed.diagnostics {
            diagnostic.render_plain(&source);
            for label in &diagnostic.labels {
                prop_assert!(text.get(label.span.range()).is_some(), "{diagnostic:?}");
            }
        }
        for instruction in &parsed.file.instructions {
            prop_assert!(text.get(instruction.span.range()).is_some(), "{instruction:?}");
            prop_assert!(text.get(instruction.keyword.span.range()).is_some(), "{instruction:?}");
        }
    }

    #[test]
    fn any_word_expands_or_says_where_not(pieces in prop::collection::vec(piece(), 0..20)) {
        let word = pieces.concat();
        let lookup = |name: &str| (name == "x").then(|| "a/b\nc".to_owned());
        for quotes in [Quotes::Remove, Quotes::Keep] {
            if let Err(error) = expand(&word, '\\', &lookup, quotes) {
                prop_assert!(word.is_char_boundary(error.at()));
            }
        }
        let _ = expand_words(&word, '`', &lookup);
    }

    #[test]
    fn a_word_in_single_quotes_is_itself(word in "[^']*") {
        let expanded = expand(&format!("'{word}'"), '\\', &|_| None, Quotes::Remove).unwrap();
        prop_assert_eq!(expanded.text, word);
    }
}
