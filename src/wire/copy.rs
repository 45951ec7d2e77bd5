//! The CopyBoth phase of a walsender connection: frames in, status updates out.

use std::mem;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::MessageChannel;
use super::error::WireError;
use super::frame::{Frame, StatusUpdate};
use super::message::{HEADER_BYTES, RawMessage, first_message};
use super::receive_window::readable_bytes;
use super::server_error::ServerError;

/// A walsender connection in the CopyBoth phase.
pub struct CopyBoth {
    channel: MessageChannel,
    /// Bytes of the message whose frame was returned last: consumed at the next call, because the frame
    /// borrows from the buffer.
    unconsumed: usize,
    /// Whether the kernel limits how many unread bytes the server can send.
    window_is_limited: bool,
}

/// What the message at the front of the buffer calls for.
enum CopyProgress {
    /// It is not complete: more bytes must arrive.
    Incomplete,
    /// It holds no frame; its length in bytes.
    Skip(usize),
    /// It holds a frame; its length in bytes.
    Frame(usize),
}

impl CopyBoth {
    /// How long [`CopyBoth::finish`] waits for the server's confirmation.
    pub const FINISH_WAIT_MAX: Duration = Duration::from_secs(2);

    pub(crate) fn new(channel: MessageChannel, window_is_limited: bool) -> Self {
        Self { channel, unconsumed: 0, window_is_limited }
    }

    /// Waits for bytes once, then reads everything available without waiting, up to 256 KiB or, if that
    /// is larger, the message at the front. Cancel safe.
    ///
    /// Returns the number of bytes read; 0 when the buffer is full of frames not yet taken. The end of
    /// the connection is an error.
    pub async fn fill(&mut self) -> Result<usize, WireError> {
        self.release();
        self.channel.fill().await
    }

    /// Returns the next complete frame in the buffer; `None` when [`CopyBoth::fill`] must read first.
    ///
    /// # Errors
    /// [`WireError::Ended`] when the server ended the stream, [`WireError::Server`] when it reports an
    /// error; either is returned after every frame sent before it.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        self.release();
        let bytes = loop {
            match self.classify_next()? {
                CopyProgress::Incomplete => return Ok(None),
                CopyProgress::Skip(bytes) => self.channel.received.consume(bytes),
                CopyProgress::Frame(bytes) => break bytes,
            }
        };
        self.unconsumed = bytes;
        let content = self.channel.received.unread().get(HEADER_BYTES..bytes).unwrap_or_default();
        Ok(Some(Frame::parse(content)?))
    }

    fn release(&mut self) {
        self.channel.received.consume(mem::take(&mut self.unconsumed));
    }

    fn classify_next(&self) -> Result<CopyProgress, WireError> {
        let unread = self.channel.received.unread();
        let Some(message) = first_message(unread, self.channel.message_bytes_max)? else {
            return Ok(CopyProgress::Incomplete);
        };
        classify(&message)
    }

    /// Reports the confirmed positions to the server. Cancel safe: the next call first sends what is left
    /// of this one.
    pub async fn send_status(&mut self, status: StatusUpdate) -> Result<(), WireError> {
        status.write(&mut self.channel.unsent);
        Ok(self.channel.flush().await?)
    }

    /// Ends the stream and the session: status updates sent before are delivered, frames still in transit
    /// are dropped.
    pub async fn finish(mut self) -> Result<(), WireError> {
        // CopyDone
        self.channel.unsent.extend_from_slice(b"c\0\0\0\x04");
        self.channel.flush().await?;
        // After a timeout or an error there is no one left to answer, and the session ends either way.
        let _ = timeout(Self::FINISH_WAIT_MAX, self.wait_for_end()).await;
        // Terminate
        self.channel.unsent.extend_from_slice(b"X\0\0\0\x04");
        let _ = self.channel.flush().await;
        Ok(())
    }

    async fn wait_for_end(&mut self) -> Result<(), WireError> {
        loop {
            // ReadyForQuery: the walsender has left the stream.
            if self.channel.next_message().await?.tag == b'Z' {
                return Ok(());
            }
        }
    }

    /// Bytes in the kernel's buffer that [`CopyBoth::fill`] has not read; `None` if the receive window is
    /// not limited, because the number then says nothing about how full the window is.
    pub fn readable_bytes(&self) -> Option<usize> {
        if self.window_is_limited { readable_bytes(&self.channel.transport) } else { None }
    }

    /// Whether the connection uses a Unix-domain socket: the server is on this machine.
    pub fn is_unix_socket(&self) -> bool {
        self.channel.transport.is_unix_socket()
    }
}

fn classify(message: &RawMessage<'_>) -> Result<CopyProgress, WireError> {
    match message.tag {
        b'd' => Ok(CopyProgress::Frame(message.bytes())),
        b'E' => Err(ServerError::parse(message.body).into()),
        // CopyDone, or CommandComplete from a server that is shutting down.
        b'c' | b'C' => Err(WireError::Ended),
        b'N' | b'S' | b'A' => Ok(CopyProgress::Skip(message.bytes())),
        _ => Err(message.unexpected().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::wire::message::MESSAGE_BYTES_MAX;
    use crate::wire::receive_window::limit_receive_window;
    use crate::wire::transport::Transport;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::time::sleep;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn xlog_data(data: &[u8]) -> Vec<u8> {
        message(b'd', &[&b"w"[..], &[0; 24], data].concat())
    }

    fn stream() -> (CopyBoth, UnixStream) {
        let (client, server) = UnixStream::pair().unwrap();
        (
            CopyBoth::new(MessageChannel::new(Transport::Unix(client), MESSAGE_BYTES_MAX), false),
            server,
        )
    }

    async fn read_all(copy: &mut CopyBoth) -> (Vec<Vec<u8>>, WireError) {
        let mut read = Vec::new();
        loop {
            match copy.next_frame() {
                Ok(Some(Frame::XLogData { data, .. })) => read.push(data.to_vec()),
                Ok(Some(Frame::Keepalive { .. })) => {}
                Ok(None) => match copy.fill().await {
                    Ok(_) => {}
                    Err(error) => return (read, error),
                },
                Err(error) => return (read, error),
            }
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            sizes in prop::collection::vec(0..3_000_usize, 0..20),
            cuts in prop::collection::vec(1..4_000_usize, 1..20),
        ) {
            let sent: Vec<Vec<u8>> = sizes.iter().map(|size| vec![u8::try_from(size % 251).unwrap(); *size]).collect();
            let mut bytes: Vec<u8> = Vec::new();
            for data in &sent {
                bytes.extend(message(b'N', b"a notice"));
                bytes.extend(xlog_data(data));
            }
            bytes.extend(message(b'c', b""));
            let runtime = runtime();
            let _context = runtime.enter();
            let (mut copy, mut server) = stream();
            let writing = async {
                let mut rest = &bytes[..];
                for cut in cuts.iter().cycle() {
                    if rest.is_empty() { break; }
                    let (now, later) = rest.split_at(rest.len().min(*cut));
                    server.write_all(now).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = later;
                }
            };
            let ((read, end), ()) = runtime.block_on(async { tokio::join!(read_all(&mut copy), writing) });
            prop_assert_eq!(read, sent);
            prop_assert!(matches!(end, WireError::Ended));
        }

        #[test]
        fn any_bytes_end_in_an_error(bytes: Vec<u8>) {
            let runtime = runtime();
            let _context = runtime.enter();
            let (mut copy, mut server) = stream();
            runtime.block_on(async {
                server.write_all(&bytes).await.unwrap();
                drop(server);
                read_all(&mut copy).await
            });
        }
    }

    #[tokio::test]
    async fn a_message_larger_than_the_buffer_comes_whole() {
        let (mut copy, mut server) = stream();
        let data: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        let bytes = [xlog_data(&data), xlog_data(b"small"), message(b'C', b"COPY 0\0")].concat();
        let writing = async { server.write_all(&bytes).await.unwrap() };
        let ((read, end), ()) = tokio::join!(read_all(&mut copy), writing);
        assert_eq!(read, [data, b"small".to_vec()]);
        assert!(matches!(end, WireError::Ended));
    }

    #[tokio::test]
    async fn a_full_buffer_asks_for_frames_to_be_taken() {
        let (mut copy, mut server) = stream();
        let bytes = xlog_data(&[7; 1_000]).repeat(400);
        let writing = async {
            let _ = server.write_all(&bytes).await;
        };
        let filling = async {
            while copy.fill().await.unwrap() > 0 {}
            let mut frames = 0;
            loop {
                if copy.next_frame().unwrap().is_some() {
                    frames += 1;
                } else if frames == 400 {
                    break;
                } else {
                    copy.fill().await.unwrap();
                }
            }
        };
        tokio::join!(writing, filling);
    }

    #[tokio::test]
    async fn an_error_comes_after_the_frames_before_it() {
        let (mut copy, mut server) = stream();
        let error = message(b'E', b"VFATAL\0C57P01\0Mterminating\0\0");
        server.write_all(&[xlog_data(b"x"), error].concat()).await.unwrap();
        let (read, end) = read_all(&mut copy).await;
        assert_eq!(read, [b"x"]);
        assert_eq!(end.sqlstate(), Some("57P01"));
    }

    #[tokio::test]
    async fn unread_bytes_from_a_loopback_address_are_limited() {
        const READ: usize = 8 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let transport = Transport::Tcp(client);
        let limited = limit_receive_window(&transport);
        assert_eq!(limited, cfg!(target_os = "linux"));
        if !limited {
            return;
        }
        let mut copy = CopyBoth::new(MessageChannel::new(transport, MESSAGE_BYTES_MAX), limited);
        assert_eq!(copy.readable_bytes(), Some(0));
        let writing = async {
            let message = xlog_data(&[7; 10_000]);
            loop {
                server.write_all(&message).await.unwrap();
            }
        };
        let reading = async {
            // The kernel enlarges the window of a stream that is read for some time, unless it is limited.
            let mut read = 0;
            while read < READ {
                while copy.next_frame().unwrap().is_some() {}
                read += copy.fill().await.unwrap();
            }
            sleep(Duration::from_millis(50)).await;
            copy.readable_bytes().unwrap()
        };
        let unread = tokio::select! {
            () = writing => unreachable!("the writer never ends"),
            bytes = reading => bytes,
        };
        assert!((10_000..=64 << 10).contains(&unread), "{unread} bytes");
    }

    #[tokio::test]
    async fn a_cancelled_fill_loses_nothing() {
        let (mut copy, mut server) = stream();
        let bytes = xlog_data(b"abc");
        for byte in &bytes {
            assert!(timeout(Duration::from_millis(1), copy.fill()).await.is_err());
            server.write_all(&[*byte]).await.unwrap();
            copy.fill().await.unwrap();
        }
        let frame = copy.next_frame().unwrap().unwrap();
        let zero = Lsn::ZERO;
        assert_eq!(
            frame,
            Frame::XLogData { wal_start: zero, wal_end: zero, clock: 0, data: b"abc" }
        );
    }
}
