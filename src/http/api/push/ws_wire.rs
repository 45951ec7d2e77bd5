//! A WebSocket's frames, sent within bounds of memory and time.

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

/// A message of a client's may be so long; a longer one ends the connection (close code 1009).
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Longer answers are sent in fragments, so that no client keeps a buffer larger than this.
const FRAGMENT_BYTES_MAX: usize = 4 * 1024;

/// What is read at a time, and kept for each client.
const READ_BUFFER_BYTES: usize = 512;

/// After our last word the client has so long to say its own.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The connection, once it speaks WebSocket.
pub(crate) struct WsWire {
    frames: WebSocketStream<TokioIo<Upgraded>>,
    write_max: Duration,
}

/// What a client said.
pub(crate) enum ClientMessage {
    Text(String),
    /// Something without meaning for us, but it lives.
    Alive,
    /// What RFC 6455 or a limit of ours forbids.
    Wrong(CloseCode, &'static str),
    /// Nothing more will come.
    Gone,
}

/// The client is gone, or takes nothing.
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

    /// What the client says next. Cancel safe.
    pub(crate) async fn hear(&mut self) -> ClientMessage {
        match self.frames.next().await {
            Some(Ok(Message::Text(text))) => ClientMessage::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(_))) => {
                ClientMessage::Wrong(CloseCode::Unsupported, "send text, not binary")
            }
            // The answer to a ping or a close is sent by the library.
            Some(Ok(_)) => ClientMessage::Alive,
            Some(Err(Error::Utf8(_))) => {
                ClientMessage::Wrong(CloseCode::Invalid, "text must be UTF-8")
            }
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                ClientMessage::Wrong(CloseCode::Size, "a message may have 64 KiB")
            }
            Some(Err(Error::Protocol(_))) => {
                ClientMessage::Wrong(CloseCode::Protocol, "this is not what RFC 6455 allows")
            }
            Some(Err(_)) | None => ClientMessage::Gone,
        }
    }

    /// Sends a text message. Returns when the connection has taken it.
    pub(crate) async fn tell(&mut self, mut text: Bytes) -> Result<(), Disconnected> {
        let mut code = Data::Text;
        loop {
            let fragment = text.split_to(text.len().min(FRAGMENT_BYTES_MAX));
            let frame = Frame::message(fragment, OpCode::Data(code), text.is_empty());
            self.send(Message::Frame(frame)).await?;
            if text.is_empty() {
                return Ok(());
            }
            code = Data::Continue;
        }
    }

    pub(crate) async fn ping(&mut self) -> Result<(), Disconnected> {
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Says why it ends, and lets the client do so, too.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        let goodbye = async {
            if self.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.frames.next().await {}
            }
        };
        // A client that says nothing is left without.
        let _ = timeout(CLOSE_MAX, goodbye).await;
    }

    async fn send(&mut self, message: Message) -> Result<(), Disconnected> {
        match timeout(self.write_max, self.frames.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Disconnected),
        }
    }
}
