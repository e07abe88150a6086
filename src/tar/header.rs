//! A member of an archive, and its plain (ustar) header block.

use std::io;

use super::pax;
use crate::tree::Metadata;

/// Size of a header and unit of padding, in bytes (POSIX.1-2017, pax, "ustar Interchange Format").
pub(super) const BLOCK: usize = 512;

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The name as the archive has it, without the slash that ends a directory's.
    pub(crate) name: Vec<u8>,
    /// What it is.
    pub(crate) kind: MemberKind,
    /// Mode, owner, time, extended attributes.
    pub(crate) metadata: Metadata,
}

/// What a member is. Names of other members are as the archive has them, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A regular file, followed by `size` bytes.
    File {
        /// In bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it leads, as written.
        target: Vec<u8>,
    },
    /// Another name of an earlier member.
    Hardlink {
        /// The earlier member's name.
        target: Vec<u8>,
    },
    /// A device node.
    Device {
        /// Block or character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl MemberKind {
    fn type_flag(&self) -> u8 {
        match self {
            Self::File { .. } => b'0',
            Self::Hardlink { .. } => b'1',
            Self::Symlink { .. } => b'2',
            Self::Device { block: false, .. } => b'3',
            Self::Device { block: true, .. } => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }

    fn link(&self) -> &[u8] {
        match self {
            Self::Symlink { target } | Self::Hardlink { target } => target,
            _ => b"",
        }
    }

    /// Bytes that follow the header.
    pub(crate) fn size(&self) -> u64 {
        if let Self::File { size } = self { *size } else { 0 }
    }
}

/// Where the fields of a header block are.
pub(super) mod field {
    use std::ops::Range;

    pub(in crate::tar) const NAME: Range<usize> = 0..100;
    pub(in crate::tar) const MODE: Range<usize> = 100..108;
    pub(in crate::tar) const UID: Range<usize> = 108..116;
    pub(in crate::tar) const GID: Range<usize> = 116..124;
    pub(in crate::tar) const SIZE: Range<usize> = 124..136;
    pub(in crate::tar) const MTIME: Range<usize> = 136..148;
    pub(in crate::tar) const CHECKSUM: Range<usize> = 148..156;
    pub(in crate::tar) const TYPE: usize = 156;
    pub(in crate::tar) const LINK: Range<usize> = 157..257;
    pub(in crate::tar) const MAGIC: Range<usize> = 257..265;
    pub(in crate::tar) const MAJOR: Range<usize> = 329..337;
    pub(in crate::tar) const MINOR: Range<usize> = 337..345;
    pub(in crate::tar) const PREFIX: Range<usize> = 345..500;
}

/// Magic and version of POSIX archives.
pub(super) const USTAR: &[u8; 8] = b"ustar\x0000";
/// Magic and version of GNU archives, which have other fields where POSIX has the prefix.
pub(super) const GNU: &[u8; 8] = b"ustar  \0";

/// The name of the member that carries pax records. Readers do not look at it.
const PAX_NAME: &[u8] = b"PaxHeaders.0";

/// Append the header block of `header` to `out`, after a pax header where the block can not hold it all.
pub(super) fn encode(header: &Header, out: &mut Vec<u8>) -> io::Result<()> {
    let mut name = header.name.clone();
    if header.kind == MemberKind::Directory {
        name.push(b'/');
    }
    let link = header.kind.link();
    if name.is_empty() || name.contains(&0) || link.contains(&0) {
        return Err(invalid("a name in a tar can not be empty or hold a NUL byte"));
    }
    let mut records = pax::Records::default();
    let mut block = [0; BLOCK];
    match split(&name) {
        Some((prefix, rest)) => {
            put(&mut block, field::PREFIX, prefix);
            put(&mut block, field::NAME, rest);
        }
        None => put(&mut block, field::NAME, &name[..name.len().min(field::NAME.len())]),
    }
    if needs_record(&name, split(&name).is_some()) {
        records.add(b"path", &name)?;
    }
    put(&mut block, field::LINK, &link[..link.len().min(field::LINK.len())]);
    if needs_record(link, link.len() <= field::LINK.len()) {
        records.add(b"linkpath", link)?;
    }
    let metadata = &header.metadata;
    octal(&mut block, field::MODE, u64::from(metadata.mode & 0o7777));
    for (range, key, value) in [
        (field::UID, "uid", u64::from(metadata.uid)),
        (field::GID, "gid", u64::from(metadata.gid)),
        (field::SIZE, "size", header.kind.size()),
    ] {
        number(&mut block, range, key, i128::from(value), &mut records)?;
    }
    number(&mut block, field::MTIME, "mtime", i128::from(metadata.mtime), &mut records)?;
    if let MemberKind::Device { major, minor, .. } = header.kind {
        for (range, value) in [(field::MAJOR, major), (field::MINOR, minor)] {
            if u64::from(value) > limit(&range) {
                return Err(invalid("a device number is too large for a tar"));
            }
            octal(&mut block, range, u64::from(value));
        }
    }
    for (name, value) in &metadata.xattrs {
        records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value)?;
    }
    block[field::TYPE] = header.kind.type_flag();
    if !records.is_empty() {
        let body = records.into_bytes();
        let mut extended = [0; BLOCK];
        put(&mut extended, field::NAME, PAX_NAME);
        octal(&mut extended, field::MODE, 0o644);
        octal(&mut extended, field::SIZE, body.len() as u64);
        extended[field::TYPE] = b'x';
        finish(&mut extended, out);
        out.extend_from_slice(&body);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    finish(&mut block, out);
    Ok(())
}

/// `name` as the prefix and name fields: a directory part of at most 155 bytes and a rest of at most 100.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= field::NAME.len() {
        return Some((b"", name));
    }
    // The last possible slash, so that the rest is as short as can be; a slash that ends the name is not one.
    let end = field::PREFIX.len().min(name.len() - 2);
    let slash = name[..=end].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && !rest.is_empty() && rest.len() <= field::NAME.len()).then_some((prefix, rest))
}

/// Whether `text` goes into a pax record: when it does not fit, and when it is UTF-8 beyond ASCII, which
/// only a record states to be UTF-8. Other bytes that fit stay as they are in the plain header.
fn needs_record(text: &[u8], fits: bool) -> bool {
    !fits || (!text.is_ascii() && std::str::from_utf8(text).is_ok())
}

fn number(
    block: &mut [u8; BLOCK],
    range: std::ops::Range<usize>,
    key: &str,
    value: i128,
    records: &mut pax::Records,
) -> io::Result<()> {
    match u64::try_from(value) {
        Ok(plain) if plain <= limit(&range) => octal(block, range, plain),
        _ => {
            octal(block, range, 0);
            records.add(key.as_bytes(), value.to_string().as_bytes())?;
        }
    }
    Ok(())
}

/// The largest number that a field holds: octal digits and a NUL.
fn limit(range: &std::ops::Range<usize>) -> u64 {
    (1 << (3 * (range.len() - 1))) - 1
}

fn octal(block: &mut [u8; BLOCK], range: std::ops::Range<usize>, value: u64) {
    let digits = range.len() - 1;
    put(block, range, format!("{value:0digits$o}").as_bytes());
}

fn put(block: &mut [u8; BLOCK], range: std::ops::Range<usize>, bytes: &[u8]) {
    block[range.start..range.start + bytes.len()].copy_from_slice(bytes);
}

fn finish(block: &mut [u8; BLOCK], out: &mut Vec<u8>) {
    put(block, field::MAGIC, USTAR);
    let sum = checksum(block).0;
    put(block, field::CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(block);
}

/// The sums of a block's bytes with spaces for the checksum field: unsigned as POSIX says, signed as some
/// old writers did.
pub(super) fn checksum(block: &[u8; BLOCK]) -> (i64, i64) {
    block.iter().enumerate().fold((0, 0), |(unsigned, signed), (position, byte)| {
        let byte = if field::CHECKSUM.contains(&position) { b' ' } else { *byte };
        (unsigned + i64::from(byte), signed + i64::from(byte.cast_signed()))
    })
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
