use std::io::Read;
use std::path::Path;

use super::ctx;
use super::server::{Reply, Seen, Server};
use crate::context::{Download, Downloader, RemoteError, RemoteErrorKind, UrlSource};
use crate::http::{Client, ClientSettings, Schedule};
use crate::oci::Digest;

const LIMIT: u64 = 1 << 20;

fn downloader(directory: &Path, memory: bool) -> Downloader {
    let client = Client::new(ClientSettings { guarded: true, ..ClientSettings::default() }).unwrap();
    let memory = memory.then(|| directory.join("memory"));
    Downloader::new(client, directory.to_owned(), memory).with(Schedule::immediate(), LIMIT)
}

fn source(url: &str) -> UrlSource {
    UrlSource::parse(url, None).unwrap()
}

fn bytes(download: &Download) -> Vec<u8> {
    let mut bytes = Vec::new();
    download.whole.content.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

async fn identify(url: &str) -> Result<Download, RemoteError> {
    let directory = tempfile::tempdir().unwrap();
    let found = downloader(directory.path(), false).identify(&ctx(), &source(url)).await;
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something was left behind");
    found.map(|identity| identity.download.expect("it was not fetched"))
}

#[tokio::test]
async fn a_file_comes_with_its_digest_and_the_time_its_server_states() {
    let server = Server::start(|seen| {
        let time = "Wed, 21 Oct 2015 07:28:00 GMT";
        if seen.target == "/old" {
            Reply::ok("body").header("Last-Modified", time)
        } else {
            Reply::ok("body")
        }
    });
    let download = identify(&server.url("/old")).await.unwrap();
    assert_eq!(bytes(&download), b"body");
    assert_eq!(download.mtime, 1_445_412_480);
    assert_eq!(download.whole.digest, Digest::of(b"body"));
    assert_eq!(download.whole.hash.0, *blake3::hash(b"body").as_bytes());
    assert_eq!(identify(&server.url("/new")).await.unwrap().mtime, 0);
    assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn a_checksum_tells_what_a_file_is_without_asking_for_it() {
    let server = Server::start(|_| Reply::ok("body"));
    let directory = tempfile::tempdir().unwrap();
    let downloader = downloader(directory.path(), false);
    let digest = Digest::of(b"body");
    let source = UrlSource::parse(&server.url("/x"), Some(&digest.to_string())).unwrap();
    let identity = downloader.identify(&ctx(), &source).await.unwrap();
    assert_eq!((identity.digest, identity.download.is_some()), (digest, false));
    assert!(server.seen().is_empty());
    assert_eq!(bytes(&downloader.fetch(&ctx(), &source, digest).await.unwrap()), b"body");
}

#[tokio::test]
async fn other_bytes_than_the_checksum_says_are_not_kept() {
    let server = Server::start(|_| Reply::ok("evil"));
    let directory = tempfile::tempdir().unwrap();
    let error = downloader(directory.path(), true)
        .fetch(&ctx(), &source(&server.url("/x")), Digest::of(b"good"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Wrong);
    let text = error.to_string();
    assert!(text.contains(&Digest::of(b"evil").hex()) && text.contains(&Digest::of(b"good").hex()), "{text}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_unchanged_file_is_not_fetched_again_to_know_it() {
    let server = Server::start(|seen| match seen.header("if-none-match") {
        Some("\"one\"") => Reply::new(304),
        _ => Reply::ok("body").header("ETag", "\"one\""),
    });
    let directory = tempfile::tempdir().unwrap();
    let downloader = downloader(directory.path(), true);
    let source = source(&server.url("/x"));
    assert!(downloader.identify(&ctx(), &source).await.unwrap().download.is_some());
    let again = downloader.identify(&ctx(), &source).await.unwrap();
    assert_eq!((again.digest, again.download.is_some()), (Digest::of(b"body"), false));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn weak_tags_are_not_relied_on_and_new_ones_are_noticed() {
    let mut count = 0;
    let server = Server::start(move |seen| {
        count += 1;
        assert!(!seen.header("if-none-match").is_some_and(|tag| tag.starts_with("W/")));
        match count {
            1 => Reply::ok("a").header("ETag", "W/\"1\""),
            2 => Reply::ok("b").header("ETag", "\"2\""),
            _ => Reply::ok("c").header("ETag", "\"3\""),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let downloader = downloader(directory.path(), true);
    let source = source(&server.url("/x"));
    for content in [b"a", b"b", b"c"] {
        assert_eq!(downloader.identify(&ctx(), &source).await.unwrap().digest, Digest::of(content));
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = Server::start(|seen| match seen.header("range") {
        None => Reply::ok("0123456789").header("ETag", "\"x\"").cut_after(4),
        Some("bytes=4-") if seen.header("if-range") == Some("\"x\"") => {
            Reply::of(206, "456789").header("Content-Range", "bytes 4-9/10").header("ETag", "\"x\"")
        }
        Some(_) => Reply::new(416),
    });
    let download = identify(&server.url("/x")).await.unwrap();
    assert_eq!(bytes(&download), b"0123456789");
    assert_eq!(download.whole.digest, Digest::of(b"0123456789"));
}

#[tokio::test]
async fn without_a_tag_a_broken_download_begins_anew() {
    let mut count = 0;
    let server = Server::start(move |seen| {
        count += 1;
        assert_eq!(seen.header("range"), None);
        if count == 1 { Reply::ok("0123456789").cut_after(4) } else { Reply::ok("abc") }
    });
    assert_eq!(bytes(&identify(&server.url("/x")).await.unwrap()), b"abc");
}

#[tokio::test]
async fn overload_is_tried_again_and_refusals_are_final() {
    for (status, asked, kind) in [
        (503, 5, RemoteErrorKind::Unavailable),
        (404, 1, RemoteErrorKind::Wrong),
        (401, 1, RemoteErrorKind::Unauthorised),
        (304, 1, RemoteErrorKind::Wrong),
        (206, 1, RemoteErrorKind::Wrong),
    ] {
        let server = Server::start(move |_| Reply::new(status));
        let error = identify(&server.url("/x")).await.unwrap_err();
        assert_eq!((server.seen().len(), error.kind()), (asked, kind), "{status}");
    }
}

#[tokio::test]
async fn more_bytes_than_the_limit_end_the_download() {
    let endless = Server::start(|_| Reply::endless());
    let error = identify(&endless.url("/x")).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error}");
    let large = Server::start(|_| Reply::ok(vec![0; LIMIT as usize + 1]).cut_after(0));
    let error = identify(&large.url("/x")).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn redirects_lead_to_files_of_servers_only_and_not_in_circles() {
    for to in ["file:///etc/passwd", "ftp://h/x", "http://169.254.169.254/x", "http://u:p@127.0.0.1/"] {
        let server = Server::start(move |_| Reply::new(302).header("Location", to));
        let error = identify(&server.url("/x")).await.unwrap_err();
        assert_eq!((server.seen().len(), error.kind()), (1, RemoteErrorKind::Wrong), "{to}: {error}");
    }
    let circle = Server::start(|_| Reply::new(302).header("Location", "/x"));
    assert!(identify(&circle.url("/x")).await.is_err());
    assert_eq!(circle.seen().len(), 6);
}

#[tokio::test]
async fn a_login_goes_to_the_server_it_was_written_for_and_to_no_other() {
    let other = Server::start(|_| Reply::ok("body"));
    let to = other.url("/y");
    let first = Server::start(move |_| Reply::new(302).header("Location", to.clone()));
    let url = first.url("/x").replace("http://", "http://user:secret@");
    assert_eq!(bytes(&identify(&url).await.unwrap()), b"body");
    assert_eq!(first.seen()[0].header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn metadata_addresses_are_not_asked_and_the_message_has_no_secret() {
    let error = identify("http://user:secret@169.254.169.254/x?token=t0k3n").await.unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Wrong);
    let text = error.to_string();
    assert!(!text.contains("secret") && !text.contains("t0k3n"), "{text}");
    assert!(text.contains("169.254.169.254/x"), "{text}");
}

#[tokio::test]
async fn a_build_that_is_told_to_stop_stops_downloading() {
    let server = Server::start(|_: &Seen| Reply::endless());
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(ClientSettings::default()).unwrap();
    let downloader = Downloader::new(client, directory.path().to_owned(), None);
    let ctx = ctx();
    let stop = ctx.clone();
    let source = source(&server.url("/x"));
    let (found, ()) = futures_util::future::join(downloader.identify(&ctx, &source), async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stop.cancel();
    })
    .await;
    assert!(matches!(found, Err(RemoteError::Cancelled)));
}
