//! Answers every request with its version; `--health` asks a running server whether it does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;

fn main() {
    let listen = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    if std::env::args().any(|argument| argument == "--health") {
        exit(i32::from(TcpStream::connect(listen.replace("0.0.0.0", "127.0.0.1")).is_err()));
    }
    println!("rust-web serves version {}", env!("BUILD_VERSION"));
    let mut served = 0_u64;
    for stream in TcpListener::bind(listen).unwrap().incoming().flatten() {
        served += 1;
        answer(stream, served);
    }
}

fn answer(mut stream: TcpStream, served: u64) {
    let mut number = itoa::Buffer::new();
    let body = format!("{} {}\n", env!("BUILD_VERSION"), number.format(served));
    let _ = stream.read(&mut [0; 4096]);
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}
