//! The table of contents of a layer: its change set without the bytes of files.
//!
//! Written as lines of JSON, compressed with zstd. The first line is `{"toc":1}`, the version of the format.
//! Each other line is one change:
//!
//! | field | meaning |
//! |---|---|
//! | `p` | the path, without a leading slash |
//! | `t` | `d` directory, `o` opaque directory, `f` file, `l` symbolic link, `h` hard link, `b` `c` device, `p` pipe, `w` whiteout |
//! | `m` `u` `g` `s` | mode (decimal), owner, group, modification time; left out when 0 |
//! | `n` | size of a file |
//! | `k` | link target |
//! | `r` | device numbers `[major, minor]` |
//! | `x` | extended attributes, name → value in base64 |
//! | `h` | BLAKE3 of the bytes, hexadecimal |
//! | `b` | the bytes in base64, of `etc/passwd` and `etc/group` only |
//!
//! Text that is not UTF-8 is written as `{"b64": "…"}`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::members::{self, Collector, Limits, Member, ReadLayerError, Visit};
use crate::ctx::Ctx;
use crate::tree::{Change, ChangeSet, Content, ContentHash, Entry, ImagePath, Kind, Metadata};

/// A table of contents could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TocError {
    /// The source failed.
    #[error("table of contents can not be read: {0}")]
    Read(#[from] io::Error),
    /// A line is not what the format says.
    #[error("table of contents is malformed in line {line}: {reason}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

const VERSION: u32 = 1;
/// Longest line: a path, a link target and attributes of 64 KiB.
const LINE_LIMIT: u64 = 8 << 20;
/// Most bytes of all lines.
const TOTAL_LIMIT: u64 = 4 << 30;
/// zstd's effort. Fast: this is small beside the layer.
const LEVEL: i32 = 3;

/// The change set of a layer's tar. Nothing is written; with `hash`, all files are hashed.
pub(crate) fn read(ctx: &Ctx, tar: impl Read, hash: bool) -> Result<ChangeSet, ReadLayerError> {
    struct Nothing;
    impl Visit for Nothing {
        fn member(&mut self, _: &Member, _: &Collector, _: &mut dyn Read) -> Result<(), ReadLayerError> {
            Ok(())
        }
    }
    Ok(members::walk(ctx, tar, Limits::default(), hash, &mut Nothing)?.0)
}

#[derive(Serialize, Deserialize)]
struct First {
    toc: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes { b64: String },
}

impl Text {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Bytes { b64: BASE64.encode(bytes) },
        }
    }

    fn into_bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Utf8(text) => Ok(text.into_bytes()),
            Self::Bytes { b64 } => BASE64.decode(b64).map_err(|error| error.to_string()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    p: Text,
    t: char,
    #[serde(default, skip_serializing_if = "is_default")]
    m: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    u: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    g: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    s: i64,
    #[serde(default, skip_serializing_if = "is_default")]
    n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    x: Vec<(Text, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The table of contents of `changes`, the same bytes for the same changes. The bytes of files are left out
/// but for the two that name users, and these are read from their contents.
pub(crate) fn encode(changes: &ChangeSet) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    write_line(&mut encoder, &First { toc: VERSION })?;
    for (path, change) in &changes.changes {
        write_line(&mut encoder, &line(path, change)?)?;
    }
    encoder.finish()
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn line(path: &ImagePath, change: &Change) -> io::Result<Line> {
    let mut line = Line {
        p: Text::new(path.as_bytes()),
        t: 'w',
        m: 0,
        u: 0,
        g: 0,
        s: 0,
        n: 0,
        k: None,
        r: None,
        x: Vec::new(),
        h: None,
        b: None,
    };
    let Some(Entry { kind, metadata }) = change.entry() else {
        return Ok(line);
    };
    line.t = match kind {
        Kind::Directory if matches!(change, Change::Replace { .. }) => 'o',
        Kind::Directory => 'd',
        Kind::File { size } => {
            line.n = *size;
            'f'
        }
        Kind::Symlink { target } => {
            line.k = Some(Text::new(target));
            'l'
        }
        Kind::Hardlink { target } => {
            line.k = Some(Text::new(target.as_bytes()));
            'h'
        }
        Kind::Device { block, major, minor } => {
            line.r = Some((*major, *minor));
            if *block { 'b' } else { 'c' }
        }
        Kind::Fifo => 'p',
    };
    (line.m, line.u, line.g, line.s) = (metadata.mode, metadata.uid, metadata.gid, metadata.mtime);
    line.x = metadata.xattrs.iter().map(|(name, value)| (Text::new(name), BASE64.encode(value))).collect();
    if let Change::Put { content, hash, .. } = change {
        line.h = hash.map(|hash| hash.to_string());
        if let Some(content) = content
            && members::is_kept(path, line.n)
        {
            line.b = Some(BASE64.encode(content.read_up_to(line.n)?));
        }
    }
    Ok(line)
}

/// Read what [`encode`] wrote. `etc/passwd` and `etc/group` have their bytes as inline content.
pub(crate) fn decode(source: impl Read) -> Result<ChangeSet, TocError> {
    let decoder = zstd::stream::read::Decoder::new(source)?;
    let mut lines = BufReader::new(decoder.take(TOTAL_LIMIT));
    let mut changes = BTreeMap::new();
    let mut buffer = Vec::new();
    for number in 1.. {
        buffer.clear();
        let length = (&mut lines).take(LINE_LIMIT).read_until(b'\n', &mut buffer)?;
        let malformed = |reason: String| TocError::Malformed { line: number, reason };
        if length == 0 && number > 1 {
            break;
        }
        if buffer.pop() != Some(b'\n') {
            return Err(malformed("it does not end, or is too long".to_owned()));
        }
        if number == 1 {
            let first: First =
                serde_json::from_slice(&buffer).map_err(|error| malformed(error.to_string()))?;
            if first.toc != VERSION {
                return Err(malformed(format!("version {} is not supported", first.toc)));
            }
            continue;
        }
        let line: Line = serde_json::from_slice(&buffer).map_err(|error| malformed(error.to_string()))?;
        let (path, change) = parse(line).map_err(malformed)?;
        changes.insert(path, change);
    }
    Ok(ChangeSet { changes })
}

fn parse(line: Line) -> Result<(ImagePath, Change), String> {
    let path = image_path(line.p)?;
    let target = || line.k.ok_or_else(|| "a link has no target".to_owned());
    let kind = match line.t {
        'w' => return Ok((path, Change::Remove)),
        'd' | 'o' => Kind::Directory,
        'f' => Kind::File { size: line.n },
        'l' => Kind::Symlink { target: target()?.into_bytes()? },
        'h' => Kind::Hardlink { target: image_path(target()?)? },
        'b' | 'c' => {
            let (major, minor) = line.r.ok_or("a device has no numbers")?;
            Kind::Device { block: line.t == 'b', major, minor }
        }
        'p' => Kind::Fifo,
        other => return Err(format!("kind {other:?} is not known")),
    };
    let mut xattrs = BTreeMap::new();
    for (name, value) in line.x {
        xattrs.insert(name.into_bytes()?, BASE64.decode(value).map_err(|error| error.to_string())?);
    }
    let metadata = Metadata { mode: line.m, uid: line.u, gid: line.g, mtime: line.s, xattrs };
    let entry = Entry { kind, metadata };
    if line.t == 'o' {
        return Ok((path, Change::Replace { entry }));
    }
    let hash = match line.h {
        Some(digits) => {
            let hash = blake3::Hash::from_hex(digits.as_bytes()).map_err(|error| error.to_string())?;
            Some(ContentHash(*hash.as_bytes()))
        }
        None => None,
    };
    let content = match line.b {
        Some(bytes) => Some(Content::inline(BASE64.decode(bytes).map_err(|error| error.to_string())?)),
        None => None,
    };
    Ok((path, Change::Put { entry, content, hash }))
}

fn image_path(text: Text) -> Result<ImagePath, String> {
    let bytes = text.into_bytes()?;
    let path = ImagePath::strict(&bytes).ok_or("a path leads out of the image")?;
    // Only the normal form is ever written.
    if path.as_bytes() == bytes { Ok(path) } else { Err("a path is not in its normal form".to_owned()) }
}
