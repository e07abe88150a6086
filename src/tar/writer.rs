//! Writing an archive as a stream.

use std::io::{self, Read, Write};

use super::header::{BLOCK, encode};
use super::{Header, MemberKind};

/// Writes members one after the other.
pub(crate) struct Writer<W> {
    sink: W,
    scratch: Vec<u8>,
    buffer: Vec<u8>,
}

/// Bytes read from a member's source at a time.
const CHUNK: usize = 128 << 10;

impl<W: Write> Writer<W> {
    /// An archive without members so far.
    pub(crate) fn new(sink: W) -> Self {
        Self { sink, scratch: Vec::new(), buffer: Vec::new() }
    }

    /// Write a member without bytes (or an empty file).
    pub(crate) fn header(&mut self, header: &Header) -> io::Result<()> {
        self.scratch.clear();
        encode(header, &mut self.scratch)?;
        self.sink.write_all(&self.scratch)
    }

    /// Write a regular file with the bytes of `content`, of which `seen` is shown each piece.
    ///
    /// Answers whether the content had exactly as many bytes as the header states. When not, the archive is
    /// of no use and must be thrown away.
    pub(crate) fn file(
        &mut self,
        header: &Header,
        content: &mut dyn Read,
        seen: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        debug_assert!(matches!(header.kind, MemberKind::File { .. }));
        self.header(header)?;
        let size = header.kind.size();
        self.buffer.resize(CHUNK, 0);
        let mut left = size;
        loop {
            // One byte more than is due tells a file that grew.
            let want = usize::try_from(left.saturating_add(1)).unwrap_or(CHUNK).min(CHUNK);
            let got = match content.read(&mut self.buffer[..want]) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if got == 0 || got as u64 > left {
                break if left > 0 || got > 0 { Ok(false) } else { self.pad(size).map(|()| true) };
            }
            self.sink.write_all(&self.buffer[..got])?;
            seen(&self.buffer[..got])?;
            left -= got as u64;
        }
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        // Less than a block, so it fits.
        let missing = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.sink.write_all(&[0; BLOCK][..missing])
    }

    /// Write the end of the archive and give the sink back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 2 * BLOCK])?;
        Ok(self.sink)
    }
}
