//! A small HTTP/1.1 client on one kept-alive connection.
//!
//! Small on purpose: in measurements of latency and rate the client must cost next to nothing, and the
//! same for every server.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The end of a chunked response; JSON bodies contain no CRLF.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// The end of a response's head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// One connection, reopened when the server closes it after a response.
pub(crate) struct BenchHttpClient {
    address: SocketAddr,
    stream: TcpStream,
    /// The last response had `connection: close`.
    closing: bool,
    buffer: Vec<u8>,
    /// Offset in `buffer` where the head of the last response ends and its body begins.
    head: usize,
}

impl BenchHttpClient {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = open(address).await?;
        let buffer = Vec::with_capacity(16 * 1024);
        Ok(Self { address, stream, closing: false, buffer, head: 0 })
    }

    /// The bytes of a GET request.
    pub(crate) fn request(path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
    }

    /// Requests a path and returns the body of its 200 response.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<&[u8]> {
        self.send(&Self::request(path)).await?;
        let status = self.receive().await?;
        if status != 200 {
            bail!("GET {path}: status {status}: {}", String::from_utf8_lossy(self.body()));
        }
        Ok(self.body())
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        if std::mem::take(&mut self.closing) {
            self.stream = open(self.address).await?;
        }
        self.stream.write_all(request).await.context("send a request")
    }

    /// Receives one whole response and returns its status.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<u16> {
        self.buffer.clear();
        let (status, whole) = loop {
            self.receive_some().await?;
            if let Some(end) = find(&self.buffer, HEAD_END) {
                self.head = end + HEAD_END.len();
                let (status, length) = parse(self.head()).context("not a supported response")?;
                self.closing = has_line(self.head(), b"connection: close");
                match length {
                    Some(length) => break (status, self.head + length),
                    None => return self.receive_chunks().await.map(|()| status),
                }
            }
        };
        while self.buffer.len() < whole {
            self.receive_some().await?;
        }
        Ok(status)
    }

    /// Receives the rest of a chunked response; the body keeps the chunk framing.
    async fn receive_chunks(&mut self) -> anyhow::Result<()> {
        while !self.buffer.ends_with(LAST_CHUNK) {
            self.receive_some().await?;
        }
        Ok(())
    }

    /// The head of the last response.
    pub(crate) fn head(&self) -> &[u8] {
        self.buffer.get(..self.head).unwrap_or_default()
    }

    /// The body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        self.buffer.get(self.head..).unwrap_or_default()
    }

    async fn receive_some(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await.context("receive a response")? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

async fn open(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn has_line(head: &[u8], line: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|l| l.trim_ascii_end().eq_ignore_ascii_case(line))
}

/// Status and `Content-Length` of a response's head; without a length the response is chunked.
fn parse(head: &[u8]) -> Option<(u16, Option<usize>)> {
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    let mut lines = head.split(|byte| *byte == b'\n');
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    });
    let chunked = length.is_none() && has_line(head, b"transfer-encoding: chunked");
    Some((status, if chunked { None } else { Some(length.unwrap_or(0)) }))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
