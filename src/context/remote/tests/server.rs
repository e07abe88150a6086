//! A server that does what a script says and remembers what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A request as received.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Path and query.
    pub(super) target: String,
    headers: Vec<(String, String)>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
    endless: bool,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(status) }
    }

    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::of(200, body)
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Announce the whole body, send so many bytes of it and close the connection.
    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Announce no length and send zeros until nobody listens.
    pub(super) fn endless() -> Self {
        Self { endless: true, ..Self::new(200) }
    }
}

type Script = Box<dyn FnMut(&Seen) -> Reply + Send>;

/// The server. It lives as long as the process.
#[derive(Clone)]
pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answer every request as `script` says.
    pub(super) fn start(script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, script) = (Arc::clone(&server.seen), Arc::new(Mutex::new(Box::new(script) as Script)));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || serve(connection.unwrap(), &seen, &script));
            }
        });
        server
    }

    /// Answer with the files of a folder.
    pub(super) fn of_files(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self::start(move |seen| file(&folder, seen))
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// The file that a request names.
pub(super) fn file(folder: &std::path::Path, seen: &Seen) -> Reply {
    let path = seen.target.split('?').next().unwrap_or_default().trim_start_matches('/');
    match std::fs::read(folder.join(path)) {
        Ok(bytes) => Reply::ok(bytes),
        Err(_) => Reply::new(404),
    }
}

fn serve(connection: TcpStream, seen: &Mutex<Vec<Seen>>, script: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut writer = connection;
    loop {
        let request = read(&mut reader)?;
        seen.lock().unwrap().push(request.clone());
        let reply = (script.lock().unwrap())(&request);
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
        if !reply.endless {
            head += &format!("content-length: {}\r\n", reply.body.len());
        }
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        writer.write_all((head + "\r\n").as_bytes()).ok()?;
        if reply.endless {
            loop {
                writer.write_all(&[0; 4096]).ok()?;
            }
        }
        writer.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]).ok()?;
        if reply.cut.is_some() {
            return None;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut seen = Seen { target: line.split_ascii_whitespace().nth(1)?.to_owned(), ..Seen::default() };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => seen.headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return Some(seen),
        }
    }
}
