//! A blob as a stream that can be trusted.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::RegistryError;
use crate::ctx::{Ctx, Event};
use crate::http::BodyReader;
use crate::oci::{Descriptor, Digester, Repository};

/// Reads a blob while it arrives. Blocks, so it is used outside the async threads.
///
/// Exactly the descriptor's bytes come out: the piece that completes the blob is withheld until its size and
/// digest are right, and is an error instead when they are not. Errors hold a [`RegistryError`]
/// ([`RegistryError::within`]). A broken connection is taken up where it broke without anybody noticing.
pub(crate) struct BlobReader {
    body: BodyReader,
    digester: Option<Digester>,
    current: Bytes,
    ctx: Ctx,
    repository: Repository,
    descriptor: Descriptor,
}

impl BlobReader {
    pub(super) fn new(body: BodyReader, ctx: Ctx, repository: Repository, descriptor: Descriptor) -> Self {
        let digester = Some(Digester::new());
        Self { body, digester, current: Bytes::new(), ctx, repository, descriptor }
    }

    /// The next piece, hashed, and verified when it is the last.
    fn advance(&mut self) -> io::Result<Option<Bytes>> {
        let Some(mut digester) = self.digester.take() else {
            // Verified; nothing follows.
            return Ok(None);
        };
        let piece = self.body.piece()?;
        digester.update(piece.as_deref().unwrap_or_default());
        let so_far = digester.length();
        if piece.is_some() && so_far < self.descriptor.size {
            self.digester = Some(digester);
            return Ok(piece);
        }
        let (wanted, got) = (self.descriptor.digest, digester.finish());
        if so_far == self.descriptor.size && got == wanted {
            let repository = self.repository.to_string();
            self.ctx.emit(&Event::BlobPulled { repository, digest: wanted, size: so_far });
            return Ok(piece);
        }
        let reason = if so_far == self.descriptor.size {
            format!("the registry sent other content, with digest {got}")
        } else {
            format!("the registry sent {so_far} bytes of {}", self.descriptor.size)
        };
        Err(RegistryError::Invalid { subject: format!("blob {wanted} of {}", self.repository), reason }
            .into_io())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            match self.advance()? {
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
