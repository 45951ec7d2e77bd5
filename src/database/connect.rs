//! SQL sessions, opened exactly as the walsender's connection is.
//!
//! tokio-postgres differs from libpq in what one connection URL means: it has no fallbacks of `allow` and
//! `prefer`, sends a password in clear text over an unencrypted connection, reads no password file, and its
//! errors name no remedy. `wire` therefore opens the session, and tokio-postgres receives a stream that is
//! already past the startup: its own startup message is dropped, and it reads the server's startup messages
//! from a copy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use crate::wire::{self, ConnectError, ConnectErrorKind, ConnectOptions, LoggedIn, SessionPurpose};

/// Opens an SQL session. Returns the client and the driver, a future that must run for the client to make
/// progress; it ends when the client is dropped or the connection is lost.
///
/// `DateStyle`, `TimeZone=UTC` and the like are pinned as on the walsender's connection.
pub async fn connect(
    target: &ConnectOptions,
) -> Result<(Client, impl Future<Output = ()> + Send + use<>), ConnectError> {
    let session = Box::pin(wire::connect(target, SessionPurpose::Sql)).await?;
    let mut config = Config::new();
    // Required by tokio-postgres for its startup message, which is dropped.
    config.user(target.user()).ssl_mode(SslMode::Disable);
    let connected = config.connect_raw(OpenedSession::new(session), NoTls).await;
    let (client, connection) = connected.map_err(|error| {
        ConnectError::new(target.display_name(), ConnectErrorKind::Lost(io::Error::other(error)))
    })?;
    let driver = async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "SQL connection lost");
        }
    };
    Ok((client, driver))
}

/// An open session, as a stream for a client library that performs the startup itself.
struct OpenedSession {
    session: LoggedIn,
    /// Bytes read of the session's startup messages.
    messages_read: usize,
    startup: Startup,
}

/// Progress of dropping the startup message.
enum Startup {
    /// Inside the length word, of which `seen` bytes have passed.
    Length { bytes: [u8; 4], seen: usize },
    /// Number of bytes to drop.
    Rest(usize),
}

impl OpenedSession {
    fn new(session: LoggedIn) -> Self {
        Self { session, messages_read: 0, startup: Startup::Length { bytes: [0; 4], seen: 0 } }
    }
}

impl Startup {
    /// Returns how many of the written bytes belong to the startup message.
    fn swallow(&mut self, written: &[u8]) -> usize {
        let mut rest = written;
        if let Self::Length { bytes, seen } = self {
            for slot in bytes.iter_mut().skip(*seen) {
                let Some((byte, after)) = rest.split_first() else { break };
                (*slot, rest) = (*byte, after);
                *seen += 1;
            }
            if *seen < bytes.len() {
                return written.len();
            }
            let length = usize::try_from(u32::from_be_bytes(*bytes)).unwrap_or(usize::MAX);
            *self = Self::Rest(length.saturating_sub(4));
        }
        if let Self::Rest(remaining) = self {
            let count = rest.len().min(*remaining);
            *remaining -= count;
            rest = rest.get(count..).unwrap_or_default();
        }
        written.len() - rest.len()
    }
}

impl AsyncRead for OpenedSession {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let unread = this.session.startup_messages.get(this.messages_read..).unwrap_or_default();
        if let Some(piece) =
            unread.get(..buf.remaining().min(unread.len())).filter(|p| !p.is_empty())
        {
            buf.put_slice(piece);
            this.messages_read += piece.len();
            return Poll::Ready(Ok(()));
        }
        let received = &mut this.session.channel.received;
        let count = buf.remaining().min(received.unread().len());
        if let Some(piece) = received.unread().get(..count).filter(|piece| !piece.is_empty()) {
            buf.put_slice(piece);
            received.consume(count);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.session.channel.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for OpenedSession {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.startup.swallow(buf) {
            0 => Pin::new(&mut this.session.channel.transport).poll_write(cx, buf),
            swallowed => Poll::Ready(Ok(swallowed)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().session.channel.transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().session.channel.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_startup_message_is_dropped(
            length in 0..300_usize,
            after: Vec<u8>,
            cuts in prop::collection::vec(1..40_usize, 1..10),
        ) {
            let word = u32::try_from(length + 4).unwrap().to_be_bytes();
            let bytes = [&word[..], &vec![7; length], &after].concat();
            let mut startup = Startup::Length { bytes: [0; 4], seen: 0 };
            let mut passed = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                let swallowed = startup.swallow(now);
                passed.extend_from_slice(&now[swallowed..]);
                rest = later;
            }
            prop_assert_eq!(passed, after);
        }
    }
}
