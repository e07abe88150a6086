//! `--cache-from`, `--cache-to`, `--cache-repo`: what was written, as places for cache records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ocistage::CachePlace;
use ocistage::oci::{Reference, Repository};

use super::csv;
use super::failure::{Failure, did_you_mean};

/// Which way records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `--cache-from`
    From,
    /// `--cache-to`
    To,
}

impl Direction {
    fn option(self) -> &'static str {
        match self {
            Direction::From => "--cache-from",
            Direction::To => "--cache-to",
        }
    }

    /// The key that names a folder.
    fn folder_key(self) -> &'static str {
        match self {
            Direction::From => "src",
            Direction::To => "dest",
        }
    }
}

/// What one option asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct CacheSpec {
    /// The place; `None` when the option asks for what is done anyway.
    pub(crate) place: Option<CachePlace>,
    /// One line about a part that has no meaning here.
    pub(crate) warning: Option<String>,
}

const TYPES: [&str; 3] = ["registry", "local", "inline"];
/// Caches of CI services that are not registries.
const ELSEWHERE: [&str; 3] = ["gha", "s3", "azblob"];

/// Reads one `--cache-from` or `--cache-to`.
pub(crate) fn parse(direction: Direction, text: &str) -> Result<CacheSpec, Failure> {
    let option = direction.option();
    // As with Docker: a value without any key is a reference, several may stand side by side with commas.
    if !text.contains('=') {
        return repository(option, text);
    }
    let mut keys: BTreeMap<String, String> = csv::pairs(option, text)?.into_iter().collect();
    let kind = keys.remove("type").unwrap_or_else(|| "registry".to_owned());
    if ELSEWHERE.contains(&kind.as_str()) {
        return Err(Failure::input(format!(
            "{option}: type={kind} is not supported: the registry is the cache"
        ))
        .hint(format!(
            "use {option} type=registry,ref=REGISTRY/NAME/cache, or --cache-repo REGISTRY/NAME/cache"
        )));
    }
    harmless(direction, &mut keys)?;
    let place = match kind.as_str() {
        "registry" => keys.remove("ref").map(|reference| repository(option, &reference)).transpose()?,
        "local" => keys
            .remove(direction.folder_key())
            .map(|path| CacheSpec { place: Some(CachePlace::Folder(PathBuf::from(path))), warning: None }),
        "inline" => Some(CacheSpec {
            place: None,
            warning: Some(format!(
                "{option} type=inline has no effect: cache records are kept beside the image"
            )),
        }),
        _ => {
            return Err(Failure::input(format!(
                "{option}: unknown type `{kind}`{}",
                did_you_mean(&kind, TYPES)
            )));
        }
    };
    let needed = if kind == "local" { direction.folder_key() } else { "ref" };
    if let Some(key) = keys.keys().next() {
        let hint = did_you_mean(key, [needed, "mode"]);
        return Err(Failure::input(format!("{option} type={kind} has no key `{key}`{hint}")));
    }
    place.ok_or_else(|| Failure::input(format!("{option}: type={kind} needs {needed}=…")))
}

/// Takes the keys that ask for what is done anyway, and refuses what they would have to change.
fn harmless(direction: Direction, keys: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let option = direction.option();
    if let Some(mode) = keys.remove("mode")
        && !(direction == Direction::To && matches!(mode.as_str(), "max" | "min"))
    {
        return Err(Failure::input(format!("{option}: `mode={mode}` is not supported: all steps are kept")));
    }
    for key in ["image-manifest", "oci-mediatypes", "ignore-error"] {
        if let Some(value) = keys.remove(key)
            && !csv::boolean(option, key, &value)?
        {
            return Err(Failure::input(format!("{option}: `{key}={value}` is not supported")));
        }
    }
    Ok(())
}

fn repository(option: &str, text: &str) -> Result<CacheSpec, Failure> {
    let reference: Reference = text.parse().map_err(|error| Failure::input(format!("{option}: {error}")))?;
    if reference.digest.is_some() {
        return Err(Failure::input(format!(
            "{option} `{text}`: a cache is a repository; leave out the digest"
        )));
    }
    let warning = reference
        .tag
        .map(|tag| format!("{option}: the tag `{tag}` is not used: cache records have tags of their own"));
    Ok(CacheSpec { place: Some(CachePlace::Repository(reference.repository)), warning })
}

/// Reads `--cache-repo`.
pub(crate) fn parse_repository(text: &str) -> Result<(Repository, Option<String>), Failure> {
    match repository("--cache-repo", text)? {
        CacheSpec { place: Some(CachePlace::Repository(repository)), warning } => Ok((repository, warning)),
        _ => Err(Failure::input(format!("--cache-repo `{text}` is not a repository"))),
    }
}

/// Where the records of an image in `image` are kept when nothing says otherwise: its repository `cache`, or the
/// repository itself where the registry refuses nested names.
pub(crate) fn default_repository(image: &Repository) -> Repository {
    // Docker Hub has two levels only: `namespace/name`.
    if image.host().as_str() == "docker.io" {
        return image.clone();
    }
    // A name too long for a child keeps its records itself.
    image.child("cache").unwrap_or_else(|_| image.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository_of(text: &str) -> CachePlace {
        CachePlace::Repository(text.parse().unwrap())
    }

    fn refusal(direction: Direction, text: &str) -> String {
        parse(direction, text).unwrap_err().message
    }

    #[test]
    fn a_bare_reference_is_a_repository() {
        let spec = parse(Direction::From, "r.io/app/cache").unwrap();
        assert_eq!(spec, CacheSpec { place: Some(repository_of("r.io/app/cache")), warning: None });
    }

    #[test]
    fn the_long_forms_name_a_repository_or_a_folder() {
        let registry = parse(Direction::To, "type=registry,ref=r.io/a,mode=max").unwrap();
        assert_eq!(registry.place, Some(repository_of("r.io/a")));
        let from = parse(Direction::From, "type=local,src=/c").unwrap();
        assert_eq!(from.place, Some(CachePlace::Folder("/c".into())));
        let to = parse(Direction::To, "type=local,dest=/c").unwrap();
        assert_eq!(to.place, Some(CachePlace::Folder("/c".into())));
    }

    #[test]
    fn a_tag_is_answered_with_a_warning_because_records_have_their_own() {
        let spec = parse(Direction::From, "type=registry,ref=r.io/a:buildcache").unwrap();
        assert_eq!(spec.place, Some(repository_of("r.io/a")));
        assert!(spec.warning.unwrap().contains("`buildcache`"));
    }

    #[test]
    fn caches_that_are_not_registries_are_refused_with_what_to_use() {
        for kind in ["gha", "s3", "azblob"] {
            let failure = parse(Direction::To, &format!("type={kind},bucket=b")).unwrap_err();
            assert!(failure.message.contains(&format!("type={kind} is not supported")));
            assert!(failure.hints[0].contains("--cache-repo"));
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert!(refusal(Direction::To, "type=registri,ref=x").contains("did you mean `registry`?"));
        assert!(refusal(Direction::To, "type=registry").contains("needs ref="));
        assert!(refusal(Direction::To, "type=local,src=x").contains("no key `src`"));
        assert!(refusal(Direction::From, "Bad Name").contains("--cache-from"));
        assert!(refusal(Direction::From, "ref=r.io/a,mode=max").contains("`mode=max`"));
    }

    #[test]
    fn the_default_cache_lies_beside_the_image_but_not_on_docker_hub() {
        let default = |text: &str| default_repository(&text.parse().unwrap()).to_string();
        assert_eq!(default("localhost:5000/team/app"), "localhost:5000/team/app/cache");
        assert_eq!(default("team/app"), "docker.io/team/app");
    }
}
