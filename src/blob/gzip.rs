//! One gzip member from independently compressed blocks.
//!
//! The input is cut every [`BLOCK`] bytes. Each block is a run of deflate blocks that ends on a byte boundary
//! (a sync flush), so the runs can be made on different threads and joined; each may refer back to the
//! [`WINDOW`] bytes before it, so that little is lost at the cuts. An empty last block and the trailer, whose
//! CRC is combined of the blocks', end the member (RFC 1951, RFC 1952).

use std::io;
use std::sync::Arc;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Input bytes of a block.
pub(super) const BLOCK: usize = 1 << 20;
/// How far deflate refers back.
const WINDOW: usize = 32 << 10;
/// A member's header: no name, time 0, no hint of effort, system unknown.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A compressed block.
pub(super) struct Block {
    /// Whole deflate blocks, ending on a byte boundary.
    pub(super) bytes: Vec<u8>,
    /// Of the plain bytes.
    pub(super) crc: Crc,
}

/// Compresses blocks, one after the other, in any order.
pub(super) struct Deflater {
    level: u32,
    state: Compress,
}

impl Deflater {
    /// `level` is 1 (fast) to 9 (small).
    pub(super) fn new(level: u32) -> Self {
        let level = level.clamp(1, 9);
        Self { level, state: Compress::new(Compression::new(level), false) }
    }

    /// Compress `plain`, which follows `before` in the input.
    pub(super) fn block(&mut self, plain: &[u8], before: Option<&Arc<Vec<u8>>>) -> io::Result<Block> {
        let mut crc = Crc::new();
        crc.update(plain);
        self.state.reset();
        if let Some(before) = before {
            let window = &before[before.len().saturating_sub(WINDOW)..];
            self.state.set_dictionary(window).map_err(io::Error::other)?;
        }
        let mut bytes = Vec::with_capacity(plain.len() / 2 + 1024);
        let start = self.state.total_in();
        loop {
            let done = (self.state.total_in() - start) as usize;
            let status = self
                .state
                .compress_vec(&plain[done..], &mut bytes, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            let finished = (self.state.total_in() - start) as usize == plain.len();
            // Output space left means that the flush is complete.
            if finished && bytes.len() < bytes.capacity() {
                break;
            }
            if status == Status::StreamEnd {
                return Err(io::Error::other(format!("deflate (level {}) ended early", self.level)));
            }
            bytes.reserve(bytes.capacity().max(4096));
        }
        Ok(Block { bytes, crc })
    }
}

/// What ends a member of `length` plain bytes.
pub(super) fn trailer(crc: &Crc, length: u64) -> [u8; 10] {
    // The empty last block: final bit, fixed codes, end of block.
    let mut bytes = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..6].copy_from_slice(&crc.sum().to_le_bytes());
    // The length counts modulo 2^32 (RFC 1952, 2.3.1).
    bytes[6..].copy_from_slice(&(length as u32).to_le_bytes());
    bytes
}
