//! Instructions whose effect is in the config alone, and WORKDIR.

use serde_json::json;

use crate::dockerfile::{
    ArgItem, Command, Healthcheck as HealthcheckArgs, Instruction, InstructionKind, Pairs, Word,
};
use crate::oci::Healthcheck;
use crate::plan::lint;
use crate::plan::model::{Op, WorkdirOp};
use crate::text::Span;

use super::Lowering;
use super::history::{history_of, quoted};
use super::state::State;

impl Lowering<'_> {
    /// Apply `instruction` to the config; its history line.
    pub(super) fn config(&mut self, instruction: &Instruction) -> String {
        match &instruction.kind {
            InstructionKind::Arg(items) => self.arg(items),
            InstructionKind::Env(pairs) => {
                let pairs = self.pairs(pairs);
                for (name, value) in &pairs {
                    self.state.set_env(name, value);
                }
                format!("ENV {}", joined(&pairs))
            }
            InstructionKind::Label(pairs) => {
                let pairs = self.pairs(pairs);
                self.state.config.config.labels.extend(pairs.iter().cloned());
                format!("LABEL {}", joined(&pairs))
            }
            InstructionKind::User(word) => {
                let user = self.text(word);
                self.state.config.config.user.clone_from(&user);
                format!("USER {user}")
            }
            InstructionKind::Cmd(command) => {
                self.recommend_json(command, "CMD");
                let args = self.command(command);
                let line = format!("CMD {}", quoted(&args));
                self.state.config.config.cmd = Some(args).filter(|args| !args.is_empty());
                self.state.config.config.args_escaped = true;
                self.used_once("CMD", instruction, |state| &mut state.cmd);
                line
            }
            InstructionKind::Entrypoint(command) => {
                self.recommend_json(command, "ENTRYPOINT");
                let args = self.command(command);
                let line = format!("ENTRYPOINT {}", quoted(&args));
                self.state.config.config.entrypoint = Some(args).filter(|args| !args.is_empty());
                // A CMD of the base was written for the base's entry point.
                if self.state.cmd.is_none() {
                    self.state.config.config.cmd = None;
                }
                self.used_once("ENTRYPOINT", instruction, |state| &mut state.entrypoint);
                line
            }
            InstructionKind::Expose(words) => self.expose(words),
            InstructionKind::Volume(words) => {
                let paths: Vec<String> = words.iter().map(|word| self.text(word)).collect();
                for (path, word) in paths.iter().zip(words) {
                    if path.is_empty() {
                        self.refuse("empty-volume", "a VOLUME's path is empty once it is expanded", word);
                    }
                    self.state.config.config.volumes.insert(path.clone(), json!({}));
                }
                format!("VOLUME [{}]", paths.join(" "))
            }
            InstructionKind::StopSignal(word) => {
                let signal = self.text(word);
                if !is_signal(&signal) {
                    self.refuse("bad-signal", &format!("`{signal}` is no signal"), word);
                }
                self.state.config.config.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            InstructionKind::Healthcheck(check) => {
                let check = healthcheck(check);
                let line = format!("HEALTHCHECK {}", history_of(&check));
                self.state.config.config.healthcheck = Some(check);
                self.used_once("HEALTHCHECK", instruction, |state| &mut state.healthcheck);
                line
            }
            InstructionKind::Shell(shell) => {
                self.state.config.config.shell = Some(shell.clone());
                format!("SHELL [{}]", shell.join(" "))
            }
            InstructionKind::Onbuild(onbuild) => {
                self.state.config.config.on_build.push(onbuild.text.clone());
                format!("ONBUILD {}", onbuild.text)
            }
            InstructionKind::Maintainer(word) => {
                self.state.config.author = Some(word.text.clone());
                format!("MAINTAINER {}", word.text)
            }
            InstructionKind::From(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Run(_)
            | InstructionKind::Workdir(_) => instruction.original.clone(),
        }
    }

    /// WORKDIR: the config, and a directory to be made. An empty path is the directory as it is.
    pub(super) fn workdir(&mut self, word: &Word) -> (Op, String) {
        let text = self.text(word);
        if !self.state.workdir_set && !text.starts_with('/') {
            self.diagnostics.push(lint::relative_workdir(&text, word.span));
        }
        self.state.workdir_set = true;
        let path = self.state.absolute(&text);
        self.state.config.config.working_dir.clone_from(&path);
        let line = format!("WORKDIR {path}");
        if path == "/" {
            return (Op::Config, line);
        }
        let user = self.state.config.config.user.clone();
        (Op::Workdir(WorkdirOp { path, user }), line)
    }

    /// ARG expands item by item: `ARG a=1 b=$a` sees the new `a`.
    fn arg(&mut self, items: &[ArgItem]) -> String {
        let mut line = "ARG".to_owned();
        for item in items {
            let name = self.text(&item.name);
            // A default that is not used is not expanded either: it may be `${X:?message}`.
            let value = match (self.settings.build_args.get(&name), &item.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.text(default)),
                (None, None) => self.stages.globals.get(&name).map(str::to_owned),
            };
            line.push(' ');
            line.push_str(&name);
            if let Some(value) = &value {
                line.push('=');
                line.push_str(value);
                self.state.variables.set(&name, value.as_str());
            }
            if !self.state.variables.is_declared(&name) {
                self.state.variables.declare(&name);
                self.state.arguments.push((name, value));
            } else if let Some(known) = self.state.arguments.iter_mut().find(|(known, _)| *known == name) {
                known.1 = value;
            }
        }
        line
    }

    /// ENV and LABEL expand as a whole against what was before: `ENV abc=bye def=$abc` uses the old `abc`.
    fn pairs(&mut self, pairs: &Pairs) -> Vec<(String, String)> {
        let (mut expander, variables) = self.expander();
        let expand = |word: &Word| expander.text(word, variables);
        let mut flat = pairs.items.iter().flat_map(|(name, value)| [name, value]).map(expand);
        let mut made = Vec::with_capacity(pairs.items.len());
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            made.push((name, value));
        }
        made
    }

    /// The exec form as it is; the shell form behind SHELL.
    fn command(&mut self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(args) => args.clone(),
            Command::Shell(word) => self.state.shell(&word.text),
        }
    }

    /// With a SHELL of its own the image's author has thought of shells.
    fn recommend_json(&mut self, command: &Command, name: &str) {
        if let Command::Shell(word) = command
            && self.state.config.config.shell.as_ref().is_none_or(Vec::is_empty)
        {
            self.diagnostics.push(lint::json_recommended(name, word.span));
        }
    }

    /// Of several CMDs, ENTRYPOINTs or HEALTHCHECKs of a stage only the last counts.
    fn used_once(
        &mut self,
        name: &str,
        instruction: &Instruction,
        last: impl Fn(&mut State) -> &mut Option<Span>,
    ) {
        if let Some(before) = last(self.state).replace(instruction.keyword.span) {
            self.diagnostics.push(lint::multiple_instructions(name, before));
        }
    }

    fn expose(&mut self, words: &[Word]) -> String {
        // Sorted as written, as BuildKit does: which of two wrong ports is named first depends on it.
        let mut words: Vec<&Word> = words.iter().collect();
        words.sort_by(|a, b| a.text.cmp(&b.text));
        let mut ports = Vec::new();
        for word in words {
            let (mut expander, variables) = self.expander();
            for text in expander.words(word, variables) {
                self.diagnostics.extend(lint::expose(&text, word.span));
                match parse_ports(&text) {
                    Ok(list) => ports.extend(list),
                    Err(message) => self.refuse("bad-port", &message, word),
                }
            }
        }
        ports.sort();
        ports.dedup();
        let exposed = &mut self.state.config.config.exposed_ports;
        exposed.extend(ports.iter().map(|port| (port.clone(), json!({}))));
        format!("EXPOSE [{}]", ports.join(" "))
    }
}

fn healthcheck(check: &HealthcheckArgs) -> Healthcheck {
    match check {
        HealthcheckArgs::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
        HealthcheckArgs::Test(test) => Healthcheck {
            // Stored as it is: the runtime puts the image's SHELL before it when it runs the check.
            test: match &test.command {
                Command::Exec(args) => {
                    std::iter::once("CMD".to_owned()).chain(args.iter().cloned()).collect()
                }
                Command::Shell(word) => vec!["CMD-SHELL".to_owned(), word.text.clone()],
            },
            interval: test.interval.unwrap_or(0),
            timeout: test.timeout.unwrap_or(0),
            start_period: test.start_period.unwrap_or(0),
            start_interval: test.start_interval.unwrap_or(0),
            retries: test.retries.unwrap_or(0).into(),
        },
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// `80`, `80/udp`, `8000-8010/TCP` as `80/tcp`, ….
fn parse_ports(text: &str) -> Result<Vec<String>, String> {
    let refused = |why: &str| format!("port `{text}`: {why}");
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, protocol)) if !protocol.is_empty() => (numbers, protocol.to_lowercase()),
        Some((numbers, _)) => (numbers, "tcp".to_owned()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(refused("the protocol is tcp, udp or sctp"));
    }
    // `docker run` syntax (ip:host:container) reaches here too; only the container's port counts.
    let numbers = numbers.rsplit(':').next().unwrap_or(numbers);
    let number = |digits: &str| {
        // Rust reads `+80` as a number.
        let number =
            Some(digits).filter(|digits| !digits.starts_with('+')).and_then(|d| d.parse::<u16>().ok());
        number.ok_or_else(|| refused("a port is a number from 0 to 65535"))
    };
    let (first, last) = match numbers.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(numbers)?, number(numbers)?),
    };
    if last < first {
        return Err(refused("the range ends before it begins"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 37] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX", "EMT",
    ];
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|digits| digits.parse::<u8>().is_ok_and(|offset| offset <= 30))
    };
    NAMES.contains(&name) || offset("RTMIN+") || offset("RTMAX-")
}

#[cfg(test)]
mod tests {
    use super::{is_signal, parse_ports};

    #[test]
    fn ports_have_a_protocol_and_ranges_are_written_out() {
        assert_eq!(parse_ports("80"), Ok(vec!["80/tcp".to_owned()]));
        assert_eq!(parse_ports("53/UDP"), Ok(vec!["53/udp".to_owned()]));
        assert_eq!(parse_ports("8000-8002").unwrap(), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(parse_ports("127.0.0.1:8080:80/"), Ok(vec!["80/tcp".to_owned()]));
        for bad in ["x", "70000", "9-8", "80/icmp", "", "+80", "/tcp"] {
            assert!(parse_ports(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn signals_are_numbers_or_names() {
        for good in ["9", "SIGKILL", "term", "SIGRTMIN+3"] {
            assert!(is_signal(good), "{good} was refused");
        }
        for bad in ["0", "65", "SIGFOO", "", "RTMIN+99"] {
            assert!(!is_signal(bad), "{bad} was accepted");
        }
    }
}
