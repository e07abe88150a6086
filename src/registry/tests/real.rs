//! The client against Debian's docker-registry: what a scripted server can not prove.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{content, context, ctx, layer, noise, pull, registries, registries_with, repository, settings};
use crate::ctx::Transfer;
use crate::http::{HttpError, Secret};
use crate::oci::{Descriptor, Digest, media_type};
use crate::registry::{
    Credential, FixedCredential, Registries, RegistryError, RegistryErrorKind, RegistrySettings,
};

/// Said past the capture of test output, so that it is seen and counted.
fn skipped(reason: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {}: {reason}",
        std::thread::current().name().unwrap_or("a test")
    );
}

/// A registry process with its storage; both end with it.
struct Registry {
    process: Child,
    port: u16,
    _storage: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Start one; `extra` is YAML below `http:`. `None`, said loudly, where it is not installed.
    fn start(extra: &str) -> Option<Self> {
        let storage = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = storage.path().join("config.yml");
        let root = storage.path().join("data");
        let yaml = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{extra}\n",
            root.display()
        );
        std::fs::write(&config, yaml).unwrap();
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                skipped(&format!("docker-registry cannot be started: {error}"));
                return None;
            }
        };
        let registry = Self { process, port, _storage: storage };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("docker-registry did not listen within 10 s");
    }

    fn repository(&self, path: &str) -> crate::oci::Repository {
        repository(&format!("127.0.0.1:{}/{path}", self.port))
    }
}

fn image(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
    });
    serde_json::to_vec(&manifest).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_in_comes_out_and_is_mounted_elsewhere() {
    use Transfer::{Mounted, Uploaded};
    let Some(registry) = Registry::start("") else { return };
    let (ctx, recorder, _) = context();
    let client = registries();
    let (source, target) = (registry.repository("team/base"), registry.repository("app"));
    let (small, large) = (b"{}".to_vec(), noise(9 << 20));
    let (config, top) = (Descriptor::of(media_type::OCI_CONFIG, &small), layer(&large));

    assert!(client.manifest(&ctx, &source, "v1").await.unwrap().is_none());
    let manifest = image(&config, std::slice::from_ref(&top));
    let early =
        client.put_manifest(&ctx, &source, "v1", media_type::OCI_MANIFEST, &manifest).await.unwrap_err();
    let RegistryError::BlobsUnknown { digests, .. } = &early else { panic!("{early}") };
    assert!(digests.contains(&config.digest) && digests.contains(&top.digest), "{early}");

    client.push_blob(&ctx, &source, &config, &[], content(&small)).await.unwrap();
    client.push_blob(&ctx, &source, &top, &[], content(&large)).await.unwrap();
    let digest = client.put_manifest(&ctx, &source, "v1", media_type::OCI_MANIFEST, &manifest).await.unwrap();
    assert_eq!(client.manifest_digest(&ctx, &source, "v1").await.unwrap(), Some(digest));
    for selector in ["v1", &digest.to_string()] {
        let found = client.manifest(&ctx, &source, selector).await.unwrap().unwrap();
        assert_eq!((&found.bytes[..], found.media_type.as_str()), (&manifest[..], media_type::OCI_MANIFEST));
    }
    assert!(pull(&client, &ctx, &source, &top).await.unwrap() == large);
    assert_eq!(&client.blob(&ctx, &source, &config, 100).await.unwrap()[..], small);

    // A client that knows nothing yet: mounted, never sent.
    let other = registries();
    for descriptor in [&config, &top] {
        assert!(!other.has_blob(&ctx, &target, &descriptor.digest).await.unwrap());
        let sources = [registry.repository("no/such"), source.clone()];
        let how = other.push_blob(&ctx, &target, descriptor, &sources, None).await.unwrap();
        assert_eq!(how, Mounted);
        assert!(other.has_blob(&ctx, &target, &descriptor.digest).await.unwrap());
        assert!(other.is_readable(&ctx, &target, &descriptor.digest).await.unwrap());
    }
    other
        .put_manifest(&ctx, &target, &digest.to_string(), media_type::OCI_MANIFEST, &manifest)
        .await
        .unwrap();
    assert_eq!(recorder.pushed(), [Uploaded, Uploaded, Mounted, Mounted]);

    assert_eq!(client.tags(&ctx, &source).await.unwrap(), ["v1"]);
    assert!(client.delete_manifest(&ctx, &source, &digest.to_string()).await.unwrap());
    assert!(!client.delete_manifest(&ctx, &source, &digest.to_string()).await.unwrap());
    assert!(client.manifest(&ctx, &source, "v1").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_of_what_is_not_there_is_uploaded_on_the_session_it_opened() {
    let Some(registry) = Registry::start("") else { return };
    for blob in [noise(1000), noise(9 << 20)] {
        let sources = [registry.repository("absent")];
        let (target, descriptor) = (registry.repository("app"), layer(&blob));
        let how =
            registries().push_blob(&ctx(), &target, &descriptor, &sources, content(&blob)).await.unwrap();
        assert_eq!(how, Transfer::Uploaded);
        assert!(pull(&registries(), &ctx(), &target, &descriptor).await.unwrap() == blob);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_copied_between_two_registries() {
    let (Some(one), Some(two)) = (Registry::start(""), Registry::start("")) else { return };
    let blob = noise(10 << 20);
    let (from, to, descriptor) = (one.repository("a"), two.repository("b"), layer(&blob));
    registries().push_blob(&ctx(), &from, &descriptor, &[], content(&blob)).await.unwrap();
    let how = registries().copy_blob(&ctx(), &from, &to, &descriptor).await.unwrap();
    assert_eq!(how, Transfer::Uploaded);
    assert!(pull(&registries(), &ctx(), &to, &descriptor).await.unwrap() == blob);
    let absent = layer(b"absent");
    let error = registries().copy_blob(&ctx(), &from, &to, &absent).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_is_refused_by_the_registry() {
    let Some(registry) = Registry::start("") else { return };
    let descriptor = Descriptor::new("a/b", Digest::of(b"right"), 5);
    let target = registry.repository("app");
    let error =
        registries().push_blob(&ctx(), &target, &descriptor, &[], content(b"wrong")).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
}

/// A certificate for 127.0.0.1 in `directory`, as `cert.pem` and `key.pem`; `false` without openssl.
fn make_certificate(directory: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("cert.pem"))
        .stderr(Stdio::null())
        .status();
    let made = made.is_ok_and(|status| status.success());
    if !made {
        skipped("openssl cannot make a certificate");
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_unless_the_host_is_named_as_insecure() {
    let certificate = tempfile::tempdir().unwrap();
    if !make_certificate(certificate.path()) {
        return;
    }
    let at = certificate.path().display();
    let tls = format!("  tls:\n    certificate: {at}/cert.pem\n    key: {at}/key.pem");
    let Some(registry) = Registry::start(&tls) else { return };
    let target = registry.repository("app");
    let insecure = [target.host().clone()].into();
    let client = Registries::new(RegistrySettings { insecure, ..settings() }).unwrap();
    // Over HTTP/2, which this registry chooses.
    let blob = noise(9 << 20);
    client.push_blob(&ctx(), &target, &layer(&blob), &[], content(&blob)).await.unwrap();
    assert!(pull(&client, &ctx(), &target, &layer(&blob)).await.unwrap() == blob);

    // The HTTP client itself: loopback is not spoken to in TLS without being asked to.
    let exchange = crate::http::Exchange {
        method: reqwest::Method::GET,
        url: format!("https://127.0.0.1:{}/v2/", registry.port).parse().unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        authorization: None,
        payload: crate::http::Payload::Empty,
        unverified: None,
    };
    let http = |authorities| {
        crate::http::Client::new(crate::http::ClientSettings { authorities, ..Default::default() }).unwrap()
    };
    let error = http(vec![]).exchange(&exchange).await.unwrap_err();
    assert!(matches!(error, HttpError::Certificate(_)) && !error.is_transient(), "{error}");
    let trusting = http(vec![certificate.path().join("cert.pem")]);
    assert_eq!(trusting.exchange(&exchange).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_passwords_takes_the_right_one() {
    let secrets = tempfile::tempdir().unwrap();
    // "user" with the password "password", as htpasswd -B writes it.
    let line = "user:$2y$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu";
    let path = secrets.path().join("htpasswd");
    std::fs::write(&path, line).unwrap();
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}", path.display());
    let Some(registry) = Registry::start(&auth) else { return };
    let target = registry.repository("app");
    let client = |password: &str| {
        let credential = Credential::Basic { username: "user".into(), password: Secret::new(password) };
        registries_with(FixedCredential { host: target.host().clone(), credential })
    };
    client("password").push_blob(&ctx(), &target, &layer(b"x"), &[], content(b"x")).await.unwrap();
    for refused in [client("wrong"), registries()] {
        let error = refused.has_blob(&ctx(), &target, &Digest::of(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Unauthorised);
    }
}
