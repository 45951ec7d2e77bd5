//! A socket that can be lent to hyper and taken back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read from a client that should say nothing: it is heard only to learn that it is gone.
const UNASKED_BYTES_MAX: usize = 256;

/// Tells when whoever writes has nothing left to write.
#[derive(Default)]
pub(crate) struct FlushSignal(AtomicU8);

impl FlushSignal {
    const UNASKED: u8 = 0;
    const ASKED: u8 = 1;
    const FLUSHED: u8 = 2;

    /// From here on a flush counts.
    pub(crate) fn ask(&self) {
        self.0.store(Self::ASKED, Ordering::Relaxed);
    }

    /// Whether there was one since it was asked for.
    pub(crate) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::FLUSHED
    }

    /// It was seen.
    pub(crate) fn forget(&self) {
        self.0.store(Self::UNASKED, Ordering::Relaxed);
    }

    fn happened(&self) {
        // One task reads and writes: there is nobody in between.
        if self.0.load(Ordering::Relaxed) == Self::ASKED {
            self.0.store(Self::FLUSHED, Ordering::Relaxed);
        }
    }
}

/// The socket.
pub(crate) struct ReclaimableIo<IO> {
    io: IO,
    /// Read before anything that the socket has.
    before: Bytes,
    flushed: Arc<FlushSignal>,
}

impl<IO> ReclaimableIo<IO> {
    pub(crate) fn new(io: IO, flushed: Arc<FlushSignal>) -> Self {
        Self { io, before: Bytes::new(), flushed }
    }

    /// Bytes to be read before all others.
    pub(crate) fn put_before(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.before = [bytes, &self.before].concat().into();
        }
    }
}

impl<IO: AsyncRead + Unpin> ReclaimableIo<IO> {
    /// Ready when the client is gone. What it says meanwhile is kept; once it says something, it is
    /// not listened to any more.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.before.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; UNASKED_BYTES_MAX];
        let mut said = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut said));
        if read.is_err() || said.filled().is_empty() {
            return Poll::Ready(());
        }
        self.before = Bytes::copy_from_slice(said.filled());
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReclaimableIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let room = buffer.remaining().min(self.before.len());
        buffer.put_slice(&self.before.split_to(room));
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
        self.flushed.happened();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
