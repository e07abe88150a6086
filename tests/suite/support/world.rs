//! This machine: who we are, what it can do, and the loud word when a test cannot run on it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

/// The root of this repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that the running test is skipped, past the capture of test output: `run.sh` counts these lines.
pub(crate) fn skip(reason: &str) {
    let thread = thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = stderr().write_all(line.as_bytes());
}

/// Whether we are root; says so when not.
pub(crate) fn needs_root() -> bool {
    if !is_root() {
        skip("needs root");
    }
    is_root()
}

/// The ordinary user that rootless tests run as: ourselves, or the one that `setup.sh` makes when we are root.
pub(crate) fn user() -> &'static str {
    static USER: OnceLock<String> = OnceLock::new();
    USER.get_or_init(|| {
        let own = rustix::process::geteuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = |line: &str| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.nth(1)?.parse::<u32>().ok()?))
        };
        let own =
            passwd.lines().filter_map(named).find(|(_, id)| *id == own && own != 0).map(|(name, _)| name);
        own.unwrap_or_else(|| std::env::var("OCISTAGE_TEST_USER").unwrap_or_else(|_| "ocitester".to_owned()))
    })
}

/// Whether an ordinary user with subordinate ids is there; says what is missing when not.
pub(crate) fn can_be_unprivileged() -> bool {
    let has = |file: &str, mark: &str| {
        fs::read_to_string(file).unwrap_or_default().lines().any(|line| line.starts_with(mark))
    };
    let mark = format!("{}:", user());
    let missing = ["/etc/passwd", "/etc/subuid", "/etc/subgid"].into_iter().find(|file| !has(file, &mark));
    if let Some(file) = missing {
        skip(&format!("user {} is not in {file}", user()));
    }
    missing.is_none() && super::have(&["newuidmap", "setpriv"])
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn base64_decode(text: &str) -> String {
    STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}
