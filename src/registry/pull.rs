//! Reading from a registry: manifests, blobs, tags.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK, RANGE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use super::auth::Scopes;
use super::client::{Answer, Call, Inner, unless_cancelled};
use super::reader::BlobReader;
use super::{Registries, RegistryError, RegistryErrorKind};
use crate::ctx::{Cancelled, Ctx, Event};
use crate::http::{BodyReader, Chunks, HttpError, Next, Origin, SafeUrl, is_transient};
use crate::oci::{Descriptor, Digest, Repository, media_type};

/// What the specification asks registries to accept at least, and what they accept at most.
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;
/// A thousand pages of a thousand tags.
const TAG_PAGES: usize = 1000;

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest or index as received.
#[derive(Clone, Debug)]
pub(crate) struct RawManifest {
    /// The exact bytes.
    pub(crate) bytes: Arc<[u8]>,
    /// The media type: the document's own, else the one that the registry states.
    pub(crate) media_type: String,
    /// The digest of the bytes.
    pub(crate) digest: Digest,
}

/// Just enough of a manifest to tell an image from an index. A field that occurs twice is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

impl Registries {
    /// The manifest or index that `selector`, a tag or digest, names in `repository`; `None` when there is none.
    pub(crate) async fn manifest(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        selector: &str,
    ) -> Result<Option<RawManifest>, RegistryError> {
        unless_cancelled(ctx, self.inner.manifest(repository, selector)).await
    }

    /// The digest of what `selector` names, without its content where the registry can tell.
    pub(crate) async fn manifest_digest(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        selector: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        unless_cancelled(ctx, self.inner.manifest_digest(repository, selector)).await
    }

    /// A small blob as a whole. A blob larger than `limit` bytes is refused unread.
    pub(crate) async fn blob(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Arc<[u8]>, RegistryError> {
        let bytes = unless_cancelled(ctx, self.inner.blob(repository, descriptor, limit)).await?;
        let (digest, size) = (descriptor.digest, descriptor.size);
        ctx.emit(&Event::BlobPulled { repository: repository.to_string(), digest, size });
        Ok(bytes)
    }

    /// A blob as a stream. The request has been answered when this returns.
    pub(crate) async fn open_blob(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        let subject = blob_subject(repository, &descriptor.digest);
        let opened = unless_cancelled(ctx, self.inner.open(repository, &subject, descriptor, 0)).await?;
        let (sender, body) = BodyReader::channel();
        let pump = Pump {
            inner: Arc::clone(&self.inner),
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            subject,
            sender,
        };
        let stop = ctx.clone();
        tokio::spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Cancelled.into()),
                // The reader was dropped.
                () = pump.sender.closed() => return,
                outcome = pump.run(opened) => outcome,
            };
            if let Err(error) = outcome {
                let _ = pump.sender.send(Err(RegistryError::into_io(error))).await;
            }
        });
        Ok(BlobReader::new(body, ctx.clone(), repository.clone(), descriptor.clone()))
    }

    /// Whether the registry says that `repository` has the blob.
    pub(crate) async fn has_blob(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        unless_cancelled(ctx, self.inner.has_blob(repository, digest, Scopes::pull(repository))).await
    }

    /// Whether the blob's first byte can be read, which is more than [`Self::has_blob`] knows: registries
    /// answer that from a memory that outlives the blob.
    pub(crate) async fn is_readable(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        unless_cancelled(ctx, self.inner.is_readable(repository, digest, Scopes::pull(repository))).await
    }

    /// The tags of `repository`; none when it does not exist.
    pub(crate) async fn tags(
        &self,
        ctx: &Ctx,
        repository: &Repository,
    ) -> Result<Vec<String>, RegistryError> {
        unless_cancelled(ctx, self.inner.tags(repository)).await
    }
}

impl Inner {
    async fn manifest(
        &self,
        repository: &Repository,
        selector: &str,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let subject = manifest_subject(repository, selector);
        let url = self.url(repository, &format!("manifests/{selector}")).await?;
        let call = Call::new(Method::GET, repository, &subject, url)
            .header(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let wanted: Option<Digest> = selector.parse().ok();
        let found = self.whole(&call, MANIFEST_LIMIT, |bytes, headers| {
            let digest = Digest::of(bytes);
            let stated = headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
            if let Some(other) = wanted.or(stated).filter(|other| *other != digest) {
                return Err(format!("the registry sent content with digest {digest} for {other}"));
            }
            Ok(digest)
        });
        let (bytes, headers, digest) = match found.await {
            Err(error) if error.kind() == RegistryErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            kind_of(&bytes, stated).map_err(|reason| RegistryError::Invalid { subject, reason })?;
        Ok(Some(RawManifest { bytes: Arc::from(&bytes[..]), media_type, digest }))
    }

    pub(super) async fn manifest_digest(
        &self,
        repository: &Repository,
        selector: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        let subject = manifest_subject(repository, selector);
        let url = self.url(repository, &format!("manifests/{selector}")).await?;
        let call = Call::new(Method::HEAD, repository, &subject, url)
            .header(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if is_final(status) => return Err(answer.into_error().await),
            StatusCode::OK => {
                let stated = answer.reply.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
                let asked: Option<Digest> = selector.parse().ok();
                if let Some(digest) = stated.filter(|digest| asked.is_none_or(|asked| asked == *digest)) {
                    return Ok(Some(digest));
                }
            }
            // Some registries do not serve HEAD, or explain themselves only to GET.
            _ => {}
        }
        Ok(self.manifest(repository, selector).await?.map(|manifest| manifest.digest))
    }

    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Arc<[u8]>, RegistryError> {
        let subject = blob_subject(repository, &descriptor.digest);
        if descriptor.size > limit {
            let reason =
                format!("its {} bytes are more than the {limit} that are read of its kind", descriptor.size);
            return Err(RegistryError::Refused { subject, reason });
        }
        let url = self.url(repository, &format!("blobs/{}", descriptor.digest)).await?;
        let call = Call::new(Method::GET, repository, &subject, url);
        let found = self.whole(&call, descriptor.size, |bytes, _| {
            let digest = Digest::of(bytes);
            if bytes.len() as u64 != descriptor.size {
                return Err(format!("the registry sent {} bytes of {}", bytes.len(), descriptor.size));
            }
            if digest != descriptor.digest {
                return Err(format!("the registry sent other content, with digest {digest}"));
            }
            Ok(())
        });
        Ok(Arc::from(&found.await?.0[..]))
    }

    /// A body as a whole that passes `check`, fetched again when the connection broke or the check failed.
    async fn whole<T>(
        &self,
        call: &Call<'_>,
        limit: u64,
        check: impl Fn(&Bytes, &HeaderMap) -> Result<T, String>,
    ) -> Result<(Bytes, HeaderMap, T), RegistryError> {
        let mut attempts = self.wire.attempts();
        loop {
            let answer = self.send(call).await?;
            if answer.status() != StatusCode::OK {
                return Err(answer.into_error().await);
            }
            let headers = answer.reply.headers.clone();
            let tries = attempts.tries();
            let error = match answer.reply.chunks.whole(limit).await {
                Ok(bytes) => match check(&bytes, &headers) {
                    Ok(checked) => return Ok((bytes, headers, checked)),
                    Err(reason) => RegistryError::Invalid { subject: call.subject.to_owned(), reason },
                },
                Err(HttpError::TooLong(limit)) => {
                    let reason = format!("the registry sent more than {limit} bytes");
                    return Err(RegistryError::Invalid { subject: call.subject.to_owned(), reason });
                }
                Err(cause) => RegistryError::Unreachable {
                    server: self.endpoint(call.repository).await?.server(),
                    subject: call.subject.to_owned(),
                    url: SafeUrl::new(&call.url),
                    tries,
                    cause,
                },
            };
            match attempts.failed(None) {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Stop => return Err(error),
            }
        }
    }

    pub(super) async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        scopes: Scopes,
    ) -> Result<bool, RegistryError> {
        let subject = blob_subject(repository, digest);
        let url = self.url(repository, &format!("blobs/{digest}")).await?;
        let call = Call::new(Method::HEAD, repository, &subject, url).scopes(scopes.clone());
        let answer = self.send(&call).await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status if is_final(status) => Err(answer.into_error().await),
            // Some registries do not serve HEAD, or explain themselves only to GET.
            _ => self.is_readable(repository, digest, scopes).await,
        }
    }

    async fn is_readable(
        &self,
        repository: &Repository,
        digest: &Digest,
        scopes: Scopes,
    ) -> Result<bool, RegistryError> {
        let subject = blob_subject(repository, digest);
        let url = self.url(repository, &format!("blobs/{digest}")).await?;
        let call = Call::new(Method::GET, repository, &subject, url)
            .scopes(scopes)
            .header(RANGE, HeaderValue::from_static("bytes=0-0"));
        let answer = self.send(&call).await?;
        match answer.status() {
            // 416: the blob is there and empty.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.into_error().await),
        }
    }

    /// The blob's bytes from `offset` on, and how many bytes to pass over before (the registry may not know
    /// ranges).
    async fn open(
        &self,
        repository: &Repository,
        subject: &str,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<(Chunks, u64), RegistryError> {
        let url = self.url(repository, &format!("blobs/{}", descriptor.digest)).await?;
        let whole = Call::new(Method::GET, repository, subject, url);
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-")).expect("digits are ASCII");
            let answer = self.send(&whole.clone().header(RANGE, range)).await?;
            match answer.status() {
                StatusCode::OK => return Ok((answer.reply.chunks, offset)),
                StatusCode::PARTIAL_CONTENT if continues(&answer, offset, descriptor.size) => {
                    return Ok((answer.reply.chunks, 0));
                }
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
                _ => return Err(answer.into_error().await),
            }
        }
        let answer = self.send(&whole).await?;
        match answer.status() {
            StatusCode::OK => Ok((answer.reply.chunks, offset)),
            _ => Err(answer.into_error().await),
        }
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let subject = format!("tags of {repository}");
        let mut url = self.url(repository, "tags/list").await?;
        url.set_query(Some("n=1000"));
        let mut tags = Vec::new();
        for _ in 0..TAG_PAGES {
            let call = Call::new(Method::GET, repository, &subject, url.clone());
            let check = |bytes: &Bytes, _: &HeaderMap| {
                serde_json::from_slice::<Page>(bytes)
                    .map_err(|_| "the registry sent something else".to_owned())
            };
            let (_, headers, page) = match self.whole(&call, MANIFEST_LIMIT, check).await {
                Err(error) if error.kind() == RegistryErrorKind::NotFound => return Ok(tags),
                other => other?,
            };
            let page = page.tags.unwrap_or_default();
            let next = headers.get(LINK).and_then(|value| next_page(value.to_str().ok()?));
            let next = next.and_then(|link| url.join(link).ok());
            match next {
                // An empty page with a link to another is how a loop looks.
                Some(next) if !page.is_empty() && next != url && Origin::of(&next) == Origin::of(&url) => {
                    url = next;
                }
                _ => {
                    tags.extend(page);
                    return Ok(tags);
                }
            }
            tags.extend(page);
        }
        Err(RegistryError::Invalid { subject, reason: "the registry's pages have no end".to_owned() })
    }
}

/// Carries a blob from its connections to its reader.
struct Pump {
    inner: Arc<Inner>,
    repository: Repository,
    descriptor: Descriptor,
    subject: String,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Pump {
    async fn run(&self, (mut chunks, mut skip): (Chunks, u64)) -> Result<(), RegistryError> {
        let mut attempts = self.inner.wire.attempts();
        let mut delivered = 0;
        loop {
            let before = delivered;
            let cause = match self.drain(chunks, skip, &mut delivered).await {
                Ok(()) => return Ok(()),
                Err(Broken::Connection(cause)) => cause,
                Err(Broken::Final(error)) => return Err(error),
            };
            if delivered > before {
                attempts.progressed();
            }
            let tries = attempts.tries();
            match attempts.failed(None) {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Stop => {
                    let url = self
                        .inner
                        .url(&self.repository, &format!("blobs/{}", self.descriptor.digest))
                        .await?;
                    return Err(RegistryError::Unreachable {
                        server: self.inner.endpoint(&self.repository).await?.server(),
                        subject: self.subject.clone(),
                        url: SafeUrl::new(&url),
                        tries,
                        cause,
                    });
                }
            }
            (chunks, skip) =
                self.inner.open(&self.repository, &self.subject, &self.descriptor, delivered).await?;
        }
    }

    /// Hand over what arrives on one connection. The piece that completes the blob is handed over when the
    /// body has ended with it, so that a body that goes on is noticed before the blob is taken for whole.
    async fn drain(&self, mut chunks: Chunks, mut skip: u64, delivered: &mut u64) -> Result<(), Broken> {
        let size = self.descriptor.size;
        let mut last = None;
        loop {
            let mut piece = match chunks.next().await {
                Ok(Some(piece)) => piece,
                // All that was wanted has come: how the connection ends does not matter.
                Ok(None) | Err(_) if *delivered == size => break,
                Ok(None) => {
                    return Err(Broken::Connection(HttpError::Broken("the body ended early".to_owned())));
                }
                Err(cause) => return Err(Broken::Connection(cause)),
            };
            let passed = skip.min(piece.len() as u64);
            skip -= passed;
            let piece = piece.split_off(usize::try_from(passed).unwrap_or(piece.len()));
            if piece.is_empty() {
                continue;
            }
            if *delivered + piece.len() as u64 > size {
                let reason = format!("the registry sent more than its {size} bytes");
                return Err(Broken::Final(RegistryError::Invalid { subject: self.subject.clone(), reason }));
            }
            *delivered += piece.len() as u64;
            if *delivered == size {
                last = Some(piece);
                continue;
            }
            if self.sender.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
            chunks.restart_clock();
        }
        if let Some(piece) = last {
            // A reader that is gone needs no end.
            let _ = self.sender.send(Ok(piece)).await;
        }
        Ok(())
    }
}

enum Broken {
    /// The rest may come over another connection.
    Connection(HttpError),
    Final(RegistryError),
}

/// Whether the answer to a HEAD is also what GET would say.
fn is_final(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || is_transient(status)
}

/// Whether a 206 answer holds exactly the rest of a blob of `size` bytes from `offset` on.
fn continues(answer: &Answer, offset: u64, size: u64) -> bool {
    answer.reply.header(CONTENT_RANGE).is_some_and(|range| is_rest(range, offset, size))
}

fn is_rest(range: &str, offset: u64, size: u64) -> bool {
    let parts = range.trim().strip_prefix("bytes ").and_then(|rest| {
        let (span, total) = rest.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?, total.trim()))
    });
    matches!(parts, Some((first, last, total))
        if first == offset && last.checked_add(1) == Some(size)
            && (total == "*" || total.parse::<u64>() == Ok(size)))
}

/// `</v2/a/tags/list?last=x&n=1000>; rel="next"`
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (target, parameters) = part.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then_some(target)
    })
}

/// The media type of a manifest's bytes, or why they are not a manifest that can be trusted to mean one thing.
///
/// A document that is both an image and an index means different things to different readers (CVE-2021-41190).
fn kind_of(bytes: &[u8], stated: Option<&str>) -> Result<String, String> {
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest in JSON: {error}"))?;
    let stated = stated.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let known = |kind: &String| media_type::is_index(kind) || media_type::is_manifest(kind);
    if shape.schema_version == Some(1) {
        return Err(
            "it is a schema 1 manifest, which is not supported: push the image again with a newer tool"
                .into(),
        );
    }
    let image = shape.layers.is_some() || shape.config.is_some();
    let index = shape.manifests.is_some();
    if image && index {
        return Err("it has both layers and manifests, so it is neither an image nor an index".into());
    }
    let kind = match (shape.media_type, stated.filter(known)) {
        (Some(own), Some(stated)) if own != stated => {
            return Err(format!("it says that it is {own:?} and the registry says {stated:?}"));
        }
        (Some(own), _) => own,
        (None, Some(stated)) => stated,
        (None, None) if index => media_type::OCI_INDEX.to_owned(),
        (None, None) => media_type::OCI_MANIFEST.to_owned(),
    };
    match () {
        () if !known(&kind) => Err(format!("its media type {kind:?} is not of an image or index")),
        () if media_type::is_index(&kind) && !index => Err(format!("it is a {kind} without manifests")),
        () if media_type::is_manifest(&kind) && !image => Err(format!("it is a {kind} without layers")),
        () => Ok(kind),
    }
}

pub(super) fn manifest_subject(repository: &Repository, selector: &str) -> String {
    let separator = if selector.contains(':') { '@' } else { ':' };
    format!("manifest {repository}{separator}{selector}")
}

pub(super) fn blob_subject(repository: &Repository, digest: &Digest) -> String {
    format!("blob {digest} of {repository}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_answer_must_hold_exactly_the_rest() {
        for (range, fits) in [
            ("bytes 5-9/10", true),
            ("bytes 5-9/*", true),
            ("bytes 4-9/10", false),
            ("bytes 5-8/10", false),
            ("bytes 5-9/11", false),
            ("bytes 5-/10", false),
            ("5-9/10", false),
            ("", false),
        ] {
            assert_eq!(is_rest(range, 5, 10), fits, "{range:?}");
        }
    }

    #[test]
    fn a_manifest_means_one_thing() {
        const INDEX: &str = media_type::OCI_INDEX;
        const IMAGE: &str = media_type::OCI_MANIFEST;
        const DOCKER: &str = media_type::DOCKER_MANIFEST;
        let image = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let kind = |bytes: &str, stated: Option<&str>| kind_of(bytes.as_bytes(), stated);
        assert_eq!(kind(image, Some(IMAGE)).unwrap(), IMAGE);
        assert_eq!(kind(image, Some(DOCKER)).unwrap(), DOCKER);
        assert_eq!(kind(image, Some("application/json; charset=utf-8")).unwrap(), IMAGE);
        assert_eq!(kind(r#"{"manifests":[]}"#, None).unwrap(), INDEX);
        let own = format!(r#"{{"mediaType":"{DOCKER}","config":{{}},"layers":[]}}"#);
        assert_eq!(kind(&own, None).unwrap(), DOCKER);
        assert_eq!(kind(&own, Some("text/plain")).unwrap(), DOCKER);
        for (bytes, stated) in [
            (own.as_str(), Some(IMAGE)),
            (r#"{"layers":[],"manifests":[]}"#, None),
            (r#"{"config":{},"layers":[],"layers":[]}"#, None),
            (r#"{"manifests":[]}"#, Some(IMAGE)),
            (image, Some(INDEX)),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            (r#"{"mediaType":"text/plain","layers":[]}"#, None),
            ("{}", None),
            ("", None),
            ("[]", None),
        ] {
            assert!(kind(bytes, stated).is_err(), "{bytes} {stated:?}");
        }
    }

    #[test]
    fn the_next_page_is_the_link_that_says_next() {
        assert_eq!(
            next_page(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(next_page(r#"<x>; rel="prev", <y>; rel=next"#), Some("y"));
        assert_eq!(next_page("x; rel=next"), None);
    }
}
