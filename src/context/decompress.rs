//! Compressed streams, known by their first bytes.

use std::io::{self, BufReader, Cursor, Read};

use crate::tree::Content;

/// Longest signature of a compression, in bytes.
const SIGNATURE: usize = 6;

/// Memory that an xz stream may ask for. `xz -9` needs 65 MiB to unpack.
const XZ_MEMORY: u64 = 128 << 20;

/// Window that a zstd stream may ask for, as a power of two: 128 MiB, which `zstd --long` uses at most.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What is read at a time.
const BLOCK: usize = 64 << 10;

/// `stream` without its compression: gzip, bzip2, xz, zstd, or none. Several members in a row are one stream.
pub(crate) fn decompress(mut stream: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::with_capacity(SIGNATURE);
    stream.by_ref().take(SIGNATURE as u64).read_to_end(&mut first)?;
    let signature = first.clone();
    let all = BufReader::with_capacity(BLOCK, Cursor::new(first).chain(stream));
    Ok(match signature.as_slice() {
        [0x1f, 0x8b, 8, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(all)),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(all)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let limits =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(all, limits))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(all)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(all),
    })
}

/// The tar stream in a file, without its compression; `None` when the file is no archive. The content decides,
/// not the name: an archive is what has a valid first header. So an empty archive is a file like any other.
pub(crate) fn open_archive(file: &Content) -> io::Result<Option<Box<dyn Read + Send>>> {
    let Ok(stream) = decompress(file.open()?) else { return Ok(None) };
    let is_tar = tar::Archive::new(stream)
        .entries()
        .ok()
        .and_then(|mut entries| entries.next())
        .is_some_and(|first| first.is_ok());
    if is_tar { decompress(file.open()?).map(Some) } else { Ok(None) }
}
