//! Writing to a registry: blobs in the cheapest way there is, manifests last.

use std::io::Read;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use super::auth::Scopes;
use super::client::{Call, Inner, unless_cancelled};
use super::pull::{CONTENT_DIGEST, MANIFEST_LIMIT, blob_subject, manifest_subject};
use super::upload::BlobSource;
use super::{Registries, RegistryError, RegistryErrorKind};
use crate::ctx::{Ctx, Event, Transfer};
use crate::http::Payload;
use crate::oci::{Descriptor, Digest, Repository};

/// A blob that is in more repositories than this is in one of these.
const MOUNT_SOURCES: usize = 4;
/// Leftover upload sessions are given up politely, but not waited for.
const GOODBYE: Duration = Duration::from_secs(1);

/// What this run knows of a blob in a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing.
    #[default]
    Unknown,
    /// The registry said that it is there, or that it mounted it.
    Said,
    /// It was sent there or read from there.
    Sure,
    /// The registry said that it is there, and then that it is not: only an upload helps.
    Doubtful,
}

impl Registries {
    /// Make sure that `target` has the blob: look, else mount it from one of `sources`, else upload `content`.
    ///
    /// Sources on other registries are passed over. Without content, a blob that can not be mounted is an
    /// error. However many ask for one blob and repository, one does the work and reports it.
    pub(crate) async fn push_blob(
        &self,
        ctx: &Ctx,
        target: &Repository,
        descriptor: &Descriptor,
        sources: &[Repository],
        content: Option<BlobSource>,
    ) -> Result<Transfer, RegistryError> {
        let work = async {
            let mut presence = self.inner.presence.hold((target.clone(), descriptor.digest)).await;
            if matches!(*presence, Presence::Said | Presence::Sure) {
                return Ok(Transfer::Present);
            }
            let how = self.inner.push(target, descriptor, sources, content, *presence).await?;
            *presence = if how == Transfer::Uploaded { Presence::Sure } else { Presence::Said };
            let (repository, digest, size) = (target.to_string(), descriptor.digest, descriptor.size);
            ctx.emit(&Event::BlobPushed { repository, digest, size, how });
            Ok(how)
        };
        unless_cancelled(ctx, work).await
    }

    /// Copy a blob: mounted within a registry, streamed through this machine between two, verified on the way.
    pub(crate) async fn copy_blob(
        &self,
        ctx: &Ctx,
        from: &Repository,
        to: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Transfer, RegistryError> {
        let (registries, inner_ctx) = (self.clone(), ctx.clone());
        let (source, wanted) = (from.clone(), descriptor.clone());
        let runtime = tokio::runtime::Handle::current();
        // Called on the thread that feeds the upload, where blocking is fine.
        let content: BlobSource = Arc::new(move || {
            let opened = runtime.block_on(registries.open_blob(&inner_ctx, &source, &wanted));
            Ok(Box::new(opened.map_err(RegistryError::into_io)?) as Box<dyn Read + Send>)
        });
        match self.push_blob(ctx, to, descriptor, std::slice::from_ref(from), Some(content)).await {
            // The fault is of the registry that was read from.
            Err(RegistryError::Source { subject, cause }) => match cause.downcast::<RegistryError>() {
                Ok(error) => Err(error),
                Err(cause) => Err(RegistryError::Source { subject, cause }),
            },
            other => other,
        }
    }

    /// Ask for the right to push to `repository` before there is anything to push: open an upload and give it
    /// up. An error is what the first push would have met.
    pub(crate) async fn check_push(&self, ctx: &Ctx, repository: &Repository) -> Result<(), RegistryError> {
        let work = async {
            let subject = format!("a push to {repository}");
            let url = self.inner.url(repository, "blobs/uploads/").await?;
            let call = Call::new(Method::POST, repository, &subject, url).scopes(Scopes::push(repository));
            let answer = self.inner.send(&call).await?;
            if !answer.status().is_success() {
                return Err(answer.into_error().await);
            }
            if let Some(session) = answer.location()? {
                self.inner.give_up(repository, &subject, session).await;
            }
            Ok(())
        };
        unless_cancelled(ctx, work).await
    }

    /// Forget that `repository` has the blob: the registry lacks it after all. The next push uploads it
    /// without asking or mounting.
    pub(crate) async fn distrust(&self, repository: &Repository, digest: &Digest) {
        *self.inner.presence.hold((repository.clone(), *digest)).await = Presence::Doubtful;
    }

    /// Put a manifest or index, exactly these bytes, under a tag or its digest.
    ///
    /// [`RegistryError::BlobsUnknown`] when the registry lacks something that the manifest names.
    pub(crate) async fn put_manifest(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        selector: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        unless_cancelled(ctx, self.inner.put_manifest(repository, selector, media_type, bytes)).await
    }

    /// Delete a manifest by digest, or a tag where the registry can. `false` when there was none.
    pub(crate) async fn delete_manifest(
        &self,
        ctx: &Ctx,
        repository: &Repository,
        selector: &str,
    ) -> Result<bool, RegistryError> {
        let work = async {
            let subject = manifest_subject(repository, selector);
            let url = self.inner.url(repository, &format!("manifests/{selector}")).await?;
            let call =
                Call::new(Method::DELETE, repository, &subject, url).scopes(Scopes::delete(repository));
            let answer = self.inner.send(&call).await?;
            match answer.status() {
                status if status.is_success() => Ok(true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(answer.into_error().await),
            }
        };
        unless_cancelled(ctx, work).await
    }
}

/// What came of the attempts to mount.
enum Mounting {
    Done,
    /// The registry opened an upload session instead.
    Session(Url),
    No,
}

impl Inner {
    async fn push(
        &self,
        target: &Repository,
        descriptor: &Descriptor,
        sources: &[Repository],
        content: Option<BlobSource>,
        presence: Presence,
    ) -> Result<Transfer, RegistryError> {
        let digest = &descriptor.digest;
        let mut session = None;
        if presence != Presence::Doubtful {
            if self.has_blob(target, digest, Scopes::push(target)).await? {
                return Ok(Transfer::Present);
            }
            match self.mount(target, digest, sources, content.is_none()).await {
                Mounting::Done => return Ok(Transfer::Mounted),
                Mounting::Session(url) => session = Some(url),
                Mounting::No => {}
            }
        }
        let subject = blob_subject(target, digest);
        let Some(content) = content else {
            if let Some(session) = session {
                self.give_up(target, &subject, session).await;
            }
            let from = sources.iter().map(Repository::to_string).collect::<Vec<_>>().join(", ");
            let reason = match from.as_str() {
                "" => "it is not there, and there is nothing to upload it from".to_owned(),
                from => format!(
                    "the registry does not mount it from {from}, and there is nothing to upload it from"
                ),
            };
            return Err(RegistryError::Refused { subject, reason });
        };
        self.upload(target, &subject, descriptor, content, session).await?;
        Ok(Transfer::Uploaded)
    }

    /// Ask the registry to take the blob from one of `sources`. No answer to that is an error: an upload
    /// will do, and will find what is really wrong. Where it is all that can be done, it is tried harder.
    async fn mount(
        &self,
        target: &Repository,
        digest: &Digest,
        sources: &[Repository],
        harder: bool,
    ) -> Mounting {
        let mut session = None;
        let near = sources.iter().filter(|source| source.host() == target.host() && *source != target);
        for source in near.take(MOUNT_SOURCES) {
            let pair = (target.clone(), source.clone());
            if self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).contains(&pair) {
                continue;
            }
            match self.mount_from(target, digest, source, harder).await {
                Ok(Mounting::Done) => {
                    if let Some(session) = session {
                        self.give_up(target, &blob_subject(target, digest), session).await;
                    }
                    return Mounting::Done;
                }
                Ok(Mounting::Session(opened)) => {
                    if session.is_none() {
                        session = Some(opened);
                    } else {
                        self.give_up(target, &blob_subject(target, digest), opened).await;
                    }
                }
                Ok(Mounting::No) | Err(_) => {
                    self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).insert(pair);
                }
            }
        }
        session.map_or(Mounting::No, Mounting::Session)
    }

    async fn mount_from(
        &self,
        target: &Repository,
        digest: &Digest,
        source: &Repository,
        harder: bool,
    ) -> Result<Mounting, RegistryError> {
        let subject = blob_subject(target, digest);
        let mut url = self.url(target, "blobs/uploads/").await?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", source.path());
        let mut call = Call::new(Method::POST, target, &subject, url).scopes(Scopes::mount(target, source));
        call.once = !harder;
        let answer = self.send(&call).await?;
        Ok(match answer.status() {
            StatusCode::CREATED => Mounting::Done,
            // Registries may answer 202 to a mount: then the upload has already begun at Location.
            StatusCode::ACCEPTED => answer.location()?.map_or(Mounting::No, Mounting::Session),
            _ => Mounting::No,
        })
    }

    /// Cancel an upload session that nobody needs. Registries clean up after a while by themselves.
    pub(super) async fn give_up(&self, target: &Repository, subject: &str, session: Url) {
        let call = Call::new(Method::DELETE, target, subject, session).scopes(Scopes::push(target)).once();
        let _ = tokio::time::timeout(GOODBYE, self.send(&call)).await;
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        selector: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let subject = manifest_subject(repository, selector);
        let digest = Digest::of(bytes);
        let refused = |reason: String| RegistryError::Refused { subject: subject.clone(), reason };
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(refused(format!(
                "its {} bytes are more than the 4 MiB that registries take: fewer or shorter annotations help",
                bytes.len()
            )));
        }
        if selector.parse::<Digest>().is_ok_and(|other| other != digest) {
            return Err(refused(format!("its digest is {digest}")));
        }
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| refused(format!("{media_type:?} is not a media type")))?;
        let url = self.url(repository, &format!("manifests/{selector}")).await?;
        let call = Call::new(Method::PUT, repository, &subject, url)
            .scopes(Scopes::push(repository))
            .header(CONTENT_TYPE, kind)
            .payload(Payload::Bytes(bytes.to_vec().into()));
        let answer = match self.send(&call).await {
            Ok(answer) => answer,
            // The answer may have been lost behind a manifest that was stored.
            Err(error) if error.is_passing() => {
                return match self.manifest_digest(repository, selector).await {
                    Ok(Some(stored)) if stored == digest => Ok(digest),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        if answer.status().is_success() {
            let stored = answer.reply.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
            return match stored.filter(|stored| *stored != digest) {
                None => Ok(digest),
                Some(other) => Err(RegistryError::Invalid {
                    subject,
                    reason: format!("the registry stored it as {other} instead of {digest}"),
                }),
            };
        }
        let error = answer.into_error().await;
        let RegistryError::Answered { server, said, status, .. } = &error else { return Err(error) };
        if ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"].iter().any(|code| said.has(code)) {
            let (server, said) = (server.clone(), said.clone());
            return Err(RegistryError::BlobsUnknown {
                server,
                subject,
                digests: said.digests().clone(),
                said,
            });
        }
        // A tag that may not be moved may well be where it should be.
        let immovable = matches!(status.as_u16(), 409 | 412) || said.has("TAG_INVALID");
        if (immovable || error.kind() == RegistryErrorKind::Unavailable)
            && self.manifest_digest(repository, selector).await.is_ok_and(|stored| stored == Some(digest))
        {
            return Ok(digest);
        }
        Err(error)
    }
}
