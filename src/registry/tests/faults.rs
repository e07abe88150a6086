//! Reading in spite of faults.

use super::server::{Reply, Seen, Server};
use super::{Registries, context, ctx, layer, noise, pull, registries, settings};
use crate::http::HttpError;
use crate::oci::{Digest, media_type};
use crate::registry::{RegistryError, RegistryErrorKind};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

fn manifest() -> Reply {
    Reply::new(200).header("Content-Type", media_type::OCI_MANIFEST).body(MANIFEST)
}

/// Answers the first requests with `first`, all others with `then`.
fn first(faults: Vec<Reply>, then: impl Fn(&Seen) -> Reply + Send + 'static) -> Server {
    let mut faults = faults.into_iter();
    Server::start(move |seen| faults.next().unwrap_or_else(|| then(seen)))
}

#[tokio::test]
async fn passing_failures_are_waited_out() {
    for faults in [
        vec![Reply::new(503)],
        vec![Reply::new(500), Reply::new(502), Reply::new(504)],
        vec![Reply::new(429).header("Retry-After", "0").body("slow down")],
        vec![Reply::nothing()],
        vec![manifest().cut_after(10)],
        vec![Reply::nothing(), Reply::new(408), Reply::new(522), manifest().cut_after(0)],
    ] {
        let server = first(faults.clone(), |_| manifest());
        let found = registries().manifest(&ctx(), &server.repository("a"), "v1").await.unwrap().unwrap();
        assert_eq!(&found.bytes[..], MANIFEST.as_bytes());
        assert_eq!(found.digest, Digest::of(MANIFEST.as_bytes()));
        assert_eq!(server.seen().len(), faults.len() + 1, "{faults:?}");
    }
}

#[tokio::test]
async fn a_registry_that_stays_down_is_tried_five_times_and_named() {
    let server =
        Server::start(|_| Reply::new(503).body(r#"{"errors":[{"code":"UNAVAILABLE","message":"on fire"}]}"#));
    let repository = server.repository("team/app");
    let error = registries().manifest(&ctx(), &repository, "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert_eq!(server.seen().len(), 5);
    let address = server.address;
    assert_eq!(
        error.to_string(),
        format!(
            "registry {address} answered 503 for manifest {address}/team/app:v1: on fire (UNAVAILABLE) \
             (http://{address}/v2/team/app/manifests/v1, 5 tries)"
        )
    );
}

#[tokio::test]
async fn a_wait_beyond_a_minute_is_not_waited() {
    let server = Server::start(|_| Reply::new(429).header("Retry-After", "1000000000"));
    let error = registries().manifest(&ctx(), &server.repository("a"), "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn refusals_are_final() {
    for (status, kind) in [
        (400, RegistryErrorKind::Refused),
        (401, RegistryErrorKind::Unauthorised),
        (403, RegistryErrorKind::Unauthorised),
        (405, RegistryErrorKind::Refused),
    ] {
        let server = Server::start(move |_| Reply::new(status));
        let error = registries().manifest(&ctx(), &server.repository("a"), "v1").await.unwrap_err();
        assert_eq!((error.kind(), server.seen().len()), (kind, 1), "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_nobody_answers_for_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let repository = format!("127.0.0.1:{port}/a").parse().unwrap();
    let error = registries().manifest(&ctx(), &repository, "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    let message = error.to_string();
    assert!(message.contains("cannot connect: ") && message.contains("5 tries"), "{message}");
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let server = Server::start(|_| Reply::new(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#));
    let repository = server.repository("a");
    assert!(registries().manifest(&ctx(), &repository, "v1").await.unwrap().is_none());
    assert_eq!(registries().manifest_digest(&ctx(), &repository, "v1").await.unwrap(), None);
    assert!(!registries().has_blob(&ctx(), &repository, &Digest::of(b"x")).await.unwrap());
    assert_eq!(registries().tags(&ctx(), &repository).await.unwrap(), Vec::<String>::new());
    let error = registries().blob(&ctx(), &repository, &layer(b"x"), 10).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::NotFound);
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_fetched_again_and_then_refused() {
    let digest = Digest::of(MANIFEST.as_bytes()).to_string();
    let flipped = || manifest().body(MANIFEST.replace('2', "3"));
    let once = first(vec![flipped()], |_| manifest());
    assert!(registries().manifest(&ctx(), &once.repository("a"), &digest).await.unwrap().is_some());
    let always = Server::start(move |_| flipped());
    let error = registries().manifest(&ctx(), &always.repository("a"), &digest).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Invalid);
    assert!(error.to_string().contains(&digest), "{error}");
    // A tag has no digest of its own, but the registry states one.
    let stated =
        Server::start(move |_| manifest().header("Docker-Content-Digest", Digest::of(b"x").to_string()));
    let error = registries().manifest(&ctx(), &stated.repository("a"), "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Invalid);
}

#[tokio::test]
async fn a_manifest_without_end_is_not_read_to_it() {
    let server = Server::start(|_| manifest().body(vec![b' '; (4 << 20) + 1]));
    let error = registries().manifest(&ctx(), &server.repository("a"), "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Invalid);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_head_that_is_not_served_becomes_a_get() {
    for status in [400, 403, 405, 501] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "HEAD" => Reply::new(status),
            _ if seen.target.contains("blobs") => {
                Reply::new(206).header("Content-Range", "bytes 0-0/9").body("x")
            }
            _ => manifest(),
        });
        let repository = server.repository("a");
        let found = registries().manifest_digest(&ctx(), &repository, "v1").await.unwrap();
        assert_eq!(found, Some(Digest::of(MANIFEST.as_bytes())));
        assert!(registries().has_blob(&ctx(), &repository, &Digest::of(b"x")).await.unwrap());
    }
    // A digest in the answer to HEAD is enough.
    let digest = Digest::of(b"m");
    let server = Server::start(move |_| Reply::new(200).header("Docker-Content-Digest", digest.to_string()));
    let found = registries().manifest_digest(&ctx(), &server.repository("a"), "v1").await.unwrap();
    assert_eq!((found, server.seen().len()), (Some(digest), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_is_taken_up_where_it_broke() {
    let blob = noise(300_000);
    let whole = blob.clone();
    let server = Server::start(move |seen| match seen.header("range") {
        None => Reply::new(200).body(whole.clone()).cut_after(100_000),
        Some(range) => {
            let from: usize =
                range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
            let reply = Reply::new(206).header("Content-Range", format!("bytes {from}-299999/300000"));
            let rest = reply.body(&whole[from..]);
            if from < 200_000 { rest.cut_after(200_000 - from) } else { rest }
        }
    });
    let (ctx, recorder, _) = context();
    let pulled = pull(&registries(), &ctx, &server.repository("a"), &layer(&blob)).await.unwrap();
    assert!(pulled == blob);
    assert_eq!(recorder.pulled(), 1);
    let ranges: Vec<_> = server.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 3);
    assert!(ranges[1].is_some() && ranges[2].is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_read_from_the_start_again() {
    let blob = noise(50_000);
    for answer in ["ignored", "wrong", "refused"] {
        let whole = blob.clone();
        let mut asked = 0;
        let server = Server::start(move |seen| {
            asked += 1;
            match (asked, seen.header("range"), answer) {
                (1, ..) => Reply::new(200).body(whole.clone()).cut_after(20_000),
                (_, Some(_), "wrong") => {
                    Reply::new(206).header("Content-Range", "bytes 0-9/10").body("0123456789")
                }
                (_, Some(_), "refused") => Reply::new(416),
                _ => Reply::new(200).body(whole.clone()),
            }
        });
        let pulled = pull(&registries(), &ctx(), &server.repository("a"), &layer(&blob)).await.unwrap();
        assert!(pulled == blob, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_other_content_or_size_never_ends_well() {
    let blob = noise(10_000);
    let descriptor = layer(&blob);
    let mut flipped = blob.clone();
    flipped[5000] ^= 1;
    let longer = [blob.as_slice(), b"x"].concat();
    for (sent, expected) in [
        (flipped.clone(), format!("other content, with digest {}", Digest::of(&flipped))),
        (longer, "more than its 10000 bytes".to_owned()),
    ] {
        let server = Server::start(move |_| Reply::new(200).body(sent.clone()));
        let (ctx, recorder, _) = context();
        let error = pull(&registries(), &ctx, &server.repository("a"), &descriptor).await.unwrap_err();
        assert_eq!((error.kind(), recorder.pulled()), (RegistryErrorKind::Invalid, 0));
        let message = error.to_string();
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains(&descriptor.digest.to_string()), "{message}");
    }
    let shorter = Server::start(move |_| Reply::new(200).body(&blob[..9000]));
    let error = pull(&registries(), &ctx(), &shorter.repository("a"), &descriptor).await.unwrap_err();
    assert!(error.to_string().contains("ended early"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_wrong_blob_is_withheld() {
    use std::io::Read;
    let server = Server::start(|_| Reply::new(200).body("other"));
    let descriptor = layer(b"these");
    let mut reader = registries().open_blob(&ctx(), &server.repository("a"), &descriptor).await.unwrap();
    // Whoever reads just as many bytes as there should be does not get them.
    let outcome = tokio::task::spawn_blocking(move || reader.read_exact(&mut [0; 5])).await.unwrap();
    let error = outcome.unwrap_err();
    assert_eq!(RegistryError::within(&error).unwrap().kind(), RegistryErrorKind::Invalid);
}

#[tokio::test]
async fn a_small_blob_is_verified_and_limited() {
    let server = first(vec![Reply::new(200).body("xbc")], |_| Reply::new(200).body("abc"));
    let repository = server.repository("a");
    let bytes = registries().blob(&ctx(), &repository, &layer(b"abc"), 3).await.unwrap();
    assert_eq!(&bytes[..], b"abc");
    let before = server.seen().len();
    let error = registries().blob(&ctx(), &repository, &layer(b"abc"), 2).await.unwrap_err();
    assert_eq!((error.kind(), server.seen().len()), (RegistryErrorKind::Refused, before));
    let empty = Server::start(|_| Reply::new(200));
    let bytes = registries().blob(&ctx(), &empty.repository("a"), &layer(b""), 0).await.unwrap();
    assert!(bytes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_is_a_blob() {
    let server = Server::start(|_| Reply::new(200));
    assert_eq!(pull(&registries(), &ctx(), &server.repository("a"), &layer(b"")).await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_silent_or_stands_still_is_given_up() {
    let server = Server::start(|seen| match seen.target.contains("blobs") {
        true => Reply::new(200).body(vec![7; 10]).stall_after(5),
        false => Reply::silence(),
    });
    let mut settings = settings();
    settings.timeouts.first_byte = std::time::Duration::from_millis(50);
    settings.timeouts.stall = std::time::Duration::from_millis(50);
    settings.schedule.waits.truncate(1);
    let (registries, repository) = (Registries::new(settings).unwrap(), server.repository("a"));
    let error = registries.manifest(&ctx(), &repository, "v1").await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { tries: 2, cause: HttpError::Silent(_), .. }),
        "{error}"
    );
    let error = registries.blob(&ctx(), &repository, &layer(&[7; 10]), 10).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { tries: 2, cause: HttpError::Stalled(_), .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_requests_and_downloads() {
    let server = Server::start(|seen| match seen.target.contains("blobs") {
        true => Reply::new(200).body(vec![7; 10]).stall_after(5),
        false => Reply::silence(),
    });
    let (ctx, _, cancel) = context();
    let (registries, repository) = (registries(), server.repository("a"));
    let waiting = tokio::spawn({
        let (registries, ctx, repository) = (registries.clone(), ctx.clone(), repository.clone());
        async move { registries.manifest(&ctx, &repository, "v1").await }
    });
    let mut reader = registries.open_blob(&ctx, &repository, &layer(&[7; 10])).await.unwrap();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        reader.read_exact(&mut [0; 5]).unwrap();
        begun.send(()).unwrap();
        reader.read(&mut [0; 5])
    });
    has_begun.await.unwrap();
    while server.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), RegistryErrorKind::Cancelled);
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(RegistryError::within(&error).unwrap().kind(), RegistryErrorKind::Cancelled);
}

#[tokio::test]
async fn redirects_are_followed_five_times_and_not_for_ever() {
    let server = Server::start(|seen| {
        let hops: usize = seen.target.rsplit('/').next().unwrap().parse().unwrap_or(0);
        if hops == 5 { manifest() } else { Reply::new(307).header("Location", format!("/hop/{}", hops + 1)) }
    });
    assert!(registries().manifest(&ctx(), &server.repository("a"), "v1").await.unwrap().is_some());
    let circle = Server::start(|seen| Reply::new(302).header("Location", seen.target.clone()));
    let error = registries().manifest(&ctx(), &circle.repository("a"), "v1").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { cause: HttpError::Redirects(_), .. }), "{error}");
    assert_eq!(circle.seen().len(), 6);
    let metadata =
        Server::start(|_| Reply::new(302).header("Location", "http://169.254.169.254/latest/meta-data"));
    let error = registries().manifest(&ctx(), &metadata.repository("a"), "v1").await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Refused);
}

#[tokio::test]
async fn tags_come_in_pages_and_a_loop_of_pages_ends() {
    let server = Server::start(|seen| {
        let next = |link: &str| Reply::new(200).header("Link", format!("<{link}>; rel=\"next\""));
        match seen.target.split_once("last=").map(|(_, last)| last) {
            None => next("/v2/a/tags/list?last=b&n=1000").body(r#"{"name":"a","tags":["a","b"]}"#),
            Some("b&n=1000") => next("list?last=c").body(r#"{"tags":["c"]}"#),
            _ => next("list?last=d").body(r#"{"tags":null}"#),
        }
    });
    assert_eq!(registries().tags(&ctx(), &server.repository("a")).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(server.seen().len(), 3);
}
