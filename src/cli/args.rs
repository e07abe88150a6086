//! What was typed: the command line as clap reads it, before it means anything.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

mod errands;

use super::environment::Environment;
use super::failure::Failure;
use super::foreign;
use errands::LOGIN_HELP;
pub(crate) use errands::{CacheCommand, CachePlaceOptions, LoginArgs, LogoutArgs, PruneArgs};

/// Builds OCI images from Dockerfiles, without a daemon.
///
/// The registry is the cache, the transport and the output: what a registry has is not built, sent or fetched again.
#[derive(Debug, Parser)]
#[command(
    name = "ocistage",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Every option can be set in the environment: --cache-repo as OCISTAGE_CACHE_REPO. \
                  An option that may be repeated takes one value a line."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(visible_aliases = ["b", "bud"], override_usage = BUILD_USAGE, after_help = BUILD_EXAMPLES)]
    Build(BuildArgs),
    /// Build and push keeping nothing on this machine, or push an image that exists
    #[command(override_usage = PUSH_USAGE, after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Check Dockerfiles without building anything
    #[command(override_usage = CHECK_USAGE, after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Look at the records of a cache, or throw some away
    #[command(arg_required_else_help = true, subcommand_required = true)]
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Keep the credential of a registry
    #[command(after_help = LOGIN_HELP)]
    Login(LoginArgs),
    /// Forget the credential of a registry
    Logout(LogoutArgs),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const BUILD_EXAMPLES: &str = "\
Examples:
  ocistage build .                                     into the local store
  ocistage build -t registry.example/app:1 --push .    into a registry, which is then the cache too
  ocistage build --target test -o out .                the file system of a stage, as a directory
  ocistage build -o type=oci,dest=app.tar .            an OCI archive (without .tar: a folder)";

const BUILD_USAGE: &str = "ocistage build [OPTIONS] CONTEXT";

const CHECK_USAGE: &str = "ocistage check [OPTIONS] [PATH]...";

const CHECK_EXAMPLES: &str = "\
Exit status: 0 no errors, 1 errors, 2 not a Dockerfile. Warnings are errors where the file says `# check=error=true`.

Examples:
  ocistage check                            ./Dockerfile with ./.dockerignore
  ocistage check -f Dockerfile.prod .       another file of this context
  ocistage check --format sarif a/ b/       the Dockerfiles of two folders, for a code host
  ocistage check --ast Dockerfile           the parsed file as JSON";

const PUSH_USAGE: &str = "\
ocistage push -t REF... [BUILD OPTIONS] CONTEXT
       ocistage push [OPTIONS] SOURCE [REF]...";

const PUSH_EXAMPLES: &str = "\
Sources:
  NAME or sha256:DIGEST    an image in the local store
  oci:DIR[:TAG]            an OCI layout
  oci-archive:FILE         an OCI layout in a tar archive
  docker-archive:FILE      what `docker save` writes

Examples:
  ocistage push -t registry.example/app:1 .            build and push, nothing stays here
  ocistage push oci:layout:v1 registry.example/app:1   an image that exists, its bytes as they are";

/// `ocistage build`
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) options: BuildOptions,
    #[command(flatten)]
    pub(crate) common: CommonOptions,
    /// The directory with the files to build from, or `-` for a tar archive or a Dockerfile on standard input
    #[arg(value_name = "CONTEXT", value_hint = clap::ValueHint::DirPath)]
    pub(crate) context: Vec<OsString>,
    /// Check the Dockerfile instead of building it
    #[arg(
        long, value_name = "BOOL", help_heading = SOURCE, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        hide_possible_values = true, value_parser = BoolishValueParser::new(), action = ArgAction::Set
    )]
    pub(crate) check: bool,
    /// Instead of building, show: check (findings), outline (what the target can be given), targets (stages);
    /// with `,format=json` as JSON
    #[arg(long, value_name = "WHAT", help_heading = SOURCE)]
    pub(crate) call: Option<String>,
}

/// `--call`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallName {
    /// Findings
    Check,
    /// What the target can be given
    Outline,
    /// The stages
    Targets,
}

/// `ocistage check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A Dockerfile [default: PATH/Dockerfile, then PATH/Containerfile]; `-` is standard input; may be repeated
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: Vec<PathBuf>,
    /// Set an ARG; without a value, from the environment
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// The stage that must exist
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// How findings are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: CheckFormat,
    /// Print the parsed file as JSON instead
    #[arg(long)]
    pub(crate) ast: bool,
    /// Contexts, or Dockerfiles [default: .]
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code hosts
    Sarif,
}

/// `ocistage push`
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    pub(crate) options: BuildOptions,
    #[command(flatten)]
    pub(crate) common: CommonOptions,
    /// With -t: the context to build. Without: the image to push, then the references to push it to
    #[arg(value_name = "CONTEXT|SOURCE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) operands: Vec<OsString>,
    /// Options for building that were typed, for the form that does not build.
    #[arg(skip)]
    pub(crate) build_options_typed: Vec<String>,
    /// Whether -t was typed, rather than set in the environment.
    #[arg(skip)]
    pub(crate) tag_typed: bool,
}

/// Options about what is built and how.
#[derive(Debug, Default, Args)]
pub(crate) struct BuildOptions {
    /// The Dockerfile [default: CONTEXT/Dockerfile, then CONTEXT/Containerfile]; `-` is standard input
    #[arg(short, long, value_name = "PATH", help_heading = SOURCE, value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// The stage to build [default: the last]
    #[arg(long, value_name = "STAGE", help_heading = SOURCE)]
    pub(crate) target: Option<String>,
    /// Set an ARG; without a value, from the environment
    #[arg(long, value_name = "KEY[=VALUE]", help_heading = SOURCE)]
    pub(crate) build_arg: Vec<String>,
    /// A further context: NAME=DIR, NAME=oci-layout://DIR[:TAG], NAME=docker-image://REF
    #[arg(long, value_name = "NAME=VALUE", help_heading = SOURCE)]
    pub(crate) build_context: Vec<String>,
    /// The platform to build for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", help_heading = SOURCE)]
    pub(crate) platform: Option<String>,
    /// Ask registries for the base images' tags even when they are known here
    #[arg(
        long, value_name = "WHEN", help_heading = SOURCE, num_args = 0..=1, require_equals = true,
        default_missing_value = "always"
    )]
    pub(crate) pull: Option<PullPolicy>,

    /// A name for the image; may be repeated
    #[arg(short, long = "tag", value_name = "REF", help_heading = IMAGE)]
    pub(crate) tag: Vec<String>,
    /// Push the image to the registries of its names
    #[arg(
        long, value_name = "BOOL", help_heading = IMAGE, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        hide_possible_values = true, value_parser = BoolishValueParser::new(), action = ArgAction::Set
    )]
    pub(crate) push: bool,
    /// Where the image goes: type=oci|docker|tar|local|registry|cacheonly,dest=PATH; a bare path is type=local,
    /// `-` is a tar on standard output
    #[arg(short, long, value_name = "SPEC", help_heading = IMAGE)]
    pub(crate) output: Vec<String>,
    /// Push a stage's image under a name of its own; a stage that nothing else needs is built for it
    #[arg(long, value_name = "STAGE=REF", help_heading = IMAGE)]
    pub(crate) publish_stage: Vec<String>,
    /// Push the images of the stages that the build needs, tagged STAGE-STATE beside the first tag
    #[arg(long, value_name = "WHICH", default_value = "none", hide_default_value = true, help_heading = IMAGE)]
    pub(crate) publish_stages: PublishStages,
    /// A label of the image
    #[arg(long, value_name = "KEY=VALUE", help_heading = IMAGE)]
    pub(crate) label: Vec<String>,
    /// An annotation of the image's manifest
    #[arg(long, value_name = "KEY=VALUE", help_heading = IMAGE)]
    pub(crate) annotation: Vec<String>,
    /// How new layers are compressed [default: gzip]
    #[arg(long, value_name = "NAME", help_heading = IMAGE)]
    pub(crate) compression: Option<CompressionName>,
    /// How hard: 0 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "N", help_heading = IMAGE)]
    pub(crate) compression_level: Option<u32>,

    /// The repository where results of steps are looked up and kept [default when pushing: `cache` below the
    /// first tag's repository]
    #[arg(long, value_name = "REF", help_heading = CACHE)]
    pub(crate) cache_repo: Option<String>,
    /// A cache to look up only: REF, type=registry,ref=REF, type=local,src=DIR
    #[arg(long, value_name = "SPEC", help_heading = CACHE)]
    pub(crate) cache_from: Vec<String>,
    /// A cache to write only: REF, type=registry,ref=REF, type=local,dest=DIR
    #[arg(long, value_name = "SPEC", help_heading = CACHE)]
    pub(crate) cache_to: Vec<String>,
    /// Look up only records that are younger: 36h, 14d, 8w
    #[arg(long, value_name = "AGE", help_heading = CACHE)]
    pub(crate) cache_ttl: Option<String>,
    /// When records are written
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = CACHE)]
    pub(crate) cache_write: CacheWrite,
    /// Carry out every step, whatever the cache has
    #[arg(
        long, value_name = "BOOL", help_heading = CACHE, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        hide_possible_values = true, value_parser = BoolishValueParser::new(), action = ArgAction::Set
    )]
    pub(crate) no_cache: bool,
    /// The same for some stages
    #[arg(long, value_name = "STAGE,...", help_heading = CACHE)]
    pub(crate) no_cache_filter: Vec<String>,

    /// How RUN steps are isolated
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = RUN)]
    pub(crate) backend: BackendName,
    /// The network of RUN steps
    #[arg(long, value_name = "NAME", default_value = "host", help_heading = RUN)]
    pub(crate) network: NetworkName,
    /// A secret for RUN --mount=type=secret, from a file or a variable
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]", help_heading = RUN)]
    pub(crate) secret: Vec<String>,
    /// An ssh agent for RUN --mount=type=ssh: `default`, or ID=SOCKET
    #[arg(long, value_name = "ID[=SOCKET]", help_heading = RUN)]
    pub(crate) ssh: Vec<String>,
    /// A line for /etc/hosts of RUN steps
    #[arg(long, value_name = "NAME:IP", help_heading = RUN)]
    pub(crate) add_host: Vec<String>,
    /// Pieces of work at a time [default: the number of processors]
    #[arg(short, long, value_name = "N", help_heading = RUN)]
    pub(crate) jobs: Option<usize>,

    /// Write the image's config digest to a file
    #[arg(long, value_name = "FILE", help_heading = REPORT, value_hint = clap::ValueHint::FilePath)]
    pub(crate) iidfile: Option<PathBuf>,
}

const SOURCE: &str = "What to build";
const IMAGE: &str = "The image";
const CACHE: &str = "Cache";
const RUN: &str = "RUN steps";
const REPORT: &str = "Reporting";
const REGISTRIES: &str = "Registries and state";

/// Options of everything that works with images.
#[derive(Debug, Default, Args)]
pub(crate) struct CommonOptions {
    /// How progress is shown
    #[arg(long, value_name = "HOW", help_heading = REPORT)]
    pub(crate) progress: Option<ProgressName>,
    /// Show errors only, and print the image's digest
    #[arg(
        short, long, value_name = "BOOL", help_heading = REPORT, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        hide_possible_values = true, value_parser = BoolishValueParser::new(), action = ArgAction::Set
    )]
    pub(crate) quiet: bool,
    /// Write what was made to a file, as JSON
    #[arg(long, value_name = "FILE", help_heading = REPORT, value_hint = clap::ValueHint::FilePath)]
    pub(crate) metadata_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    /// Where the local store and cache lie [default: ~/.local/state/ocistage]
    #[arg(long, value_name = "DIR", help_heading = REGISTRIES, value_hint = clap::ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
}

/// How registries are reached.
#[derive(Debug, Default, Args)]
pub(crate) struct AccessOptions {
    /// A registry that may speak plain HTTP or show any certificate; loopback hosts need none
    #[arg(long, value_name = "HOST", help_heading = REGISTRIES)]
    pub(crate) insecure: Vec<String>,
    /// A file with credentials, asked before Docker's and Podman's
    #[arg(long, value_name = "FILE", help_heading = REGISTRIES, value_hint = clap::ValueHint::FilePath)]
    pub(crate) authfile: Option<PathBuf>,
    /// The credential for the image's registry; the password is better in OCISTAGE_CREDS than here
    #[arg(long, value_name = "USER[:PASSWORD]", help_heading = REGISTRIES)]
    pub(crate) creds: Option<String>,
    /// Whether --creds was typed, where others can read it.
    #[arg(skip)]
    pub(crate) creds_typed: bool,
}

/// `--pull`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// Ask every time
    #[value(alias = "true")]
    Always,
    /// Ask only for what is not known here
    #[value(alias = "false")]
    Missing,
}

/// `--publish-stages`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublishStages {
    /// Those that have a name
    Named,
    /// All of them
    All,
    /// None
    #[default]
    None,
}

/// `--cache-write`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheWrite {
    /// Except in a pull request from a fork
    #[default]
    Auto,
    /// Whoever builds
    Always,
    /// Never: caches are looked up only
    Never,
}

/// `--compression`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionName {
    /// Understood everywhere
    Gzip,
    /// Smaller and faster
    Zstd,
    /// Plain tar
    #[value(alias = "none")]
    Uncompressed,
}

/// `--backend`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// The strongest that works here
    #[default]
    Auto,
    /// Own namespaces
    Native,
    /// The runc runtime
    Runc,
    /// crun
    Crun,
}

/// `--network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkName {
    /// This machine's network
    #[default]
    #[value(alias = "default")]
    Host,
    /// Loopback only
    None,
}

/// `--progress`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressName {
    /// tty on a terminal, plain elsewhere and in CI
    Auto,
    /// Live lines
    Tty,
    /// One line after the other
    Plain,
    /// One JSON object a line
    Rawjson,
    /// Errors only, and the image's digest
    #[value(alias = "none")]
    Quiet,
}

/// Why there is nothing to carry out.
#[derive(Debug)]
pub(crate) enum Stop {
    /// clap's own: help, version, or a command line that it refuses.
    Clap(clap::Error),
    /// A command line that we refuse.
    Refused(Failure),
}

/// The command with everything that clap cannot derive.
fn command() -> clap::Command {
    // Of an option that is given twice the last counts, as with Docker: scripts append to lines that others made.
    let decorate = |command: clap::Command| {
        command.mut_args(with_variable).args(foreign::accepted()).args_override_self(true)
    };
    let plain = |command: clap::Command| command.mut_args(with_variable).args_override_self(true);
    Cli::command()
        .mut_subcommand("build", decorate)
        .mut_subcommand("push", decorate)
        .mut_subcommand("check", plain)
        .mut_subcommand("login", plain)
        .mut_subcommand("logout", plain)
        .mut_subcommand("cache", |command| {
            ["ls", "inspect", "prune"]
                .iter()
                .fold(command, |command, name| command.mut_subcommand(name, plain))
        })
}

/// The command as it is offered: without what is taken for other builders' sake only.
pub(crate) fn offered() -> clap::Command {
    Cli::command()
}

/// Gives an option its environment variable. Options that may be repeated are filled from theirs after parsing,
/// because one variable then holds several values.
fn with_variable(arg: clap::Arg) -> clap::Arg {
    let Some(long) = arg.get_long() else { return arg };
    if !matches!(arg.get_action(), ArgAction::Set) {
        return arg;
    }
    let name = variable(long);
    // CI systems hand over what is not filled in as an empty value.
    if std::env::var_os(&name).is_some_and(|value| value.is_empty()) {
        return arg;
    }
    arg.env(name).hide_env(true)
}

fn variable(option: &str) -> String {
    format!("OCISTAGE_{}", option.to_uppercase().replace('-', "_"))
}

/// Reads a command line; its first word is the program's name.
pub(crate) fn parse<I>(words: I, environment: &Environment) -> Result<Cli, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    let matches = command().try_get_matches_from(words).map_err(explained)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(Stop::Clap)?;
    match (&mut cli.command, matches.subcommand()) {
        (Command::Build(args), Some((_, matches))) => {
            args.common.access.creds_typed = is_typed(matches, "creds");
            fill(&mut args.options, &mut args.common, environment);
        }
        (Command::Push(args), Some((_, matches))) => {
            args.tag_typed = !args.options.tag.is_empty();
            args.build_options_typed = build_options_typed(matches);
            args.common.access.creds_typed = is_typed(matches, "creds");
            fill(&mut args.options, &mut args.common, environment);
        }
        (Command::Cache { command }, Some((_, matches))) => {
            let access = command.access();
            access.creds_typed = matches.subcommand().is_some_and(|(_, matches)| is_typed(matches, "creds"));
            fill_from("insecure", &mut access.insecure, environment);
            if let CacheCommand::Prune(args) = command {
                fill_from("keep-tag", &mut args.keep_tag, environment);
            }
        }
        (Command::Login(args), _) => fill_from("insecure", &mut args.insecure, environment),
        _ => {}
    }
    Ok(cli)
}

/// Says more about flags of other builders than that they are unknown.
fn explained(error: clap::Error) -> Stop {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && let Some(failure) = foreign::refusal(flag)
    {
        return Stop::Refused(failure);
    }
    Stop::Clap(error)
}

/// Takes lists that were not typed from the environment, one value a line.
fn fill(options: &mut BuildOptions, common: &mut CommonOptions, environment: &Environment) {
    for (name, list) in [
        ("build-arg", &mut options.build_arg),
        ("build-context", &mut options.build_context),
        ("tag", &mut options.tag),
        ("output", &mut options.output),
        ("publish-stage", &mut options.publish_stage),
        ("label", &mut options.label),
        ("annotation", &mut options.annotation),
        ("cache-from", &mut options.cache_from),
        ("cache-to", &mut options.cache_to),
        ("no-cache-filter", &mut options.no_cache_filter),
        ("secret", &mut options.secret),
        ("ssh", &mut options.ssh),
        ("add-host", &mut options.add_host),
        ("insecure", &mut common.access.insecure),
    ] {
        fill_from(name, list, environment);
    }
}

fn fill_from(name: &str, list: &mut Vec<String>, environment: &Environment) {
    if let Some(lines) = environment.get(&variable(name)).filter(|_| list.is_empty()) {
        list.extend(lines.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
}

fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The build options that were typed, as they are written.
fn build_options_typed(matches: &ArgMatches) -> Vec<String> {
    BuildOptions::augment_args(clap::Command::new("build"))
        .get_arguments()
        .filter(|arg| is_typed(matches, arg.get_id().as_str()))
        .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &[&str]) -> Result<Cli, Stop> {
        let words = std::iter::once("ocistage").chain(line.iter().copied()).map(OsString::from);
        parse(words, &Environment::default())
    }

    fn build(line: &[&str]) -> BuildArgs {
        match parse_line(line).unwrap().command {
            Command::Build(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn build_has_its_aliases() {
        for name in ["build", "b", "bud"] {
            assert_eq!(build(&[name, "."]).context, ["."]);
        }
    }

    #[test]
    fn switches_may_say_true_or_false_as_docker_s_do() {
        assert!(build(&["b", "--push", "."]).options.push);
        assert!(build(&["b", "--push=true", "."]).options.push);
        assert!(!build(&["b", "--push=false", "."]).options.push);
        let args = build(&["b", "--no-cache", "-q", "--pull", "."]);
        assert!(args.options.no_cache && args.common.quiet);
        assert_eq!(args.options.pull, Some(PullPolicy::Always));
        assert_eq!(build(&["b", "--pull=false", "."]).options.pull, Some(PullPolicy::Missing));
        // Without an equals sign the next word is the context.
        assert_eq!(build(&["b", "--pull", "missing"]).context, ["missing"]);
    }

    #[test]
    fn lists_are_taken_from_the_environment_line_by_line_unless_typed() {
        let environment = Environment::of(&[("OCISTAGE_TAG", "a:1\n\nb:2\n"), ("OCISTAGE_LABEL", "k=v")]);
        let words = ["ocistage", "build", "--label", "x=y", "."].map(OsString::from);
        let Command::Build(args) = parse(words, &environment).unwrap().command else { panic!() };
        assert_eq!(args.options.tag, ["a:1", "b:2"]);
        assert_eq!(args.options.label, ["x=y"]);
    }

    #[test]
    fn every_option_has_a_variable() {
        let command = command();
        let build = command.find_subcommand("build").unwrap();
        for arg in build.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long() else { continue };
            let repeated = matches!(arg.get_action(), ArgAction::Append);
            assert!(repeated || arg.get_env().is_some(), "--{long} has no variable");
        }
    }

    #[test]
    fn push_remembers_what_was_typed() {
        let cli = parse_line(&["push", "--target", "x", "-t", "r", "."]).unwrap();
        let Command::Push(args) = cli.command else { panic!() };
        assert!(args.tag_typed);
        assert_eq!(args.build_options_typed, ["--target", "--tag"]);
    }

    #[test]
    fn of_an_option_given_twice_the_last_counts() {
        let args = build(&["b", "--target", "a", "--push", "--target", "b", "--push=false", "."]);
        assert_eq!(args.options.target.as_deref(), Some("b"));
        assert!(!args.options.push);
        assert_eq!(build(&["b", "-t", "a", "-t", "b", "."]).options.tag, ["a", "b"]);
    }

    #[test]
    fn flags_of_other_builders_are_answered_by_name() {
        for flag in ["--shm-size=1m", "--squash", "--destination=r", "--memory=1g"] {
            let Err(Stop::Refused(failure)) = parse_line(&["build", flag, "."]) else { panic!("{flag}") };
            let name = flag.split('=').next().unwrap();
            assert!(failure.message.contains(name), "{}", failure.message);
        }
    }

    #[test]
    fn flags_that_ask_for_what_is_done_anyway_are_taken() {
        build(&["b", "--rm", "--force-rm=true", "--provenance=false", "--sbom=false", "--format=oci", "."]);
        for refused in ["--rm=false", "--provenance=true", "--sbom", "--format=docker"] {
            assert!(parse_line(&["build", refused, "."]).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_slip_of_the_keyboard_is_answered_with_the_flag_that_is_meant() {
        let Err(Stop::Clap(error)) = parse_line(&["build", "--taget", "x", "."]) else { panic!() };
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("'--target'"), "{error}");
    }
}
