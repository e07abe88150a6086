//! Downloading one file.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Method, StatusCode};

use super::memory::{Memory, Remembered};
use super::part::{Part, Whole};
use super::{RemoteError, UrlSource};
use crate::ctx::Ctx;
use crate::http::{
    Attempts, BodyReader, Client, Exchange, HttpError, Next, Payload, Reply, Schedule, is_transient,
    retry_after,
};
use crate::oci::Digest;

/// Fetches files.
pub(crate) struct Downloader {
    client: Client,
    schedule: Schedule,
    directory: PathBuf,
    limit: u64,
    memory: Option<Memory>,
}

/// A file that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// Its bytes.
    pub(crate) whole: Whole,
    /// When it was last changed, as its server says, in seconds since 1970; 0 when it says nothing.
    pub(crate) mtime: i64,
}

/// What is known of a file without, or after, fetching it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The SHA-256 of its bytes.
    pub(crate) digest: Digest,
    /// The file, when it had to be fetched to know this.
    pub(crate) download: Option<Download>,
}

/// Why a try did not succeed.
enum Failure {
    /// Another try may.
    Again(RemoteError, Option<Duration>),
    Final(RemoteError),
}

/// The end of a try that succeeded.
enum Outcome {
    Done { mtime: i64, etag: Option<String> },
    Unchanged,
}

/// No layer that a registry takes is larger than some ten GB, and an image is not made of less than a file.
const LIMIT: u64 = 16 << 30;

impl Downloader {
    /// One that keeps files in `directory` and remembers in `memory` what it saw.
    pub(crate) fn new(client: Client, directory: PathBuf, memory: Option<PathBuf>) -> Self {
        let memory = memory.map(Memory::new);
        Self { client, schedule: Schedule::default(), directory, limit: LIMIT, memory }
    }

    /// The same with another schedule and limit.
    #[cfg(test)]
    pub(super) fn with(mut self, schedule: Schedule, limit: u64) -> Self {
        (self.schedule, self.limit) = (schedule, limit);
        self
    }

    /// Learn the digest of a file. A checksum that was given is taken at its word, for now; otherwise a server
    /// that says the file is the one seen before need not send it; otherwise it is fetched.
    pub(crate) async fn identify(&self, ctx: &Ctx, source: &UrlSource) -> Result<Identity, RemoteError> {
        if let Some(digest) = source.checksum {
            return Ok(Identity { digest, download: None });
        }
        let known = self.memory.as_ref().and_then(|memory| memory.recall(source));
        match (self.attempt(ctx, source, known.as_ref()).await?, known) {
            (None, Some(known)) => Ok(Identity { digest: known.digest, download: None }),
            (None, None) => Err(status(source, StatusCode::NOT_MODIFIED)),
            (Some(download), _) => Ok(Identity { digest: download.whole.digest, download: Some(download) }),
        }
    }

    /// Fetch a file whose digest must be `expected`. Other bytes are thrown away.
    pub(crate) async fn fetch(
        &self,
        ctx: &Ctx,
        source: &UrlSource,
        expected: Digest,
    ) -> Result<Download, RemoteError> {
        let download = self.attempt(ctx, source, None).await?;
        let download = download.ok_or_else(|| status(source, StatusCode::NOT_MODIFIED))?;
        let found = download.whole.digest;
        if found != expected {
            return Err(RemoteError::Digest { url: source.shown(), expected, found });
        }
        Ok(download)
    }

    /// Try until it succeeds or must not be tried again; `None` when the file is the `known` one.
    async fn attempt(
        &self,
        ctx: &Ctx,
        source: &UrlSource,
        known: Option<&Remembered>,
    ) -> Result<Option<Download>, RemoteError> {
        let part = Part::create(&self.directory);
        let mut part = Some(part.map_err(|error| disk(source, error))?);
        let mut validator = None;
        let mut attempts = Attempts::new(&self.schedule);
        loop {
            let before = part.as_ref().map_or(0, Part::length);
            let outcome = tokio::select! {
                () = ctx.cancelled() => return Err(RemoteError::Cancelled),
                outcome = self.try_once(ctx, source, known, &mut part, &mut validator) => outcome,
            };
            let (error, told) = match outcome {
                Ok(Outcome::Unchanged) => return Ok(None),
                Ok(Outcome::Done { mtime, etag }) => {
                    let whole = part.take().ok_or(RemoteError::Cancelled)?.finish();
                    if let Some(memory) = &self.memory {
                        memory.keep(source, etag, whole.digest);
                    }
                    return Ok(Some(Download { whole, mtime }));
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error, told)) => (error, told),
            };
            // What came before the break need not come again.
            let kept = validator.is_some() && part.as_ref().is_some_and(|part| part.length() > before);
            if kept {
                attempts.progressed();
            }
            let Next::Wait(wait) = attempts.failed(told) else { return Err(error) };
            tokio::select! {
                () = ctx.cancelled() => return Err(RemoteError::Cancelled),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn try_once(
        &self,
        ctx: &Ctx,
        source: &UrlSource,
        known: Option<&Remembered>,
        part: &mut Option<Part>,
        validator: &mut Option<HeaderValue>,
    ) -> Result<Outcome, Failure> {
        let Some(mut begun) = part.take() else { return Err(Failure::Final(RemoteError::Cancelled)) };
        let offset = if validator.is_some() { begun.length() } else { 0 };
        let mut headers = HeaderMap::new();
        // A file is its bytes as they lie there, whatever saves some on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(etag) = known.and_then(|known| HeaderValue::from_str(&known.etag).ok()) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        if offset > 0
            && let (Some(etag), Ok(range)) = (&*validator, HeaderValue::from_str(&format!("bytes={offset}-")))
        {
            headers.insert(IF_RANGE, etag.clone());
            headers.insert(RANGE, range);
            headers.remove(IF_NONE_MATCH);
        }
        let exchange = Exchange {
            method: Method::GET,
            url: source.url.clone(),
            headers,
            authorization: source.authorization.clone(),
            payload: Payload::Empty,
            unverified: None,
        };
        let reply = match self.client.exchange(&exchange).await {
            Ok(reply) => reply,
            Err(error) => {
                *part = Some(begun);
                return Err(broken(source, error));
            }
        };
        let continues = match self.judge(source, &reply, known, offset) {
            Ok(Some(continues)) => continues,
            Ok(None) => return Ok(Outcome::Unchanged),
            Err(failure) => {
                *part = Some(begun);
                return Err(failure);
            }
        };
        if !continues && begun.length() > 0 {
            begun.clear().map_err(|error| Failure::Final(disk(source, error)))?;
        }
        let etag = reply.headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")).cloned();
        let outcome = Outcome::Done {
            mtime: reply.header(LAST_MODIFIED).and_then(seconds).unwrap_or(0),
            etag: etag.as_ref().and_then(|etag| Some(etag.to_str().ok()?.to_owned())),
        };
        *validator = etag;
        let (received, begun) = self.receive(ctx, source, reply, begun).await?;
        *part = Some(begun);
        received.map(|()| outcome)
    }

    /// Whether the answer is the file: `true` for the rest of it, from `offset` on; `None` when it is the
    /// known one.
    fn judge(
        &self,
        source: &UrlSource,
        reply: &Reply,
        known: Option<&Remembered>,
        offset: u64,
    ) -> Result<Option<bool>, Failure> {
        let announced = reply.header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let range = reply.header(CONTENT_RANGE);
        let continues = match reply.status {
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(None),
            // Some servers know nothing of conditions but give the same tag.
            StatusCode::OK if known.is_some_and(|known| reply.header(ETAG) == Some(&known.etag)) => {
                return Ok(None);
            }
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => false,
            StatusCode::PARTIAL_CONTENT
                if offset > 0
                    && range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-"))) =>
            {
                true
            }
            code if is_transient(code) => {
                let told = reply.header(RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
                return Err(Failure::Again(status(source, code), told));
            }
            code => return Err(Failure::Final(status(source, code))),
        };
        let before = if continues { offset } else { 0 };
        if announced.is_some_and(|announced| announced.saturating_add(before) > self.limit) {
            return Err(Failure::Final(self.too_large(source)));
        }
        Ok(Some(continues))
    }

    /// Take the body. The part comes back with all that was received, whatever happened then.
    async fn receive(
        &self,
        ctx: &Ctx,
        source: &UrlSource,
        reply: Reply,
        mut begun: Part,
    ) -> Result<(Result<(), Failure>, Part), Failure> {
        let mut length = begun.length();
        let mut chunks = reply.chunks;
        let (sender, mut reader) = BodyReader::channel();
        let writer = ctx.waiting(move || {
            let taken = begun.take(&mut reader);
            (taken, begun)
        });
        let feeder = async move {
            loop {
                let piece = match chunks.next().await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(broken(source, error)),
                };
                length += piece.len() as u64;
                if length > self.limit {
                    break Err(Failure::Final(self.too_large(source)));
                }
                // The writer is gone when it failed; it says why. It ends when the sender is dropped with this.
                if sender.send(Ok(piece)).await.is_err() {
                    break Ok(());
                }
                chunks.restart_clock();
            }
        };
        let (fed, (taken, begun)) = futures_util::future::join(feeder, writer).await;
        match taken {
            Ok(()) => Ok((fed, begun)),
            Err(error) => Err(Failure::Final(disk(source, error))),
        }
    }

    fn too_large(&self, source: &UrlSource) -> RemoteError {
        RemoteError::TooLarge { url: source.shown(), limit: self.limit }
    }
}

fn status(source: &UrlSource, status: StatusCode) -> RemoteError {
    RemoteError::Status { url: source.shown(), status }
}

fn disk(source: &UrlSource, error: std::io::Error) -> RemoteError {
    RemoteError::Disk { what: source.shown(), source: error }
}

fn broken(source: &UrlSource, error: HttpError) -> Failure {
    let again = error.is_transient();
    let error = RemoteError::Http { url: source.shown(), source: error };
    if again { Failure::Again(error, None) } else { Failure::Final(error) }
}

/// An HTTP date in whole seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}
