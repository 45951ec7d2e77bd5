//! An answer's body without end, written to an HTTP/1.1 connection in chunks (RFC 9112, 7.1).

use std::io::{self, Cursor, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use bytes::Buf;
use bytes::buf::Chain;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::server::reclaimable_io::ReclaimableIo;

/// Writes a body until it ends, and then ends the connection; or until the client is gone.
///
/// Like hyper it asks the body for more while the client has not taken what was sent: the body may
/// give the client up for it, by an error. At most one more chunk is kept.
pub(crate) struct ChunkedWriter<IO> {
    lent: ReclaimableIo<IO>,
    body: Body,
    chunk: Option<Chunk>,
    next: Option<Chunk>,
    has_ended: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ChunkedWriter<IO> {
    pub(crate) fn new(lent: ReclaimableIo<IO>, body: Body) -> Self {
        Self { lent, body, chunk: None, next: None, has_ended: false }
    }

    fn put(&mut self, data: Bytes) {
        let place = if self.chunk.is_none() { &mut self.chunk } else { &mut self.next };
        *place = Some(chunk(data));
    }

    /// Ready when everything is written.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(chunk) = &mut self.chunk {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = chunk.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.lent).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            chunk.advance(written);
            if !chunk.has_remaining() {
                self.chunk = self.next.take();
            }
        }
        Pin::new(&mut self.lent).poll_flush(cx)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for ChunkedWriter<IO> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if this.lent.poll_gone(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let written = this.poll_written(cx)?;
            if this.has_ended {
                ready!(written);
                return Pin::new(&mut this.lent).poll_shutdown(cx);
            }
            if this.next.is_some() {
                return Poll::Pending;
            }
            if let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                let data = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
                // An empty chunk would be the last.
                if !data.is_empty() {
                    this.put(data);
                }
            } else {
                this.has_ended = true;
                this.put(Bytes::new());
            }
        }
    }
}

/// Its size, its data, and the end of its line.
type Chunk = Chain<Chain<Cursor<Size>, Bytes>, &'static [u8]>;

fn chunk(data: Bytes) -> Chunk {
    Cursor::new(Size::of(data.len())).chain(data).chain(b"\r\n")
}

/// A chunk's first line: the size in hexadecimal.
struct Size {
    line: [u8; Self::BYTES_MAX],
    length: usize,
}

impl Size {
    const BYTES_MAX: usize = size_of::<usize>() * 2 + 2;

    fn of(bytes: usize) -> Self {
        let mut line = Cursor::new([0; Self::BYTES_MAX]);
        // There is room for the largest.
        let _ = write!(line, "{bytes:x}\r\n");
        let length = usize::try_from(line.position()).unwrap_or_default();
        Self { line: line.into_inner(), length }
    }
}

impl AsRef<[u8]> for Size {
    fn as_ref(&self) -> &[u8] {
        self.line.get(..self.length).unwrap_or_default()
    }
}
