//! From the shape of an instruction to what it says: the right number of arguments, known flags, values that make
//! sense before anything is expanded.

use crate::text::{Diagnostic, Span, shortened, suggest};

use super::build_command::{healthcheck, run, shell};
use super::directive::{CheckOptions, key_value};
use super::flags::Flags;
use super::heredoc::parse_word;
use super::instruction::{
    AddArgs, ArgItem, CopyArgs, FileArgs, FileSource, From, Instruction, InstructionKind, Onbuild, Pairs,
    Word,
};
use super::node::{Arguments, KEYWORDS, Node};

/// The instruction of `node`; `None` when it is wrong, which then is in `diagnostics`.
pub(super) fn build(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Instruction> {
    let before = diagnostics.len();
    let kind = kind(node, diagnostics)?;
    if diagnostics[before..].iter().any(Diagnostic::is_error) {
        return None;
    }
    Some(Instruction {
        kind,
        span: node.span,
        lines: node.lines,
        keyword: node.keyword.clone(),
        original: node.original.trim().to_owned(),
        comments: node.comments.clone(),
        check: check_of(&node.comments),
    })
}

/// `# check=…` among the comments of an instruction; several add up.
fn check_of(comments: &[String]) -> Option<CheckOptions> {
    let mut merged: Option<CheckOptions> = None;
    for comment in comments {
        let line = format!("#{comment}");
        let Some((key, at)) = key_value(&line) else { continue };
        let Some(options) =
            Some(key).filter(|key| key == "check").and_then(|_| CheckOptions::parse(&line[at..]).ok())
        else {
            continue;
        };
        let sum = merged.get_or_insert_default();
        sum.skip.extend(options.skip);
        sum.skip_all |= options.skip_all;
        sum.error |= options.error;
        sum.experimental.extend(options.experimental);
        sum.experimental_all |= options.experimental_all;
    }
    merged
}

fn kind(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<InstructionKind> {
    let name = node.name();
    let mut flags = Flags::new(&name, &node.flags, diagnostics);
    let kind = match (name.as_str(), &node.args) {
        ("RUN", Arguments::Command(command)) => return run(node, command, flags),
        ("HEALTHCHECK", Arguments::Health { kind, command }) => {
            return healthcheck(node, kind, command, flags);
        }
        ("COPY" | "ADD", Arguments::Words { words, exec }) => return files(node, words, *exec, flags),
        ("FROM", Arguments::Words { words, .. }) => {
            let platform = flags.text("platform");
            flags.finish();
            return from(node, words, platform, diagnostics).map(InstructionKind::From);
        }
        ("ONBUILD", Arguments::Trigger(trigger)) => {
            flags.finish();
            return onbuild(node, trigger.as_deref(), diagnostics).map(InstructionKind::Onbuild);
        }
        (_, Arguments::Broken) if KEYWORDS.contains(&name.as_str()) => return None,
        ("CMD", Arguments::Command(command)) => InstructionKind::Cmd(command.clone()),
        ("ENTRYPOINT", Arguments::Command(command)) => InstructionKind::Entrypoint(command.clone()),
        ("SHELL", Arguments::Command(command)) => {
            flags.finish();
            return shell(node, command, diagnostics).map(InstructionKind::Shell);
        }
        ("EXPOSE", Arguments::Words { words, .. }) => InstructionKind::Expose(words.clone()),
        ("VOLUME", Arguments::Words { words, .. }) => InstructionKind::Volume(
            words.iter().map(|word| Word { text: word.text.trim().to_owned(), ..*word }).collect(),
        ),
        ("ARG", Arguments::Words { words, .. }) => {
            flags.finish();
            return args(node, words, diagnostics).map(InstructionKind::Arg);
        }
        ("ENV", Arguments::Pairs(pairs)) => InstructionKind::Env(pairs.clone()),
        ("LABEL", Arguments::Pairs(pairs)) => InstructionKind::Label(pairs.clone()),
        ("WORKDIR", Arguments::Text(text)) => InstructionKind::Workdir(text.clone()),
        ("USER", Arguments::Text(text)) => InstructionKind::User(text.clone()),
        ("STOPSIGNAL", Arguments::Text(text)) => InstructionKind::StopSignal(text.clone()),
        ("MAINTAINER", Arguments::Text(text)) => InstructionKind::Maintainer(text.clone()),
        _ => {
            unknown(node, diagnostics);
            return None;
        }
    };
    flags.finish();
    check_arguments(node, &kind, diagnostics).then_some(kind)
}

/// Whether an instruction without rules of its own has the arguments it needs.
fn check_arguments(node: &Node, kind: &InstructionKind, diagnostics: &mut Vec<Diagnostic>) -> bool {
    match kind {
        InstructionKind::Workdir(text)
        | InstructionKind::User(text)
        | InstructionKind::StopSignal(text)
        | InstructionKind::Maintainer(text)
            if text.text.is_empty() =>
        {
            missing(node, "an argument", diagnostics)
        }
        InstructionKind::Expose(words) | InstructionKind::Volume(words) if words.is_empty() => {
            missing(node, "at least one argument", diagnostics)
        }
        InstructionKind::Volume(words) => match words.iter().find(|word| word.text.is_empty()) {
            Some(empty) => {
                diagnostics.push(Diagnostic::error("empty-name", "a VOLUME cannot be empty").at(empty.span));
                false
            }
            None => true,
        },
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => check_pairs(node, pairs, diagnostics),
        _ => true,
    }
}

fn check_pairs(node: &Node, pairs: &Pairs, diagnostics: &mut Vec<Diagnostic>) -> bool {
    if pairs.items.is_empty() {
        return missing(node, "at least one key=value", diagnostics);
    }
    let mut fine = true;
    for (key, value) in &pairs.items {
        if key.text.is_empty() {
            let message = format!("{} needs a name before `=`", node.name());
            diagnostics.push(Diagnostic::error("empty-name", message).at(key.span.to(value.span)));
            fine = false;
        }
    }
    fine
}

/// Reports that arguments are missing; false.
pub(super) fn missing(node: &Node, what: &str, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let message = format!("{} needs {what}", node.name());
    diagnostics.push(Diagnostic::error("missing-argument", message).at(node.span));
    false
}

fn unknown(node: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let word = &node.keyword.text;
    let message = format!("unknown instruction `{}`", shortened(word));
    let mut diagnostic = Diagnostic::error("unknown-instruction", message).at(node.keyword.span);
    if let Some(near) = suggest(word, KEYWORDS) {
        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
    }
    diagnostics.push(diagnostic);
}

fn from(
    node: &Node,
    words: &[Word],
    platform: Option<Word>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<From> {
    match words {
        [image] => Some(From { image: image.clone(), alias: None, platform }),
        [image, keyword, alias] if keyword.text.eq_ignore_ascii_case("as") => {
            if !is_stage_name(&alias.text.to_lowercase()) {
                let message = format!("invalid stage name `{}`", shortened(&alias.text));
                diagnostics.push(
                    Diagnostic::error("invalid-stage-name", message)
                        .at(alias.span)
                        .help("begin with a letter; then letters, digits, `-`, `_` and `.`"),
                );
                return None;
            }
            Some(From { image: image.clone(), alias: Some(alias.clone()), platform })
        }
        [] => {
            missing(node, "an image, a stage or `scratch`", diagnostics);
            None
        }
        [_, extra, ..] => {
            let last = words.last().map_or(extra.span, |word| word.span);
            diagnostics.push(
                Diagnostic::error("from-arguments", "FROM takes an image, or an image, AS and a name")
                    .at(extra.span.to(last))
                    .help("write `FROM image AS name`"),
            );
            None
        }
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

fn args(node: &Node, words: &[Word], diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<ArgItem>> {
    if words.is_empty() {
        missing(node, "at least one name", diagnostics);
        return None;
    }
    let mut items = Vec::new();
    for word in words {
        let (name, default) = match super::words::split_pair(word) {
            Some((name, default)) => (name, Some(default)),
            None => (word.clone(), None),
        };
        if name.text.is_empty() {
            diagnostics.push(Diagnostic::error("empty-name", "ARG needs a name before `=`").at(word.span));
            continue;
        }
        let name = plain_name(name, diagnostics);
        let comment = doc_comment(&node.comments, &name.text);
        items.push(ArgItem { name, default, comment });
    }
    (!items.is_empty()).then_some(items)
}

/// `ARG $NAME` declares nothing in BuildKit (the name is expanded, mostly to nothing); its author meant NAME.
fn plain_name(name: Word, diagnostics: &mut Vec<Diagnostic>) -> Word {
    let Some(bare) = name.text.strip_prefix('$') else { return name };
    let bare = bare.strip_prefix('{').and_then(|bare| bare.strip_suffix('}')).unwrap_or(bare);
    let is_name = bare.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return name;
    }
    let message = format!("`ARG {}` is read as `ARG {bare}`", name.text);
    diagnostics.push(
        Diagnostic::warning("arg-with-dollar", message).at(name.span).help("ARG takes a name, without `$`"),
    );
    Word { text: bare.to_owned(), span: name.span }
}

/// The text after `name ` of the first comment that begins so.
pub(super) fn doc_comment(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

fn files(node: &Node, words: &[Word], exec: bool, mut flags: Flags<'_>) -> Option<InstructionKind> {
    let is_copy = node.name() == "COPY";
    let chown = flags.text("chown");
    let chmod = flags.text("chmod");
    let link = flags.switch("link").unwrap_or(false);
    let exclude = flags.list("exclude");
    let (mut from, mut parents) = (None, false);
    let (mut checksum, mut keep_git_dir, mut unpack) = (None, None, None);
    if is_copy {
        from = flags.text("from");
        parents = flags.switch("parents").unwrap_or(false);
    } else {
        checksum = flags.text("checksum");
        keep_git_dir = flags.switch("keep-git-dir");
        unpack = flags.switch("unpack");
    }
    let diagnostics = flags.finish();
    let Some((dest, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        missing(node, "at least one source and a destination", diagnostics);
        return None;
    };
    let heredoc_of = |word: &Word| if exec { None } else { parse_word(&word.text, word.span).ok().flatten() };
    let mut bodies = node.heredocs.iter();
    let mut read = Vec::new();
    for source in sources {
        let Some(wanted) = heredoc_of(source) else {
            read.push(FileSource::Path(source.clone()));
            continue;
        };
        if let Some(heredoc) = bodies.find(|heredoc| heredoc.name == wanted.name) {
            read.push(FileSource::Heredoc(heredoc.clone()));
        } else {
            let message = format!("the heredoc `{}` has no body", wanted.name);
            diagnostics.push(
                Diagnostic::error("invalid-heredoc", message)
                    .at(source.span)
                    .help("the line has an open quote or a bad substitution, so no heredoc was looked for"),
            );
            return None;
        }
    }
    if heredoc_of(dest).is_some() {
        let message = format!("the destination of {} cannot be a heredoc", node.name());
        diagnostics.push(Diagnostic::error("heredoc-destination", message).at(dest.span));
        return None;
    }
    let files = FileArgs { sources: read, dest: dest.clone(), exec, chown, chmod, link, exclude };
    Some(if is_copy {
        InstructionKind::Copy(CopyArgs { files, from, parents })
    } else {
        InstructionKind::Add(AddArgs { files, checksum, keep_git_dir, unpack })
    })
}

fn onbuild(node: &Node, trigger: Option<&Node>, diagnostics: &mut Vec<Diagnostic>) -> Option<Onbuild> {
    let Some(trigger) = trigger else {
        missing(node, "an instruction", diagnostics);
        return None;
    };
    let refused = |message: String, span: Span| Diagnostic::error("onbuild-trigger", message).at(span);
    match trigger.name().as_str() {
        "ONBUILD" => {
            diagnostics.push(refused("ONBUILD cannot trigger ONBUILD".to_owned(), trigger.keyword.span));
            return None;
        }
        name @ ("FROM" | "MAINTAINER") => {
            diagnostics
                .push(refused(format!("{name} is not allowed as an ONBUILD trigger"), trigger.keyword.span));
            return None;
        }
        _ => {}
    }
    let mut text = trigger.original.clone();
    for heredoc in &trigger.heredocs {
        text.push('\n');
        text.push_str(&heredoc.body);
        text.push_str(&heredoc.name);
    }
    Some(Onbuild { trigger: Box::new(build(trigger, diagnostics)?), text })
}
