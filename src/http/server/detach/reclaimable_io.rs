//! A socket that can be given to hyper and taken back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once from a client that waits. It should send nothing: reading only detects that it
/// has disconnected.
const UNEXPECTED_BYTES_MAX: usize = 256;

/// Reports the first flush after it was armed: by then the writer has written everything.
#[derive(Default)]
pub(crate) struct FlushSignal(AtomicU8);

impl FlushSignal {
    const DISARMED: u8 = 0;
    const ARMED: u8 = 1;
    const FLUSHED: u8 = 2;

    /// From here on a flush counts.
    pub(crate) fn arm(&self) {
        self.0.store(Self::ARMED, Ordering::Relaxed);
    }

    /// Whether there was a flush since the signal was armed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::FLUSHED
    }

    pub(crate) fn disarm(&self) {
        self.0.store(Self::DISARMED, Ordering::Relaxed);
    }

    fn flushed(&self) {
        // Load and store need not be one operation: a single task reads and writes the socket.
        if self.0.load(Ordering::Relaxed) == Self::ARMED {
            self.0.store(Self::FLUSHED, Ordering::Relaxed);
        }
    }
}

/// The socket with what is to be read before its own bytes, and a signal of its flushes.
pub(crate) struct ReclaimableIo<IO> {
    io: IO,
    /// Read before anything that the socket has.
    prefix: Bytes,
    signal: Arc<FlushSignal>,
}

impl<IO> ReclaimableIo<IO> {
    pub(crate) fn new(io: IO, signal: Arc<FlushSignal>) -> Self {
        Self { io, prefix: Bytes::new(), signal }
    }

    /// Makes `bytes` the next to be read.
    pub(crate) fn prepend(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.prefix = [bytes, &self.prefix].concat().into();
        }
    }
}

impl<IO: AsyncRead + Unpin> ReclaimableIo<IO> {
    /// Ready when the client has disconnected. Bytes that it sends meanwhile are kept for the next
    /// reader; from then on the socket is not read, so a disconnection is not detected either.
    pub(crate) fn poll_disconnected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.prefix.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; UNEXPECTED_BYTES_MAX];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(());
        }
        self.prefix = Bytes::copy_from_slice(buffer.filled());
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReclaimableIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = buffer.remaining().min(self.prefix.len());
        buffer.put_slice(&self.prefix.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReclaimableIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.signal.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
