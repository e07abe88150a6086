//! Which files, and what is said of them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ocistage::text::Source;
use ocistage::{CheckReport, CheckRequest, CheckVerdict, ContextRequest};

use crate::cli::args::{BuildOptions, CallName, CheckArgs, CheckFormat};
use crate::cli::context::{self, Opened, Stdin};
use crate::cli::environment::Environment;
use crate::cli::failure::Failure;
use crate::cli::request;

use super::{json, outline, sarif, text};

/// What is printed, and the status that the process ends with.
pub(crate) struct Answer {
    /// For standard output.
    pub(crate) bytes: Vec<u8>,
    /// 0, 1 or 2.
    pub(crate) status: u8,
}

/// The names of ignore files in a context, the first that exists counts.
const IGNORE_FILES: [&str; 2] = [".containerignore", ".dockerignore"];
/// Largest ignore file that is read, in bytes.
const IGNORE_LIMIT: u64 = 16 << 20;

/// `ocistage check`
pub(crate) fn check(args: &CheckArgs, environment: &Environment) -> Result<Answer, Failure> {
    let build_args = request::build_args(&args.build_arg, environment)?;
    let mut reports = Vec::new();
    for (path, file) in asked(args) {
        let opened = open(&path, file.as_deref(), environment)?;
        let mut request = request_of(&opened)?;
        request.build_args.clone_from(&build_args);
        request.target.clone_from(&args.target);
        reports.push(ocistage::check(&request));
    }
    let status = reports.iter().map(status).max().unwrap_or(0);
    let shown = match (args.ast, args.format) {
        (true, _) => json::trees(&reports),
        (false, CheckFormat::Text) => text::reports(&reports),
        (false, CheckFormat::Json) => json::reports(&reports),
        (false, CheckFormat::Sarif) => sarif::reports(&reports),
    };
    Ok(Answer { bytes: shown.into_bytes(), status })
}

/// `ocistage build --check` and `--call`
pub(crate) fn call(
    name: CallName,
    as_json: bool,
    options: &BuildOptions,
    path: &Path,
    environment: &Environment,
) -> Result<Answer, Failure> {
    let opened = open(path, options.file.as_deref(), environment)?;
    let mut request = request_of(&opened)?;
    request.build_args = request::build_args(&options.build_arg, environment)?;
    request.target = options.target.clone().filter(|target| !target.is_empty());
    request.platform = request::platform(options.platform.as_deref(), environment)?;
    request.named_contexts =
        options.build_context.iter().map(|text| context::named(text)).collect::<Result<_, _>>()?;
    let report = ocistage::check(&request);
    let mut status = status(&report);
    let bytes = match (name, as_json) {
        (CallName::Check, false) => text::reports(&[report]),
        (CallName::Check, true) => json::reports(&[report]),
        // What was asked for cannot be said of a file with errors; the errors can.
        (CallName::Outline, _) if report.outline.is_none() => {
            status = status.max(1);
            text::reports(&[report])
        }
        (CallName::Targets, _) if report.targets.is_empty() => {
            status = status.max(1);
            text::reports(&[report])
        }
        (CallName::Outline, _) => {
            status = 0;
            report.outline.as_ref().map(|found| outline::outline(found, as_json)).unwrap_or_default()
        }
        (CallName::Targets, _) => {
            status = 0;
            outline::targets(&report.targets, as_json)
        }
    };
    Ok(Answer { bytes: bytes.into_bytes(), status })
}

/// The contexts and Dockerfiles that were named; with neither, this directory.
fn asked(args: &CheckArgs) -> Vec<(PathBuf, Option<PathBuf>)> {
    let here = PathBuf::from(".");
    match (args.paths.as_slice(), args.file.as_slice()) {
        ([], []) => vec![(here, None)],
        (paths, []) => paths.iter().map(|path| (path.clone(), None)).collect(),
        (paths, files) => {
            let context = paths.first().unwrap_or(&here);
            files.iter().map(|file| (context.clone(), Some(file.clone()))).collect()
        }
    }
}

/// Opens the Dockerfile of a context. A path that is a file is the Dockerfile itself.
fn open(path: &Path, file: Option<&Path>, environment: &Environment) -> Result<Opened, Failure> {
    let (path, file) = match (file, fs::metadata(path)) {
        (None, Ok(metadata)) if !metadata.is_dir() => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            (folder.unwrap_or(Path::new(".")), Some(path))
        }
        (file, _) => (path, file),
    };
    let mut stream = io::stdin();
    let mut stdin = Stdin { stream: &mut stream, spool_dir: &environment.temporary_dir() };
    context::open(path.as_os_str(), file, &mut stdin)
}

fn request_of(opened: &Opened) -> Result<CheckRequest, Failure> {
    let Some(dockerfile) = opened.dockerfile.source() else {
        return Err(Failure::input("check reads Dockerfiles of this machine: fetch it first"));
    };
    let mut request = CheckRequest::new(dockerfile.clone());
    let beside = opened.dockerfile_path.as_ref().map(|path| {
        let mut name = path.clone().into_os_string();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let folder = match &opened.context {
        ContextRequest::Directory(folder) => Some(folder),
        _ => None,
    };
    let in_context = folder.into_iter().flat_map(|folder| IGNORE_FILES.map(|name| folder.join(name)));
    for path in beside.into_iter().chain(in_context) {
        if let Some(source) = ignore_file(&path)? {
            request.ignore = Some(source);
            break;
        }
    }
    Ok(request)
}

fn ignore_file(path: &Path) -> Result<Option<Source>, Failure> {
    let name = path.strip_prefix(".").unwrap_or(path).display().to_string();
    let failed =
        |error: &io::Error| Failure::input(format!("cannot read `{name}`: {}", context::reason(error)));
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.take(IGNORE_LIMIT).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    Ok(Some(Source::from_bytes(name, bytes)))
}

fn status(report: &CheckReport) -> u8 {
    match report.verdict() {
        CheckVerdict::Clean => 0,
        CheckVerdict::Failed => 1,
        CheckVerdict::NotADockerfile => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn checked(file: &[PathBuf], paths: &[PathBuf], format: CheckFormat) -> Result<(String, u8), Failure> {
        let args = CheckArgs {
            file: file.to_vec(),
            build_arg: Vec::new(),
            target: None,
            format,
            ast: false,
            paths: paths.to_vec(),
        };
        let answer = check(&args, &Environment::default())?;
        Ok((String::from_utf8(answer.bytes).unwrap(), answer.status))
    }

    #[test]
    fn a_path_is_a_context_or_a_dockerfile() {
        let folder = folder(&[("Containerfile", "FROM scratch\nWORKDIR a"), ("other", "FROM scratch\nNO")]);
        let (text, status) = checked(&[], &[folder.path().to_owned()], CheckFormat::Text).unwrap();
        assert!(status == 0 && text.contains("WorkdirRelativePath"), "{text}");
        let (text, status) = checked(&[], &[folder.path().join("other")], CheckFormat::Text).unwrap();
        assert!(status == 2 && text.contains("unknown-instruction"), "{text}");
        let missing = checked(&[], &[folder.path().join("none")], CheckFormat::Text);
        assert_eq!(missing.unwrap_err().kind, ocistage::ErrorKind::Input);
    }

    #[test]
    fn several_files_have_the_status_of_the_worst() {
        let folder = folder(&[("a", "FROM scratch"), ("b", "# check=error=true\nFROM scratch\nWORKDIR a")]);
        let files = [PathBuf::from("a"), PathBuf::from("b")];
        let (text, status) = checked(&files, &[folder.path().to_owned()], CheckFormat::Text).unwrap();
        assert!(status == 1 && text.ends_with("2 files: 1 error\n"), "{text}");
    }

    #[test]
    fn the_ignore_file_beside_the_dockerfile_counts_before_the_context_s() {
        let text = "FROM scratch\nCOPY a b /d/";
        let mut files = vec![("Dockerfile", text), (".dockerignore", "a")];
        let shown = |files: &[(&str, &str)]| {
            let folder = folder(files);
            checked(&[], &[folder.path().to_owned()], CheckFormat::Json).unwrap().0
        };
        assert!(shown(&files).contains("COPY of `a`"));
        files.push(("Dockerfile.dockerignore", "b"));
        let both = shown(&files);
        assert!(both.contains("COPY of `b`") && !both.contains("COPY of `a`"), "{both}");
    }
}
