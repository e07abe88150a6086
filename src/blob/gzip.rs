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
        if is_dense(plain) {
            return Ok(Block { bytes: stored(plain), crc });
        }
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

/// Pieces of a block that are looked at, and the bytes of each.
const SAMPLES: usize = 16;
const SAMPLE: usize = 4 << 10;

/// Whether `plain` is compressed or encrypted already, by how evenly a sample of its bytes is spread. Trying to
/// deflate such bytes takes three times as long and gains nothing.
///
/// With n bytes of which each value i occurs c_i times, 256 × Σ c_i² / n² is 1 for a perfectly even spread,
/// 1.004 for random bytes in a sample of this size, and 1.5 and more for machine code or text. Whole numbers
/// only, so that every machine decides alike.
fn is_dense(plain: &[u8]) -> bool {
    if plain.len() < SAMPLES * SAMPLE {
        return false;
    }
    let mut counts = [0_u64; 256];
    for piece in plain.chunks(plain.len() / SAMPLES).take(SAMPLES) {
        piece.iter().take(SAMPLE).for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    let seen: u64 = counts.iter().sum();
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    256 * squares * 100 < seen * seen * 103
}

/// Stored deflate blocks: a byte with the kind, the length, its complement, the bytes (RFC 1951, 3.2.4). They
/// begin on a byte boundary, where every block of ours begins.
fn stored(plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(plain.len() + plain.len() / 1000 + 16);
    for part in plain.chunks(usize::from(u16::MAX)) {
        // At most 65535.
        let length = part.len() as u16;
        bytes.push(0);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
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
