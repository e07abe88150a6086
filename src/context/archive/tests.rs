//! Archives, honest and not.

use super::*;
use crate::tree::Metadata;

/// One raw member: a header with these fields, and the data.
fn member(name: &str, kind: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o2640);
    header.set_uid(11);
    header.set_gid(12);
    header.set_mtime(1_000);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let digits = (rest.len() + 2).to_string().len();
        data.push_str(&format!("{}{rest}", rest.len() + digits));
    }
    member("pax", b'x', "", data.as_bytes())
}

fn read(members: &[Vec<u8>]) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let mut bytes = members.concat();
    bytes.extend_from_slice(&[0; 1024]);
    read_archive(bytes.as_slice(), tempfile::tempfile().unwrap())
}

#[test]
fn members_become_entries_with_contents_in_the_spool() {
    let entries = read(&[
        member("./", b'5', "", b""),
        member("./d/", b'5', "", b""),
        member("d/one", b'0', "", b"first"),
        member("/two", b'0', "", b"second"),
        member("d/sym", b'2', "../../x", b""),
        member("d/hard", b'1', "./d/one", b""),
        member("d/pipe", b'6', "", b""),
        member("empty", 0, "", b""),
    ])
    .unwrap();
    let shown: Vec<String> =
        entries.iter().map(|entry| format!("{} {:?}", entry.path, entry.entry.kind)).collect();
    assert_eq!(
        shown,
        [
            "/ Directory",
            "/d Directory",
            "/d/one File { size: 5 }",
            "/two File { size: 6 }",
            "/d/sym Symlink { target: [46, 46, 47, 46, 46, 47, 120] }",
            "/d/hard Hardlink { target: /d/one }",
            "/d/pipe Fifo",
            "/empty File { size: 0 }",
        ]
    );
    let metadata = Metadata { mode: 0o2640, uid: 11, gid: 12, mtime: 1000, ..Metadata::default() };
    assert_eq!(entries[2].entry.metadata, metadata);
    let bytes = |index: usize| entries[index].content.as_ref().unwrap().read_up_to(100).unwrap();
    assert_eq!((bytes(2), bytes(3), bytes(7)), (b"first".to_vec(), b"second".to_vec(), vec![]));
    assert_eq!(entries[3].hash, Some(ContentHash(*blake3::hash(b"second").as_bytes())));
    // Two readers at once do not disturb each other.
    let mut one = entries[2].content.as_ref().unwrap().open().unwrap();
    let mut two = entries[3].content.as_ref().unwrap().open().unwrap();
    let mut letter = [0; 1];
    one.read_exact(&mut letter).unwrap();
    two.read_exact(&mut letter).unwrap();
    let mut rest = String::new();
    one.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "irst");
}

#[test]
fn extended_headers_give_names_owners_times_and_attributes() {
    let long = "long/".repeat(60);
    let entries = read(&[
        pax(&[
            ("path", &format!("{long}name")),
            ("uid", "3000000"),
            ("gid", "7"),
            ("mtime", "-1.5"),
            ("SCHILY.xattr.user.note", "kept"),
            ("SCHILY.xattr.security.capability", "cap"),
            ("SCHILY.xattr.user.overlay.opaque", "y"),
            ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
            ("SCHILY.xattr.user.empty", ""),
        ]),
        member("short", b'0', "", b"x"),
        member("next", b'0', "", b"y"),
    ])
    .unwrap();
    assert_eq!(entries[0].path, ImagePath::clamped(format!("{long}name")));
    let Metadata { uid, gid, mtime, xattrs, .. } = &entries[0].entry.metadata;
    assert_eq!((*uid, *gid, *mtime), (3_000_000, 7, -2));
    let names: Vec<_> = xattrs.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(names, ["security.capability", "user.empty", "user.note"]);
    assert_eq!(entries[1].path, ImagePath::clamped("next"));
    assert_eq!(entries[1].entry.metadata.uid, 11);
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", "/../x", "..", "./../x"] {
        let error = read(&[member(name, b'0', "", b"x")]).unwrap_err();
        assert!(matches!(error, ArchiveError::Escape { .. }), "{name}: {error}");
    }
    assert!(matches!(read(&[member("x", b'1', "../../etc/shadow", b"")]), Err(ArchiveError::Escape { .. })));
    assert!(matches!(read(&[member("x", b'2', "", b"")]), Err(ArchiveError::NoTarget { .. })));
    assert!(matches!(read(&[member(".", b'2', "/etc", b"")]), Err(ArchiveError::Root { .. })));
    assert!(matches!(read(&[member("x", b'V', "", b"")]), Err(ArchiveError::Tar(_))));
    assert!(read(&[pax(&[("path", "a\0b")]), member("x", b'0', "", b"")]).is_err());
}

#[test]
fn a_cut_or_damaged_archive_is_an_error() {
    let whole = member("x", b'0', "", &[7; 3000]);
    assert!(read_archive(&whole[..1000], tempfile::tempfile().unwrap()).is_err());
    let mut damaged = member("x", b'0', "", b"x");
    damaged[0] = b'y';
    assert!(read(&[damaged]).is_err());
}

#[test]
fn an_archive_as_a_context_belongs_to_root() {
    let tree = archive_tree(
        read(&[
            member("d/f", b'0', "", b"x"),
            member("l", b'2', "d", b""),
            member("l/g", b'0', "", b"y"),
            member("d/a", b'1', "d/f", b""),
        ])
        .unwrap(),
    );
    let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/d", "/d/a", "/d/f", "/d/g", "/l"]);
    let node = |path| tree.get(&ImagePath::clamped(path)).unwrap();
    assert_eq!((node("d/f").entry.metadata.uid, node("d/f").entry.metadata.gid), (0, 0));
    assert!(node("d/a").same_file(node("d/f")));
}

/// `bytes` in every compression.
fn compressed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(bytes).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(bytes).unwrap();
    vec![
        ("gzip", gzip.finish().unwrap()),
        ("bzip2", bzip2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", zstd::encode_all(bytes, 1).unwrap()),
        ("none", bytes.to_vec()),
    ]
}

#[test]
fn archives_are_known_by_their_content_in_every_compression() {
    let mut tar = member("x", b'0', "", b"data");
    tar.extend_from_slice(&[0; 1024]);
    for (name, bytes) in compressed(&tar) {
        let stream = open_archive(&Content::inline(bytes)).unwrap().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(read_archive(stream, tempfile::tempfile().unwrap()).unwrap().len(), 1, "{name}");
    }
}

#[test]
fn what_has_no_first_header_is_a_file() {
    let mut files = compressed(b"just text, longer than a signature");
    files.extend(compressed(b""));
    files.extend(compressed(&[0; 1024]));
    files.extend(compressed(&[b'x'; 2000]));
    files.push(("damaged", vec![0x1f, 0x8b, 8, 0, 1, 2, 3, 4]));
    files.push(("short", vec![0x1f]));
    for (name, bytes) in files {
        assert!(open_archive(&Content::inline(bytes)).unwrap().is_none(), "{name}");
    }
}
