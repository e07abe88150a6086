//! A registry for one test: a real server that already holds the bases, behind a counting proxy.

use super::{Exchange, Fault, Proxy, Scratch, Server, bases, copy_image, sh};
use std::path::Path;

/// `tester` with the password `secret`, as bcrypt.
const HTPASSWD: &str = "tester:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

pub(crate) struct Registry {
    proxy: Proxy,
    server: Server,
    _scratch: Scratch,
}

impl Registry {
    /// An open registry with the bases in it.
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new();
        scratch.copy(bases(), "data");
        Self::serve(scratch, "")
    }

    /// A registry with the bases in it that lets in only `tester` with the password `secret`, by basic authentication.
    pub(crate) fn with_password() -> Self {
        let scratch = Scratch::new();
        scratch.copy(bases(), "data");
        let file = scratch.write("htpasswd", HTPASSWD);
        let options = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        Self::serve(scratch, &options)
    }

    fn serve(scratch: Scratch, options: &str) -> Self {
        let server = Server::start(scratch.path(), options);
        Self { proxy: Proxy::before(server.address()), server, _scratch: scratch }
    }

    /// `127.0.0.1:PORT`, through the proxy that counts.
    pub(crate) fn address(&self) -> &str {
        self.proxy.address()
    }

    /// A reference in this registry, through the proxy.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.proxy.address())
    }

    /// The same past the proxy: for those who look on.
    pub(crate) fn past(&self, name: &str) -> String {
        format!("{}/{name}", self.server.address())
    }

    /// Puts an image of a layout there, past the proxy.
    pub(crate) fn add(&self, layout: &Path, tag: &str, name: &str) {
        copy_image(&format!("oci:{}:{tag}", layout.display()), &format!("docker://{}", self.past(name)));
    }

    /// The tags of a repository; none when it does not exist.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let url = format!("http://{}/v2/{repository}/tags/list", self.server.address());
        let said = sh("curl", &["-s", "--noproxy", "*", &url]);
        let list: serde_json::Value = serde_json::from_str(&said).unwrap();
        let tags = list["tags"].as_array().cloned().unwrap_or_default();
        tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    }

    /// Takes a blob out of a repository, as a registry's garbage collection does.
    pub(crate) fn delete_blob(&self, repository: &str, digest: &str) {
        let url = format!("http://{}/v2/{repository}/blobs/{digest}", self.server.address());
        sh("curl", &["-s", "--noproxy", "*", "-X", "DELETE", &url]);
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.proxy.fault(fault);
    }

    pub(crate) fn ask_for_tokens(&self) {
        self.proxy.ask_for_tokens("tester", "secret");
    }

    /// Forgets what passed so far, and the faults.
    pub(crate) fn reset(&self) {
        self.proxy.reset();
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.proxy.exchanges()
    }

    /// Requests of this method whose path has this part.
    pub(crate) fn asked(&self, method: &str, part: &str) -> usize {
        self.exchanges().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }

    /// Blob bytes that were sent to the registry, and that it sent.
    pub(crate) fn blob_bytes(&self) -> (u64, u64) {
        let blobs: Vec<_> = self.exchanges().into_iter().filter(Exchange::is_blob).collect();
        (blobs.iter().map(|seen| seen.up).sum(), blobs.iter().map(|seen| seen.down).sum())
    }
}
