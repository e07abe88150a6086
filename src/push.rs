//! Sending an image that exists: its bytes as they are.

use std::sync::Arc;

use crate::blob::{CompressOptions, Layout};
use crate::build::Scratch;
use crate::builder::PushReport;
use crate::ctx::{Ctx, Event};
use crate::error::{Error, ErrorKind};
use crate::layer::{ImageFile, Loaded, load};
use crate::oci::{Compression, Reference};
use crate::output::{Output, OutputError, RegistryOutput};
use crate::registry::Registries;
use crate::request::{ImageSource, PushRequest};
use crate::setup::{registries, store_path, temporary};

/// Read the source and push it under each reference.
pub(crate) async fn push(ctx: &Ctx, request: &PushRequest) -> Result<PushReport, Error> {
    let registries = registries(&request.registries)?;
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Resources, error.to_string());
    let scratch = Arc::new(Scratch::create(&temporary(&request.state)).map_err(|error| failed(&error))?);
    let (source, references) = located(request)?;
    let spool = Layout::create(scratch.path().join("image")).map_err(|error| failed(&error))?;
    let inner = ctx.clone();
    let loaded = ctx
        .blocking(move || {
            let compress = CompressOptions { compression: Compression::Gzip, level: None, threads: 2 };
            load(&inner, &source, &spool, compress)
        })
        .await
        .map_err(|error| Error::new(ErrorKind::Input, error.to_string()))?;
    let report = send(ctx, &registries, &loaded, &references).await;
    drop(scratch);
    report.map_err(|error| crate::build::BuildError::from(error).into())
}

/// Where the image's bytes are, and the names it is to get.
fn located(request: &PushRequest) -> Result<(ImageFile, Vec<Reference>), Error> {
    let (source, own_name) = match &request.source {
        ImageSource::OciLayout(directory, name) => {
            (ImageFile::Layout { directory: directory.clone(), name: name.clone() }, None)
        }
        ImageSource::OciArchive(file) => (ImageFile::LayoutArchive { file: file.clone(), name: None }, None),
        ImageSource::DockerArchive(file) => {
            (ImageFile::DockerArchive { file: file.clone(), name: None }, None)
        }
        ImageSource::Stored(name) => stored(request, name)?,
    };
    let references = match (request.references.is_empty(), own_name) {
        (false, _) => request.references.clone(),
        (true, Some(name)) => vec![name],
        (true, None) => {
            let error = Error::new(ErrorKind::Input, "nothing says where to push: no reference was given");
            return Err(error.hint("add REGISTRY/NAME:TAG after the source"));
        }
    };
    Ok((source, references))
}

fn stored(request: &PushRequest, name: &str) -> Result<(ImageFile, Option<Reference>), Error> {
    let directory = store_path(&request.state);
    let absent = |why: &str| {
        let message = format!("no image {name} in the local store {}{why}", directory.display());
        Error::new(ErrorKind::Input, message).hint("build it with `ocistage build -t NAME`, or name a file: oci:DIR, oci-archive:FILE, docker-archive:FILE")
    };
    let store = Layout::open(&directory).map_err(|_| absent(": it is empty"))?;
    let reference: Option<Reference> = name.parse().ok();
    let names = [Some(name.to_owned()), reference.as_ref().map(ToString::to_string)];
    let found =
        names.into_iter().flatten().find(|name| store.lookup(name).is_ok_and(|found| found.is_some()));
    let found = found.ok_or_else(|| absent(""))?;
    Ok((
        ImageFile::Layout { directory, name: Some(found) },
        reference.filter(|_| !name.starts_with("sha256:")),
    ))
}

async fn send(
    ctx: &Ctx,
    registries: &Registries,
    loaded: &Loaded,
    references: &[Reference],
) -> Result<PushReport, OutputError> {
    let Some(index) = &loaded.index else {
        let output = RegistryOutput::new(registries.clone(), references.to_vec(), Vec::new());
        let mut names = Vec::new();
        let mut manifest = None;
        for image in &loaded.images {
            names.extend(output.export(ctx, image).await?.names);
            manifest = Some(image.manifest.descriptor().clone());
        }
        // load() gives one image where there is no index.
        let manifest = manifest.expect("a source without index has one image");
        return Ok(PushReport { manifest, names });
    };
    let mut names = Vec::new();
    for reference in references {
        for image in &loaded.images {
            let child = reference.repository.with_digest(image.manifest.descriptor().digest);
            RegistryOutput::new(registries.clone(), vec![child], Vec::new()).export(ctx, image).await?;
        }
        let descriptor = index.descriptor();
        let (repository, tag) = (&reference.repository, reference.tag_or_latest());
        registries.put_manifest(ctx, repository, tag, &descriptor.media_type, index.bytes()).await?;
        ctx.emit(&Event::Tagged { name: reference.to_string(), digest: descriptor.digest });
        names.push(reference.to_string());
    }
    Ok(PushReport { manifest: index.descriptor().clone(), names })
}
