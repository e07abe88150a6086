//! Writing in spite of faults, and not writing what is there.

use std::collections::BTreeSet;

use super::server::{Reply, Seen, Server};
use super::{content, context, ctx, layer, noise, registries, registries_with};
use crate::ctx::Transfer;
use crate::http::Secret;
use crate::oci::{Digest, media_type};
use crate::registry::{Credential, FixedCredential, RegistryError, RegistryErrorKind};

const SMALL: &[u8] = b"small";

/// What a registry without faults answers to an upload.
fn plain(seen: &Seen) -> Reply {
    match seen.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("Location", "/v2/t/blobs/uploads/s1?_state=abc"),
        "PATCH" => Reply::new(202).header("Location", "/v2/t/blobs/uploads/s1?_state=def"),
        "PUT" => Reply::new(201),
        _ => Reply::new(204),
    }
}

fn large() -> Vec<u8> {
    noise((8 << 20) + 5)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_goes_with_the_commit() {
    let server = Server::start(plain);
    let (ctx, recorder, _) = context();
    let how = registries().push_blob(&ctx, &server.repository("t"), &layer(SMALL), &[], content(SMALL)).await;
    assert_eq!(how.unwrap(), Transfer::Uploaded);
    assert_eq!(recorder.pushed(), [Transfer::Uploaded]);
    let digest = Digest::of(SMALL).to_string().replace(':', "%3A");
    assert_eq!(
        server.lines()[1..],
        [
            "POST /v2/t/blobs/uploads/".to_owned(),
            format!("PUT /v2/t/blobs/uploads/s1?_state=abc&digest={digest}")
        ]
    );
    assert_eq!(server.seen()[2].body, SMALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_goes_in_one_stream_before_the_commit() {
    let server = Server::start(plain);
    let blob = large();
    let how =
        registries().push_blob(&ctx(), &server.repository("t"), &layer(&blob), &[], content(&blob)).await;
    assert_eq!(how.unwrap(), Transfer::Uploaded);
    let seen = server.seen();
    assert!(seen[2].is("PATCH", "_state=abc") && seen[2].body == blob);
    assert_eq!(seen[2].header("content-range"), None);
    assert!(seen[3].is("PUT", "_state=def&digest=sha256") && seen[3].body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn locations_may_be_relative_absolute_or_elsewhere() {
    let storage = Server::start(|_| Reply::new(201));
    for location in ["uploads2/s?a=b", "/elsewhere/s", "ABSOLUTE", "STORAGE"] {
        let absolute = storage.url("/up?sig=x");
        let server = Server::start(move |seen| match (seen.method.as_str(), location) {
            ("POST", _) if seen.header("authorization").is_none() => {
                Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\"")
            }
            ("POST", "ABSOLUTE") => {
                Reply::new(202).header("Location", format!("http://{}/abs?c=d", seen.header("host").unwrap()))
            }
            ("POST", "STORAGE") => Reply::new(202).header("Location", absolute.clone()),
            ("POST", _) => Reply::new(202).header("Location", location),
            _ => plain(seen),
        });
        let target = server.repository("t");
        let credential = Credential::Basic { username: "u".into(), password: Secret::new("p") };
        let registries = registries_with(FixedCredential { host: target.host().clone(), credential });
        registries.push_blob(&ctx(), &target, &layer(SMALL), &[], content(SMALL)).await.unwrap();
        let puts: Vec<_> = server.seen().into_iter().filter(|seen| seen.method == "PUT").collect();
        match location {
            "STORAGE" => assert!(puts.is_empty()),
            "ABSOLUTE" => assert!(puts[0].target.starts_with("/abs?c=d&digest=")),
            "/elsewhere/s" => assert!(puts[0].target.starts_with("/elsewhere/s?digest=")),
            _ => assert!(puts[0].target.starts_with("/v2/t/blobs/uploads/uploads2/s?a=b&digest=")),
        }
        assert!(puts.iter().all(|put| put.header("authorization").is_some()));
    }
    let foreign = storage.seen();
    assert_eq!((foreign.len(), foreign[0].body.as_slice()), (1, SMALL));
    assert_eq!(foreign[0].header("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent() {
    let server = Server::start(|_| Reply::new(200));
    let (ctx, recorder, _) = context();
    let (registries, target) = (registries(), server.repository("t"));
    for _ in 0..2 {
        let how = registries.push_blob(&ctx, &target, &layer(SMALL), &[], None).await.unwrap();
        assert_eq!(how, Transfer::Present);
    }
    // The second was not even asked for.
    assert_eq!((server.seen().len(), recorder.pushed()), (1, vec![Transfer::Present]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_is_asked_for_before_an_upload() {
    let server =
        Server::start(|seen| if seen.target.contains("mount=") { Reply::new(201) } else { plain(seen) });
    let (ctx, recorder, _) = context();
    let (target, source) = (server.repository("t"), server.repository("base/x"));
    let far = "other.example/base".parse().unwrap();
    let how =
        registries().push_blob(&ctx, &target, &layer(SMALL), &[far, target.clone(), source], None).await;
    assert_eq!(how.unwrap(), Transfer::Mounted);
    assert_eq!(recorder.pushed(), [Transfer::Mounted]);
    let digest = Digest::of(SMALL).to_string().replace(':', "%3A");
    assert_eq!(server.lines()[1..], [format!("POST /v2/t/blobs/uploads/?mount={digest}&from=base%2Fx")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_opens_a_session_is_uploaded_on_it() {
    let server = Server::start(plain);
    let (target, source) = (server.repository("t"), server.repository("s"));
    let how =
        registries().push_blob(&ctx(), &target, &layer(SMALL), &[source], content(SMALL)).await.unwrap();
    assert_eq!(how, Transfer::Uploaded);
    assert_eq!((server.count("POST", ""), server.count("PUT", "s1")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_refused_in_any_way_becomes_an_upload_and_is_not_asked_again() {
    for refusal in [
        Reply::new(400),
        Reply::new(401),
        Reply::new(403),
        Reply::new(404),
        Reply::new(405),
        Reply::new(500),
        Reply::nothing(),
    ] {
        let answer = refusal.clone();
        let server = Server::start(
            move |seen| if seen.target.contains("mount=") { answer.clone() } else { plain(seen) },
        );
        let (registries, target, source) = (registries(), server.repository("t"), server.repository("s"));
        for blob in [SMALL, b"other".as_slice()] {
            let sources = [source.clone()];
            let how =
                registries.push_blob(&ctx(), &target, &layer(blob), &sources, content(blob)).await.unwrap();
            assert_eq!(how, Transfer::Uploaded, "{refusal:?}");
        }
        assert_eq!((server.count("POST", "mount="), server.count("PUT", "")), (1, 2), "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_content_what_can_not_be_mounted_is_an_error() {
    let server = Server::start(plain);
    let (target, source) = (server.repository("t"), server.repository("s"));
    let error = registries().push_blob(&ctx(), &target, &layer(SMALL), &[source], None).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Refused);
    assert!(error.to_string().contains("does not mount it from 127.0.0.1:"), "{error}");
    // The session that the mount opened is not left behind.
    assert_eq!(server.count("DELETE", "uploads/s1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_of_one_blob_are_one() {
    let server = Server::start(plain);
    let (ctx, recorder, _) = context();
    let (registries, target, descriptor) = (registries(), server.repository("t"), layer(SMALL));
    let all = (0..8).map(|_| registries.push_blob(&ctx, &target, &descriptor, &[], content(SMALL)));
    let outcomes = futures_util::future::join_all(all).await;
    let uploaded = outcomes.into_iter().filter(|how| *how.as_ref().unwrap() == Transfer::Uploaded).count();
    assert_eq!((uploaded, server.count("PUT", ""), recorder.pushed().len()), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_failures_begin_the_upload_anew() {
    let blob = large();
    for (method, fault) in [
        ("POST", Reply::new(503)),
        ("PATCH", Reply::new(500)),
        ("PATCH", Reply::nothing()),
        ("PATCH", Reply::new(429).header("Retry-After", "0")),
        ("PATCH", Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#)),
        ("PUT", Reply::new(503)),
        ("PUT", Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#)),
    ] {
        let mut faults = vec![fault.clone()].into_iter();
        let server = Server::start(move |seen| match seen.method == method {
            true => faults.next().unwrap_or_else(|| plain(seen)),
            false => plain(seen),
        });
        let how =
            registries().push_blob(&ctx(), &server.repository("t"), &layer(&blob), &[], content(&blob)).await;
        assert_eq!(how.unwrap(), Transfer::Uploaded, "{method} {fault:?}");
        let last = server.seen().into_iter().rfind(|seen| seen.method == "PATCH").unwrap();
        assert!(last.body == blob, "{method} {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_looked_up() {
    for blob in [SMALL.to_vec(), large()] {
        let mut committed = false;
        let server = Server::start(move |seen| match seen.method.as_str() {
            "PUT" if !committed => {
                committed = true;
                Reply::nothing()
            }
            // What registries answer to a second commit.
            "PUT" => Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#),
            "HEAD" if committed => Reply::new(200),
            _ => plain(seen),
        });
        let how =
            registries().push_blob(&ctx(), &server.repository("t"), &layer(&blob), &[], content(&blob)).await;
        assert_eq!(how.unwrap(), Transfer::Uploaded);
        assert_eq!(server.count("POST", ""), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_patch_or_with_small_pieces_only_is_remembered() {
    let blob = large();
    for (rung, patches, puts) in [("whole", 1, 2), ("pieces", 7, 3)] {
        let server = Server::start(move |seen| match (seen.method.as_str(), rung) {
            ("PATCH", "whole") => Reply::new(405),
            ("PATCH", "pieces") if seen.header("content-range").is_none() => Reply::new(416),
            ("PUT", "pieces") if !seen.body.is_empty() => Reply::new(413),
            _ => plain(seen),
        });
        let (registries, target) = (registries(), server.repository("t"));
        let mut other = blob.clone();
        other[0] ^= 1;
        for blob in [&blob, &other] {
            registries.push_blob(&ctx(), &target, &layer(blob), &[], content(blob)).await.unwrap();
        }
        assert_eq!((server.count("PATCH", ""), server.count("PUT", "")), (patches, puts), "{rung}");
        let pieces: Vec<_> =
            server.seen().into_iter().filter(|seen| seen.header("content-range").is_some()).collect();
        if rung == "pieces" {
            assert_eq!(pieces[0].header("content-range"), Some("0-4194303"));
            assert_eq!(pieces[2].header("content-range"), Some("8388608-8388612"));
            assert!(pieces[..3].iter().flat_map(|seen| seen.body.clone()).eq(blob.iter().copied()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_can_not_be_read_is_told_as_such_and_not_tried_again() {
    let server = Server::start(plain);
    let target = server.repository("t");
    let unreadable = std::sync::Arc::new(|| Err(std::io::Error::other("disk on fire")));
    let error =
        registries().push_blob(&ctx(), &target, &layer(SMALL), &[], Some(unreadable)).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Source { .. }), "{error}");
    assert!(error.to_string().ends_with("disk on fire"), "{error}");
    for wrong in [b"smal".as_slice(), b"smaller"] {
        let error =
            registries().push_blob(&ctx(), &target, &layer(SMALL), &[], content(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Local);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_distrusted_is_uploaded_without_asking() {
    let server = Server::start(|seen| if seen.method == "HEAD" { Reply::new(200) } else { plain(seen) });
    let (registries, target, descriptor) = (registries(), server.repository("t"), layer(SMALL));
    let sources = [server.repository("s")];
    assert_eq!(
        registries.push_blob(&ctx(), &target, &descriptor, &sources, None).await.unwrap(),
        Transfer::Present
    );
    registries.distrust(&target, &descriptor.digest).await;
    let how = registries.push_blob(&ctx(), &target, &descriptor, &sources, content(SMALL)).await.unwrap();
    assert_eq!((how, server.count("HEAD", ""), server.count("POST", "mount=")), (Transfer::Uploaded, 1, 0));
}

#[tokio::test]
async fn a_manifest_is_put_as_it_is() {
    let server = Server::start(|_| Reply::new(201));
    let target = server.repository("t");
    let bytes = b"{\"schemaVersion\" : 2}";
    let digest =
        registries().put_manifest(&ctx(), &target, "v1", media_type::OCI_INDEX, bytes).await.unwrap();
    assert_eq!(digest, Digest::of(bytes));
    let seen = &server.seen()[0];
    assert_eq!((seen.line().as_str(), seen.body.as_slice()), ("PUT /v2/t/manifests/v1", bytes.as_slice()));
    assert_eq!(seen.header("content-type"), Some(media_type::OCI_INDEX));
    let too_large = vec![b' '; (4 << 20) + 1];
    let error = registries().put_manifest(&ctx(), &target, "v1", media_type::OCI_INDEX, &too_large).await;
    assert_eq!((error.unwrap_err().kind(), server.seen().len()), (RegistryErrorKind::Refused, 1));
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_says_which() {
    let missing = Digest::of(b"missing");
    let server = Server::start(move |_| {
        Reply::new(400).body(format!(
            r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"{missing}"}}]}}"#
        ))
    });
    let error =
        registries().put_manifest(&ctx(), &server.repository("t"), "v1", "a/b", b"{}").await.unwrap_err();
    let RegistryError::BlobsUnknown { digests, .. } = &error else { panic!("{error}") };
    assert_eq!(digests, &BTreeSet::from([missing]));
}

#[tokio::test]
async fn a_tag_that_may_not_move_is_fine_where_it_should_be() {
    for (status, code) in [(400, "TAG_INVALID"), (409, "CONFLICT"), (412, "PRECONDITION")] {
        for (stored, fine) in [(Digest::of(b"{}"), true), (Digest::of(b"other"), false)] {
            let server = Server::start(move |seen| match seen.method.as_str() {
                "PUT" => Reply::new(status).body(format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#)),
                _ => Reply::new(200).header("Docker-Content-Digest", stored.to_string()),
            });
            let outcome =
                registries().put_manifest(&ctx(), &server.repository("t"), "v1", "a/b", b"{}").await;
            assert_eq!(outcome.is_ok(), fine, "{code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_copied_between_registries_and_verified_on_the_way() {
    let blob = noise(1_000_000);
    let (good, mut bad) = (blob.clone(), blob.clone());
    bad[999_999] ^= 1;
    let from = Server::start(move |_| Reply::new(200).body(good.clone()));
    let to = Server::start(plain);
    let (ctx, recorder, _) = context();
    let how = registries()
        .copy_blob(&ctx, &from.repository("s"), &to.repository("t"), &layer(&blob))
        .await
        .unwrap();
    assert_eq!((how, recorder.pulled()), (Transfer::Uploaded, 1));
    assert!(to.seen().last().unwrap().body == blob);
    let from = Server::start(move |_| Reply::new(200).body(bad.clone()));
    let to = Server::start(plain);
    let copied =
        registries().copy_blob(&ctx, &from.repository("s"), &to.repository("t"), &layer(&blob)).await;
    assert_eq!(copied.unwrap_err().kind(), RegistryErrorKind::Invalid);
    assert!(to.seen().iter().all(|seen| seen.method != "PUT" || seen.body.len() < blob.len()));
}

#[tokio::test]
async fn the_right_to_push_is_asked_for_and_nothing_is_left_behind() {
    let server = Server::start(plain);
    registries().check_push(&ctx(), &server.repository("t")).await.unwrap();
    assert_eq!(server.lines(), ["POST /v2/t/blobs/uploads/", "DELETE /v2/t/blobs/uploads/s1?_state=abc"]);
    let closed =
        Server::start(|_| Reply::new(403).body(r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#));
    let error = registries().check_push(&ctx(), &closed.repository("t")).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unauthorised);
    let message = error.to_string();
    assert!(message.contains("answered 403 for a push to 127.0.0.1:"), "{message}");
    assert!(message.contains(": read only (DENIED); no credential"), "{message}");
}
