//! From words to a job, from a job to an exit status.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::error::ErrorKind as ClapKind;
use ocistage::dockerfile::InstructionKind;
use ocistage::{
    BuildReport, BuildRequest, Builder, CancellationToken, Error, ErrorKind, Event, EventSink, OutputRequest,
    PushReport, PushRequest,
};

use super::args::{self, BuildArgs, BuildOptions, Command, CommonOptions, ProgressName, Stop};
use super::environment::Environment;
use super::errand::Errand;
use super::failure::Failure;
use super::render::{Renderer, Summary, Tally, choose};
use super::request::{self, Prepared, PushForm};
use super::results::ResultFiles;
use super::{check, errand, exit, interrupt, panic, records, report, sign_in};

/// Something that needs the library.
pub(crate) enum Job {
    /// Makes or sends an image.
    Image(ImageJob),
    /// Anything else.
    Errand(Errand),
}

/// Makes or sends an image.
pub(crate) struct ImageJob {
    work: Work,
    files: ResultFiles,
    renderer: Arc<dyn Renderer>,
    /// Whether the digest is printed.
    quiet: bool,
}

enum Work {
    Build(Box<Prepared<BuildRequest>>),
    Push(Box<Prepared<PushRequest>>),
}

impl Job {
    /// Why no namespace could be entered.
    pub(crate) fn note_isolation(&mut self, note: String) {
        if let Self::Image(ImageJob { work: Work::Build(prepared), .. }) = self {
            prepared.request.isolation_note = Some(note);
        }
    }

    /// The build that this is, when it is one: it may have to run something in namespaces.
    pub(crate) fn build(&self) -> Option<&BuildRequest> {
        match self {
            Self::Image(ImageJob { work: Work::Build(prepared), .. }) => Some(&prepared.request),
            Self::Image(ImageJob { work: Work::Push(_), .. }) | Self::Errand(_) => None,
        }
    }
}

/// Whether the Dockerfile of `request` has a RUN, as a trigger or for itself.
pub(crate) fn runs_commands(request: &BuildRequest) -> bool {
    // What is not here yet may have one.
    let Some(dockerfile) = request.dockerfile.source() else { return true };
    ocistage::dockerfile::parse(dockerfile).file.instructions.iter().any(|instruction| {
        match &instruction.kind {
            InstructionKind::Run(_) => true,
            InstructionKind::Onbuild(onbuild) => matches!(onbuild.trigger.kind, InstructionKind::Run(_)),
            _ => false,
        }
    })
}

/// Reads the command line. What needs no library is done here and now: then the answer is an exit status.
pub(crate) fn prepare(words: impl IntoIterator<Item = OsString>) -> Result<Job, ExitCode> {
    let environment = Environment::of_process();
    let cli = args::parse(words, &environment).map_err(|stop| match stop {
        Stop::Clap(error) => refused_by_clap(&error),
        Stop::Refused(failure) => failed(&failure),
    })?;
    let job = match cli.command {
        Command::Build(args) => match called(&args, &environment) {
            Ok(Some(answer)) => return Err(answered(&answer)),
            Ok(None) => request::context_operand("build", &args.context)
                .and_then(|context| build(&args.options, &args.common, &context, false, &environment)),
            Err(failure) => Err(failure),
        },
        Command::Check(args) => match check::check(&args, &environment) {
            Ok(answer) => return Err(answered(&answer)),
            Err(failure) => Err(failure),
        },
        Command::Push(args) => request::push_form(&args).and_then(|form| match form {
            PushForm::Build(context) => build(&args.options, &args.common, &context, true, &environment),
            PushForm::Send(source, references) => {
                let prepared = request::push(&source, references, &args.common, &environment)?;
                job(Work::Push(Box::new(prepared)), None, &args.common, &environment)
            }
        }),
        Command::Cache { command } => records::records(command, &environment).map(Job::Errand),
        Command::Login(args) => sign_in::login(&args, &environment).map(Job::Errand),
        Command::Logout(args) => match sign_in::logout(&args, &environment) {
            Ok(said) => return Err(print(said.as_bytes())),
            Err(failure) => Err(failure),
        },
        Command::Version => {
            return Err(print(concat!("ocistage ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()));
        }
        Command::Completion { shell } => {
            // Into memory first: the generator panics when its output is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::offered(), "ocistage", &mut script);
            return Err(print(&script));
        }
    };
    job.map_err(|failure| failed(&failure))
}

/// What a build says instead of building, when `--check` or `--call` asks for it.
fn called(args: &BuildArgs, environment: &Environment) -> Result<Option<check::Answer>, Failure> {
    let Some((name, as_json)) = request::call(args)? else { return Ok(None) };
    let context = request::context_operand("build", &args.context)?;
    check::call(name, as_json, &args.options, Path::new(&context), environment).map(Some)
}

fn answered(answer: &check::Answer) -> ExitCode {
    match print(&answer.bytes) {
        ExitCode::SUCCESS => ExitCode::from(answer.status),
        failed => failed,
    }
}

fn build(
    options: &BuildOptions,
    common: &CommonOptions,
    context: &OsString,
    ephemeral: bool,
    environment: &Environment,
) -> Result<Job, Failure> {
    let mut stdin = io::stdin();
    let mut streams = request::streams(&mut stdin);
    let prepared = request::build(options, common, context, ephemeral, environment, &mut streams)?;
    job(Work::Build(Box::new(prepared)), options.iidfile.clone(), common, environment)
}

fn job(
    work: Work,
    image_id: Option<std::path::PathBuf>,
    common: &CommonOptions,
    environment: &Environment,
) -> Result<Job, Failure> {
    let files = ResultFiles { image_id, metadata: common.metadata_file.clone() };
    files.prepare()?;
    let renderer = choose(common.progress, common.quiet, environment);
    // As in buildx, whoever asked for no progress wants the digest.
    let quiet = common.quiet || common.progress == Some(ProgressName::Quiet);
    Ok(Job::Image(ImageJob { work, files, renderer, quiet }))
}

/// Shows a failure; its exit status.
pub(crate) fn failed(failure: &Failure) -> ExitCode {
    report::failure(failure);
    exit::code(failure.kind)
}

/// Help and version go to standard output, the rest is a wrong command line.
fn refused_by_clap(error: &clap::Error) -> ExitCode {
    // A closed pipe is no error of the user's.
    let _ = error.print();
    match error.kind() {
        ClapKind::DisplayHelp | ClapKind::DisplayVersion => ExitCode::SUCCESS,
        _ => exit::code(ErrorKind::Input),
    }
}

/// Prints data. Whoever reads only the beginning of it has what they want.
pub(crate) fn print(bytes: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            failed(&Failure::new(ErrorKind::Resources, format!("cannot write to standard output: {error}")))
        }
    }
}

/// Does a job. Must be called in the runtime.
pub(crate) async fn carry_out(job: Job, cancel: CancellationToken) -> ExitCode {
    match job {
        Job::Image(job) => carry_out_image(job, cancel).await,
        Job::Errand(errand) => errand::carry_out(errand, cancel).await,
    }
}

async fn carry_out_image(job: ImageJob, cancel: CancellationToken) -> ExitCode {
    let ImageJob { work, files, renderer, quiet } = job;
    let tally = Arc::new(Tally::new(Arc::clone(&renderer)));
    let events: Arc<dyn EventSink> = Arc::clone(&tally) as Arc<dyn EventSink>;
    if let Err(failure) = listen(&cancel, &events) {
        return failed(&failure);
    }
    let warn = |message: &String| events.event(&Event::Warning { message: message.clone() });
    let builder = Builder::new(cancel);
    let begun = Instant::now();
    let outcome = match work {
        Work::Build(prepared) => {
            let Prepared { request, held, warnings } = *prepared;
            warnings.iter().for_each(warn);
            let tags = request.tags.clone();
            let stored = request.outputs.contains(&OutputRequest::Store);
            let outcome = builder.build(request, Arc::clone(&events)).await;
            // The library reads these to the end.
            drop(held);
            outcome.map(|report| {
                let written = files.built(&report, &tags);
                (built(&report, &tally, stored && tags.is_empty()), written)
            })
        }
        Work::Push(prepared) => {
            let Prepared { request, held, warnings } = *prepared;
            warnings.iter().for_each(warn);
            let names = request.references.clone();
            let outcome = builder.push(request, Arc::clone(&events)).await;
            drop(held);
            outcome.map(|report| {
                let written = files.pushed(&report, &names);
                (pushed(report, &tally, begun), written)
            })
        }
    };
    renderer.close();
    let (summary, written) = match outcome {
        Ok(good) => good,
        Err(error) => return library_failed(&error, &tally, &*renderer),
    };
    renderer.summary(&summary);
    if let Err(failure) = written {
        return failed(&failure);
    }
    if quiet { print(format!("{}\n", summary.digest).as_bytes()) } else { ExitCode::SUCCESS }
}

/// Has signals stop the work.
pub(crate) fn listen(cancel: &CancellationToken, events: &Arc<dyn EventSink>) -> Result<(), Failure> {
    interrupt::listen(cancel.clone(), Arc::clone(events))
        .map_err(|error| Failure::new(ErrorKind::Environment, format!("cannot listen for signals: {error}")))
}

fn library_failed(error: &Error, tally: &Tally, renderer: &dyn Renderer) -> ExitCode {
    let step = error.step().and_then(|step| tally.step_name(step));
    // A panic was shown where it happened, and stopped the rest: that rest is not another story.
    if panic::happened() {
        return ExitCode::from(exit::BUG);
    }
    renderer.error(error, step.as_deref());
    exit::code(error.kind())
}

fn built(report: &BuildReport, tally: &Tally, unnamed_in_store: bool) -> Summary {
    Summary {
        digest: report.manifest.digest,
        platform: Some(report.platform.clone()),
        names: report.names.clone(),
        stages: named_stages(report),
        steps: Some((report.cached_steps, report.executed_steps)),
        moved: tally.moved(),
        elapsed: report.elapsed,
        unnamed_in_store,
    }
}

/// The names of stages, each with the stage's.
fn named_stages(report: &BuildReport) -> Vec<(String, String)> {
    let names = report.published.iter().flat_map(|stage| stage.names.iter().map(|name| (&stage.stage, name)));
    names.map(|(stage, name)| (stage.clone(), name.clone())).collect()
}

fn pushed(report: PushReport, tally: &Tally, begun: Instant) -> Summary {
    Summary {
        digest: report.manifest.digest,
        platform: None,
        names: report.names,
        stages: Vec::new(),
        steps: None,
        moved: tally.moved(),
        elapsed: begun.elapsed(),
        unnamed_in_store: false,
    }
}

/// Says that no threads can be had.
pub(crate) fn cannot_start(error: &io::Error) -> ExitCode {
    failed(&Failure::new(ErrorKind::Resources, format!("cannot start threads: {error}")))
}
