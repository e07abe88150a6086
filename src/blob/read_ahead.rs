//! Reading on a thread of its own, ahead of who uses the bytes.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::oci::{Digest, Digester};

/// Bytes per piece.
const PIECE: usize = 256 << 10;
/// Pieces that wait at most.
const QUEUE: usize = 8;

/// Reads a source (network, decompressor) on one thread and hashes it on another, so that both go on while
/// the bytes are unpacked.
pub(crate) struct ReadAhead {
    pieces: Option<Receiver<io::Result<Arc<Vec<u8>>>>>,
    piece: Arc<Vec<u8>>,
    position: usize,
    hasher: JoinHandle<(Digest, u64)>,
}

impl ReadAhead {
    /// Read `source` ahead, to its end.
    pub(crate) fn new(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let (to_user, pieces) = sync_channel(QUEUE);
        let (to_hasher, hasher_queue) = sync_channel::<Arc<Vec<u8>>>(QUEUE);
        let hasher = thread::Builder::new().name("hash".to_owned()).spawn(move || {
            let mut digester = Digester::new();
            hasher_queue.iter().for_each(|piece| digester.update(&piece));
            let length = digester.length();
            (digester.finish(), length)
        })?;
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                match (&mut source).take(PIECE as u64).read_to_end(&mut piece) {
                    Ok(0) => return,
                    Ok(_) => {
                        let piece = Arc::new(piece);
                        if to_hasher.send(Arc::clone(&piece)).is_err() || to_user.send(Ok(piece)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        // Who no longer listens need not know.
                        let _ = to_user.send(Err(error));
                        return;
                    }
                }
            }
        })?;
        Ok(Self { pieces: Some(pieces), piece: Arc::default(), position: 0, hasher })
    }

    /// Digest and length of the whole source, once it was read to its end.
    pub(crate) fn finish(mut self) -> (Digest, u64) {
        // Closing the queue lets the reading thread end where not everything was read.
        self.pieces = None;
        self.hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() {
            let next = self.pieces.as_ref().and_then(|pieces| pieces.recv().ok());
            match next {
                None => return Ok(0),
                Some(piece) => (self.piece, self.position) = (piece?, 0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.position);
        buffer[..count].copy_from_slice(&self.piece[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}
