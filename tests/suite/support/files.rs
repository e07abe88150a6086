//! A server of plain files on loopback that remembers what it was asked. What is below `private` it shows to those it
//! knows: `us3r` with the password `s3cret`, and the bearer of `t0ken`.

use super::{Scratch, base64, sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The time that every file was last changed, as the server says.
const TIME: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

pub(crate) struct Files {
    scratch: Scratch,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Files {
    /// Serves an empty folder; the server lives as long as the process.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let files =
            Self { scratch: Scratch::new(), address: listener.local_addr().unwrap(), asked: Arc::default() };
        let (root, asked) = (files.scratch.folder("files"), Arc::clone(&files.asked));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (root, asked) = (root.clone(), Arc::clone(&asked));
                std::thread::spawn(move || serve(connection, &root, &asked));
            }
        });
        files
    }

    /// Puts a file there, or replaces it.
    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        self.scratch.write(&format!("files/{name}"), bytes);
        self
    }

    /// Puts a tar there.
    pub(crate) fn tar(&self, name: &str, entries: &[(&str, &str)]) -> &Self {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o640);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        self.put(name, builder.into_inner().unwrap())
    }

    /// Commits these files to the repository `NAME.git`; the commit.
    pub(crate) fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        let work = self.scratch.path().join(format!("work/{name}"));
        if !work.exists() {
            std::fs::create_dir_all(&work).unwrap();
            git(&work, &["init", "--quiet"]);
        }
        for (file, text) in files {
            self.scratch.write(&format!("work/{name}/{file}"), text);
        }
        git(&work, &["add", "--all"]);
        git(&work, &["commit", "--quiet", "-m", "m"]);
        let bare = self.scratch.folder("files").join(format!("{name}.git"));
        let _ = std::fs::remove_dir_all(&bare);
        git(&work, &["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
        git(&bare, &["update-server-info"]);
        git(&work, &["rev-parse", "HEAD"])
    }

    /// `http://127.0.0.1:PORT/NAME`
    pub(crate) fn at(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// The same with a user and a password.
    pub(crate) fn at_with_login(&self, name: &str) -> String {
        format!("http://us3r:s3cret@{}/{name}", self.address)
    }

    /// The paths asked for since the last look.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn serve(connection: TcpStream, root: &Path, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut writer = connection;
    let allowed =
        ["us3r:s3cret", "x-access-token:t0ken"].map(|login| format!("Basic {}", base64(login.as_bytes())));
    let allowed = [&allowed[..], &["Bearer t0ken".to_owned()]].concat();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split_whitespace().nth(1)?.split('?').next()?.to_owned();
        let (mut known, mut authorization) = (None, None);
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, tag)) if name.eq_ignore_ascii_case("if-none-match") => {
                    known = Some(tag.to_owned());
                }
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    authorization = Some(value.to_owned());
                }
                Some(_) => {}
                None => break,
            }
        }
        asked.lock().unwrap().push(path.clone());
        let found = std::fs::read(root.join(path.trim_start_matches('/')));
        let is_known = authorization.is_some_and(|given| allowed.contains(&given));
        let (status, bytes) = match found {
            _ if path.starts_with("/private") && !is_known => ("401 Unauthorized", Vec::new()),
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", b"nothing here".to_vec()),
        };
        let tag = format!("\"{}\"", sha256(&bytes));
        let (status, bytes) =
            if known.as_ref() == Some(&tag) { ("304 Not Modified", Vec::new()) } else { (status, bytes) };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nWWW-Authenticate: Basic realm=\"r\"\r\nETag: {tag}\r\nLast-Modified: {TIME}\r\n\r\n",
            bytes.len()
        );
        writer.write_all(head.as_bytes()).ok()?;
        writer.write_all(&bytes).ok()?;
    }
}
