//! The context argument and `--file`: which Dockerfile, of which context.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ocistage::text::{Source, without_userinfo};
use ocistage::{ContextRequest, DockerfileRequest};

use super::failure::{Failure, did_you_mean};
use super::spool::{Packing, Spool, file_of_archive};

/// A Dockerfile and its context, ready to be asked for.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The Dockerfile: its text, or where the library finds it.
    pub(crate) dockerfile: DockerfileRequest,
    /// Where it lies, when it is a file.
    pub(crate) dockerfile_path: Option<PathBuf>,
    /// The context.
    pub(crate) context: ContextRequest,
    /// Holds what came on standard input; `context` names it by a path that lives as long as this.
    pub(crate) spool: Option<Spool>,
}

/// Looked for in this order when `--file` is not given.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];
/// Largest Dockerfile that is read, in bytes. Real ones with embedded files stay below one megabyte; without a limit
/// `-f /dev/zero` would take all memory.
const LIMIT: u64 = 16 << 20;

/// Where bytes come from when an argument is `-`.
pub(crate) struct Stdin<'a> {
    /// The stream.
    pub(crate) stream: &'a mut dyn Read,
    /// Where it may be kept.
    pub(crate) spool_dir: &'a Path,
}

/// Opens the context `argument` with the Dockerfile `file`.
pub(crate) fn open(argument: &OsStr, file: Option<&Path>, stdin: &mut Stdin<'_>) -> Result<Opened, Failure> {
    let dockerfile_on_stdin = file == Some(Path::new("-"));
    let dockerfile_url = file.and_then(Path::to_str).filter(|file| is_url(file));
    if let Some(address) = argument.to_str().filter(|name| is_remote(name) && !Path::new(name).is_dir()) {
        let dockerfile = match (dockerfile_url, file) {
            (Some(url), _) => DockerfileRequest::Remote(url.to_owned()),
            (None, Some(_)) if dockerfile_on_stdin => DockerfileRequest::Text(read(stdin.stream, "-")?),
            (None, file) => DockerfileRequest::InContext(file.map(Path::to_owned)),
        };
        let context = ContextRequest::Remote(address.to_owned());
        return Ok(Opened { dockerfile, dockerfile_path: None, context, spool: None });
    }
    if argument == "-" {
        if dockerfile_on_stdin {
            return Err(Failure::input(
                "standard input cannot be both the Dockerfile (-f -) and the context (-)",
            ));
        }
        return from_stdin(file, stdin);
    }
    let dir = directory(argument)?;
    if let Some(url) = dockerfile_url {
        let (dockerfile, context) =
            (DockerfileRequest::Remote(url.to_owned()), ContextRequest::Directory(dir));
        return Ok(Opened { dockerfile, dockerfile_path: None, context, spool: None });
    }
    let (dockerfile, dockerfile_path) = if dockerfile_on_stdin {
        (read(stdin.stream, "-")?, None)
    } else {
        let path = find(&dir, file)?;
        let opened = fs::File::open(&path)
            .map_err(|error| Failure::input(format!("cannot read `{}`: {}", shown(&path), reason(&error))))?;
        (read(&mut &opened, &shown(&path))?, Some(path))
    };
    let (dockerfile, context) = (DockerfileRequest::Text(dockerfile), ContextRequest::Directory(dir));
    Ok(Opened { dockerfile, dockerfile_path, context, spool: None })
}

/// The context directory, checked.
fn directory(argument: &OsStr) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(argument);
    let name = argument.to_string_lossy();
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err(Failure::input(format!("context `{name}` is a file, not a directory"))
            .hint(format!("for an archive: ocistage build - < {name}"))
            .hint(format!("for a Dockerfile: ocistage build -f {name} DIRECTORY"))),
        Err(_) if name.contains("://") => {
            let name = without_userinfo(&name);
            Err(Failure::input(format!("context `{name}` is neither a URL of a file nor a git repository"))
                .hint("fetched are http://, https://, git:// and ssh:// addresses and user@host:path"))
        }
        Err(error) => Err(Failure::input(format!("context `{name}`: {}", reason(&error)))),
    }
}

/// Whether a name is one of a remote context, as Docker tells them.
fn is_remote(name: &str) -> bool {
    let git = ["git://", "ssh://"].iter().any(|scheme| starts(name, scheme));
    is_url(name) || git || is_scp(name) || name.starts_with("github.com/")
}

/// Whether `name` begins like that, in capitals or not.
fn starts(name: &str, beginning: &str) -> bool {
    name.get(..beginning.len()).is_some_and(|own| own.eq_ignore_ascii_case(beginning))
}

/// Whether a name is a URL that one file may come from.
fn is_url(name: &str) -> bool {
    starts(name, "http://") || starts(name, "https://")
}

/// `git@host:path`
fn is_scp(name: &str) -> bool {
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let Some((user, rest)) = name.split_once('@') else { return false };
    rest.split_once(':').is_some_and(|(host, path)| is_word(user) && is_word(host) && !path.is_empty())
}

/// `ocistage build -`: an archive, or a Dockerfile without a context.
fn from_stdin(file: Option<&Path>, stdin: &mut Stdin<'_>) -> Result<Opened, Failure> {
    let failed = |error: &io::Error| Failure::input(format!("cannot read standard input: {}", reason(error)));
    let spool = Spool::of(stdin.stream, stdin.spool_dir).map_err(|error| failed(&error))?;
    let Some(packing) = spool.packing().map_err(|error| failed(&error))? else {
        if let Some(file) = file {
            return Err(Failure::input(format!(
                "standard input is not an archive, so there is no file `{}` in it",
                file.display()
            ))
            .hint("leave out --file to read standard input as the Dockerfile"));
        }
        let mut text = spool.reader().map_err(|error| failed(&error))?;
        let dockerfile = DockerfileRequest::Text(read(&mut text, "-")?);
        return Ok(Opened { dockerfile, dockerfile_path: None, context: ContextRequest::Empty, spool: None });
    };
    let dockerfile = DockerfileRequest::Text(dockerfile_of_archive(&spool, packing, file)?);
    let context = ContextRequest::Archive(spool.path());
    Ok(Opened { dockerfile, dockerfile_path: None, context, spool: Some(spool) })
}

fn dockerfile_of_archive(spool: &Spool, packing: Packing, file: Option<&Path>) -> Result<Source, Failure> {
    let names = match file {
        Some(file) => vec![file],
        None => NAMES.iter().map(Path::new).collect(),
    };
    for name in &names {
        let found = file_of_archive(spool, packing, name, LIMIT)
            .map_err(|error| Failure::input(format!("cannot read the archive on standard input: {error}")))?;
        if let Some(bytes) = found {
            return read(&mut bytes.as_slice(), &shown(name));
        }
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.display())).collect();
    Err(Failure::input(format!("the archive on standard input has no {}", names.join(" and no ")))
        .hint("name the file with --file, as it is called in the archive"))
}

/// The path of the Dockerfile for the context `dir`.
fn find(dir: &Path, file: Option<&Path>) -> Result<PathBuf, Failure> {
    let candidates = match file {
        // As typed, then in the context: Docker does the first, Podman and kaniko the second too.
        Some(file) if file.is_absolute() => vec![file.to_owned()],
        Some(file) => vec![file.to_owned(), dir.join(file)],
        None => NAMES.iter().map(|name| dir.join(name)).collect(),
    };
    let mut lookup = None;
    for candidate in &candidates {
        match fs::metadata(candidate) {
            Ok(metadata) if metadata.is_dir() => {
                lookup.get_or_insert_with(|| {
                    format!("`{}` is a directory, not a Dockerfile", shown(candidate))
                });
            }
            Ok(_) => return Ok(candidate.clone()),
            // Something is there that cannot be looked at: that is the story, not the next candidate.
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                lookup.get_or_insert_with(|| format!("`{}`: {}", shown(candidate), reason(&error)));
            }
            Err(_) => {}
        }
    }
    if let Some(message) = lookup {
        return Err(Failure::input(message));
    }
    let mut looked: Vec<String> = candidates.iter().map(|path| format!("`{}`", shown(path))).collect();
    looked.dedup();
    let failure = Failure::input(format!("no Dockerfile: looked for {}", looked.join(" and ")));
    Err(match similar(&candidates) {
        Some(near) => failure.hint(format!("there is `{near}`: give it with --file")),
        None if file.is_none() => failure.hint("name the Dockerfile with --file, or give another context"),
        None => failure,
    })
}

/// A file beside one of `candidates` that may be meant.
fn similar(candidates: &[PathBuf]) -> Option<String> {
    for candidate in candidates {
        let folder = candidate.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let wanted = candidate.file_name()?.to_str()?;
        let mut names: Vec<String> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        let near = ocistage::text::suggest(wanted, names.iter().map(String::as_str));
        let kin = || names.iter().map(String::as_str).find(|name| is_dockerfile_name(name));
        if let Some(near) = near.or_else(kin) {
            return Some(shown(&folder.join(near)));
        }
    }
    None
}

/// `Dockerfile.prod`, `app.dockerfile`, `Containerfile.dev`.
fn is_dockerfile_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let kinds = ["dockerfile", "containerfile"];
    !name.ends_with(".dockerignore")
        && kinds.iter().any(|kind| name.starts_with(kind) || name.ends_with(&format!(".{kind}")))
}

fn read(from: &mut dyn Read, name: &str) -> Result<Source, Failure> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::input(format!("cannot read `{name}`: {}", reason(&error))))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::input(format!("`{name}` is larger than {} MiB: not a Dockerfile", LIMIT >> 20)));
    }
    let name = if name == "-" { "Dockerfile (standard input)" } else { name };
    Ok(Source::from_bytes(name, bytes))
}

/// A path as people say it: without a leading `./`.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// An operating system's error in its own words, without the number.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}

/// Reads `--build-context NAME=VALUE`.
pub(crate) fn named(text: &str) -> Result<(String, ocistage::NamedContext), Failure> {
    use ocistage::NamedContext;
    let option = "--build-context";
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| Failure::input(format!("{option} `{text}` is not of the form NAME=VALUE")))?;
    let refused = |why: &str| Failure::input(format!("{option} {name}: {why}"));
    let known = ["docker-image", "oci-layout", "container-image", "docker", "https", "git", "ssh"];
    let context = match value.split_once("://") {
        Some(("docker-image" | "container-image" | "docker", reference)) => NamedContext::Image(
            reference.parse().map_err(|error: ocistage::oci::ReferenceError| refused(&error.to_string()))?,
        ),
        Some(("oci-layout", place)) => {
            let (dir, selector) = layout_place(place);
            if !dir.is_dir() {
                return Err(refused(&format!("`{}` is not a directory", dir.display())));
            }
            NamedContext::OciLayout(dir, selector)
        }
        _ if is_remote(value) && !Path::new(value).is_dir() => NamedContext::Remote(value.to_owned()),
        Some((scheme, _)) => {
            let near = did_you_mean(scheme, known);
            return Err(refused(&format!("`{scheme}://` contexts are not supported{near}")));
        }
        None => match fs::metadata(value) {
            Ok(metadata) if metadata.is_dir() => NamedContext::Directory(PathBuf::from(value)),
            Ok(_) => return Err(refused(&format!("`{value}` is a file, not a directory"))),
            Err(error) => {
                let failure = refused(&format!("`{value}`: {}", reason(&error)));
                return Err(match value.parse::<ocistage::oci::Reference>() {
                    Ok(_) => failure.hint(format!("for an image: {option} {name}=docker-image://{value}")),
                    Err(_) => failure,
                });
            }
        },
    };
    Ok((name.to_owned(), context))
}

/// `DIR[:TAG]` or `DIR@DIGEST`: the folder, and the tag or digest.
pub(crate) fn layout_place(text: &str) -> (PathBuf, Option<String>) {
    if let Some((dir, digest)) = text.rsplit_once('@')
        && digest.starts_with("sha256:")
    {
        return (PathBuf::from(dir), Some(digest.to_owned()));
    }
    match text.rsplit_once(':') {
        // A colon further left belongs to the path.
        Some((dir, tag)) if !tag.contains('/') && !dir.is_empty() => {
            (PathBuf::from(dir), Some(tag.to_owned()).filter(|tag| !tag.is_empty()))
        }
        _ => (PathBuf::from(text), None),
    }
}

#[cfg(test)]
mod tests;
