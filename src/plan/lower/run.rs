//! RUN.

use crate::dockerfile::{Command, Network, RunArgs, Script, Security};
use crate::plan::model::{Op, RunFile, RunOp};
use crate::plan::scan::Sourced;
use crate::plan::scope::proxies;
use crate::text::Diagnostic;

use super::Lowering;

impl Lowering<'_> {
    pub(super) fn run(&mut self, run: &RunArgs, sourced: &Sourced) -> (Op, String) {
        let span = sourced.instruction.keyword.span;
        if run.security == Some(Security::Insecure) {
            let message = "RUN --security=insecure is refused: steps run with the default protections";
            self.diagnostics.push(Diagnostic::error("unsupported-flag", message).at(span));
        }
        for device in &run.devices {
            self.refuse("unsupported-flag", "RUN --device is not supported", device);
        }
        if run.network == Some(Network::Host) && self.settings.network_none {
            let message = "RUN --network=host is refused: the build has no network";
            self.diagnostics.push(Diagnostic::error("unsupported-flag", message).at(span));
        }
        let mounts = self.mounts(run, sourced);
        let (args, script) = self.run_command(run);
        let line = self.run_history(&args);
        let op = RunOp {
            args,
            env: self.state.variables.to_vec(),
            proxies: proxies(&self.settings.build_args, &self.state.variables),
            user: self.state.config.config.user.clone(),
            workdir: self.state.config.config.working_dir.clone(),
            network_none: run.network == Some(Network::None),
            script,
            mounts,
        };
        (Op::Run(Box::new(op)), line)
    }

    /// The command line, and the file that a heredoc with `#!` becomes.
    fn run_command(&self, run: &RunArgs) -> (Vec<String>, Option<RunFile>) {
        match run.script() {
            Script::Command(Command::Exec(args)) => (args.clone(), None),
            Script::Command(Command::Shell(word)) => (self.state.shell(&word.text), None),
            Script::Body(text) | Script::Inline(text) => (self.state.shell(&text), None),
            Script::File { name, content } => {
                let path = format!("/dev/pipes/{name}");
                let script = RunFile { path: path.clone(), content: content.into_bytes().into() };
                (self.state.shell(&path), Some(script))
            }
        }
    }

    /// `RUN |2 A=1 B=2 /bin/sh -c cmd`: the ARGs with the values that the command saw, then the command.
    fn run_history(&self, args: &[String]) -> String {
        let mut line = "RUN".to_owned();
        let arguments = &self.state.arguments;
        if !arguments.is_empty() {
            line.push_str(&format!(" |{}", arguments.len()));
        }
        for (name, _) in arguments {
            let value = self.state.variables.get(name).unwrap_or_default();
            line.push_str(&format!(" {name}={value}"));
        }
        format!("{line} {}", args.join(" "))
    }
}
