//! A small HTTP/1.1 client on one kept-alive connection.
//!
//! Small on purpose: in the measurements of latency and rate the client should cost next to
//! nothing, and the same for everything it is pointed at.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The end of an answer's head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// One connection.
pub(crate) struct HttpClient {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the head of the last answer ends in `buffer`, and the body begins.
    head: usize,
}

impl HttpClient {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024), head: 0 })
    }

    /// The bytes of a GET request.
    pub(crate) fn request(path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
    }

    /// The body of a page, which must be there.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<&[u8]> {
        self.send(&Self::request(path)).await?;
        let status = self.receive().await?;
        if status != 200 {
            bail!("GET {path}: status {status}: {}", String::from_utf8_lossy(self.body()));
        }
        Ok(self.body())
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await.context("send a request")
    }

    /// Receives one whole answer and tells its status.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<u16> {
        self.buffer.clear();
        let (status, whole) = loop {
            self.receive_some().await?;
            if let Some(end) = find(&self.buffer, HEAD_END) {
                self.head = end + HEAD_END.len();
                let (status, length) = parse(self.head()).context("not an answer we know")?;
                break (status, self.head + length);
            }
        };
        while self.buffer.len() < whole {
            self.receive_some().await?;
        }
        Ok(status)
    }

    /// The head of the last answer.
    pub(crate) fn head(&self) -> &[u8] {
        self.buffer.get(..self.head).unwrap_or_default()
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        self.buffer.get(self.head..).unwrap_or_default()
    }

    async fn receive_some(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await.context("receive an answer")? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

/// Status and `Content-Length` of an answer's head.
fn parse(head: &[u8]) -> Option<(u16, usize)> {
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    let mut lines = head.split(|byte| *byte == b'\n');
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    });
    Some((status, length.unwrap_or(0)))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
