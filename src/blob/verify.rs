//! Readers that know what they read.

use std::io::{self, Read};

use crate::oci::{Descriptor, Digest, Digester};

/// Hashes what passes through.
pub(crate) struct Hashing<R> {
    inner: R,
    digester: Digester,
}

impl<R: Read> Hashing<R> {
    /// Hash what is read from `inner`.
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, digester: Digester::new() }
    }

    /// Digest and length of what was read so far.
    pub(crate) fn finish(self) -> (Digest, u64) {
        let length = self.digester.length();
        (self.digester.finish(), length)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digester.update(&buffer[..count]);
        Ok(count)
    }
}

/// Reads a blob and fails, at the latest where it ends, when it is not what its descriptor says. Who stops
/// before the end has verified nothing.
pub(crate) struct Verified<R> {
    inner: R,
    digester: Option<Digester>,
    digest: Digest,
    size: u64,
}

impl<R: Read> Verified<R> {
    /// Read the blob `descriptor` from `inner`.
    pub(crate) fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self { inner, digester: Some(Digester::new()), digest: descriptor.digest, size: descriptor.size }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        let Some(digester) = &mut self.digester else {
            return Ok(count);
        };
        digester.update(&buffer[..count]);
        let length = digester.length();
        if length > self.size || (count == 0 && length < self.size) {
            let relation = if count == 0 { "is shorter" } else { "is longer" };
            return Err(invalid(format!("blob {} {relation} than its {} bytes", self.digest, self.size)));
        }
        if count == 0
            && let Some(digester) = self.digester.take()
        {
            let actual = digester.finish();
            if actual != self.digest {
                return Err(invalid(format!(
                    "blob {} is damaged: its bytes have digest {actual}",
                    self.digest
                )));
            }
        }
        Ok(count)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
