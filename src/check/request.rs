//! What is to be checked.

use std::collections::BTreeMap;

use crate::dockerfile::CheckOptions;
use crate::oci::Platform;
use crate::request::NamedContext;
use crate::text::Source;

/// A Dockerfile to be checked.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The file.
    pub dockerfile: Source,
    /// `--build-arg`. `BUILDKIT_DOCKERFILE_CHECK` stands in for the file's `# check=` line.
    pub build_args: BTreeMap<String, String>,
    /// `--target`: what the outline is of; the last stage when not given.
    pub target: Option<String>,
    /// `--platform`; this machine's when not given.
    pub platform: Option<Platform>,
    /// `--build-context`
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// The context's ignore file, when there is one.
    pub ignore: Option<Source>,
}

impl CheckRequest {
    /// A file alone.
    pub fn new(dockerfile: Source) -> CheckRequest {
        CheckRequest {
            dockerfile,
            build_args: BTreeMap::new(),
            target: None,
            platform: None,
            named_contexts: BTreeMap::new(),
            ignore: None,
        }
    }
}

/// The choice of rules that build arguments make, in the place of the file's. The error is the part that is
/// wrong.
pub(crate) fn options_of(build_args: &BTreeMap<String, String>) -> Result<Option<CheckOptions>, String> {
    let mut options = match build_args.get("BUILDKIT_DOCKERFILE_CHECK") {
        Some(value) => Some(CheckOptions::parse(value)?),
        None => None,
    };
    if let Some(rules) = build_args.get("BUILDKIT_DOCKERFILE_CHECK_EXPERIMENTAL") {
        let more = CheckOptions::parse(&format!("experimental={rules}"))?;
        let options = options.get_or_insert_default();
        options.experimental.extend(more.experimental);
        options.experimental_all |= more.experimental_all;
    }
    Ok(options)
}
