//! The whole file: lines in, instructions and findings out.

use crate::text::{Diagnostic, LineRange, Source, Span};

use super::build::{build, doc_comment};
use super::directive::DirectiveReader;
use super::heredoc::{Heredoc, announced};
use super::instruction::{Dockerfile, Instruction, InstructionKind};
use super::lines::{Logical, continued};
use super::node::{Arguments, KEYWORDS, Node, read_node};

/// What came of parsing. There always is a file, however wrong: instructions with errors are missing in it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The instructions that are right.
    pub file: Dockerfile,
    /// Everything there is to say, in the order of the text. When no error is among them, the file is complete.
    pub diagnostics: Vec<Diagnostic>,
    pub(super) nodes: Vec<Node>,
}

impl Parsed {
    /// Whether the file cannot be built.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

impl Instruction {
    /// The text after `name ` of the first comment line that begins so: the doc comment of a stage or variable.
    pub fn doc_comment(&self, name: &str) -> Option<String> {
        doc_comment(&self.comments, name)
    }
}

/// Parses a Dockerfile. Total: any text gives a result, in time linear in its length, and every error is reported.
///
/// ```
/// use ocistage::{dockerfile, text::Source};
/// let parsed = dockerfile::parse(&Source::new("Dockerfile", "FROM scratch\nCOPPY a /b\nRUN --nett=none c\n"));
/// let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code).collect();
/// assert_eq!(codes, ["unknown-instruction", "unknown-flag"]);
/// ```
pub fn parse(source: &Source) -> Parsed {
    let mut parsed = read(source);
    check_stages(&mut parsed);
    check_bytes(source, &mut parsed);
    parsed.diagnostics.sort_by_key(Diagnostic::span);
    parsed
}

/// Parses an ONBUILD trigger as an image config holds it: one instruction, its heredocs with it. Spans point into
/// `text`, which the error's diagnostics need as their [`Source`].
pub fn parse_trigger(text: &str) -> Result<Instruction, Vec<Diagnostic>> {
    let mut parsed = read(&Source::new("ONBUILD", text));
    if parsed.has_errors() {
        return Err(parsed.diagnostics);
    }
    let not_allowed =
        |message: &str| vec![Diagnostic::error("onbuild-trigger", message).at(Span::new(0, text.len()))];
    match (parsed.file.instructions.pop(), parsed.file.instructions.is_empty()) {
        (Some(instruction), true) => match instruction.kind {
            InstructionKind::From(_) | InstructionKind::Maintainer(_) | InstructionKind::Onbuild(_) => {
                Err(not_allowed(&format!("{} is not allowed as an ONBUILD trigger", instruction.kind.name())))
            }
            _ => Ok(instruction),
        },
        _ => Err(not_allowed("an ONBUILD trigger is one instruction")),
    }
}

/// Physical lines with their line ends, and their offsets.
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let offset = self.at;
        self.at += length;
        Some((offset, &rest[..length]))
    }
}

fn without_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Parsing proper, without what concerns the file as a whole.
fn read(source: &Source) -> Parsed {
    let mut lines = Lines { text: source.text(), at: 0 };
    if source.text().starts_with('\u{feff}') {
        lines.at = '\u{feff}'.len_utf8();
    }
    let mut directives = DirectiveReader::default();
    let mut diagnostics = Vec::new();
    let mut nodes = Vec::new();
    let mut instructions = Vec::new();
    let mut comments: Vec<String> = Vec::new();
    while let Some((offset, line)) = lines.next() {
        let line = without_line_end(line);
        let body = line.trim_start();
        let offset = offset + (line.len() - body.len());
        if directives.take(body, offset, &mut diagnostics) {
            continue;
        }
        if let Some(comment) = body.strip_prefix('#') {
            match comment.trim() {
                "" => comments.clear(),
                comment => comments.push(comment.to_owned()),
            }
            continue;
        }
        if body.is_empty() {
            continue;
        }
        let escape = directives.found.escape;
        let (logical, mut end) = join(&mut lines, body, offset, escape, &mut diagnostics);
        if logical.whole().trim().is_empty() {
            continue;
        }
        let before = diagnostics.len();
        let mut node = read_node(logical.whole(), escape, &mut diagnostics);
        if let Some(owner) = node.heredoc_owner() {
            match announced(logical.whole()) {
                Ok(heredocs) => {
                    owner.heredocs = heredocs;
                    for heredoc in &mut owner.heredocs {
                        end = read_body(&mut lines, heredoc, end, &mut diagnostics);
                    }
                }
                Err((span, error)) => diagnostics.push(
                    Diagnostic::error("invalid-heredoc", format!("invalid heredoc delimiter: {error}"))
                        .at(span),
                ),
            }
        }
        place(&mut node, Span::new(offset, end), source);
        node.comments = std::mem::take(&mut comments);
        let broken = diagnostics[before..].iter().any(Diagnostic::is_error);
        // Built even when broken: there may be more to say about it.
        instructions.extend(build(&node, &mut diagnostics).filter(|_| !broken));
        nodes.push(node);
    }
    let file = Dockerfile { source: source.clone(), directives: directives.found, instructions };
    Parsed { file, diagnostics, nodes }
}

/// Joins the lines of an instruction that begins with `first`. Gives the logical line and the offset of its end.
fn join(
    lines: &mut Lines<'_>,
    first: &str,
    offset: usize,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Logical, usize) {
    let mut logical = Logical::default();
    let mut end = offset + first.len();
    let mut empty_line = None;
    let mut open = continued(first, escape);
    logical.push(open.unwrap_or(first), offset);
    while open.is_some() {
        let Some((offset, line)) = lines.next() else { break };
        let line = without_line_end(line);
        let body = line.trim_start();
        if body.starts_with('#') {
            continue;
        }
        if body.is_empty() {
            empty_line.get_or_insert(Span::new(offset, offset + line.len()));
            continue;
        }
        open = continued(line, escape);
        logical.push(open.unwrap_or(line), offset);
        end = offset + line.len();
    }
    if let Some(span) = empty_line {
        diagnostics.push(
            Diagnostic::warning("NoEmptyContinuation", "empty line in the continuation of an instruction")
                .at(span)
                .help("remove the empty line, or put a comment in it"),
        );
    }
    (logical, end)
}

/// Reads the lines of a heredoc up to the line that ends it. Gives the offset of the end of that line.
fn read_body(
    lines: &mut Lines<'_>,
    heredoc: &mut Heredoc,
    end: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> usize {
    let start = lines.at;
    heredoc.body_span = Span::at(start);
    while let Some((offset, line)) = lines.next() {
        if heredoc.ends_at(line) {
            heredoc.body_span.end = offset;
            heredoc.body = lines.text[start..offset].to_owned();
            return offset + without_line_end(line).len();
        }
    }
    let message = format!("the heredoc `{}` is never ended", heredoc.name);
    let mut diagnostic = Diagnostic::error("unterminated-heredoc", message).at(heredoc.span);
    let indented = lines.text[start..].lines().any(|line| line.trim() == heredoc.name);
    diagnostic = match (indented, heredoc.chomp) {
        (true, true) => diagnostic.help("only tabs may stand before the end line, and nothing after it"),
        (true, false) => diagnostic.help(format!(
            "nothing may stand around the end line; `<<-{}` allows tabs before it",
            heredoc.name
        )),
        _ => diagnostic.help(format!("end it with a line that holds only `{}`", heredoc.name)),
    };
    diagnostics.push(diagnostic);
    heredoc.body = lines.text[start.min(lines.text.len())..].to_owned();
    heredoc.body_span.end = lines.text.len();
    end.max(lines.text.len())
}

/// Sets place and lines of a node; a trigger's end is its ONBUILD's end.
fn place(node: &mut Node, span: Span, source: &Source) {
    node.span = Span::new(node.span.start.max(span.start), span.end);
    node.lines = LineRange { first: source.line_of(node.span.start), last: source.line_of(span.end) };
    if let Arguments::Trigger(Some(trigger)) = &mut node.args {
        place(trigger, span, source);
    }
}

/// A build needs a stage, and everything but ARG needs one before it.
fn check_stages(parsed: &mut Parsed) {
    let is = |node: &&Node, name: &str| node.keyword.text.eq_ignore_ascii_case(name);
    let Some(first) = parsed.nodes.first() else {
        let message = format!("{} has no instructions", parsed.file.source.name());
        let end = parsed.file.source.text().len();
        parsed.diagnostics.push(
            Diagnostic::error("no-instructions", message).at(Span::at(end)).help("begin with `FROM image`"),
        );
        return;
    };
    let has_from = parsed.nodes.iter().any(|node| is(&node, "FROM"));
    let early = parsed.nodes.iter().take_while(|node| !is(node, "FROM")).find(|node| {
        // An unknown word has been reported as such, and may be meant for FROM.
        !is(node, "ARG") && KEYWORDS.contains(&node.name().as_str())
    });
    if let Some(node) = early {
        let message = format!("{} before the first FROM: only ARG may stand there", node.name());
        parsed.diagnostics.push(Diagnostic::error("no-stage", message).at(node.keyword.span));
    } else if !has_from
        && !parsed.diagnostics.iter().any(|diagnostic| diagnostic.code == "unknown-instruction")
    {
        let diagnostic = Diagnostic::error("no-stage", "there is no FROM, so there is nothing to build");
        parsed.diagnostics.push(diagnostic.at(first.span).help("begin a stage with `FROM image`"));
    }
}

/// Bytes that are not UTF-8 do no harm in a comment; elsewhere the build would not do what the file says.
fn check_bytes(source: &Source, parsed: &mut Parsed) {
    let Some(first) = source.replaced().first() else { return };
    let owners = parsed.nodes.iter().map(|node| match &node.args {
        Arguments::Trigger(Some(trigger)) => &trigger.heredocs,
        _ => &node.heredocs,
    });
    let bodies: Vec<Span> = owners.flatten().map(|heredoc| heredoc.body_span).collect();
    let in_heredoc = |offset: usize| {
        let before = bodies.partition_point(|body| body.start <= offset);
        before.checked_sub(1).is_some_and(|last| bodies[last].range().contains(&offset))
    };
    let harmful = source.replaced().iter().find(|span| {
        let line = source.slice(source.line_span(source.line_of(span.start)));
        !line.trim_start().starts_with('#') || in_heredoc(span.start)
    });
    parsed.diagnostics.push(match harmful {
        Some(span) => {
            Diagnostic::error("not-utf8", "the file is not UTF-8").at(*span).help("save it as UTF-8")
        }
        None => Diagnostic::warning("not-utf8", "a comment is not UTF-8").at(*first),
    });
}
