//! The shape of an instruction: keyword, flags, and arguments split as its keyword wants them split. What the arguments
//! mean, and whether they are enough, is decided in [`build`](super::build).

use crate::text::{Diagnostic, LineRange, Span, shortened};

use super::flags::split_flags;
use super::heredoc::Heredoc;
use super::instruction::{Command, Pairs, Word};
use super::json::{Json, parse_json};
use super::lines::Part;
use super::words::{quoted_words, split_pair};

/// The instructions there are, as suggestions list them.
pub(super) const KEYWORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "LABEL",
    "WORKDIR",
    "USER",
    "CMD",
    "ENTRYPOINT",
    "EXPOSE",
    "VOLUME",
    "HEALTHCHECK",
    "SHELL",
    "STOPSIGNAL",
    "ONBUILD",
    "MAINTAINER",
];

/// One instruction by shape.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The keyword as written.
    pub(super) keyword: Word,
    /// Flags, quotes resolved.
    pub(super) flags: Vec<Word>,
    pub(super) args: Arguments,
    /// Heredocs in order; those of a trigger are with the trigger.
    pub(super) heredocs: Vec<Heredoc>,
    /// The logical line from the keyword on, white space at its end kept.
    pub(super) original: String,
    pub(super) span: Span,
    pub(super) lines: LineRange,
    pub(super) comments: Vec<String>,
}

/// Arguments, by the way they are split.
#[derive(Clone, Debug)]
pub(super) enum Arguments {
    /// Separated by blanks, or the strings of the exec form.
    Words { words: Vec<Word>, exec: bool },
    /// The rest of the line.
    Text(Word),
    /// A command line.
    Command(Command),
    /// `key=value …` or `key value`; no items when there are no arguments.
    Pairs(Pairs),
    /// HEALTHCHECK: its first word and the command after it.
    Health { kind: Word, command: Command },
    /// ONBUILD's instruction.
    Trigger(Option<Box<Node>>),
    /// Wrong, and reported already; or those of an unknown instruction.
    Broken,
}

impl Node {
    /// The keyword in upper case.
    pub(super) fn name(&self) -> String {
        self.keyword.text.to_ascii_uppercase()
    }

    /// The node that may have heredocs: itself or, for ONBUILD, its trigger; `None` for the instructions and the exec
    /// form that have none.
    pub(super) fn heredoc_owner(&mut self) -> Option<&mut Node> {
        if matches!(self.args, Arguments::Trigger(_)) {
            let Arguments::Trigger(Some(trigger)) = &mut self.args else { return None };
            return match trigger.args {
                Arguments::Trigger(_) => None,
                _ => trigger.heredoc_owner(),
            };
        }
        let exec =
            matches!(self.args, Arguments::Words { exec: true, .. } | Arguments::Command(Command::Exec(_)));
        (matches!(self.name().as_str(), "RUN" | "COPY" | "ADD") && !exec).then_some(self)
    }
}

/// Reads the logical line `part` as one instruction, without heredoc bodies.
pub(super) fn read_node(part: Part<'_>, escape: char, diagnostics: &mut Vec<Diagnostic>) -> Node {
    read_nested(part, escape, 0, diagnostics)
}

/// Triggers of triggers are an error however deep; two levels are read to say so.
const TRIGGER_DEPTH: usize = 2;

fn read_nested(part: Part<'_>, escape: char, depth: usize, diagnostics: &mut Vec<Diagnostic>) -> Node {
    let trimmed = part.trim();
    let (keyword, rest) = trimmed.split_blank();
    let (flags, args) = match rest {
        Some(rest) => split_flags(rest),
        None => (Vec::new(), trimmed.sub(trimmed.text().len()..trimmed.text().len())),
    };
    let name = keyword.text().to_ascii_uppercase();
    let arguments = match name.as_str() {
        "FROM" | "EXPOSE" => Arguments::Words { words: blank_separated(args), exec: false },
        "ARG" => Arguments::Words { words: quoted_words(args, escape), exec: false },
        "COPY" | "ADD" | "VOLUME" => match parse_json(args) {
            Json::Strings(words) => Arguments::Words { words, exec: true },
            Json::Not => Arguments::Words { words: blank_separated(args), exec: false },
            Json::Mixed => mixed(args, diagnostics),
        },
        "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" => {
            command(args, diagnostics).map_or(Arguments::Broken, Arguments::Command)
        }
        "HEALTHCHECK" => {
            let (kind, rest) = args.split_blank();
            let rest = rest.unwrap_or(args.sub(args.text().len()..args.text().len()));
            let command = command(rest, diagnostics);
            command.map_or(Arguments::Broken, |command| Arguments::Health { kind: kind.word(), command })
        }
        "ENV" | "LABEL" => pairs(&name, args, escape, diagnostics),
        "WORKDIR" | "USER" | "STOPSIGNAL" | "MAINTAINER" => Arguments::Text(args.word()),
        "ONBUILD" if args.is_empty() || depth == TRIGGER_DEPTH => Arguments::Trigger(None),
        "ONBUILD" => {
            let trigger = read_nested(args.through(part), escape, depth + 1, diagnostics);
            Arguments::Trigger(Some(Box::new(trigger)))
        }
        _ => Arguments::Broken,
    };
    Node {
        keyword: keyword.word(),
        flags,
        args: arguments,
        heredocs: Vec::new(),
        original: trimmed.through(part).text().to_owned(),
        span: trimmed.span(),
        lines: LineRange::default(),
        comments: Vec::new(),
    }
}

fn blank_separated(part: Part<'_>) -> Vec<Word> {
    part.blank_separated().into_iter().map(Part::word).collect()
}

fn command(part: Part<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<Command> {
    match parse_json(part) {
        Json::Strings(words) => Some(Command::Exec(words.into_iter().map(|word| word.text).collect())),
        Json::Not => Some(Command::Shell(part.word())),
        Json::Mixed => {
            mixed(part, diagnostics);
            None
        }
    }
}

fn mixed(part: Part<'_>, diagnostics: &mut Vec<Diagnostic>) -> Arguments {
    diagnostics.push(
        Diagnostic::error("exec-form-not-strings", "a JSON array here may hold strings only")
            .at(part.span())
            .help("put every element in double quotes"),
    );
    Arguments::Broken
}

/// ENV and LABEL. Whether the first word has a `=` decides between `key=value …` and the old `key value`.
fn pairs(name: &str, part: Part<'_>, escape: char, diagnostics: &mut Vec<Diagnostic>) -> Arguments {
    let words = quoted_words(part, escape);
    let Some(first) = words.first() else {
        return Arguments::Pairs(Pairs { items: Vec::new(), legacy: false });
    };
    if !first.text.contains('=') {
        let (key, value) = part.split_blank();
        let Some(value) = value else {
            let key = shortened(key.text());
            diagnostics.push(
                Diagnostic::error("missing-value", format!("{name} needs a value for `{key}`"))
                    .at(part.span())
                    .help(format!("write `{name} {key}=value`")),
            );
            return Arguments::Broken;
        };
        return Arguments::Pairs(Pairs { items: vec![(key.word(), value.word())], legacy: true });
    }
    let mut items = Vec::new();
    let mut broken = false;
    for word in &words {
        if let Some(pair) = split_pair(word) {
            items.push(pair);
            continue;
        }
        broken = true;
        let message = format!("`{}` has no `=`: {name} takes key=value pairs", shortened(&word.text));
        diagnostics.push(
            Diagnostic::error("missing-equals", message)
                .at(word.span)
                .help("put a value with spaces in quotes, or escape its spaces"),
        );
    }
    if broken { Arguments::Broken } else { Arguments::Pairs(Pairs { items, legacy: false }) }
}
