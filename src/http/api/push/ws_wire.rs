//! The frames of a WebSocket, with bounds on memory and time.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The maximum size of a client's message; a longer one ends the connection (close code 1009).
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longer messages are sent in fragments, so that no connection has a larger write buffer.
const FRAGMENT_BYTES_MAX: usize = 4 * 1024;

/// The size of each connection's read buffer.
const READ_BUFFER_BYTES: usize = 512;

/// Time for a client to answer a close frame.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A connection after the WebSocket handshake.
pub(crate) struct WsWire {
    frames: WebSocketStream<TokioIo<Upgraded>>,
    write_max: Duration,
}

/// A client's message.
pub(crate) enum ClientMessage {
    Text(String),
    /// A ping, pong or close frame: the client is alive, and the library has responded.
    Alive,
    /// A violation of RFC 6455 or of a limit.
    Wrong(CloseCode, &'static str),
    /// The end of the connection.
    Gone,
}

/// The client is gone, or accepts no bytes for `PushOptions::write_max`.
pub(crate) struct Disconnected;

impl WsWire {
    pub(crate) async fn new(upgraded: Upgraded, write_max: Duration) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let io = TokioIo::new(upgraded);
        let frames = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Self { frames, write_max }
    }

    /// The client's next message. Cancel safe.
    pub(crate) async fn receive(&mut self) -> ClientMessage {
        match self.frames.next().await {
            Some(Ok(Message::Text(text))) => ClientMessage::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(_))) => {
                ClientMessage::Wrong(CloseCode::Unsupported, "send text, not binary")
            }
            Some(Ok(_)) => ClientMessage::Alive,
            Some(Err(Error::Utf8(_))) => {
                ClientMessage::Wrong(CloseCode::Invalid, "text must be UTF-8")
            }
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                ClientMessage::Wrong(CloseCode::Size, "a message is limited to 64 KiB")
            }
            Some(Err(Error::Protocol(_))) => {
                ClientMessage::Wrong(CloseCode::Protocol, "protocol error (RFC 6455)")
            }
            Some(Err(_)) | None => ClientMessage::Gone,
        }
    }

    /// Sends a text message; returns when the connection has accepted it.
    pub(crate) async fn send(&mut self, mut text: Bytes) -> Result<(), Disconnected> {
        let mut code = Data::Text;
        loop {
            let fragment = text.split_to(text.len().min(FRAGMENT_BYTES_MAX));
            let frame = Frame::message(fragment, OpCode::Data(code), text.is_empty());
            self.write(Message::Frame(frame)).await?;
            if text.is_empty() {
                return Ok(());
            }
            code = Data::Continue;
        }
    }

    pub(crate) async fn ping(&mut self) -> Result<(), Disconnected> {
        self.write(Message::Ping(Bytes::new())).await
    }

    /// Sends a close frame and waits for the client's.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        let goodbye = async {
            if self.write(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.frames.next().await {}
            }
        };
        // A client that does not answer is disconnected all the same.
        let _ = timeout(CLOSE_MAX, goodbye).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Disconnected> {
        match timeout(self.write_max, self.frames.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Disconnected),
        }
    }
}
