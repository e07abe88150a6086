//! An HTTP/1.1 proxy in front of a real registry: it counts what passes, and does the faults that a test scripts.
//!
//! One thread per connection, one upstream connection for each. Bodies are streamed, so a large layer stays a stream.
//! It can also stand in for a token server, since the real one needs certificates: see [`Proxy::ask_for_tokens`].

use super::base64;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request that passed, and its answer. `up` and `down` are body bytes.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) authorization: Option<String>,
}

impl Exchange {
    pub(crate) fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// What to do to a request whose method and path match: by default once.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    method: &'static str,
    path: String,
    after: usize,
    times: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Answer(u16, &'static str, &'static str),
    Drop,
    DropAfter(u64),
    StallAfter(u64),
    Corrupt,
    Unmounted,
    Slow(Duration),
}

impl Fault {
    pub(crate) fn on(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), after: 0, times: 1, what: What::Drop }
    }

    /// Lets the first `count` matching requests pass.
    pub(crate) fn after(mut self, count: usize) -> Self {
        self.after = count;
        self
    }

    pub(crate) fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }

    /// Answers with this status instead of asking the registry. `headers` are whole lines, each ended by CRLF.
    pub(crate) fn answer(mut self, status: u16, headers: &'static str, body: &'static str) -> Self {
        self.what = What::Answer(status, headers, body);
        self
    }

    /// Closes the connection without an answer.
    pub(crate) fn drop_connection(mut self) -> Self {
        self.what = What::Drop;
        self
    }

    /// Closes the connection after so many bytes of the answer's body.
    pub(crate) fn drop_after(mut self, bytes: u64) -> Self {
        self.what = What::DropAfter(bytes);
        self
    }

    /// Sends so many bytes of the answer's body and then nothing more, on a connection that stays open.
    pub(crate) fn stall_after(mut self, bytes: u64) -> Self {
        self.what = What::StallAfter(bytes);
        self
    }

    /// Changes the last byte of the answer's body.
    pub(crate) fn corrupt(mut self) -> Self {
        self.what = What::Corrupt;
        self
    }

    /// Takes `mount` and `from` out of the query, so that the registry answers 202 with a session, as it may.
    pub(crate) fn refuse_mount(mut self) -> Self {
        self.what = What::Unmounted;
        self
    }

    pub(crate) fn slow(mut self, by: Duration) -> Self {
        self.what = What::Slow(by);
        self
    }
}

#[derive(Default)]
struct State {
    exchanges: Vec<Exchange>,
    faults: Vec<Fault>,
    tokens_for: Option<(&'static str, &'static str)>,
}

pub(crate) struct Proxy {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Listens on a free loopback port until the process ends.
    pub(crate) fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<State>>::default();
        let (shared, own, upstream) = (Arc::clone(&state), address.clone(), upstream.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, own, upstream) = (Arc::clone(&shared), own.clone(), upstream.clone());
                thread::spawn(move || serve(&client, &upstream, &own, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.state.lock().unwrap().exchanges.clone()
    }

    pub(crate) fn reset(&self) {
        let mut state = self.state.lock().unwrap();
        state.exchanges.clear();
        state.faults.clear();
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push(fault);
    }

    /// From now on a request needs a bearer token whose scopes cover it. Tokens come from `/token`: pull for anyone, push
    /// for who gives this name and password. A token covers exactly the scopes that were asked for.
    pub(crate) fn ask_for_tokens(&self, name: &'static str, password: &'static str) {
        self.state.lock().unwrap().tokens_for = Some((name, password));
    }
}

struct Head {
    first: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let (mut first, mut fields) = (String::new(), Vec::new());
        if from.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => return Ok(Some(Self { first: first.trim_end().to_owned(), fields })),
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        to.write_all((text + "\r\n").as_bytes())
    }

    fn chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length").and_then(|value| value.parse().ok())
    }
}

/// Copies one body as it is framed and returns the bytes of its content.
fn copy_body(head: &Head, from: &mut impl BufRead, mut to: impl Write, until_end: bool) -> io::Result<u64> {
    if !head.chunked() {
        return match head.length() {
            Some(length) => io::copy(&mut from.take(length), &mut to),
            None if until_end => io::copy(from, &mut to),
            None => Ok(0),
        };
    }
    let mut total = 0;
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        to.write_all(line.as_bytes())?;
        let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        io::copy(&mut from.take(size + 2), &mut to)?;
        total += size;
        if size == 0 {
            return Ok(total);
        }
    }
}

/// Passes everything on, with the last byte changed or the end cut off.
struct Spoiled<W> {
    to: W,
    left: u64,
    cut: bool,
}

impl<W: Write> Write for Spoiled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.left.min(bytes.len() as u64) as usize;
        if size == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut bytes = bytes[..size].to_vec();
        self.left -= size as u64;
        if self.left == 0 && !self.cut {
            bytes[size - 1] ^= 1;
        }
        self.to.write_all(&bytes)?;
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn serve(client: &TcpStream, upstream: &str, own: &str, state: &Mutex<State>) {
    let _ = client.set_nodelay(true);
    if let Ok(server) = TcpStream::connect(upstream) {
        let _ = server.set_nodelay(true);
        let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(&server));
        while exchange(&mut from_client, client, &mut from_server, &server, own, state).unwrap_or(false) {}
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Passes one request on and its answer back; false when the connection is to be closed.
fn exchange(
    from_client: &mut BufReader<&TcpStream>,
    mut client: &TcpStream,
    from_server: &mut BufReader<&TcpStream>,
    mut server: &TcpStream,
    own: &str,
    state: &Mutex<State>,
) -> io::Result<bool> {
    let Some(mut request) = Head::read(from_client)? else { return Ok(false) };
    let mut words = request.first.split(' ').map(str::to_owned);
    let (method, mut path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let authorization = request.get("authorization").map(str::to_owned);
    let done = |path: &str, status, up, down| {
        let (method, path, authorization) = (method.clone(), path.to_owned(), authorization.clone());
        state.lock().unwrap().exchanges.push(Exchange { method, path, status, up, down, authorization });
    };
    if request.get("expect").is_some() {
        request.fields.retain(|(name, _)| name != "expect");
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }

    let tokens_for = state.lock().unwrap().tokens_for;
    if let Some(user) = tokens_for {
        if let Some((status, headers, body)) = gate(&method, &path, authorization.as_deref(), own, user) {
            let up = copy_body(&request, from_client, io::sink(), false)?;
            answer(&method, client, status, &headers, &body)?;
            done(&path, status, up, body.len() as u64);
            return Ok(true);
        }
        // The registry behind knows nothing of tokens.
        request.fields.retain(|(name, _)| name != "authorization");
    }

    let fault = pick(&mut state.lock().unwrap().faults, &method, &path);
    match &fault {
        Some(What::Answer(status, headers, body)) => {
            let up = copy_body(&request, from_client, io::sink(), false)?;
            answer(&method, client, *status, headers, body)?;
            done(&path, *status, up, body.len() as u64);
            return Ok(true);
        }
        Some(What::Drop) => {
            done(&path, 0, 0, 0);
            return Ok(false);
        }
        Some(What::Slow(by)) => thread::sleep(*by),
        Some(What::Unmounted) => {
            path.truncate(path.find('?').unwrap_or(path.len()));
            request.first = format!("{method} {path} HTTP/1.1");
        }
        _ => {}
    }

    request.write(&mut server)?;
    // The registry may answer and close before it has read everything: its answer still counts.
    let up = copy_body(&request, from_client, server, false).unwrap_or_default();
    let mut response = Head::read(from_server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    while response.first.split(' ').nth(1).is_some_and(|status| status.starts_with('1')) {
        response = Head::read(from_server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    let status: u16 = response.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    response.write(&mut client)?;
    let empty = method == "HEAD" || status == 204 || status == 304;
    let down = match &fault {
        _ if empty => Ok(0),
        Some(What::Corrupt) => {
            let left = response.length().unwrap_or(u64::MAX);
            copy_body(&response, from_server, Spoiled { to: client, left, cut: false }, true)
        }
        Some(What::DropAfter(left)) => {
            copy_body(&response, from_server, Spoiled { to: client, left: *left, cut: true }, true)
        }
        Some(What::StallAfter(left)) => {
            let cut = copy_body(&response, from_server, Spoiled { to: client, left: *left, cut: true }, true);
            // Until the other side has had enough.
            let _ = io::copy(from_client, &mut io::sink());
            cut
        }
        _ => copy_body(&response, from_server, client, true),
    };
    done(&path, status, up, *down.as_ref().unwrap_or(&0));
    let closes =
        |head: &Head| head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(down.is_ok() && !closes(&request) && !closes(&response))
}

fn pick(faults: &mut [Fault], method: &str, path: &str) -> Option<What> {
    for fault in faults.iter_mut().filter(|fault| fault.method == method && path.contains(&fault.path)) {
        if fault.after > 0 {
            fault.after -= 1;
        } else if fault.times > 0 {
            fault.times -= 1;
            return Some(fault.what.clone());
        }
    }
    None
}

fn answer(method: &str, mut to: &TcpStream, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let body_sent = if method == "HEAD" { "" } else { body };
    write!(to, "HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n{headers}\r\n{body_sent}", body.len())
}

/// The token server and the check of its tokens: an answer, or `None` to let the request pass.
fn gate(
    method: &str,
    path: &str,
    authorization: Option<&str>,
    own: &str,
    (name, password): (&str, &str),
) -> Option<(u16, String, String)> {
    if let Some(query) = path.strip_prefix("/token?") {
        let known =
            authorization == Some(&format!("Basic {}", base64(format!("{name}:{password}").as_bytes())));
        if authorization.is_some() && !known {
            return Some((401, String::new(), "{}".to_owned()));
        }
        let query = query
            .replace("%3A", ":")
            .replace("%2F", "/")
            .replace("%2C", ",")
            .replace("+", " ")
            .replace("%20", " ");
        let mut granted = String::new();
        for scope in
            query.split('&').filter_map(|field| field.strip_prefix("scope=")).flat_map(|s| s.split(' '))
        {
            granted += &if known {
                scope.to_owned()
            } else {
                scope.replace("pull,push", "pull").replace("push,pull", "pull")
            };
            granted.push(' ');
        }
        return Some((
            200,
            String::new(),
            format!("{{\"token\":\"{}\",\"expires_in\":300}}", base64(granted.as_bytes())),
        ));
    }
    let rest = path.strip_prefix("/v2/")?;
    let repository = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .find_map(|part| rest.find(part).map(|at| &rest[..at]))
        .unwrap_or("");
    let action = if matches!(method, "GET" | "HEAD") { "pull" } else { "push" };
    let covered = authorization.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|token| {
        repository.is_empty()
            || super::base64_decode(token).split(' ').any(|scope| {
                scope
                    .strip_prefix(&format!("repository:{repository}:"))
                    .is_some_and(|a| a.split(',').any(|a| a == action))
            })
    });
    let actions = if action == "pull" { "pull" } else { "pull,push" };
    (!covered).then(|| {
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{own}/token\",service=\"test\",scope=\"repository:{repository}:{actions}\"\r\n"
        );
        (401, challenge, "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}".to_owned())
    })
}
