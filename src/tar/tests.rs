use std::collections::BTreeMap;
use std::io::Read;

use super::header::{checksum, encode};
use super::*;
use crate::tree::Metadata;

fn file(name: &[u8], size: u64) -> Header {
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    Header { name: name.to_vec(), kind: MemberKind::File { size }, metadata }
}

fn written(members: &[(Header, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, bytes) in members {
        if header.kind.size() > 0 {
            assert!(writer.file(header, &mut &**bytes, &mut |_| Ok(())).unwrap());
        } else {
            writer.header(header).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn listed(bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes);
    let mut list = Vec::new();
    while let Some(header) = reader.next()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).map_err(|source| TarError::Read { offset: 0, source })?;
        list.push((header, data));
    }
    reader.drain()?;
    Ok(list)
}

fn refusal(bytes: &[u8]) -> String {
    listed(bytes).unwrap_err().to_string()
}

/// A header block written by hand, with a correct checksum.
fn block(name: &[u8], type_flag: u8, size: &[u8], magic: &[u8; 8]) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = type_flag;
    block[257..265].copy_from_slice(magic);
    let sum = checksum(&block).0;
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn member(name: &[u8], type_flag: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = block(name, type_flag, format!("{:011o}", data.len()).as_bytes(), b"ustar\x0000");
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

#[test]
fn a_plain_file_has_the_bytes_that_posix_says() {
    let mut header = file(b"etc/hostname", 3);
    header.metadata.mtime = 1_700_000_000;
    header.metadata.uid = 1000;
    let bytes = written(&[(header, b"abc")]);
    assert_eq!(bytes.len(), 512 + 512 + 1024);
    assert_eq!(&bytes[..12], b"etc/hostname");
    assert_eq!(&bytes[100..108], b"0000644\0");
    assert_eq!(&bytes[108..116], b"0001750\0");
    assert_eq!(&bytes[124..136], b"00000000003\0");
    assert_eq!(&bytes[136..148], b"14524770400\0");
    assert_eq!(bytes[156], b'0');
    assert_eq!(&bytes[257..265], b"ustar\x0000");
    assert!(bytes[265..329].iter().all(|b| *b == 0), "owners have no names");
    assert_eq!(&bytes[512..516], b"abc\0");
}

#[test]
fn a_directory_ends_with_a_slash() {
    let header = Header { kind: MemberKind::Directory, ..file(b"usr/lib", 0) };
    let bytes = written(&[(header.clone(), b"")]);
    assert_eq!(&bytes[..9], b"usr/lib/\0");
    assert_eq!(listed(&bytes).unwrap()[0].0, header);
}

#[test]
fn what_a_plain_header_can_not_say_survives() {
    let long = [b"d/".as_slice(), &[b'x'; 300]].concat();
    let mut members = vec![
        file(&long, 0),
        file(&[b"p/".repeat(60), b"rest".to_vec()].concat(), 0),
        file("naïve/ü".as_bytes(), 0),
        file(b"not-utf8-\xff\xfe", 0),
        file(&[b"\xff".repeat(250)].concat(), 0),
        Header { kind: MemberKind::Symlink { target: long.clone() }, ..file(b"link", 0) },
        Header { kind: MemberKind::Hardlink { target: long }, ..file(b"hard", 0) },
        Header { kind: MemberKind::Device { block: true, major: 4095, minor: 1_048_575 }, ..file(b"dev", 0) },
        Header { kind: MemberKind::Fifo, ..file(b"pipe", 0) },
    ];
    members[0].metadata.uid = u32::MAX - 1;
    members[0].metadata.gid = 2_097_152;
    members[1].metadata.mtime = -5;
    members[2].metadata.mtime = 1 << 40;
    members[2].metadata.mode = 0o4755;
    members[3].metadata.xattrs = BTreeMap::from([
        (b"security.capability".to_vec(), b"\x01\0\0\x02=\n".to_vec()),
        (b"user.empty".to_vec(), Vec::new()),
    ]);
    let pairs: Vec<(Header, &[u8])> = members.iter().map(|m| (m.clone(), &b""[..])).collect();
    let read: Vec<Header> = listed(&written(&pairs)).unwrap().into_iter().map(|(h, _)| h).collect();
    assert_eq!(read, members);
}

#[test]
fn pax_lengths_count_their_own_digits() {
    // 98 and 99 bytes besides the length are where a third digit appears.
    for length in 80..120 {
        let mut header = file(b"x", 0);
        header.metadata.xattrs = BTreeMap::from([(b"user.a".to_vec(), vec![b'v'; length])]);
        let bytes = written(&[(header.clone(), b"")]);
        let body = &bytes[512..];
        let stated: usize = std::str::from_utf8(&body[..body.iter().position(|b| *b == b' ').unwrap()])
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(body[stated - 1], b'\n');
        assert_eq!(listed(&bytes).unwrap()[0].0, header);
    }
}

#[test]
fn a_size_beyond_eight_gigabytes_is_a_pax_record() {
    let mut out = Vec::new();
    encode(&file(b"big", 9 << 30), &mut out).unwrap();
    assert_eq!(out.len(), 1536);
    assert!(out[512..].starts_with(b"19 size=9663676416\n"));
    let mut reader = Reader::new(&out[..]);
    assert_eq!(reader.next().unwrap().unwrap().kind, MemberKind::File { size: 9 << 30 });
}

#[test]
fn a_content_of_another_size_is_told() {
    for content in [&b"ab"[..], b"abcd"] {
        let mut writer = Writer::new(Vec::new());
        let mut content = content;
        assert!(!writer.file(&file(b"x", 3), &mut content, &mut |_| Ok(())).unwrap());
    }
}

#[test]
fn the_pax_size_decides_where_a_member_ends() {
    let pax = member(b"p", b'x', b"10 size=3\n");
    // A reader that went by the plain size of 0 would take the data for a header.
    let mut smuggled = block(b"a", b'0', b"00000000000", b"ustar\x0000");
    smuggled.extend_from_slice(b"abc");
    smuggled.resize(1024, 0);
    let list = listed(&archive(&[pax, smuggled, member(b"b", b'0', b"x")])).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].1, b"abc");
    assert_eq!(list[1].0.name, b"b");
}

#[test]
fn a_pax_size_is_not_about_a_gnu_long_name_in_between() {
    let pax = member(b"p", b'x', b"10 size=3\n");
    let name = [b"long/".as_slice(), &[b'n'; 200], b"\0"].concat();
    let long = member(b"././@LongLink", b'L', &name);
    let mut target = block(b"short", b'0', b"00000000000", b"ustar\x0000");
    target.extend_from_slice(b"abc");
    target.resize(1024, 0);
    for order in [[pax.clone(), long.clone()], [long, pax]] {
        let list = listed(&archive(&[order.concat(), target.clone()])).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].0.name, name[..name.len() - 1]);
        assert_eq!(list[0].1, b"abc");
    }
}

#[test]
fn empty_pax_values_are_legal() {
    let record = b"32 SCHILY.xattr.user.overlay.x=\n";
    let list = listed(&archive(&[member(b"p", b'x', record), member(b"a", b'0', b"")])).unwrap();
    assert_eq!(list[0].0.metadata.xattrs[b"user.overlay.x".as_slice()], b"");
    let list = listed(&archive(&[member(b"p", b'x', b"8 path=\n"), member(b"a", b'0', b"")])).unwrap();
    assert_eq!(list[0].0.name, b"a");
}

#[test]
fn old_forms_are_read() {
    // Base-256 size, v7 directory, GNU magic with bytes where POSIX has the prefix, no trailer.
    let mut size = [0_u8; 12];
    size[0] = 0x80;
    size[11] = 2;
    let mut big = block(b"b256", b'0', &size, b"ustar  \0");
    big.extend_from_slice(b"hi");
    big.resize(1024, 0);
    let v7 = block(b"dir/", 0, b"          0 ", &[0; 8]);
    let mut gnu = block(b"name", b'0', b"0", b"ustar  \0");
    gnu[345..350].copy_from_slice(b"14524");
    let sum = checksum(gnu[..512].first_chunk().unwrap()).0;
    gnu[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let list = listed(&[big, v7, gnu].concat()).unwrap();
    assert_eq!(list[0].1, b"hi");
    assert_eq!((list[1].0.name.as_slice(), &list[1].0.kind), (&b"dir"[..], &MemberKind::Directory));
    assert_eq!(list[2].0.name, b"name");
}

#[test]
fn global_headers_give_times_and_owners_but_not_names() {
    let global = member(b"g", b'g', b"12 mtime=77\n15 comment=hey\n");
    let own = member(b"p", b'x', b"11 mtime=5\n");
    let list = listed(&archive(&[global, member(b"a", b'0', b""), own, member(b"b", b'0', b"")]));
    let times: Vec<i64> = list.unwrap().iter().map(|(h, _)| h.metadata.mtime).collect();
    assert_eq!(times, [77, 5]);
    for record in [&b"10 path=x\n"[..], b"10 size=1\n"] {
        assert!(refusal(&archive(&[member(b"g", b'g', record)])).contains("global"));
    }
}

#[test]
fn times_are_cut_to_whole_seconds_towards_the_past() {
    for (text, mtime) in [("20 mtime=10.99999999", 10), ("16 mtime=-10.25", -11), ("13 mtime=-4.0", -4)] {
        let body = format!("{} {}\n", text.split_once(' ').unwrap().1.len() + 4, &text[3..]);
        let list = listed(&archive(&[member(b"p", b'x', body.as_bytes()), member(b"a", b'0', b"")])).unwrap();
        assert_eq!(list[0].0.metadata.mtime, mtime, "{text}");
    }
}

#[test]
fn malformed_archives_are_refused() {
    let mut bad_sum = archive(&[member(b"a", b'0', b"")]);
    bad_sum[0] = b'z';
    assert!(refusal(&bad_sum).contains("checksum"));
    let good = member(b"a", b'0', b"");
    for (body, word) in [
        (&b"x path=a\n"[..], "not a number"),
        (b"99 path=a\n", "does not fit"),
        (b"8 path=a\n", "newline"),
        (b"10 path=abc", "newline"),
        (b"7 path\n", "'='"),
        (b"5 =a\n", "key"),
        (b"3 \n", "'='"),
        (b"11 size=-1\n", "not a number"),
        (b"28 size=9223372036854775808\n", "too large"),
        (b"22 GNU.sparse.major=1\n", "sparse"),
        (b"12 path=a\0b\n", "NUL"),
        (b"18 uid=4294967296\n", "32 bits"),
    ] {
        let text = refusal(&archive(&[member(b"p", b'x', body), good.clone()]));
        assert!(text.contains(word), "{body:?}: {text}");
    }
    let pax = member(b"p", b'x', b"11 mtime=5\n");
    assert!(refusal(&archive(&[pax.clone(), pax.clone(), good.clone()])).contains("two pax"));
    assert!(refusal(&archive(&[pax])).contains("before the end"));
    assert!(refusal(&archive(&[member(b"s", b'S', b"")])).contains("sparse"));
    assert!(refusal(&archive(&[member(b"s", b'Z', b"")])).contains("type"));
    let mut negative = [0xff_u8; 12];
    negative[11] = 0xfe;
    assert!(refusal(&archive(&[block(b"n", b'0', &negative, b"ustar  \0")])).contains("negative"));
    assert!(refusal(&archive(&[block(b"n", b'0', b"99", b"ustar\x0000")])).contains("octal"));
    assert!(refusal(&archive(&[block(b"n", b'x', b"77777777", b"ustar\x0000")])).contains("1 MiB"));
    assert!(refusal(&[vec![0; 512], good.clone()].concat()).contains("zeros"));
    let different = [member(b"p", b'x', b"10 path=b\n"), member(b"l", b'L', b"c\0"), good.clone()];
    assert!(refusal(&archive(&different)).contains("different names"));
}

#[test]
fn truncation_is_an_error_wherever_it_happens() {
    let whole = archive(&[member(b"p", b'x', b"11 mtime=5\n"), member(b"a", b'0', &[7; 700])]);
    let content_end = whole.len() - 1024;
    for cut in [1, 511, 700, 1023, 1500, 1537, 2000, content_end - 1] {
        listed(&whole[..cut]).unwrap_err();
    }
    listed(&whole[..content_end]).unwrap();
    listed(&whole[..content_end + 512]).unwrap();
}

#[test]
fn bytes_after_the_end_are_passed_over_up_to_a_limit() {
    let mut bytes = archive(&[member(b"a", b'0', b"")]);
    bytes.extend_from_slice(b"rest of a record");
    assert_eq!(listed(&bytes).unwrap().len(), 1);
    let endless = bytes.as_slice().chain(std::io::repeat(0));
    let mut reader = Reader::new(endless);
    while reader.next().unwrap().is_some() {}
    assert!(reader.drain().is_err());
}

#[test]
fn a_tar_is_known_by_its_first_header() {
    assert!(is_tar(&member(b"a", b'0', b"")));
    assert!(!is_tar(&[0; 512]));
    assert!(!is_tar(b"short"));
}

/// Runs a program; `None`, loudly, where it is not installed.
fn program(name: &str, arguments: &[&str], directory: &std::path::Path) -> Option<String> {
    match std::process::Command::new(name).args(arguments).current_dir(directory).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {arguments:?}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            let mut out = std::io::stderr().lock();
            std::io::Write::write_fmt(&mut out, format_args!("NOT RUN: {name}: {error}\n")).unwrap();
            None
        }
    }
}

#[test]
fn what_gnu_tar_writes_in_any_format_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let deep = ["d".repeat(60), "e".repeat(60), "f".repeat(60)].join("/");
    let place = directory.path().join("tree");
    std::fs::create_dir_all(place.join(&deep)).unwrap();
    std::fs::write(place.join(&deep).join("file"), "content").unwrap();
    std::fs::write(place.join("short"), vec![7; 1000]).unwrap();
    std::os::unix::fs::symlink("short", place.join("link")).unwrap();
    std::fs::hard_link(place.join("short"), place.join("zweit")).unwrap();
    for format in ["gnu", "oldgnu", "pax", "ustar"] {
        let format_flag = format!("--format={format}");
        let create = ["--sort=name", &format_flag, "-b", "64", "-cf", "out.tar", "-C", "tree", "."];
        if program("tar", &create, directory.path()).is_none() {
            return;
        }
        let list = listed(&std::fs::read(directory.path().join("out.tar")).unwrap()).unwrap();
        let find = |name: &str| {
            let name = format!("./{name}");
            list.iter().find(|(header, _)| header.name == name.as_bytes()).unwrap()
        };
        assert_eq!(find(&format!("{deep}/file")).1, b"content", "{format}");
        assert_eq!(find(&deep).0.kind, MemberKind::Directory);
        assert_eq!(find("link").0.kind, MemberKind::Symlink { target: b"short".to_vec() });
        assert_eq!(find("short").1.len(), 1000);
        assert_eq!(find("zweit").0.kind, MemberKind::Hardlink { target: b"./short".to_vec() });
        assert_eq!(list.len(), 8);
    }
    std::fs::File::create(place.join("sparse")).unwrap().set_len(1 << 20).unwrap();
    for format in ["--format=gnu", "--format=pax"] {
        program("tar", &["--sparse", format, "-cf", "out.tar", "tree/sparse"], directory.path());
        assert!(refusal(&std::fs::read(directory.path().join("out.tar")).unwrap()).contains("sparse"));
    }
}

#[test]
fn what_we_write_is_read_by_others() {
    let directory = tempfile::tempdir().unwrap();
    let long = ["l".repeat(90), "m".repeat(90), "n".repeat(120)].join("/");
    let mut members = [
        file("ünïcode".as_bytes(), 0),
        file(long.as_bytes(), 5),
        file(&[b"p".repeat(90), b"q".repeat(90)].join(&b'/'), 0),
        Header { kind: MemberKind::Symlink { target: long.clone().into_bytes() }, ..file(b"link", 0) },
    ];
    members[1].metadata.uid = 3_000_000;
    members[1].metadata.mtime = 1_600_000_000;
    let pairs: Vec<(Header, &[u8])> = members.iter().map(|m| (m.clone(), &b"hello"[..])).collect();
    std::fs::write(directory.path().join("ours.tar"), written(&pairs)).unwrap();
    let gnu = ["--numeric-owner", "--quoting-style=literal", "--utc", "--full-time", "-tvf", "ours.tar"];
    if let Some(list) = program("tar", &gnu, directory.path()) {
        let lines: Vec<&str> = list.lines().collect();
        assert!(lines[0].ends_with(" ünïcode"), "{list}");
        assert!(lines[1].starts_with("-rw-r--r-- 3000000/0"), "{list}");
        assert!(lines[1].ends_with(&format!(" 5 2020-09-13 12:26:40 {long}")), "{list}");
        assert!(lines[2].ends_with(&format!(" {}/{}", "p".repeat(90), "q".repeat(90))), "{list}");
        assert!(lines[3].ends_with(&format!(" link -> {long}")), "{list}");
    }
    let script = "import tarfile; print([(m.name, m.size, m.uid) for m in tarfile.open('ours.tar')])";
    if let Some(list) = program("python3", &["-c", script], directory.path()) {
        assert!(list.contains(&format!("('{long}', 5, 3000000)")), "{list}");
        assert!(list.contains("('ünïcode', 0, 0)"), "{list}");
    }
}

mod round_trip {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            prop_oneof![3 => proptest::collection::vec(1_u8..=255, 1..30), 1 => proptest::collection::vec(b'a'..=b'z', 100..200)],
            1..6,
        )
        .prop_map(|parts| parts.join(&b'/'))
        .prop_filter("a trailing slash is a directory's", |name| !name.ends_with(b"/"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_header_is_read_as_it_was_written(
            name in name(),
            target in name(),
            kind in 0..5,
            size in 0_u64..2000,
            mode in 0_u32..=0o7777,
            uid in any::<u32>(),
            mtime in -(1_i64 << 40)..(1 << 40),
            value in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let kind = match kind {
                0 => MemberKind::File { size },
                1 => MemberKind::Directory,
                2 => MemberKind::Symlink { target },
                3 => MemberKind::Hardlink { target },
                _ => MemberKind::Fifo,
            };
            let xattrs = BTreeMap::from([(b"user.v".to_vec(), value)]);
            let header = Header { name, kind, metadata: Metadata { mode, uid, gid: 0, mtime, xattrs } };
            let data = vec![b'd'; header.kind.size() as usize];
            let bytes = written(&[(header.clone(), &data), (file(b"after", 0), b"")]);
            let list = listed(&bytes).unwrap();
            prop_assert_eq!(list.len(), 2);
            prop_assert_eq!(&list[0].0, &header);
            prop_assert_eq!(&list[0].1, &data);
        }
    }
}
