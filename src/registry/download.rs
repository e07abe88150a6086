//! A blob from its connections to its reader, taken up where it breaks.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use tokio::sync::mpsc;

use super::client::{Answer, Call, Inner, unless_cancelled};
use super::pull::blob_subject;
use super::{BlobReader, Registries, RegistryError};
use crate::ctx::{Cancelled, Ctx};
use crate::http::{BodyReader, Chunks, HttpError, Next, SafeUrl};
use crate::oci::{Descriptor, Repository};

impl Registries {
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
}

impl Inner {
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

#[cfg(test)]
mod tests {
    use super::is_rest;

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
}
