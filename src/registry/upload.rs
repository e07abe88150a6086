//! Uploading a blob: three ways, from the best to the one that the strictest registry takes.
//!
//! A session is opened by POST and closed by PUT. Between them the content goes in one streamed PATCH
//! ([`Rung::Stream`]); a small blob goes with the PUT itself, and so does a large one where PATCH is not
//! served ([`Rung::Whole`]); where neither goes through, PATCHes of at most 4 MiB do ([`Rung::Pieces`]).
//! What worked is remembered per registry.

use std::io;
use std::sync::Arc;

use std::io::Read;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use super::RegistryError;
use super::auth::Scopes;
use super::client::{Answer, Call, Inner};
use super::wire::asked_wait;
use crate::http::{Next, Payload, SourceFault, StreamSource, is_transient};
use crate::oci::{Descriptor, Repository};

/// Opens a blob's bytes from their beginning, as often as they must be sent, outside the async threads.
pub(crate) type BlobSource = StreamSource;

/// Bytes in memory as a source.
pub(crate) fn from_bytes(bytes: Arc<[u8]>) -> BlobSource {
    Arc::new(move || Ok(Box::new(io::Cursor::new(Arc::clone(&bytes)))))
}

/// A file as a source.
pub(crate) fn from_file(path: std::path::PathBuf) -> BlobSource {
    Arc::new(move || Ok(Box::new(std::fs::File::open(&path)?)))
}

/// From this size on the content goes before the commit, so that a commit whose answer is lost can be asked
/// again without it.
const STREAM_FROM: u64 = 8 << 20;
/// The largest PATCH with a Content-Range that all registries take.
const PIECE: u64 = 4 << 20;

/// A way of uploading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// One PATCH, then PUT.
    Stream,
    /// PUT with the content.
    Whole,
    /// Many PATCHes, then PUT.
    Pieces,
}

/// Why a try failed.
enum Failure {
    /// The registry does not do it this way.
    Unsupported(RegistryError),
    /// It may work next time; how long the registry asks to wait.
    Passing(RegistryError, Option<Duration>),
    /// The commit may have been made; asking for it again does not help.
    Ambiguous(RegistryError),
    /// It will not.
    Final(RegistryError),
}

/// One blob on its way.
struct Upload<'a> {
    inner: &'a Inner,
    target: &'a Repository,
    subject: &'a str,
    descriptor: &'a Descriptor,
    source: &'a BlobSource,
}

impl Inner {
    /// Upload the blob, on the open `session` where there is one.
    pub(super) async fn upload(
        &self,
        target: &Repository,
        subject: &str,
        descriptor: &Descriptor,
        source: BlobSource,
        mut session: Option<Url>,
    ) -> Result<(), RegistryError> {
        let upload = Upload { inner: self, target, subject, descriptor, source: &source };
        let known = self.rungs.lock().unwrap_or_else(PoisonError::into_inner).get(target.host()).copied();
        let first = if descriptor.size < STREAM_FROM { Rung::Whole } else { Rung::Stream };
        let mut rung = known.unwrap_or(first).max(first);
        let mut attempts = self.wire.attempts();
        loop {
            let (error, wait) = match upload.attempt(rung, session.take()).await {
                Ok(()) => {
                    if rung > first {
                        self.rungs
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(target.host().clone(), rung);
                    }
                    return Ok(());
                }
                Err(Failure::Unsupported(error)) => {
                    rung = match rung {
                        Rung::Stream => Rung::Whole,
                        Rung::Whole => Rung::Pieces,
                        Rung::Pieces => return Err(error),
                    };
                    continue;
                }
                Err(Failure::Passing(error, wait)) => (error, Some(wait)),
                Err(Failure::Ambiguous(error)) => (error, None),
                Err(Failure::Final(error)) => return Err(error),
            };
            // The answer may have been lost behind a commit that was made. Committing again would not tell.
            if upload.is_there().await {
                return Ok(());
            }
            let Some(wait) = wait else { return Err(error) };
            match attempts.failed(wait) {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Stop => return Err(error),
            }
        }
    }
}

impl Upload<'_> {
    async fn attempt(&self, rung: Rung, session: Option<Url>) -> Result<(), Failure> {
        let session = match session {
            Some(session) => session,
            None => self.begin().await?,
        };
        match rung {
            Rung::Stream => {
                let patch = self.call(Method::PATCH, session.clone()).payload(self.whole()).once();
                let answer = self.sent(patch).await?;
                let next = self.moved_on(answer, &session, StatusCode::ACCEPTED).await?;
                self.commit(next).await
            }
            Rung::Whole => {
                let put = self.call(Method::PUT, self.closing(session)).payload(self.whole()).once();
                let answer = self.sent(put).await?;
                if answer.status().is_success() { Ok(()) } else { Err(self.failure(answer).await) }
            }
            Rung::Pieces => {
                let mut session = session;
                let mut offset = 0;
                while offset < self.descriptor.size {
                    let piece = self.piece(offset).await.map_err(Failure::Final)?;
                    let length = piece.len() as u64;
                    let range = HeaderValue::from_str(&format!("{offset}-{}", offset + length - 1));
                    let patch = self
                        .call(Method::PATCH, session.clone())
                        .header(CONTENT_RANGE, range.expect("digits are ASCII"))
                        .payload(Payload::Bytes(piece))
                        .once();
                    let answer = self.sent(patch).await?;
                    // What the answer's Range says is not believed: some registries count within the piece,
                    // some stay at the first. The digest decides in the end.
                    session = self.moved_on(answer, &session, StatusCode::ACCEPTED).await?;
                    offset += length;
                }
                self.commit(session).await
            }
        }
    }

    async fn begin(&self) -> Result<Url, Failure> {
        let url = self.inner.url(self.target, "blobs/uploads/").await.map_err(Failure::Final)?;
        // POST opens a session and nothing else, so sending it again is harmless; `send` does that.
        let answer = self.inner.send(&self.call(Method::POST, url.clone())).await.map_err(Failure::Final)?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(Failure::Final(answer.into_error().await));
        }
        answer.location().map_err(Failure::Final)?.ok_or_else(|| {
            Failure::Final(RegistryError::Invalid {
                subject: self.subject.to_owned(),
                reason: "the registry opened an upload without saying where".to_owned(),
            })
        })
    }

    /// Close the session whose content has been sent.
    async fn commit(&self, session: Url) -> Result<(), Failure> {
        // Not `once`: the commit has no content, so asking again costs nothing, and what it may break is
        // looked up by the caller.
        let answer =
            self.sent(self.call(Method::PUT, self.closing(session))).await.map_err(
                |failure| match failure {
                    Failure::Passing(error, _) => Failure::Ambiguous(error),
                    other => other,
                },
            )?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // The commit was made by a PUT before, or the session is lost.
            StatusCode::NOT_FOUND => Err(Failure::Passing(answer.into_error().await, None)),
            _ => match self.failure(answer).await {
                // The commit has been repeated as often as it makes sense.
                Failure::Passing(error, _) => Err(Failure::Ambiguous(error)),
                // The content went through; another way of sending it would not help.
                Failure::Unsupported(error) => Err(Failure::Final(error)),
                other => Err(other),
            },
        }
    }

    /// Whether the registry has the blob by now. Asked once: the answer only saves an upload.
    async fn is_there(&self) -> bool {
        let Ok(url) = self.inner.url(self.target, &format!("blobs/{}", self.descriptor.digest)).await else {
            return false;
        };
        let answer = self.inner.send(&self.call(Method::HEAD, url).once()).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn sent(&self, call: Call<'_>) -> Result<Answer, Failure> {
        self.inner.send(&call).await.map_err(|error| {
            if error.is_passing() { Failure::Passing(error, None) } else { Failure::Final(error) }
        })
    }

    /// The session's next address after `answer`.
    async fn moved_on(&self, answer: Answer, before: &Url, hoped: StatusCode) -> Result<Url, Failure> {
        // Some registries answer 201 or 204 to a PATCH.
        if answer.status() != hoped && !answer.status().is_success() {
            return Err(self.failure(answer).await);
        }
        Ok(answer.location().map_err(Failure::Final)?.unwrap_or_else(|| before.clone()))
    }

    /// What an answer to PATCH or PUT that is no success means.
    async fn failure(&self, answer: Answer) -> Failure {
        let (status, wait) = (answer.status(), asked_wait(&answer.reply));
        let error = answer.into_error().await;
        let lost = matches!(&error, RegistryError::Answered { said, .. } if said.has("BLOB_UPLOAD_UNKNOWN"));
        match status.as_u16() {
            _ if lost || is_transient(status) => Failure::Passing(error, wait),
            // Too large, ranges wanted, or the method not served, each in several words.
            404 | 405 | 411 | 413 | 416 | 501 => Failure::Unsupported(error),
            _ => Failure::Final(error),
        }
    }

    fn call(&self, method: Method, url: Url) -> Call<'_> {
        let call = Call::new(method, self.target, self.subject, url).scopes(Scopes::push(self.target));
        call.header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
    }

    fn whole(&self) -> Payload {
        let (source, size) = (StreamSource::clone(self.source), self.descriptor.size);
        Payload::Stream { source, size, fault: SourceFault::default() }
    }

    /// The bytes from `offset` on, at most [`PIECE`] of them.
    async fn piece(&self, offset: u64) -> Result<Bytes, RegistryError> {
        let source = StreamSource::clone(self.source);
        let length = PIECE.min(self.descriptor.size - offset);
        let read = tokio::task::spawn_blocking(move || {
            let mut content = source()?;
            io::copy(&mut content.by_ref().take(offset), &mut io::sink())?;
            let mut piece = Vec::new();
            content.take(length).read_to_end(&mut piece)?;
            if piece.len() as u64 == length {
                Ok(Bytes::from(piece))
            } else {
                Err(io::Error::other("the content is shorter than its size"))
            }
        });
        let outcome = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        outcome.map_err(|cause| RegistryError::Source { subject: self.subject.to_owned(), cause })
    }

    /// The session's address with the digest, which closes it. What the query holds already is the registry's.
    fn closing(&self, mut session: Url) -> Url {
        session.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        session
    }
}
