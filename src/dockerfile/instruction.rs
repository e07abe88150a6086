//! The typed instructions: what a Dockerfile says, nothing expanded.
//!
//! A [`Word`] is text as the file has it (escapes, quotes and variables included) and where it stood. Only the lowering
//! knows the variables; it turns words into text with [`expand`](super::expand).

use crate::text::{LineRange, Source, Span};

use super::directive::{CheckOptions, Directives};
use super::heredoc::{Heredoc, parse_word};
use super::mount::Mount;

/// A parsed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text that all spans point into.
    pub source: Source,
    /// The `# key=value` lines at the top.
    pub directives: Directives,
    /// The instructions in file order, ARGs before the first FROM included. An instruction that is wrong is missing
    /// here and present in the diagnostics.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// The escape character: `\` or, by `# escape`, a backtick.
    pub fn escape(&self) -> char {
        self.directives.escape
    }
}

/// One instruction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: InstructionKind,
    /// From its keyword to its end, heredoc bodies and their end lines included.
    pub span: Span,
    /// The lines of `span`.
    pub lines: LineRange,
    /// The keyword as written (`from`, `FROM`).
    pub keyword: Word,
    /// The instruction as one line: continuations joined, comments inside dropped, surrounding white space trimmed;
    /// without heredoc bodies.
    pub original: String,
    /// The comment lines directly above, without `#` and surrounding white space. A blank comment line (`#`) separates:
    /// only what follows it counts.
    pub comments: Vec<String>,
    /// `# check=…` among the comments: it holds for this instruction alone.
    pub check: Option<CheckOptions>,
}

/// Text as written and where it stood. When the text crosses lines the span covers all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text, nothing expanded, quotes and escapes kept. In JSON form: the decoded string.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// An instruction by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// `FROM [--platform=p] image [AS name]`
    From(From),
    /// `ARG name[=default] …`
    Arg(Vec<ArgItem>),
    /// `ENV key=value …` or `ENV key value`
    Env(Pairs),
    /// `LABEL key=value …` or `LABEL key value`
    Label(Pairs),
    /// `COPY [flags] source… destination`
    Copy(CopyArgs),
    /// `ADD [flags] source… destination`
    Add(AddArgs),
    /// `RUN [flags] command`
    Run(RunArgs),
    /// `WORKDIR path`
    Workdir(Word),
    /// `USER user[:group]`
    User(Word),
    /// `CMD command`
    Cmd(Command),
    /// `ENTRYPOINT command`
    Entrypoint(Command),
    /// `EXPOSE port[-port][/protocol] …`. A word may expand to several.
    Expose(Vec<Word>),
    /// `VOLUME path …`
    Volume(Vec<Word>),
    /// `STOPSIGNAL signal`
    StopSignal(Word),
    /// `HEALTHCHECK [flags] CMD command` or `HEALTHCHECK NONE`
    Healthcheck(Healthcheck),
    /// `SHELL ["program", "argument", …]`; never empty.
    Shell(Vec<String>),
    /// `ONBUILD instruction`
    Onbuild(Onbuild),
    /// `MAINTAINER text` (deprecated); the text is not expanded.
    Maintainer(Word),
}

impl InstructionKind {
    /// The keyword in upper case.
    pub fn name(&self) -> &'static str {
        match self {
            InstructionKind::From(_) => "FROM",
            InstructionKind::Arg(_) => "ARG",
            InstructionKind::Env(_) => "ENV",
            InstructionKind::Label(_) => "LABEL",
            InstructionKind::Copy(_) => "COPY",
            InstructionKind::Add(_) => "ADD",
            InstructionKind::Run(_) => "RUN",
            InstructionKind::Workdir(_) => "WORKDIR",
            InstructionKind::User(_) => "USER",
            InstructionKind::Cmd(_) => "CMD",
            InstructionKind::Entrypoint(_) => "ENTRYPOINT",
            InstructionKind::Expose(_) => "EXPOSE",
            InstructionKind::Volume(_) => "VOLUME",
            InstructionKind::StopSignal(_) => "STOPSIGNAL",
            InstructionKind::Healthcheck(_) => "HEALTHCHECK",
            InstructionKind::Shell(_) => "SHELL",
            InstructionKind::Onbuild(_) => "ONBUILD",
            InstructionKind::Maintainer(_) => "MAINTAINER",
        }
    }
}

/// FROM: the beginning of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Image reference, earlier stage or `scratch`; may hold variables.
    pub image: Word,
    /// The stage's name as written; names are compared in lower case. Checked: begins with a letter, then letters,
    /// digits, `-`, `_`, `.`.
    pub alias: Option<Word>,
    /// `--platform`
    pub platform: Option<Word>,
}

/// One variable of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgItem {
    /// The name; never empty. May hold variables and quotes like any word.
    pub name: Word,
    /// What stands after `=`; `Some` of an empty word for `ARG a=`.
    pub default: Option<Word>,
    /// The doc comment that begins with this name, without the name.
    pub comment: Option<String>,
}

/// The pairs of an ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Key and value in order; at least one, keys never empty. Both may hold variables and quotes.
    pub items: Vec<(Word, Word)>,
    /// Written as `KEY value` without `=`: one pair, the value is the rest of the line.
    pub legacy: bool,
}

/// What COPY and ADD share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileArgs {
    /// Sources in order; at least one.
    pub sources: Vec<FileSource>,
    /// Destination.
    pub dest: Word,
    /// Written as a JSON array.
    pub exec: bool,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, each a pattern of the ignore file's form.
    pub exclude: Vec<Word>,
}

/// One source of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSource {
    /// A path, pattern or (ADD) URL.
    Path(Word),
    /// A file written in the Dockerfile; its name is the delimiter.
    Heredoc(Heredoc),
}

/// COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyArgs {
    /// Sources, destination and common flags.
    pub files: FileArgs,
    /// `--from`: stage, stage index, named context or image.
    pub from: Option<Word>,
    /// `--parents`
    pub parents: bool,
}

/// ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddArgs {
    /// Sources, destination and common flags.
    pub files: FileArgs,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`; `None` when not given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; `None` when not given: local archives are unpacked, downloaded ones are not.
    pub unpack: Option<bool>,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunArgs {
    /// What to run. Never expanded by the builder.
    pub command: Command,
    /// Heredocs of the command in order. Shell form: the command's text names them (`cat <<EOF`).
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each.
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Option<Network>,
    /// `--security`
    pub security: Option<Security>,
    /// `--device`, each as written.
    pub devices: Vec<Word>,
}

/// What a RUN hands to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script<'a> {
    /// The command as it stands: no heredocs.
    Command(&'a Command),
    /// `RUN <<EOF` and nothing else: the body, for the shell.
    Body(String),
    /// The same with a body that begins with `#!`: a file of this name and content, to be executed itself.
    File {
        /// The file's name.
        name: &'a str,
        /// Its content.
        content: String,
    },
    /// Heredocs in a longer command: the command with all bodies after it, for the shell to read.
    Inline(String),
}

impl RunArgs {
    /// What is to be run, heredocs considered.
    pub fn script(&self) -> Script<'_> {
        let (Command::Shell(text), Some(first)) = (&self.command, self.heredocs.first()) else {
            return Script::Command(&self.command);
        };
        if let Ok(Some(_)) = parse_word(&text.text, text.span) {
            let content = first.content();
            return if first.body.starts_with("#!") {
                Script::File { name: &first.name, content }
            } else {
                Script::Body(content)
            };
        }
        let mut whole = text.text.clone();
        for heredoc in &self.heredocs {
            whole.push('\n');
            whole.push_str(&heredoc.body);
            whole.push_str(&heredoc.name);
        }
        Script::Inline(whole)
    }
}

/// `RUN --network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The build's network.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's network.
    Host,
}

/// `RUN --security`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Default capabilities and filters.
    #[default]
    Sandbox,
    /// All capabilities.
    Insecure,
}

/// A command line of RUN, CMD, ENTRYPOINT or HEALTHCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell, exactly as written after lines were joined. Empty for `CMD` alone.
    Shell(Word),
    /// A valid JSON array of strings. Empty for `[]`.
    Exec(Vec<String>),
}

/// HEALTHCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: switches an inherited check off.
    None,
    /// `CMD`
    Test(HealthcheckTest),
}

/// A health check; times in nanoseconds, `None` when not given or zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthcheckTest {
    /// What to run. Shell form is stored as `["CMD-SHELL", text]`, not wrapped by SHELL.
    pub command: Command,
    /// `--interval`
    pub interval: Option<i64>,
    /// `--timeout`
    pub timeout: Option<i64>,
    /// `--start-period`
    pub start_period: Option<i64>,
    /// `--start-interval`
    pub start_interval: Option<i64>,
    /// `--retries`
    pub retries: Option<i32>,
}

/// ONBUILD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger, parsed; never FROM, MAINTAINER or ONBUILD.
    pub trigger: Box<Instruction>,
    /// The trigger as stored in the image config: one line, then heredoc bodies with their end lines.
    pub text: String,
}
