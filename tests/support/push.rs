//! Clients of the push endpoints.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Highwater, PATIENCE, Poll};

/// A reader of Server-Sent Events.
pub(crate) struct PushStream {
    response: reqwest::Response,
    unread: String,
    /// The id of the last event.
    pub(crate) last_id: Option<String>,
}

impl PushStream {
    pub(crate) async fn open(service: &Highwater, query: &str, last_id: Option<&str>) -> Self {
        let response = service.open(&format!("/v1/stream?{query}"), last_id).await;
        assert_eq!(response.status().as_u16(), 200);
        Self { response, unread: String::new(), last_id: last_id.map(str::to_owned) }
    }

    /// The next response; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Poll> {
        loop {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let event = event.to_owned();
                self.unread = rest.into();
                if let Some((id, data)) = event.split_once("\ndata: ") {
                    self.last_id = id.strip_prefix("id: ").map(str::to_owned);
                    return Some(Poll::read(data));
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            let chunk = chunk.await.expect("a message in time").expect("a complete stream")?;
            self.unread.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }
}

/// A WebSocket.
pub(crate) struct PushSocket(pub(crate) WebSocketStream<TcpStream>);

impl PushSocket {
    /// Subscribes with these members of the subscription object.
    pub(crate) async fn open(service: &Highwater, subscribe: &str) -> Self {
        let address = service.url().replace("http://", "");
        let stream = TcpStream::connect(&address).await.expect("a connection");
        Self::on(stream, &address, subscribe).await
    }

    /// Like [`Self::open`], on an open connection.
    pub(crate) async fn on(stream: TcpStream, address: &str, subscribe: &str) -> Self {
        let socket = client_async(format!("ws://{address}/v1/ws"), stream).await;
        let (mut socket, _) = socket.expect("a WebSocket");
        let message = Message::text(format!("{{\"subscribe\":{{{subscribe}}}}}"));
        socket.send(message).await.expect("it is sent");
        Self(socket)
    }

    /// The next message's text.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next());
            let message = message.await.expect("a message in time").expect("it is open");
            if let Message::Text(text) = message.expect("a frame") {
                return text.as_str().to_owned();
            }
        }
    }

    /// The next response; `None` once the service closes the socket.
    pub(crate) async fn next(&mut self) -> Option<Poll> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next());
            match message.await.expect("a message in time")?.expect("a frame") {
                Message::Text(text) => return Some(Poll::read(&text)),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}
