//! What was typed becomes what is asked of the library.

mod access;
mod asked;
mod publish;
mod push;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ocistage::oci::{Compression, Platform, Reference, RegistryHost};
use ocistage::{BackendChoice, BuildRequest, CacheRequest, NetworkRequest, StateRequest};

use super::args::{
    BackendName, BuildArgs, BuildOptions, CacheWrite, CallName, CommonOptions, CompressionName, NetworkName,
    PullPolicy,
};
use super::cache::{self, Direction};
use super::context::{self, Stdin};
use super::duration;
use super::environment::Environment;
use super::failure::{Failure, did_you_mean};
use super::secret;
use super::spool::Spool;
pub(crate) use access::{access, insecure, secret_on_stdin, typed_secret};
use asked::Asked;
pub(crate) use push::{PushForm, push, push_form};

/// A request, and what it needs to stay open while the library works.
#[derive(Debug)]
pub(crate) struct Prepared<T> {
    /// The request.
    pub(crate) request: T,
    /// Files without names that the request speaks of as `/proc/self/fd/N`.
    pub(crate) held: Vec<Spool>,
    /// Lines to show before the work begins.
    pub(crate) warnings: Vec<String>,
}

/// The standard streams, as far as a request depends on them.
pub(crate) struct Streams<'a> {
    /// Standard input.
    pub(crate) stdin: &'a mut dyn io::Read,
    /// Whether standard output is a terminal.
    pub(crate) stdout_is_terminal: bool,
}

/// The one context of a build.
pub(crate) fn context_operand(command: &str, operands: &[OsString]) -> Result<OsString, Failure> {
    match operands {
        [context] if context.is_empty() => Err(Failure::input("the context is empty: an unset variable?")),
        [context] => Ok(context.clone()),
        [] => Err(Failure::input("no context: the directory to build from is missing")
            .hint(format!("for this directory: ocistage {command} ."))),
        [first, second, ..] => Err(Failure::input(format!(
            "one context is built at a time: `{}` and `{}` were given",
            first.to_string_lossy(),
            second.to_string_lossy()
        ))),
    }
}

/// Makes a build of what was typed. `ephemeral`: pushed, and nothing is kept here.
pub(crate) fn build(
    options: &BuildOptions,
    common: &CommonOptions,
    context: &OsString,
    ephemeral: bool,
    environment: &Environment,
    streams: &mut Streams<'_>,
) -> Result<Prepared<BuildRequest>, Failure> {
    let mut warnings = Vec::new();
    let mut held = Vec::new();
    // Everything that costs nothing to check is checked before standard input is read.
    let mut asked = Asked::of(options, ephemeral)?;
    asked.check_streams(common.quiet, streams.stdout_is_terminal)?;
    let pushed = asked.pushes().then(|| asked.tags.first()).flatten();
    let cache = cache_request(options, pushed, environment, &mut warnings)?;
    let build_args = build_args(&options.build_arg, environment)?;
    let source_date_epoch = source_date_epoch(&build_args)?;
    let platform = platform(options.platform.as_deref(), environment)?;
    asked.annotations.append(&mut annotations(&options.annotation)?);
    let (compression, compression_level) = compression(options, &asked)?;
    let named_contexts = options
        .build_context
        .iter()
        .map(|text| context::named(text))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let publish = publish::publish(options, &asked.tags)?;
    let mut targets = hosts(&asked.tags);
    targets.extend(publish.named.iter().map(|(_, name)| name.repository.host().clone()));
    if targets.is_empty() {
        targets.extend(cache.repository.iter().map(|repository| repository.host().clone()));
    }
    let mut registries = access(&common.access, &targets, environment, &mut held, &mut warnings)?;
    if asked.insecure {
        registries.insecure.extend(hosts(&asked.tags));
    }
    let state = state(common.state_dir.as_deref(), ephemeral, environment)?;

    let stdin = &mut Stdin { stream: streams.stdin, spool_dir: &environment.temporary_dir() };
    let opened = context::open(context, options.file.as_deref(), stdin)?;
    held.extend(opened.spool);
    let request = BuildRequest {
        dockerfile: opened.dockerfile,
        dockerfile_path: opened.dockerfile_path,
        context: opened.context,
        named_contexts,
        target: options.target.clone().filter(|target| !target.is_empty()),
        build_args,
        labels: pairs("--label", &options.label)?,
        annotations: asked.annotations,
        platform,
        tags: asked.tags,
        publish,
        outputs: asked.outputs,
        cache,
        pull: options.pull == Some(PullPolicy::Always),
        backend: match options.backend {
            BackendName::Auto => BackendChoice::Auto,
            BackendName::Native => BackendChoice::Native,
            BackendName::Runc => BackendChoice::Runc,
            BackendName::Crun => BackendChoice::Crun,
        },
        isolation_note: None,
        network: match options.network {
            NetworkName::Host => NetworkRequest::Host,
            NetworkName::None => NetworkRequest::None,
        },
        secrets: options
            .secret
            .iter()
            .map(|text| secret::secret(text, environment))
            .collect::<Result<_, _>>()?,
        ssh: options.ssh.iter().map(|text| secret::agent(text, environment)).collect::<Result<_, _>>()?,
        extra_hosts: options.add_host.iter().map(|text| extra_host(text)).collect::<Result<_, _>>()?,
        jobs: match options.jobs {
            Some(0) => return Err(Failure::input("--jobs 0: at least one piece of work is done at a time")),
            jobs => jobs,
        },
        compression,
        compression_level,
        source_date_epoch,
        registries,
        git_environment: environment.for_git(),
        state,
    };
    Ok(Prepared { request, held, warnings })
}

fn reference(option: &str, text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(|error| Failure::input(format!("{option}: {error}")))
}

/// The caches. `pushed` is the first name of the image when it is pushed.
fn cache_request(
    options: &BuildOptions,
    pushed: Option<&Reference>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<CacheRequest, Failure> {
    let mut places = |direction, list: &[String]| -> Result<Vec<_>, Failure> {
        let mut places = Vec::new();
        for text in list {
            let spec = cache::parse(direction, text)?;
            places.extend(spec.place);
            warnings.extend(spec.warning);
        }
        Ok(places)
    };
    let from = places(Direction::From, &options.cache_from)?;
    let to = places(Direction::To, &options.cache_to)?;
    let repository = match (&options.cache_repo, pushed) {
        (Some(text), _) => {
            let (repository, warning) = cache::parse_repository(text)?;
            warnings.extend(warning);
            Some(repository)
        }
        // Who says where records go does not want them in a second place.
        (None, Some(name)) if to.is_empty() => Some(cache::default_repository(&name.repository)),
        (None, _) => None,
    };
    let disabled_stages = options
        .no_cache_filter
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|stage| !stage.is_empty())
        .map(str::to_owned)
        .collect();
    let read_only = match options.cache_write {
        CacheWrite::Always => false,
        CacheWrite::Never => true,
        CacheWrite::Auto => {
            let fork = environment.is_fork();
            if fork && (repository.is_some() || !to.is_empty()) {
                warnings.push(
                    "a pull request from a fork: caches are looked up and not written; \
                     --cache-write always writes them"
                        .to_owned(),
                );
            }
            fork
        }
    };
    let ttl = options.cache_ttl.as_deref().filter(|text| !text.is_empty());
    Ok(CacheRequest {
        repository,
        from,
        to,
        ttl: ttl.map(|text| duration::parse("--cache-ttl", text)).transpose()?,
        read_only,
        disabled: options.no_cache,
        disabled_stages,
    })
}

/// `--build-arg`, and the variables that RUN steps see without being asked: proxies, and the reproducible-builds time.
pub(crate) fn build_args(
    typed: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut args = BTreeMap::new();
    for text in typed {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text.as_str(), environment.get(text)),
        };
        if key.is_empty() {
            return Err(Failure::input(format!("--build-arg `{text}`: the name is missing")));
        }
        match value {
            Some(value) => args.insert(key.to_owned(), value.to_owned()),
            None => args.remove(key),
        };
    }
    for (name, value) in environment.proxies() {
        if !args.keys().any(|key| key.eq_ignore_ascii_case(name)) {
            args.insert(name.to_owned(), value.to_owned());
        }
    }
    // As buildx does: the variable is an argument, so that a RUN that declares it sees it.
    if let Some(epoch) = environment.filled(EPOCH) {
        args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.to_owned());
    }
    Ok(args)
}

const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn source_date_epoch(build_args: &BTreeMap<String, String>) -> Result<Option<i64>, Failure> {
    let Some(text) = build_args.get(EPOCH).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
        _ => Err(Failure::input(format!("{EPOCH} `{text}` is not a number of seconds since 1970"))),
    }
}

pub(crate) fn platform(typed: Option<&str>, environment: &Environment) -> Result<Option<Platform>, Failure> {
    let (option, text) = match (typed, environment.filled("DOCKER_DEFAULT_PLATFORM")) {
        (Some(text), _) => ("--platform", text),
        (None, Some(text)) => ("DOCKER_DEFAULT_PLATFORM", text),
        (None, None) => return Ok(None),
    };
    if text.contains(',') {
        return Err(Failure::input(format!(
            "{option} `{text}`: several platforms at a time are not supported yet"
        ))
        .hint("build each platform by itself"));
    }
    text.parse().map(Some).map_err(|error| Failure::input(format!("{option}: {error}")))
}

/// Reads `--call WHAT[,format=json]`: what is shown, and whether as JSON. `None` builds.
pub(crate) fn call(args: &BuildArgs) -> Result<Option<(CallName, bool)>, Failure> {
    let Some(text) = args.call.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(args.check.then_some((CallName::Check, false)));
    };
    let refused = |why: String| Failure::input(format!("--call `{text}`: {why}"));
    let mut fields = text.split(',');
    let name = match fields.next().unwrap_or_default() {
        "build" => None,
        "check" | "lint" => Some(CallName::Check),
        "outline" => Some(CallName::Outline),
        "targets" => Some(CallName::Targets),
        other => {
            let near = did_you_mean(other, ["build", "check", "outline", "targets"]);
            return Err(
                refused(format!("`{other}` is not known{near}")).hint("use check, outline or targets")
            );
        }
    };
    let mut as_json = false;
    for field in fields {
        match field {
            "format=json" => as_json = true,
            "format=text" => as_json = false,
            other => return Err(refused(format!("`{other}` is not known")).hint("use format=json")),
        }
    }
    match (name, args.check) {
        (Some(CallName::Outline | CallName::Targets), true) => {
            Err(refused("--check shows something else".to_owned()))
        }
        (None, true) => Ok(Some((CallName::Check, as_json))),
        (name, _) => Ok(name.map(|name| (name, as_json))),
    }
}

/// `KEY=VALUE` lists, the last of a key counts; a key alone has the empty value.
fn pairs(option: &str, list: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for text in list {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(Failure::input(format!("{option} `{text}`: the key is missing")));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// `--annotation [manifest:]KEY=VALUE`.
fn annotations(list: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut annotations = BTreeMap::new();
    for text in list {
        let missing = || Failure::input(format!("--annotation `{text}` is not of the form KEY=VALUE"));
        let (key, value) = text.split_once('=').ok_or_else(missing)?;
        let (place, key) = match key.split_once(':') {
            Some((place, key)) => (Some(place), key),
            None => (None, key),
        };
        match place {
            None | Some("manifest") if !key.is_empty() => {
                annotations.insert(key.to_owned(), value.to_owned())
            }
            None | Some("manifest") => return Err(missing()),
            Some(place) => {
                return Err(Failure::input(format!(
                    "--annotation `{text}`: annotations of `{place}` are not supported, only of `manifest`"
                )));
            }
        };
    }
    Ok(annotations)
}

fn compression(options: &BuildOptions, asked: &Asked) -> Result<(Compression, Option<u32>), Failure> {
    let compression = match options.compression {
        Some(CompressionName::Gzip) => Compression::Gzip,
        Some(CompressionName::Zstd) => Compression::Zstd,
        Some(CompressionName::Uncompressed) => Compression::None,
        None => asked.compression.unwrap_or_default(),
    };
    let level = options.compression_level.or(asked.compression_level);
    let range = match compression {
        Compression::Gzip => 0..=9,
        Compression::Zstd => 1..=22,
        Compression::None if level.is_some() => {
            return Err(Failure::input("a compression level has no meaning for uncompressed layers"));
        }
        Compression::None => 0..=0,
    };
    if let Some(level) = level.filter(|level| !range.contains(level)) {
        return Err(Failure::input(format!(
            "compression level {level} is not one of {} to {}",
            range.start(),
            range.end()
        )));
    }
    Ok((compression, level))
}

/// `--add-host NAME:IP`, `NAME=IP`; the address may stand in brackets.
fn extra_host(text: &str) -> Result<(String, String), Failure> {
    let malformed = || Failure::input(format!("--add-host `{text}` is not of the form NAME:IP"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(malformed)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(malformed());
    }
    if address == "host-gateway" {
        return Err(Failure::input(format!("--add-host `{text}`: `host-gateway` is not supported"))
            .hint("RUN steps share this machine's network: use 127.0.0.1"));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok((name.to_owned(), ip.to_string())),
        Err(_) => Err(Failure::input(format!("--add-host `{text}`: `{address}` is not an IP address"))),
    }
}

/// The registries of some names.
fn hosts(references: &[Reference]) -> BTreeSet<RegistryHost> {
    references.iter().map(|reference| reference.repository.host().clone()).collect()
}

/// Where state is kept. `explicit` is `--state-dir`.
pub(crate) fn state(
    explicit: Option<&Path>,
    ephemeral: bool,
    environment: &Environment,
) -> Result<StateRequest, Failure> {
    let dir = match (explicit, ephemeral) {
        // Nothing is kept, so no folder of ours is made in the home directory either.
        (None, true) => environment.temporary_dir(),
        _ => environment.state_dir(explicit)?,
    };
    Ok(StateRequest { dir: absolute(&dir)?, ephemeral })
}

/// The library may be in another directory, or another namespace, when it uses a path.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::input(format!("`{}`: {}", path.display(), context::reason(&error))))
}

/// The standard streams of this process.
pub(crate) fn streams(stdin: &mut io::Stdin) -> Streams<'_> {
    Streams { stdin, stdout_is_terminal: io::stdout().is_terminal() }
}

#[cfg(test)]
mod tests;
