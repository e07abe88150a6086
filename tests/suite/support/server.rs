//! A real `docker-registry` on a free loopback port, with its data and its access log in a folder of its own.
//!
//! It is started under a shell that reads from a pipe of ours: when this process ends, however it ends, the pipe closes
//! and the shell ends the registry. Nothing is left running even after a test was killed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub(crate) struct Server {
    shell: Child,
    address: String,
}

impl Server {
    /// Serves `folder/data`, made when missing; what is asked is logged to `folder/access.log`. `options` is further YAML of the registry's configuration.
    pub(crate) fn start(folder: &Path, options: &str) -> Self {
        let (config, log) = (folder.join("config.yml"), folder.join("access.log"));
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            let data = folder.join("data");
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
                 delete: {{enabled: true}}\nhttp: {{addr: '{address}', relativeurls: true}}\n{options}",
                data.display()
            );
            fs::write(&config, text).unwrap();
            let out = File::create(&log).unwrap();
            let shell = Command::new("sh")
                .args(["-c", "docker-registry serve \"$1\" </dev/null & read -r _; kill $!; wait", "sh"])
                .arg(&config)
                .env("OTEL_TRACES_EXPORTER", "none")
                .stdin(Stdio::piped())
                .stdout(out.try_clone().unwrap())
                .stderr(out)
                .spawn()
                .expect("start docker-registry");
            let server = Self { shell, address };
            // Another process may take the port between our look and the registry's bind: then try the next.
            for _ in 0..200 {
                if server.answers() {
                    return server;
                }
                sleep(Duration::from_millis(25));
            }
        }
        panic!("docker-registry did not start: {}", fs::read_to_string(log).unwrap_or_default());
    }

    fn answers(&self) -> bool {
        let mut answer = [0; 8];
        TcpStream::connect(&self.address).is_ok_and(|mut stream| {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_ok()
                && stream.read_exact(&mut answer).is_ok()
        })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
