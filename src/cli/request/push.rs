//! `push`: which of its two forms was meant, and the request of the one that sends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ocistage::oci::Reference;
use ocistage::{ImageSource, PushRequest};

use super::{Prepared, access, context_operand, hosts, reference, state};
use crate::cli::args::{CommonOptions, PushArgs};
use crate::cli::context;
use crate::cli::environment::Environment;
use crate::cli::failure::Failure;

/// What `push` was asked to do.
#[derive(Debug)]
pub(crate) enum PushForm {
    /// Build this context and push the image, keeping nothing.
    Build(OsString),
    /// Send this image to these references.
    Send(String, Vec<Reference>),
}

/// Which of the two forms of `push` was meant: names decide. With -t a context is built; without, an image is sent.
pub(crate) fn push_form(args: &PushArgs) -> Result<PushForm, Failure> {
    let first = args.operands.first().map(|operand| operand.to_string_lossy().into_owned());
    let names_image = first.as_deref().is_some_and(|operand| image_source(operand).is_some());
    let Some(first) = first else {
        return Err(Failure::input("nothing to push: neither a context nor an image was given")
            .hint("build and push: ocistage push -t REGISTRY/NAME:TAG CONTEXT")
            .hint("push an image: ocistage push SOURCE REGISTRY/NAME:TAG"));
    };
    let named = args.tag_typed || (!args.options.tag.is_empty() && !names_image && args.operands.len() == 1);
    if named {
        if names_image {
            return Err(Failure::input(format!(
                "`{first}` is an image, and -t asks for a context to be built: which is meant?"
            ))
            .hint(format!(
                "to push the image, name it after it: ocistage push {first} {}",
                args.options.tag.join(" ")
            )));
        }
        if let [first, second, ..] = args.operands.as_slice() {
            return Err(Failure::input(format!(
                "-t asks for one context to be built, but `{}` and `{}` were given",
                first.to_string_lossy(),
                second.to_string_lossy()
            ))
            .hint("to push an image that exists, leave out -t: ocistage push SOURCE REF..."));
        }
        return context_operand("push -t REF", &args.operands).map(PushForm::Build);
    }
    if !names_image && (first == "-" || Path::new(&first).is_dir()) {
        return Err(Failure::input(format!(
            "`{first}` is a context, not an image, and it has no name to be pushed to"
        ))
        .hint(format!("to build and push it: ocistage push -t REGISTRY/NAME:TAG {first}"))
        .hint(format!("to push the OCI layout in it: ocistage push oci:{first} REGISTRY/NAME:TAG")));
    }
    if !args.build_options_typed.is_empty() {
        return Err(Failure::input(format!(
            "{} has no meaning for pushing the image `{first}` as it is",
            args.build_options_typed.join(", ")
        ))
        .hint("to build a context and push it, add -t REGISTRY/NAME:TAG"));
    }
    let references = args.operands[1..]
        .iter()
        .map(|operand| reference("push", &operand.to_string_lossy()))
        .collect::<Result<_, _>>()?;
    Ok(PushForm::Send(first, references))
}

/// The image that a name with a transport means; `None` when it has none.
fn image_source(text: &str) -> Option<ImageSource> {
    let (transport, place) = text.split_once(':')?;
    match transport {
        "oci" => {
            let (dir, tag) = context::layout_place(place);
            Some(ImageSource::OciLayout(dir, tag))
        }
        "oci-archive" => Some(ImageSource::OciArchive(PathBuf::from(place))),
        "docker-archive" => Some(ImageSource::DockerArchive(PathBuf::from(place))),
        _ => None,
    }
}

/// Makes a push of what was typed.
pub(crate) fn push(
    source: &str,
    references: Vec<Reference>,
    common: &CommonOptions,
    environment: &Environment,
) -> Result<Prepared<PushRequest>, Failure> {
    for transport in ["docker-daemon:", "containers-storage:", "dir:", "docker://"] {
        if source.starts_with(transport) {
            return Err(Failure::input(format!("`{source}`: images of `{transport}` are not supported"))
                .hint("the sources are NAME, oci:DIR[:TAG], oci-archive:FILE and docker-archive:FILE"));
        }
    }
    let image = image_source(source);
    let path = match &image {
        Some(
            ImageSource::OciLayout(path, _)
            | ImageSource::OciArchive(path)
            | ImageSource::DockerArchive(path),
        ) => Some(path),
        _ => None,
    };
    if let Some(path) = path {
        if let Err(error) = std::fs::metadata(path) {
            return Err(Failure::input(format!("`{source}`: {}", context::reason(&error))));
        }
        if references.is_empty() {
            return Err(Failure::input(format!("`{source}` has no name to be pushed to"))
                .hint(format!("name it: ocistage push {source} REGISTRY/NAME:TAG")));
        }
    }
    let mut held = Vec::new();
    let mut warnings = Vec::new();
    let own_name: Option<Reference> = if image.is_none() { source.parse().ok() } else { None };
    let targets = if references.is_empty() { hosts(own_name.as_slice()) } else { hosts(&references) };
    let registries = access(&common.access, &targets, environment, &mut held, &mut warnings)?;
    // Sending a file keeps nothing; a stored image is read where the store is.
    let state = state(common.state_dir.as_deref(), image.is_some(), environment)?;
    let source = image.unwrap_or_else(|| ImageSource::Stored(source.to_owned()));
    Ok(Prepared { request: PushRequest { source, references, registries, state }, held, warnings })
}
