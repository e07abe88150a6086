//! RUN, SHELL and HEALTHCHECK: the instructions that hold a command line and more.

use crate::text::Diagnostic;

use super::build::missing;
use super::duration::parse_duration;
use super::flags::Flags;
use super::instruction::{
    Command, Healthcheck, HealthcheckTest, InstructionKind, Network, RunArgs, Security, Word,
};
use super::mount::{Mount, MountError, RELABEL};
use super::node::Node;

pub(super) fn run(node: &Node, command: &Command, mut flags: Flags<'_>) -> Option<InstructionKind> {
    let written = flags.list("mount");
    let network = flags.text("network").and_then(|value| {
        let network = match value.text.as_str() {
            "default" => Some(Network::Default),
            "none" => Some(Network::None),
            "host" => Some(Network::Host),
            _ => None,
        };
        if network.is_none() {
            flags.refuse("network", &value, &["default", "none", "host"]);
        }
        network
    });
    let security = flags.text("security").and_then(|value| {
        let security = match value.text.as_str() {
            "sandbox" => Some(Security::Sandbox),
            "insecure" => Some(Security::Insecure),
            _ => None,
        };
        if security.is_none() {
            flags.refuse("security", &value, &["sandbox", "insecure"]);
        }
        security
    });
    let devices = flags.list("device");
    let diagnostics = flags.finish();
    let mounts = written.iter().filter_map(|value| mount(value, diagnostics)).collect();
    let heredocs = node.heredocs.clone();
    Some(InstructionKind::Run(RunArgs {
        command: command.clone(),
        heredocs,
        mounts,
        network,
        security,
        devices,
    }))
}

fn mount(value: &Word, diagnostics: &mut Vec<Diagnostic>) -> Option<Mount> {
    let read = Mount::parse(value).and_then(|mount| {
        if mount.is_literal() {
            // Nothing will change: what is wrong with it can be said now.
            mount.resolve::<MountError>(|word| Ok(word.text.clone()))?;
        }
        Ok(mount)
    });
    for field in read.iter().flat_map(|mount| &mount.fields).filter(|field| field.key == RELABEL) {
        let message = "SELinux relabelling does not apply: a step never sees the host's own files";
        diagnostics.push(Diagnostic::warning("ignored-mount-option", message).at(field.span));
    }
    read.map_err(|error| {
        let mut diagnostic = Diagnostic::error("invalid-mount", error.message).at(error.span);
        diagnostic.help.extend(error.help);
        diagnostics.push(diagnostic);
    })
    .ok()
}

pub(super) fn shell(
    node: &Node,
    command: &Command,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<String>> {
    match command {
        Command::Exec(words) if !words.is_empty() => Some(words.clone()),
        Command::Shell(text) if !text.text.is_empty() => {
            diagnostics.push(
                Diagnostic::error("shell-not-exec-form", "SHELL takes a JSON array of strings")
                    .at(text.span)
                    .help("write `SHELL [\"/bin/sh\", \"-c\"]`, with double quotes"),
            );
            None
        }
        _ => {
            missing(node, "a JSON array with at least one string", diagnostics);
            None
        }
    }
}

pub(super) fn healthcheck(
    node: &Node,
    kind: &Word,
    command: &Command,
    mut flags: Flags<'_>,
) -> Option<InstructionKind> {
    let interval = duration(&mut flags, "interval");
    let timeout = duration(&mut flags, "timeout");
    let start_period = duration(&mut flags, "start-period");
    let start_interval = duration(&mut flags, "start-interval");
    let retries = flags.text("retries").and_then(|value| {
        let number = value.text.parse::<i32>().ok().filter(|number| *number >= 0);
        if number.is_none() {
            let message = format!("`--retries` is a number, zero or more, not `{}`", value.text);
            flags.report(Diagnostic::error("invalid-flag-value", message).at(value.span));
        }
        number.filter(|number| *number > 0)
    });
    let diagnostics = flags.finish();
    let no_command = match command {
        Command::Shell(text) => text.text.is_empty(),
        Command::Exec(words) => words.is_empty(),
    };
    match kind.text.to_ascii_uppercase().as_str() {
        "NONE" if no_command => {
            if let Some(flag) = node.flags.first() {
                let message = "flags mean nothing with HEALTHCHECK NONE";
                diagnostics.push(Diagnostic::warning("ignored-flag", message).at(flag.span));
            }
            Some(InstructionKind::Healthcheck(Healthcheck::None))
        }
        "NONE" => {
            diagnostics.push(
                Diagnostic::error("healthcheck-arguments", "HEALTHCHECK NONE takes no arguments")
                    .at(node.span),
            );
            None
        }
        "CMD" if no_command => {
            missing(node, "a command after CMD", diagnostics);
            None
        }
        "CMD" => Some(InstructionKind::Healthcheck(Healthcheck::Test(HealthcheckTest {
            command: command.clone(),
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        }))),
        "" => {
            missing(node, "CMD and a command, or NONE", diagnostics);
            None
        }
        _ => {
            let message = format!("HEALTHCHECK takes CMD or NONE, not `{}`", kind.text);
            diagnostics.push(
                Diagnostic::error("healthcheck-arguments", message)
                    .at(kind.span)
                    .help("write `HEALTHCHECK CMD command`"),
            );
            None
        }
    }
}

/// Shortest time of a health check that the runtimes accept: a millisecond.
const SHORTEST: i64 = 1_000_000;

/// A duration flag in nanoseconds; zero and nothing are the same.
fn duration(flags: &mut Flags<'_>, name: &'static str) -> Option<i64> {
    let value = flags.text(name)?;
    let problem = match parse_duration(&value.text) {
        Some(0) => return None,
        Some(nanoseconds) if nanoseconds >= SHORTEST => return Some(nanoseconds),
        Some(_) => format!("`--{name}` cannot be less than 1ms"),
        None => format!("`--{name}` is a duration, not `{}`", value.text),
    };
    flags.report(
        Diagnostic::error("invalid-flag-value", problem)
            .at(value.span)
            .help("write a number and a unit: 500ms, 30s, 1h30m"),
    );
    None
}
