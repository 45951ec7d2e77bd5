//! A transport with its receive and send buffers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::buffer::ReceiveBuffer;
use super::error::WireError;
use super::message::{HEADER_BYTES, first_message, message_bytes};
use super::transport::Transport;

/// A message copied out of the buffer.
pub(crate) struct BackendMessage {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// A stream of messages over a transport.
pub(crate) struct MessageChannel {
    pub(crate) transport: Transport,
    pub(crate) received: ReceiveBuffer,
    /// Bytes to send. They are kept here so that a cancelled [`MessageChannel::flush`] neither loses nor
    /// repeats any.
    pub(crate) unsent: Vec<u8>,
    /// Longest message accepted, in bytes: small until the session has started, then the protocol's limit.
    pub(crate) message_bytes_max: usize,
}

impl MessageChannel {
    pub(crate) fn new(transport: Transport, message_bytes_max: usize) -> Self {
        let received = ReceiveBuffer::new();
        Self { transport, received, unsent: Vec::new(), message_bytes_max }
    }

    /// Waits for bytes, then reads what is available without waiting, until the buffer is full. Cancel safe.
    ///
    /// Returns the number of bytes read; 0 when the buffer is full of complete messages.
    pub(crate) async fn fill(&mut self) -> Result<usize, WireError> {
        let message = message_bytes(self.received.unread(), self.message_bytes_max)?;
        self.received.make_room(message);
        if self.received.space().is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WireError>> {
        let mut total = 0;
        loop {
            let mut space = ReadBuf::new(self.received.space());
            let ready = Pin::new(&mut self.transport).poll_read(cx, &mut space);
            let count = space.filled().len();
            self.received.received(count);
            total += count;
            match ready {
                Poll::Pending if total == 0 => return Poll::Pending,
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) if total == 0 => return Poll::Ready(Err(WireError::Closed)),
                Poll::Ready(Ok(())) if count > 0 && !self.received.space().is_empty() => {}
                // The next call reports an error or the end again.
                _ => return Poll::Ready(Ok(total)),
            }
        }
    }

    /// Waits for the next message. Cancel safe.
    pub(crate) async fn next_message(&mut self) -> Result<BackendMessage, WireError> {
        loop {
            if let Some(raw) = first_message(self.received.unread(), self.message_bytes_max)? {
                let message = BackendMessage { tag: raw.tag, body: raw.body.to_vec() };
                self.received.consume(HEADER_BYTES + message.body.len());
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Sends the unsent bytes. Cancel safe: the next call continues where this one stopped.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.transport.write(&self.unsent).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.drain(..count);
        }
        self.transport.flush().await
    }
}
