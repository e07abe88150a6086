//! Reading from a registry: manifests, blobs, tags.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK, RANGE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::auth::Scopes;
use super::client::{Call, Inner, unless_cancelled};
use super::kind::kind_of;
use super::push::Presence;
use super::{Registries, RegistryError, RegistryErrorKind};
use crate::ctx::{Ctx, Event};
use crate::http::{HttpError, Next, Origin, SafeUrl, is_transient};
use crate::oci::{Descriptor, Digest, RegistryHost, Repository};

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

    /// Whether the registry says that `repository` has the blob.
    #[cfg(test)]
    pub(crate) async fn has_blob(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        unless_cancelled(ctx, self.inner.has_blob(repository, digest, Scopes::pull(repository))).await
    }

    /// Whether the blob's first byte can be read, which is more than a HEAD knows: registries
    /// answer that from a memory that outlives the blob. What this run sent there or read there before is
    /// not asked for again.
    pub(crate) async fn is_readable(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let work = async {
            let mut presence = self.inner.presence.hold((repository.clone(), *digest)).await;
            if *presence == Presence::Sure {
                return Ok(true);
            }
            match self.inner.is_readable(repository, digest, Scopes::pull(repository)).await {
                Ok(true) => *presence = Presence::Sure,
                Ok(false) => return Ok(false),
                // A registry that lost a blob's bytes but not their name fails at reading them.
                Err(RegistryError::Answered { status, .. }) if status.is_server_error() => return Ok(false),
                Err(error) => return Err(error),
            }
            Ok(true)
        };
        unless_cancelled(ctx, work).await
    }

    /// Whether the registry lets us in with the credential that we have for it.
    pub(crate) async fn check_credential(&self, ctx: &Ctx, host: &RegistryHost) -> Result<(), RegistryError> {
        let subject = format!("a sign-in to {host}");
        // A name that credentials are looked up by; nothing of it is asked for.
        let name: Repository = format!("{host}/sign-in").parse().map_err(|error| RegistryError::Refused {
            subject: subject.clone(),
            reason: format!("{error}"),
        })?;
        let work = async {
            let mut url = self.inner.endpoint(&name).await?.base;
            url.set_path("/v2/");
            let call = Call::new(Method::GET, &name, &subject, url).scopes(Scopes::default());
            let answer = self.inner.send(&call).await?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.into_error().await) }
        };
        unless_cancelled(ctx, work).await
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

/// Whether the answer to a HEAD is also what GET would say.
fn is_final(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || is_transient(status)
}

/// `</v2/a/tags/list?last=x&n=1000>; rel="next"`
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (target, parameters) = part.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then_some(target)
    })
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
    fn the_next_page_is_the_link_that_says_next() {
        assert_eq!(
            next_page(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(next_page(r#"<x>; rel="prev", <y>; rel=next"#), Some("y"));
        assert_eq!(next_page("x; rel=next"), None);
    }
}
