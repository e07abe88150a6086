//! `--output`: what was written, as the request's outputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocistage::OutputRequest;
use ocistage::oci::{Compression, Reference};

use super::csv;
use super::failure::{Failure, did_you_mean};

/// What one `--output` asks for: a place, and properties of the image that its keys state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OutputSpec {
    /// The place; `None` for `type=image` without `push=true`.
    pub(crate) place: Option<OutputRequest>,
    /// `name=`: further names of the image.
    pub(crate) names: Vec<Reference>,
    /// `annotation.KEY=`: annotations of the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// `compression=`
    pub(crate) compression: Option<Compression>,
    /// `compression-level=`
    pub(crate) compression_level: Option<u32>,
    /// `registry.insecure=true`: the hosts of the names may be insecure.
    pub(crate) insecure: bool,
}

const TYPES: [&str; 7] = ["registry", "image", "oci", "docker", "tar", "local", "cacheonly"];
const IMAGE_KEYS: [&str; 8] = [
    "name",
    "push",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "registry.insecure",
];

/// Reads one `--output`.
pub(crate) fn parse(text: &str) -> Result<OutputSpec, Failure> {
    let fields = csv::fields(text)?;
    // A lone path is a directory for the file system, as with Docker; "-" is a tar on standard output.
    if let [field] = fields.as_slice()
        && !field.to_lowercase().starts_with("type=")
    {
        return match field.as_str() {
            "" => Err(Failure::input("--output is empty: give a directory, or type=…,dest=…")),
            "-" => Ok(place(OutputRequest::Tar { dest: None })),
            path => Ok(place(OutputRequest::Local { dest: PathBuf::from(path) })),
        };
    }
    let mut keys: BTreeMap<String, String> = csv::pairs("--output", text)?.into_iter().collect();
    let kind = keys.remove("type").ok_or_else(|| {
        Failure::input(format!("--output `{text}` has no type: add type={}", TYPES.join("|")))
    })?;
    if !TYPES.contains(&kind.as_str()) {
        return Err(Failure::input(format!("--output: unknown type `{kind}`{}", did_you_mean(&kind, TYPES)))
            .hint(format!("the types are {}", TYPES.join(", "))));
    }
    let mut spec = image_keys(&kind, &mut keys)?;
    let push = keys.remove("push");
    let dest = keys.remove("dest");
    let tar = keys.remove("tar");
    if let Some(key) = keys.keys().next() {
        return Err(unknown_key(&kind, key));
    }
    for (key, given, known) in [
        ("push", push.is_some(), matches!(kind.as_str(), "image" | "registry")),
        ("dest", dest.is_some(), matches!(kind.as_str(), "oci" | "docker" | "tar" | "local")),
        ("tar", tar.is_some(), matches!(kind.as_str(), "oci" | "docker")),
    ] {
        if given && !known {
            return Err(Failure::input(format!("--output type={kind} has no key `{key}`")));
        }
    }
    let tar = tar.map(|value| csv::boolean("--output", "tar", &value)).transpose()?;
    if dest.as_deref() == Some("") {
        return Err(Failure::input(format!("--output type={kind}: dest is empty")));
    }
    let named = dest.is_some();
    let dest = dest.filter(|path| path != "-").map(PathBuf::from);
    spec.place = match kind.as_str() {
        "registry" => match push.map(|value| csv::boolean("--output", "push", &value)).transpose()? {
            Some(false) => {
                return Err(Failure::input("--output: type=registry and push=false say opposite things"));
            }
            _ => Some(OutputRequest::Registry),
        },
        "image" => match push.map(|value| csv::boolean("--output", "push", &value)).transpose()? {
            Some(true) => Some(OutputRequest::Registry),
            _ => None,
        },
        "oci" => {
            let tar = tar.unwrap_or(dest.as_deref().is_none_or(means_archive));
            if !tar && dest.is_none() {
                return Err(Failure::input(
                    "--output: type=oci,tar=false needs dest=DIR: standard output takes archives only",
                ));
            }
            Some(OutputRequest::Oci { dest, tar })
        }
        "docker" if tar == Some(false) => {
            return Err(Failure::input(
                "--output: type=docker,tar=false is not supported: use type=oci,tar=false",
            ));
        }
        "docker" if !named => {
            return Err(Failure::input("--output: type=docker without dest= would need a docker daemon")
                .hint("write an archive with dest=FILE, or: ocistage build -o type=docker,dest=- … | docker load"));
        }
        "docker" => Some(OutputRequest::Docker { dest }),
        "tar" => Some(OutputRequest::Tar { dest }),
        "local" => match dest {
            Some(dest) => Some(OutputRequest::Local { dest }),
            None => return Err(Failure::input("--output: type=local needs dest=DIR")),
        },
        _ => Some(OutputRequest::CacheOnly),
    };
    Ok(spec)
}

fn place(place: OutputRequest) -> OutputSpec {
    OutputSpec { place: Some(place), ..OutputSpec::default() }
}

/// Whether an image at `path` is one archive rather than a folder: it is called so, or an archive is there already.
fn means_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar") || path.is_file()
}

/// Takes the keys that describe the image rather than the place.
fn image_keys(kind: &str, keys: &mut BTreeMap<String, String>) -> Result<OutputSpec, Failure> {
    let mut spec = OutputSpec::default();
    if matches!(kind, "tar" | "local" | "cacheonly") {
        return Ok(spec);
    }
    for name in keys.remove("name").iter().flat_map(|names| names.split(',')) {
        let name = name.trim();
        spec.names.push(name.parse().map_err(|error| Failure::input(format!("--output: {error}")))?);
    }
    let annotations: Vec<String> =
        keys.keys().filter(|key| key.starts_with("annotation.")).cloned().collect();
    for key in annotations {
        if let Some(value) = keys.remove(&key) {
            spec.annotations.insert(key["annotation.".len()..].to_owned(), value);
        }
    }
    if let Some(name) = keys.remove("compression") {
        spec.compression = Some(compression(&name).ok_or_else(|| {
            Failure::input(format!(
                "--output: compression `{name}` is not supported: use gzip, zstd or uncompressed"
            ))
        })?);
    }
    if let Some(level) = keys.remove("compression-level") {
        spec.compression_level =
            Some(level.parse().map_err(|_| {
                Failure::input(format!("--output: compression-level `{level}` is not a number"))
            })?);
    }
    if let Some(value) = keys.remove("registry.insecure") {
        spec.insecure = csv::boolean("--output", "registry.insecure", &value)?;
    }
    // What is always done, and what never is.
    for (key, done, instead) in [
        ("oci-mediatypes", true, "images have OCI media types always"),
        ("rewrite-timestamp", true, "new layers' times are clamped whenever SOURCE_DATE_EPOCH is set"),
        ("force-compression", false, "layers of base images are kept as they are"),
    ] {
        if let Some(value) = keys.remove(key)
            && csv::boolean("--output", key, &value)? != done
        {
            return Err(Failure::input(format!("--output: `{key}={value}` is not supported: {instead}")));
        }
    }
    Ok(spec)
}

fn unknown_key(kind: &str, key: &str) -> Failure {
    let own = ["dest", "tar"].into_iter().filter(|_| !matches!(kind, "registry" | "image"));
    Failure::input(format!(
        "--output type={kind} has no key `{key}`{}",
        did_you_mean(key, own.chain(IMAGE_KEYS))
    ))
}

/// The compression of a name; `None` for one that is not supported.
pub(crate) fn compression(name: &str) -> Option<Compression> {
    match name {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "uncompressed" | "none" => Some(Compression::None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(text: &str) -> OutputRequest {
        parse(text).unwrap().place.unwrap()
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().message
    }

    #[test]
    fn a_bare_path_is_a_directory_and_a_dash_is_a_tar_on_standard_output() {
        assert_eq!(place_of("out"), OutputRequest::Local { dest: "out".into() });
        assert_eq!(place_of("-"), OutputRequest::Tar { dest: None });
    }

    #[test]
    fn each_type_has_its_place() {
        assert_eq!(place_of("type=registry"), OutputRequest::Registry);
        assert_eq!(place_of("type=image,push=true"), OutputRequest::Registry);
        assert_eq!(parse("type=image").unwrap().place, None);
        assert_eq!(
            place_of("type=oci,dest=a.tar"),
            OutputRequest::Oci { dest: Some("a.tar".into()), tar: true }
        );
        assert_eq!(
            place_of("type=oci,dest=d,tar=false"),
            OutputRequest::Oci { dest: Some("d".into()), tar: false }
        );
        assert_eq!(
            place_of("type=oci,dest=layout"),
            OutputRequest::Oci { dest: Some("layout".into()), tar: false }
        );
        assert_eq!(
            place_of("type=oci,dest=x,tar=true"),
            OutputRequest::Oci { dest: Some("x".into()), tar: true }
        );
        assert_eq!(place_of("type=oci,dest=-"), OutputRequest::Oci { dest: None, tar: true });
        assert_eq!(place_of("type=docker,dest=-"), OutputRequest::Docker { dest: None });
        assert_eq!(place_of("type=tar,dest=x.tar"), OutputRequest::Tar { dest: Some("x.tar".into()) });
        assert_eq!(place_of("type=local,dest=d"), OutputRequest::Local { dest: "d".into() });
        assert_eq!(place_of("type=cacheonly"), OutputRequest::CacheOnly);
    }

    #[test]
    fn a_destination_with_a_comma_is_quoted() {
        assert_eq!(
            place_of(r#"type=tar,"dest=a,b.tar""#),
            OutputRequest::Tar { dest: Some("a,b.tar".into()) }
        );
    }

    #[test]
    fn names_and_annotations_are_collected() {
        let spec =
            parse(r#"type=image,"name=r.io/a:1,r.io/b",push=true,annotation.org.x=y,compression=zstd"#)
                .unwrap();
        assert_eq!(
            spec.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["r.io/a:1", "r.io/b:latest"]
        );
        assert_eq!(spec.annotations["org.x"], "y");
        assert_eq!(spec.compression, Some(Compression::Zstd));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert_eq!(refusal("type=regstry,x=y"), "--output: unknown type `regstry`; did you mean `registry`?");
        assert_eq!(refusal("type=oci,dset=x"), "--output type=oci has no key `dset`; did you mean `dest`?");
        assert!(refusal("dest=x,tar=true").contains("has no type"));
        assert!(refusal("type=oci,x").contains("`x` is not of the form key=value"));
        assert!(refusal("type=registry,dest=x").contains("no key `dest`"));
        assert!(refusal("type=local").contains("needs dest=DIR"));
        assert!(refusal("type=docker").contains("docker daemon"));
        assert!(refusal("type=oci,dest=x,force-compression=true").contains("`force-compression=true`"));
        assert!(refusal("type=oci,dest=x,compression=estargz").contains("`estargz`"));
        assert!(refusal("type=oci,dest=x,tar=maybe").contains("neither true nor false"));
    }
}
