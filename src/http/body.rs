//! Bodies: the one place where sync bytes and async bytes meet, in both directions.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::HttpError;

/// Pieces in a channel; with hyper's pieces of up to some 100 KiB, a few MiB at most are under way.
const CHANNEL: usize = 16;
/// What is read from a source at a time.
const PIECE: usize = 128 * 1024;
/// A body that moves less than this in the time of [`super::Timeouts::stall`] stands still.
pub(super) const PROGRESS: u64 = 1024;

/// Opens the content to send from its beginning, as often as it must be sent. Called outside the async threads.
pub(crate) type StreamSource = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// Why a [`StreamSource`] could not be read. Shared, because the reader works elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceFault(Arc<Mutex<Option<io::Error>>>);

impl SourceFault {
    fn set(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The fault, when there was one.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// What a request carries. It can be sent again as often as needed.
#[derive(Clone)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream of known size, opened for every try.
    Stream {
        /// Where it comes from.
        source: StreamSource,
        /// Its bytes. A source that gives more or fewer is a fault.
        size: u64,
        /// Filled when the source fails.
        fault: SourceFault,
    },
}

impl Payload {
    /// Whether there is anything to send.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Stream { size, .. } => *size == 0,
        }
    }

    /// Bytes to send.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { size, .. } => *size,
        }
    }

    /// Whether the source failed in a try.
    pub(super) fn is_faulty(&self) -> bool {
        matches!(self, Self::Stream { fault, .. } if fault.is_set())
    }

    /// The body of one try; `moved` counts the bytes that the connection took.
    pub(super) fn body(&self, moved: &Arc<AtomicU64>) -> Option<reqwest::Body> {
        let pieces = match self {
            Self::Empty => return None,
            // Small ones go out in one piece; counting them would tell nothing.
            Self::Bytes(bytes) if bytes.len() <= PIECE => {
                moved.store(self.size(), Ordering::Relaxed);
                return Some(bytes.clone().into());
            }
            Self::Bytes(bytes) => {
                let bytes = bytes.clone();
                feed(
                    Arc::new(move || Ok(Box::new(bytes.clone().reader()) as _)),
                    self.size(),
                    SourceFault::default(),
                )
            }
            Self::Stream { source, size, fault } => feed(Arc::clone(source), *size, fault.clone()),
        };
        let stream = futures_util::stream::unfold((pieces, Arc::clone(moved)), |(mut pieces, moved)| async {
            let piece = pieces.recv().await?;
            if let Ok(bytes) = &piece {
                moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Some((piece, (pieces, moved)))
        });
        Some(reqwest::Body::wrap_stream(stream))
    }
}

/// Read `source` on a thread of its own, piece by piece, as far as the receiver keeps up.
fn feed(source: StreamSource, size: u64, fault: SourceFault) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHANNEL);
    tokio::task::spawn_blocking(move || {
        let outcome = (|| {
            let mut content = source()?;
            let mut left = size;
            loop {
                // One byte more than there should be, to notice content that is too long.
                let want = usize::try_from(left.saturating_add(1)).unwrap_or(PIECE).min(PIECE);
                let mut piece = vec![0; want];
                let got = match content.read(&mut piece) {
                    Ok(got) => got,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                if got == 0 && left == 0 {
                    return Ok(());
                }
                if got == 0 || got as u64 > left {
                    let how = if got == 0 { "shorter" } else { "longer" };
                    return Err(io::Error::other(format!("the content is {how} than its {size} bytes")));
                }
                left -= got as u64;
                piece.truncate(got);
                if sender.blocking_send(Ok(piece.into())).is_err() {
                    // The request is over, one way or another.
                    return Ok(());
                }
            }
        })();
        if let Err(error) = outcome {
            fault.set(error);
            // The body must not end as if it were whole.
            let _ = sender.blocking_send(Err(io::Error::other("the content could not be read")));
        }
    });
    receiver
}

/// A received body, piece by piece, under the progress rule.
#[derive(Debug)]
pub(crate) struct Chunks {
    response: reqwest::Response,
    stall: Duration,
    window: Instant,
    moved: u64,
}

impl Chunks {
    pub(super) fn new(response: reqwest::Response, stall: Duration) -> Self {
        Self { response, stall, window: Instant::now(), moved: 0 }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let left = self.stall.saturating_sub(self.window.elapsed());
            match tokio::time::timeout(left, self.response.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    self.moved += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(HttpError::of(error)),
                Err(_) if self.moved >= PROGRESS => self.restart_clock(),
                Err(_) => return Err(HttpError::Stalled(self.stall.as_secs())),
            }
        }
    }

    /// The time until now was not the sender's fault: the receiver was busy.
    pub(crate) fn restart_clock(&mut self) {
        self.window = Instant::now();
        self.moved = 0;
    }

    /// The whole body, at most `limit` bytes of it.
    pub(crate) async fn whole(mut self, limit: u64) -> Result<Bytes, HttpError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.len() as u64 + piece.len() as u64 > limit {
                return Err(HttpError::TooLong(limit));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}

/// The receiving end of a body for sync code. Reading blocks, so it is done outside the async threads.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    /// A bounded channel whose receiving end reads as a stream. It ends when the sender is dropped.
    pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, pieces) = mpsc::channel(CHANNEL);
        (sender, Self { pieces, current: Bytes::new() })
    }

    /// The next piece as it came; `None` at the end.
    pub(crate) fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.current.is_empty() {
            self.pieces.blocking_recv().transpose()
        } else {
            Ok(Some(std::mem::take(&mut self.current)))
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.piece()? {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let taken = self.current.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.current[..taken]);
        self.current.advance(taken);
        Ok(taken)
    }
}
