//! RUN.

use crate::dockerfile::{Command, Network, RunArgs, Security};
use crate::plan::model::{Op, RunFile, RunOp};
use crate::plan::scan::Sourced;
use crate::plan::scope::PROXIES;
use crate::text::Diagnostic;

use super::Lowering;
use super::config::quoted;

impl Lowering<'_> {
    pub(super) fn run(&mut self, run: &RunArgs, sourced: &Sourced) -> (Op, String) {
        let span = sourced.instruction.keyword.span;
        if run.security == Some(Security::Insecure) {
            let finding = Diagnostic::error(
                "unsupported-flag",
                "RUN --security=insecure is refused: steps run with the default protections",
            );
            self.diagnostics.push(finding.at(span));
        }
        for device in &run.devices {
            self.refuse("unsupported-flag", "RUN --device is not supported", device);
        }
        for mount in &run.mounts {
            let finding = Diagnostic::error("unsupported-flag", "RUN --mount is not supported yet");
            self.diagnostics.push(finding.at(mount.span));
        }
        let (args, script) = self.run_command(run);
        let declared = |name: &str| self.state.arguments.iter().any(|(argument, _)| argument == name);
        let proxies = self
            .stages
            .build_args()
            .iter()
            .filter(|(name, _)| PROXIES.contains(&name.as_str()) && !declared(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let line = self.run_history(&args);
        let op = RunOp {
            args,
            env: self.state.variables.to_vec(),
            proxies,
            user: self.state.config.config.user.clone(),
            workdir: self.state.config.config.working_dir.clone(),
            network_none: run.network == Some(Network::None),
            script,
            mounts: Vec::new(),
        };
        (Op::Run(Box::new(op)), line)
    }

    /// The command line, and the script that a heredoc with `#!` becomes (BuildKit, `dispatchRun`).
    fn run_command(&self, run: &RunArgs) -> (Vec<String>, Option<RunFile>) {
        let word = match &run.command {
            Command::Exec(args) => return (args.clone(), None),
            Command::Shell(word) => word,
        };
        let lone = match run.heredocs.as_slice() {
            // The whole command is one heredoc: `RUN <<EOF`.
            [heredoc] if is_heredoc_word(&word.text) => Some(heredoc),
            _ => None,
        };
        match lone {
            Some(heredoc) if heredoc.content().starts_with("#!") => {
                let path = format!("/dev/pipes/{}", heredoc.name);
                let script = RunFile { path: path.clone(), content: heredoc.content().into_bytes().into() };
                (self.state.shell(&path), Some(script))
            }
            Some(heredoc) => (self.state.shell(&heredoc.content()), None),
            None => {
                // The shell reads the heredocs itself; it gets them as they were written.
                let mut text = word.text.clone();
                for heredoc in &run.heredocs {
                    text.push('\n');
                    text.push_str(&heredoc.body);
                    text.push_str(&heredoc.name);
                }
                (self.state.shell(&text), None)
            }
        }
    }

    /// `RUN |2 A=1 B=2 /bin/sh -c cmd`: the ARGs that the command saw, then the command.
    fn run_history(&self, args: &[String]) -> String {
        let seen: Vec<String> = self
            .state
            .arguments
            .iter()
            .filter(|(name, _)| !PROXIES.contains(&name.as_str()))
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
            .collect();
        let command = match args {
            [shell, flag, text] if flag == "-c" => format!("{shell} {flag} {text}"),
            args => quoted(args),
        };
        if seen.is_empty() {
            format!("RUN {command}")
        } else {
            format!("RUN |{} {} {command}", seen.len(), seen.join(" "))
        }
    }
}

/// Whether `text` is nothing but `<<EOF`, `<<-EOF` or `3<<"EOF"`.
fn is_heredoc_word(text: &str) -> bool {
    let text = text.trim().trim_start_matches(|c: char| c.is_ascii_digit());
    text.strip_prefix("<<").is_some_and(|name| !name.contains(['<', ' ', '\t', '>', '|', '&', ';']))
}
