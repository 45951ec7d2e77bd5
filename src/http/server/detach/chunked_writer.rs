//! The unbounded body of a response, written to an HTTP/1.1 connection in chunks (RFC 9112, 7.1).

use std::io::{self, Cursor, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use bytes::Buf;
use bytes::buf::Chain;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::server::detach::reclaimable_io::ReclaimableIo;

/// A future that writes a body until the body ends, and then the connection with it, or until the
/// client disconnects.
///
/// Like hyper it polls the body while the client has not taken what was sent: the body may end with
/// an error to drop a client that is too slow. At most one more chunk is kept.
pub(crate) struct ChunkedWriter<IO> {
    io: ReclaimableIo<IO>,
    body: Body,
    chunk: Option<Chunk>,
    next: Option<Chunk>,
    has_ended: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ChunkedWriter<IO> {
    pub(crate) fn new(io: ReclaimableIo<IO>, body: Body) -> Self {
        Self { io, body, chunk: None, next: None, has_ended: false }
    }

    fn enqueue(&mut self, data: Bytes) {
        let slot = if self.chunk.is_none() { &mut self.chunk } else { &mut self.next };
        *slot = Some(chunk(data));
    }

    /// Ready when everything is written.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(chunk) = &mut self.chunk {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = chunk.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            chunk.advance(written);
            if !chunk.has_remaining() {
                self.chunk = self.next.take();
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for ChunkedWriter<IO> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if this.io.poll_disconnected(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let written = this.poll_written(cx)?;
            if this.has_ended {
                ready!(written);
                return Pin::new(&mut this.io).poll_shutdown(cx);
            }
            if this.next.is_some() {
                return Poll::Pending;
            }
            if let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                let data = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
                // A chunk of size zero would end the body.
                if !data.is_empty() {
                    this.enqueue(data);
                }
            } else {
                this.has_ended = true;
                this.enqueue(Bytes::new());
            }
        }
    }
}

/// Size line, data, and the line end after the data.
type Chunk = Chain<Chain<Cursor<SizeLine>, Bytes>, &'static [u8]>;

fn chunk(data: Bytes) -> Chunk {
    Cursor::new(SizeLine::of(data.len())).chain(data).chain(b"\r\n")
}

/// A chunk's first line: the size in hexadecimal.
struct SizeLine {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl SizeLine {
    const BYTES_MAX: usize = size_of::<usize>() * 2 + 2;

    fn of(size: usize) -> Self {
        let mut line = Cursor::new([0; Self::BYTES_MAX]);
        // The buffer is large enough for the largest size.
        let _ = write!(line, "{size:x}\r\n");
        let length = usize::try_from(line.position()).unwrap_or_default();
        Self { bytes: line.into_inner(), length }
    }
}

impl AsRef<[u8]> for SizeLine {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
