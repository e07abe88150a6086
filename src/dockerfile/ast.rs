//! The parsed file as JSON, for people and tools that want to see what was understood.
//!
//! ```json
//! {"directives": {"escape": "\\"},
//!  "nodes": [{"cmd": "run", "flags": ["--network=none"], "args": ["cat <<EOF"], "lines": [2, 4], "json": false,
//!             "heredocs": [{"name": "EOF", "expand": true, "chomp": false, "fd": 0, "content": "hello\n"}]}]}
//! ```
//! Words are as written, nothing expanded. ENV and LABEL give name, value and separator (`=` or nothing) for each pair;
//! ONBUILD's one argument is a node. `comments`, `heredocs` and `directives`' keys are there when they have something to
//! say. Instructions with errors are in it too, as far as they have a shape.

use serde_json::{Value, json};

use super::heredoc::Heredoc;
use super::instruction::{Command, Word};
use super::node::{Arguments, Node};
use super::parse::Parsed;

impl Parsed {
    /// The file as JSON.
    pub fn to_json(&self) -> Value {
        let mut directives = json!({ "escape": self.file.directives.escape });
        if let Some(syntax) = &self.file.directives.syntax {
            directives["syntax"] = json!(syntax.text);
        }
        json!({ "directives": directives, "nodes": self.nodes.iter().map(node).collect::<Vec<_>>() })
    }
}

fn node(node: &Node) -> Value {
    let mut value = json!({
        "cmd": node.keyword.text.to_lowercase(),
        "flags": texts(&node.flags),
        "args": arguments(&node.args),
        "lines": [node.lines.first, node.lines.last],
        "json": is_exec(&node.args),
    });
    if !node.comments.is_empty() {
        value["comments"] = json!(node.comments);
    }
    if !node.heredocs.is_empty() {
        value["heredocs"] = node.heredocs.iter().map(heredoc).collect();
    }
    value
}

fn heredoc(heredoc: &Heredoc) -> Value {
    json!({
        "name": heredoc.name,
        "expand": heredoc.expand,
        "chomp": heredoc.chomp,
        "fd": heredoc.fd,
        "content": heredoc.body,
    })
}

fn texts(words: &[Word]) -> Value {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn is_exec(args: &Arguments) -> bool {
    match args {
        Arguments::Words { exec, .. } => *exec,
        Arguments::Command(command) | Arguments::Health { command, .. } => {
            matches!(command, Command::Exec(_))
        }
        _ => false,
    }
}

fn arguments(args: &Arguments) -> Value {
    match args {
        Arguments::Words { words, .. } => texts(words),
        Arguments::Text(text) if text.text.is_empty() => json!([]),
        Arguments::Text(text) => json!([text.text]),
        Arguments::Command(command) => json!(command_words(command)),
        Arguments::Health { kind, command } => {
            let kind = Some(kind.text.as_str()).filter(|kind| !kind.is_empty());
            kind.into_iter().chain(command_words(command)).collect()
        }
        Arguments::Pairs(pairs) => {
            let separator = if pairs.legacy { "" } else { "=" };
            pairs
                .items
                .iter()
                .flat_map(|(key, value)| [key.text.as_str(), value.text.as_str(), separator])
                .collect()
        }
        Arguments::Trigger(trigger) => trigger.iter().map(|trigger| node(trigger)).collect(),
        Arguments::Broken => json!([]),
    }
}

fn command_words(command: &Command) -> Vec<&str> {
    match command {
        Command::Shell(text) if text.text.is_empty() => Vec::new(),
        Command::Shell(text) => vec![&text.text],
        Command::Exec(words) => words.iter().map(String::as_str).collect(),
    }
}
