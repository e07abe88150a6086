//! Decompression of layers and of archives that ADD unpacks.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::oci::Compression;

/// Largest window that a zstd frame may ask for: 128 MiB, what `zstd -d` takes without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory for an xz stream: its strongest preset needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// Output up to which the compression ratio does not matter.
const RATIO_FREE: u64 = 1 << 30;
/// Highest ratio beyond that. gzip can not reach it; a bomb of zstd or xz goes far over it.
const RATIO_LIMIT: u64 = 2_000;
/// Compressed bytes read at a time.
const INPUT_BUFFER: usize = 64 << 10;

/// How a file that ADD may unpack is packed. Layers use [`Compression`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As layers are.
    Layer(Compression),
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

impl Packing {
    /// What the first bytes of a file say.
    pub(crate) fn sniff(first: &[u8]) -> Self {
        match first {
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            other => Self::Layer(Compression::sniff(other)),
        }
    }
}

/// The plain bytes of `input`. gzip may have several members and zstd several frames.
pub(crate) fn decoder(
    compression: Compression,
    input: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    unpacked(Packing::Layer(compression), input)
}

/// The plain bytes of `input`, packed as its first bytes say.
pub(crate) fn sniff_decoder(
    mut input: impl Read + Send + 'static,
) -> io::Result<(Packing, Box<dyn Read + Send>)> {
    let mut first = Vec::new();
    (&mut input).take(8).read_to_end(&mut first)?;
    let packing = Packing::sniff(&first);
    Ok((packing, unpacked(packing, Cursor::new(first).chain(input))?))
}

fn unpacked(packing: Packing, input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(INPUT_BUFFER, Counted { inner: input, count: Shared::default() });
    let count = input.get_ref().count.clone();
    let plain: Box<dyn Read + Send> = match packing {
        Packing::Layer(Compression::None) => return Ok(Box::new(input)),
        Packing::Layer(Compression::Gzip) => Box::new(MultiGzDecoder::new(input)),
        Packing::Layer(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Packing::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
    };
    Ok(Box::new(RatioLimited { inner: plain, compressed: count, plain: 0 }))
}

type Shared = std::sync::Arc<std::sync::atomic::AtomicU64>;

struct Counted<R> {
    inner: R,
    count: Shared,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count.fetch_add(got as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(got)
    }
}

struct RatioLimited<R> {
    inner: R,
    compressed: Shared,
    plain: u64,
}

impl<R: Read> Read for RatioLimited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.plain += got as u64;
        let compressed = self.compressed.load(std::sync::atomic::Ordering::Relaxed);
        if self.plain > RATIO_FREE && self.plain / RATIO_LIMIT > compressed {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{compressed} compressed bytes unpack to more than {} bytes", self.plain),
            ));
        }
        Ok(got)
    }
}
