//! Reading an archive as a stream, strictly.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;

use super::header::{BLOCK, GNU, USTAR, checksum, field};
use super::{Header, MemberKind, pax};
use crate::tree::Metadata;

/// An archive could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// The source failed or ended in the middle.
    #[error("tar can not be read at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not a tar that every reader reads alike.
    #[error("tar is malformed at byte {offset}{name}: {reason}")]
    Malformed {
        /// Where the header is.
        offset: u64,
        /// ` (entry "name")`, when it is known.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Longest body of a pax header or a GNU long name.
const EXTENDED_LIMIT: u64 = 1 << 20;
/// Longest name or link target, in bytes (`PATH_MAX`).
const NAME_LIMIT: usize = 4096;
/// Most bytes that may follow the end of the archive: the largest record size that tar programs pad to.
const TRAILER_LIMIT: u64 = 16 << 20;

/// Reads members one after the other. Between two calls of [`Reader::next`], reading from it gives the bytes
/// of the present member.
pub(crate) struct Reader<R> {
    input: R,
    offset: u64,
    left: u64,
    padding: u64,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
    ended: bool,
}

/// Extended headers that wait for the member that they are about.
#[derive(Default)]
struct Pending {
    pax: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// A reader of the archive that `input` begins with.
    pub(crate) fn new(input: R) -> Self {
        Self { input, offset: 0, left: 0, padding: 0, global: BTreeMap::new(), ended: false }
    }

    /// The next member; what is left of the present one is passed over. `None` at the end, and from then on.
    pub(crate) fn next(&mut self) -> Result<Option<Header>, TarError> {
        let mut pending = Pending::default();
        while !self.ended {
            self.skip()?;
            let at = self.offset;
            let malformed = |reason| TarError::Malformed { offset: at, name: String::new(), reason };
            let Some(block) = self.block()? else {
                // Some writers leave out the blocks of zeros.
                self.ended = true;
                break;
            };
            if block.iter().all(|byte| *byte == 0) {
                self.ended = true;
                match self.block()? {
                    Some(second) if second.iter().any(|byte| *byte != 0) => {
                        return Err(malformed("a single block of zeros stands before more entries"));
                    }
                    _ => break,
                }
            }
            verify_checksum(&block).map_err(malformed)?;
            let size = number(&block, field::SIZE).map_err(malformed)?;
            match block[field::TYPE] {
                b'x' => {
                    if pending.pax.is_some() {
                        return Err(malformed("two pax headers stand before one entry"));
                    }
                    let body = self.extended(size, at)?;
                    pending.pax = Some(pax::parse(&body).map_err(malformed)?);
                }
                b'g' => {
                    let body = self.extended(size, at)?;
                    self.global.extend(global(pax::parse(&body).map_err(malformed)?).map_err(malformed)?);
                }
                b'L' => pending.long_name = Some(long_name(&self.extended(size, at)?).map_err(malformed)?),
                b'K' => pending.long_link = Some(long_name(&self.extended(size, at)?).map_err(malformed)?),
                _ => {
                    let header = self.member(&block, size, pending).map_err(|(name, reason)| {
                        let name = format!(" (entry {:?})", String::from_utf8_lossy(&name));
                        TarError::Malformed { offset: at, name, reason }
                    })?;
                    self.left = header.kind.size();
                    self.padding = padding(self.left);
                    return Ok(Some(header));
                }
            }
        }
        if pending.pax.is_some() || pending.long_name.is_some() || pending.long_link.is_some() {
            return Err(TarError::Malformed {
                offset: self.offset,
                name: String::new(),
                reason: "an extended header stands before the end of the archive",
            });
        }
        Ok(None)
    }

    /// Read what follows the end of the archive and pass it over, so that the source is read to its end.
    pub(crate) fn drain(mut self) -> Result<R, TarError> {
        let mut rest = 0;
        let mut buffer = [0; 8 << 10];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(self.input),
                Ok(count) => {
                    self.offset += count as u64;
                    rest += count as u64;
                    if rest > TRAILER_LIMIT {
                        let reason = "more than 16 MiB follow the end of the archive";
                        return Err(TarError::Malformed { offset: self.offset, name: String::new(), reason });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let due = self.left + self.padding;
        let read = io::copy(&mut (&mut self.input).take(due), &mut io::sink())
            .map_err(|source| TarError::Read { offset: self.offset, source })?;
        self.offset += read;
        (self.left, self.padding) = (0, 0);
        if read < due { Err(self.truncated()) } else { Ok(()) }
    }

    fn truncated(&self) -> TarError {
        let source =
            io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of an entry");
        TarError::Read { offset: self.offset, source }
    }

    /// The next block; `None` when the source ends here.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.input.read(&mut block[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(self.truncated()),
                Ok(count) => {
                    have += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
        Ok(Some(block))
    }

    /// The body of an extended header. Its own plain size holds: a pax size is about a member.
    fn extended(&mut self, size: u64, at: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENDED_LIMIT {
            let reason = "an extended header is larger than 1 MiB";
            return Err(TarError::Malformed { offset: at, name: String::new(), reason });
        }
        let mut body = Vec::new();
        let read = (&mut self.input)
            .take(size)
            .read_to_end(&mut body)
            .map_err(|source| TarError::Read { offset: self.offset, source })?;
        self.offset += read as u64;
        if (read as u64) < size {
            return Err(self.truncated());
        }
        self.padding = padding(size);
        self.skip()?;
        Ok(body)
    }

    /// The member of a plain header block and the extended headers before it. Errors carry the name.
    fn member(
        &self,
        block: &[u8; BLOCK],
        plain_size: u64,
        pending: Pending,
    ) -> Result<Header, (Vec<u8>, &'static str)> {
        let (own, long_name, long_link) =
            (pending.pax.unwrap_or_default(), pending.long_name, pending.long_link);
        // An empty value takes a record of the global header back.
        let record = |key: &str| {
            let value = own.get(key.as_bytes()).or_else(|| self.global.get(key.as_bytes()));
            value.filter(|value| !value.is_empty())
        };
        let name = agree(long_name, record("path"), plain_name(block))?;
        let fail = |reason| (name.clone(), reason);
        if own.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(fail("GNU sparse files are not supported: write the archive without --sparse"));
        }
        let link = agree(long_link, record("linkpath"), text(&block[field::LINK]).to_vec())?;
        for text in [&name, &link] {
            if text.len() > NAME_LIMIT {
                return Err(fail("a name is longer than 4096 bytes"));
            }
            if text.contains(&0) {
                return Err(fail("a name holds a NUL byte"));
            }
        }
        let size = match record("size") {
            Some(digits) => decimal(digits).ok_or_else(|| fail("the pax size is not a number"))?,
            None => plain_size,
        };
        // Beyond that, offsets would not fit the signed numbers that the kernel counts with.
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(fail("the size is too large"));
        }
        let device = |block_device| -> Result<MemberKind, &'static str> {
            let part =
                |range| u32::try_from(number(block, range)?).map_err(|_| "a device number is too large");
            Ok(MemberKind::Device {
                block: block_device,
                major: part(field::MAJOR)?,
                minor: part(field::MINOR)?,
            })
        };
        let kind = match block[field::TYPE] {
            // In archives older than POSIX a directory is a file whose name ends with a slash.
            b'0' | b'\0' | b'7' if !name.ends_with(b"/") => MemberKind::File { size },
            b'0' | b'\0' | b'7' if size == 0 => MemberKind::Directory,
            b'5' => MemberKind::Directory,
            b'1' => MemberKind::Hardlink { target: link },
            b'2' => MemberKind::Symlink { target: link },
            b'3' => device(false).map_err(fail)?,
            b'4' => device(true).map_err(fail)?,
            b'6' => MemberKind::Fifo,
            b'S' => {
                return Err(fail("GNU sparse files are not supported: write the archive without --sparse"));
            }
            b'0' | b'\0' | b'7' => return Err(fail("the name of a file ends with a slash")),
            _ => return Err(fail("the entry is of a type that is not supported")),
        };
        let id = |key: &str, range| {
            let value = match record(key) {
                Some(digits) => decimal(digits).ok_or("a pax owner is not a number"),
                None => number(block, range),
            };
            u32::try_from(value?).map_err(|_| "an owner is larger than 32 bits")
        };
        let mtime = match record("mtime") {
            Some(text) => seconds(text).ok_or("the pax time is not a number"),
            None => signed(block, field::MTIME),
        };
        let metadata = Metadata {
            // The upper bits repeat the kind in some archives.
            mode: (number(block, field::MODE).map_err(fail)? & 0o7777) as u32,
            uid: id("uid", field::UID).map_err(fail)?,
            gid: id("gid", field::GID).map_err(fail)?,
            mtime: mtime.map_err(fail)?,
            xattrs: own
                .iter()
                .filter_map(|(key, value)| {
                    Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
                })
                .filter(|(key, _)| !key.is_empty())
                .collect(),
        };
        let mut name = name;
        while name.len() > 1 && name.ends_with(b"/") {
            name.pop();
        }
        Ok(Header { name, kind, metadata })
    }
}

/// The bytes of the present member.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let got = self.input.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends in the middle of an entry",
            ));
        }
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// Whether `first` (at least 512 bytes) is a tar header: what decides if ADD unpacks a file.
pub(crate) fn is_tar(first: &[u8]) -> bool {
    let Some(block) = first.first_chunk::<BLOCK>() else {
        return false;
    };
    block.iter().any(|byte| *byte != 0) && verify_checksum(block).is_ok()
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn verify_checksum(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let stated = number(block, field::CHECKSUM).map_err(|_| "the header's checksum is not a number")?;
    let (unsigned, as_signed) = checksum(block);
    let stated = i64::try_from(stated).map_err(|_| "the header's checksum is wrong")?;
    if stated == unsigned || stated == as_signed { Ok(()) } else { Err("the header's checksum is wrong") }
}

/// The field up to its first NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn plain_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[field::NAME]);
    let posix = block[field::MAGIC][..6] == USTAR[..6] && block[field::MAGIC] != *GNU;
    match text(&block[field::PREFIX]) {
        prefix if posix && !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

/// The name of a member of the up to three places that state it. A GNU and a pax header that differ would be
/// read differently by different programs.
fn agree(
    gnu: Option<Vec<u8>>,
    pax: Option<&Vec<u8>>,
    plain: Vec<u8>,
) -> Result<Vec<u8>, (Vec<u8>, &'static str)> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != *pax => Err((gnu, "a GNU and a pax header state different names")),
        (Some(gnu), _) => Ok(gnu),
        (None, Some(pax)) => Ok(pax.clone()),
        (None, None) => Ok(plain),
    }
}

/// The records of a global header that are kept. Readers do not agree on those that say what a member is
/// or where it ends, so these are refused.
fn global(records: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, &'static str> {
    let decisive = |key: &[u8]| {
        matches!(key, b"path" | b"linkpath" | b"size")
            || key.starts_with(b"GNU.sparse.")
            || key.starts_with(b"SCHILY.xattr.")
    };
    if records.keys().any(|key| decisive(key)) {
        return Err("a global pax header states names, sizes or attributes");
    }
    Ok(records)
}

/// The body of a GNU long name: up to the NUL that ends it.
fn long_name(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    match text(body) {
        b"" => Err("a GNU long name is empty"),
        name => Ok(name.to_vec()),
    }
}

/// A field that is not negative: octal digits, or base-256 when its first bit is set.
fn number(block: &[u8; BLOCK], range: Range<usize>) -> Result<u64, &'static str> {
    u64::try_from(signed(block, range)?).map_err(|_| "a number is negative")
}

fn signed(block: &[u8; BLOCK], range: Range<usize>) -> Result<i64, &'static str> {
    let bytes = &block[range];
    if bytes[0] & 0x80 != 0 {
        // The second bit is the sign of a big-endian number in two's complement.
        let negative = bytes[0] & 0x40 != 0;
        let first = if negative { i128::from(bytes[0]) - 0x100 } else { i128::from(bytes[0] & 0x7f) };
        let value = bytes[1..].iter().try_fold(first, |value, byte| {
            value.checked_mul(256).and_then(|value| value.checked_add(i128::from(*byte)))
        });
        return value.and_then(|value| i64::try_from(value).ok()).ok_or("a number is too large");
    }
    let digits = bytes.trim_ascii_start();
    let end = digits.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|b| matches!(b, 0 | b' ')) {
        return Err("a number is followed by other bytes");
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => Ok((value << 3) | i64::from(digit - b'0')),
        _ => Err("a number is not octal"),
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whole seconds, towards the past, of `[-]digits[.digits]`.
fn seconds(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let beyond = negative && fraction.iter().any(|digit| *digit != b'0');
    Some(if negative { -whole } else { whole } - i64::from(beyond))
}
