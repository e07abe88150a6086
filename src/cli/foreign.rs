//! Flags of `docker build`, `buildah build` and kaniko that are not ours: one table, one clear sentence each.
//!
//! A flag whose loss would change the image or weaken security is refused by name. A flag that asks for what is done
//! anyway is taken, and only with the value that asks for it.

use clap::{Arg, ArgAction};

use super::failure::Failure;

/// What is said of a flag.
enum Word {
    /// It has a place here, but not yet.
    NotYet,
    /// Something else does it.
    Instead(&'static str),
    /// It is not done, and why.
    ByDesign(&'static str),
}

use Word::{ByDesign, Instead, NotYet};

const DAEMON: Word = ByDesign("there is no daemon");
const LIMITS: Word = ByDesign("limits are set on the job or the pod that ocistage runs in");
const USE_TAG: Word = Instead("-t REF with --push");
const USE_INSECURE: Word = Instead("--insecure HOST");
const USE_PLATFORM: Word = Instead("--platform OS/ARCH[/VARIANT]");
const USE_EPOCH: Word = Instead("the environment variable SOURCE_DATE_EPOCH");

/// Long flags without `--`, sorted.
const REFUSED: &[(&str, Word)] = &[
    ("all-platforms", USE_PLATFORM),
    ("allow", NotYet),
    ("arch", USE_PLATFORM),
    ("attest", NotYet),
    ("build-arg-file", NotYet),
    ("builder", DAEMON),
    ("cache", Instead("--no-cache, or --cache-repo REF")),
    ("cache-copy-layers", ByDesign("COPY layers are always kept in the cache")),
    ("cache-run-layers", ByDesign("RUN layers are always kept in the cache")),
    ("cap-add", ByDesign("RUN steps have the capabilities that containers have by default")),
    ("cap-drop", NotYet),
    ("cert-dir", NotYet),
    ("cgroup-parent", LIMITS),
    ("cgroupns", NotYet),
    ("compress", ByDesign("the context is not sent anywhere")),
    ("context", Instead("CONTEXT as the last argument")),
    ("context-sub-path", Instead("the sub-directory as CONTEXT")),
    ("cpu-period", LIMITS),
    ("cpu-quota", LIMITS),
    ("cpu-shares", LIMITS),
    ("cpuset-cpus", LIMITS),
    ("cpuset-mems", LIMITS),
    ("custom-platform", USE_PLATFORM),
    ("customPlatform", USE_PLATFORM),
    ("debug", Instead("--progress plain")),
    ("destination", USE_TAG),
    ("device", NotYet),
    ("digest-file", Instead("--metadata-file FILE (key `containerimage.digest`)")),
    ("dns", NotYet),
    ("dns-option", NotYet),
    ("dns-search", NotYet),
    ("dockerfile", Instead("-f PATH")),
    ("env", Instead("ENV in the Dockerfile")),
    ("from", Instead("ARG before FROM, with --build-arg")),
    ("ignorefile", Instead("PATH.dockerignore beside the Dockerfile PATH")),
    ("insecure-pull", USE_INSECURE),
    ("insecure-registry", USE_INSECURE),
    ("isolation", Instead("--backend auto|native|runc")),
    ("load", Instead("-o type=docker,dest=- CONTEXT | docker load")),
    ("logfile", Instead("--progress plain 2>FILE")),
    ("manifest", NotYet),
    ("memory", LIMITS),
    ("memory-swap", LIMITS),
    ("no-hostname", NotYet),
    ("no-hosts", NotYet),
    ("no-push", ByDesign("nothing is pushed without --push")),
    ("oci-layout-path", Instead("-o type=oci,tar=false,dest=DIR")),
    ("omit-history", NotYet),
    ("os", USE_PLATFORM),
    ("policy", NotYet),
    ("print", Instead("--call outline|targets|check")),
    ("privileged", ByDesign("RUN steps are never privileged")),
    ("registry-certificate", NotYet),
    ("registry-mirror", NotYet),
    ("reproducible", USE_EPOCH),
    ("resource", LIMITS),
    ("retry", ByDesign("registries are asked again by themselves")),
    ("retry-delay", ByDesign("registries are asked again by themselves")),
    ("save-stages", Instead("--publish-stages named, or --publish-stage STAGE=REF")),
    ("security-opt", NotYet),
    ("shm-size", NotYet),
    ("sign-by", NotYet),
    ("single-snapshot", NotYet),
    ("skip-tls-verify", USE_INSECURE),
    ("skip-tls-verify-pull", USE_INSECURE),
    ("skip-tls-verify-registry", USE_INSECURE),
    ("source-date-epoch", USE_EPOCH),
    ("squash", NotYet),
    ("squash-all", NotYet),
    ("stdin", NotYet),
    ("tar-path", Instead("-o type=docker,dest=FILE")),
    ("tarPath", Instead("-o type=docker,dest=FILE")),
    ("timestamp", USE_EPOCH),
    ("tls-verify", USE_INSECURE),
    ("ulimit", NotYet),
    ("unsetenv", NotYet),
    ("unsetlabel", NotYet),
    ("userns", ByDesign("the user namespace is chosen by --backend")),
    ("variant", USE_PLATFORM),
    ("verbosity", Instead("--progress plain")),
    ("volume", Instead("RUN --mount or --build-context")),
];

/// What is said of `flag` (`--secret`, or `-m`); `None` when it is not another builder's.
pub(crate) fn refusal(flag: &str) -> Option<Failure> {
    let long = match flag {
        "-m" => "memory",
        "-d" => "destination",
        "-c" => "context",
        "-v" => "volume",
        "-D" => "debug",
        _ => flag.strip_prefix("--")?.split('=').next()?,
    };
    let at = REFUSED.binary_search_by(|(name, _)| (*name).cmp(long)).ok()?;
    let flag = flag.split('=').next()?;
    Some(match &REFUSED[at].1 {
        NotYet => Failure::input(format!("{flag} is not supported yet")),
        Instead(other) => {
            Failure::input(format!("{flag} is not a flag of ocistage")).hint(format!("use {other}"))
        }
        ByDesign(why) => Failure::input(format!("{flag} is not supported by design: {why}")),
    })
}

/// What a flag may say, and what is said when it says something else.
struct Harmless {
    name: &'static str,
    values: &'static [&'static str],
    missing: &'static str,
    otherwise: &'static str,
}

const YES: &[&str] = &["true", "1", "t", "TRUE", "True"];
const NO: &[&str] = &["false", "0", "f", "FALSE", "False"];

const HARMLESS: &[Harmless] = &[
    Harmless {
        name: "rm",
        values: YES,
        missing: "true",
        otherwise: "there are no intermediate containers to keep",
    },
    Harmless {
        name: "force-rm",
        values: &["true", "1", "t", "false", "0", "f"],
        missing: "true",
        otherwise: "there are no intermediate containers",
    },
    Harmless {
        name: "layers",
        values: YES,
        missing: "true",
        otherwise: "every step has its layer; to look nothing up, use --no-cache",
    },
    Harmless {
        name: "format",
        values: &["oci"],
        missing: "",
        otherwise: "images have OCI media types; Docker's own fields are kept in them",
    },
    Harmless {
        name: "provenance",
        values: NO,
        missing: "true",
        otherwise: "attestations are not supported yet: use --provenance=false",
    },
    Harmless {
        name: "sbom",
        values: NO,
        missing: "true",
        otherwise: "attestations are not supported yet: use --sbom=false",
    },
    Harmless {
        name: "skip-unused-stages",
        values: YES,
        missing: "true",
        otherwise: "stages that nothing needs are never built",
    },
    Harmless {
        name: "http-proxy",
        values: YES,
        missing: "true",
        otherwise: "RUN steps see the proxy variables; unset them for ocistage instead",
    },
    Harmless {
        name: "disable-content-trust",
        values: YES,
        missing: "true",
        otherwise: "signatures of base images are not checked",
    },
];

/// Hidden options that are taken and mean nothing, because they ask for what is done anyway.
pub(crate) fn accepted() -> Vec<Arg> {
    HARMLESS
        .iter()
        .map(|flag| {
            let arg = Arg::new(flag.name).long(flag.name).hide(true).action(ArgAction::Append);
            let arg = if flag.missing.is_empty() {
                arg.num_args(1)
            } else {
                arg.num_args(0..=1).require_equals(true).default_missing_value(flag.missing)
            };
            arg.value_parser(move |value: &str| match flag.values.contains(&value) {
                true => Ok(value.to_owned()),
                false => Err(flag.otherwise.to_owned()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_flags_are_found() {
        assert!(REFUSED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, _) in REFUSED {
            assert!(refusal(&format!("--{name}")).is_some(), "{name}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_where_there_is_something() {
        let failure = refusal("--destination=registry/x").unwrap();
        assert_eq!(failure.message, "--destination is not a flag of ocistage");
        assert_eq!(failure.hints, ["use -t REF with --push"]);
        assert_eq!(refusal("--shm-size").unwrap().message, "--shm-size is not supported yet");
        assert!(refusal("-m").unwrap().message.starts_with("-m is not supported by design"));
        assert!(refusal("--nonsense").is_none());
    }
}
