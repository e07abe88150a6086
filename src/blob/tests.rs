use std::fs;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use super::codec::Packing;
use super::layer_writer::WrittenLayer;
use super::*;
use crate::oci::{Compression, Descriptor, Digest, media_type};

/// Bytes that compress somewhat, the same in every run.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(format!("line {} of {}\n", state % 5000, state % 7).as_bytes());
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn write_layer(layout: &Layout, tar: &[u8], options: CompressOptions) -> WrittenLayer {
    let mut writer = LayerWriter::new(layout.writer().unwrap(), options);
    // Odd pieces, so that nothing depends on how the tar arrives.
    for piece in tar.chunks(70_001) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(threads: usize) -> CompressOptions {
    CompressOptions { compression: Compression::Gzip, level: None, threads }
}

#[test]
fn gzip_bytes_do_not_depend_on_the_number_of_threads_and_are_one_member() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    for length in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
        let tar = sample(length);
        let one = write_layer(&layout, &tar, gzip(1));
        assert_eq!(one.diff_id.0, Digest::of(&tar));
        let blob = fs::read(layout.path(&one.descriptor.digest)).unwrap();
        assert_eq!(one.descriptor, Descriptor::of(media_type::OCI_LAYER_GZIP, &blob));
        for threads in [2, 8] {
            assert_eq!(write_layer(&layout, &tar, gzip(threads)).descriptor, one.descriptor);
        }
        let mut plain = Vec::new();
        let mut member = flate2::bufread::GzDecoder::new(&blob[..]);
        member.read_to_end(&mut plain).unwrap();
        assert!(plain == tar, "{length} bytes");
        assert!(member.into_inner().is_empty(), "nothing follows the one member");
        assert_eq!(blob[4..10], [0, 0, 0, 0, 0, 255], "no time, no system");
    }
}

#[test]
fn what_is_compressed_already_is_stored_and_mixes_with_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let mut noise = vec![0; 3 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let tar = [&noise[..], &sample(2 << 20), &noise[..100_000]].concat();
    let layer = write_layer(&layout, &tar, gzip(2));
    let alone = write_layer(&layout, &noise, gzip(2));
    // Five bytes for each 64 KiB, ten and ten around.
    assert_eq!(alone.descriptor.size, (3 << 20) + 3 * 17 * 5 + 20);
    let mut plain = Vec::new();
    let blob = layout.open_blob(&layer.descriptor).unwrap();
    flate2::read::GzDecoder::new(blob).read_to_end(&mut plain).unwrap();
    assert!(plain == tar);
}

#[test]
fn gzip_and_zstd_programs_read_our_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let tar = sample(3_500_000);
    for (compression, program) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        for level in [None, Some(1), Some(6), Some(9)] {
            let layer = write_layer(&layout, &tar, CompressOptions { compression, level, threads: 3 });
            let blob = fs::File::open(layout.path(&layer.descriptor.digest)).unwrap();
            let command = Command::new(program).arg("-dc").stdin(blob).stderr(Stdio::inherit()).output();
            match command {
                Ok(output) => assert!(output.status.success() && output.stdout == tar, "{program}"),
                // The decoders below are tested against ourselves then.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{program}"),
            }
            let blob = layout.open_blob(&layer.descriptor).unwrap();
            let mut plain = Vec::new();
            decoder(compression, blob).unwrap().read_to_end(&mut plain).unwrap();
            assert!(plain == tar);
        }
    }
}

#[test]
fn an_uncompressed_layer_is_its_tar() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let tar = sample(2_100_000);
    let options = CompressOptions { compression: Compression::None, level: None, threads: 2 };
    let layer = write_layer(&layout, &tar, options);
    assert_eq!(layer.diff_id.0, layer.descriptor.digest);
    assert_eq!(layer.descriptor.media_type, media_type::OCI_LAYER);
}

#[test]
fn a_dropped_layer_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let mut writer = LayerWriter::new(layout.writer().unwrap(), gzip(2));
    writer.write_all(&sample(4 << 20)).unwrap();
    drop(writer);
    // The threads end by themselves, shortly after.
    for _ in 0..500 {
        if fs::read_dir(directory.path().join("blobs/sha256")).unwrap().count() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("a partial file stayed");
}

#[test]
fn several_members_and_every_packing_are_decoded() {
    let member = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(b"one two").unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(b"one two").unwrap();
    let frames = [zstd::encode_all(&b"one "[..], 1).unwrap(), zstd::encode_all(&b"two"[..], 1).unwrap()];
    for (packed, packing) in [
        ([member(b"one "), member(b"two")].concat(), Packing::Layer(Compression::Gzip)),
        (frames.concat(), Packing::Layer(Compression::Zstd)),
        (bzip2.finish().unwrap(), Packing::Bzip2),
        (xz.finish().unwrap(), Packing::Xz),
        (b"one two".to_vec(), Packing::Layer(Compression::None)),
    ] {
        let (found, mut plain) = sniff_decoder(io::Cursor::new(packed.clone())).unwrap();
        assert_eq!(found, packing);
        let mut text = String::new();
        plain.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        if packing != Packing::Layer(Compression::None) {
            let cut = io::Cursor::new(packed[..packed.len() - 1].to_vec());
            sniff_decoder(cut).unwrap().1.read_to_end(&mut Vec::new()).unwrap_err();
        }
    }
}

#[test]
fn a_blob_is_verified_while_it_is_read_and_before_it_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let descriptor = Descriptor::of("x/y", b"hello");
    for wrong in [&b"hell"[..], b"hello!", b"hullo"] {
        layout.put_stream(&descriptor, &mut &*wrong).unwrap_err();
        assert!(!layout.has(&descriptor));
    }
    layout.put_stream(&descriptor, &mut &b"hello"[..]).unwrap();
    assert_eq!(layout.read(&descriptor, 5).unwrap(), b"hello");
    layout.read(&descriptor, 4).unwrap_err();
    for damaged in ["hell", "hello!", "hullo"] {
        fs::write(layout.path(&descriptor.digest), damaged).unwrap();
        let error = layout.read(&descriptor, 100).unwrap_err().to_string();
        assert!(error.contains("blob sha256:2cf24dba"), "{error}");
    }
    assert_eq!(layout.digests().unwrap(), [descriptor.digest]);
    layout.remove_blob(&descriptor.digest).unwrap();
    layout.remove_blob(&descriptor.digest).unwrap();
    assert!(layout.digests().unwrap().is_empty());
}

#[test]
fn a_decoder_reads_far_enough_to_verify_its_blob() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let options = CompressOptions { compression, level: None, threads: 1 };
        let mut wrong = write_layer(&layout, &sample(300_000), options).descriptor;
        let blob = fs::File::open(layout.path(&wrong.digest)).unwrap();
        wrong.digest = Digest::of(b"another blob of this size");
        let mut plain = decoder(compression, Verified::new(blob, &wrong)).unwrap();
        let error = io::copy(&mut plain, &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{compression:?}: {error}");
    }
}

#[test]
fn a_layout_on_disk_is_as_the_image_specification_says() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path().join("new")).unwrap();
    let root = layout.root();
    assert_eq!(fs::read_to_string(root.join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let digest = layout.put(b"{}").unwrap();
    assert_eq!(
        fs::read(root.join("blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"))
            .unwrap(),
        b"{}"
    );
    layout
        .tag("1.0", Some("example.com/a:1.0"), &Descriptor::new(media_type::OCI_MANIFEST, digest, 2))
        .unwrap();
    assert_eq!(
        fs::read_to_string(root.join("index.json")).unwrap(),
        concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"#,
            r#""mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"#,
            r#""annotations":{"io.containerd.image.name":"example.com/a:1.0","#,
            r#""org.opencontainers.image.ref.name":"1.0"}}]}"#
        )
    );
    let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn names_are_replaced_found_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let (a, b) = (Descriptor::of("x/y", b"a"), Descriptor::of("x/y", b"b"));
    layout.list(&a).unwrap();
    layout.tag("one", None, &a).unwrap();
    layout.tag("two", None, &a).unwrap();
    layout.tag("one", None, &b).unwrap();
    assert_eq!(layout.lookup("one").unwrap().unwrap().digest, b.digest);
    assert_eq!(layout.lookup(&a.digest.to_string()).unwrap().unwrap().digest, a.digest);
    let names: Vec<String> = layout.tags().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["two", "one"]);
    for _ in 0..2 {
        layout.untag_all(&["one".to_owned()].into()).unwrap();
        let again = Layout::open(directory.path()).unwrap();
        assert_eq!(again.lookup("one").unwrap(), None);
        assert!(again.lookup("two").unwrap().is_some());
    }
}

#[test]
fn blobs_are_claimed_only_while_nobody_shares_them() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    let (one, two) = (layout.share().unwrap(), layout.share().unwrap());
    assert!(layout.claim().is_none());
    drop(one);
    assert!(layout.claim().is_none());
    drop(two);
    assert!(layout.claim().is_some());
}

#[test]
fn many_writers_lose_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let layout = &layout;
            scope.spawn(move || {
                for number in 0..10 {
                    layout.tag(&format!("{writer}-{number}"), None, &Descriptor::of("x/y", b"a")).unwrap();
                }
            });
        }
    });
    assert_eq!(layout.tags().unwrap().len(), 40);
}

#[test]
fn what_is_no_layout_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Layout::open(directory.path()), Err(LayoutError::NotALayout(_))));
    fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(matches!(Layout::open(directory.path()), Err(LayoutError::Version(_))));
    assert!(matches!(Layout::create(directory.path()), Err(LayoutError::Version(_))));
}

#[test]
fn reading_ahead_gives_the_same_bytes_and_their_digest() {
    let bytes = sample(3 << 20);
    let mut ahead = ReadAhead::new(io::Cursor::new(bytes.clone())).unwrap();
    let mut read = Vec::new();
    ahead.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    assert_eq!(ahead.finish(), (Digest::of(&bytes), 3 << 20));

    let failing = (&b"abc"[..]).chain(Failing);
    let mut ahead = ReadAhead::new(failing).unwrap();
    assert_eq!(ahead.read_to_end(&mut Vec::new()).unwrap_err().to_string(), "broken");
    drop(ahead);
    // Not read to the end: nothing hangs.
    ReadAhead::new(io::repeat(0)).unwrap().finish();
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken"))
    }
}
