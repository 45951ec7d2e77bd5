//! Push connections: server-sent events and web sockets, which may break at any time.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::instance::Instance;
use crate::poll::{FetchError, PollResponse};

/// Silence after which a connection counts as having no response for now.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
/// A running service completes a handshake within this time.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);

/// An open push connection.
pub(crate) enum PushConnection {
    Events { response: reqwest::Response, unread: Vec<u8> },
    Socket(Box<WebSocketStream<TcpStream>>),
}

impl PushConnection {
    pub(crate) async fn events(instance: &Instance, query: &str) -> Result<Self, FetchError> {
        let url = format!("{}/v1/stream?{query}", instance.url());
        let response =
            instance.client.get(url).send().await.map_err(|_| FetchError::Unavailable)?;
        match response.status().as_u16() {
            200 => Ok(Self::Events { response, unread: Vec::new() }),
            503 => Err(FetchError::Unavailable),
            status => Err(FetchError::Violation(format!("/v1/stream: {status}"))),
        }
    }

    pub(crate) async fn socket(instance: &Instance, subscribe: &str) -> Result<Self, FetchError> {
        let address = instance.address();
        let opening = async {
            let stream = TcpStream::connect(address).await.map_err(|_| FetchError::Unavailable)?;
            let opened = client_async(format!("ws://{address}/v1/ws"), stream).await;
            let (mut socket, _) = opened.map_err(|_| FetchError::Unavailable)?;
            let message = Message::text(format!("{{\"subscribe\":{{{subscribe}}}}}"));
            socket.send(message).await.map_err(|_| FetchError::Unavailable)?;
            Ok(Self::Socket(Box::new(socket)))
        };
        timeout(OPEN_TIME_MAX, opening).await.unwrap_or(Err(FetchError::Unavailable))
    }

    /// The next response; `None` after [`IDLE_TIMEOUT`] without one.
    pub(crate) async fn next(&mut self) -> Result<Option<PollResponse>, FetchError> {
        match timeout(IDLE_TIMEOUT, self.text()).await {
            Ok(text) => {
                let text = text?;
                let body = serde_json::from_str(&text);
                let body: serde_json::Value =
                    body.map_err(|_| FetchError::Violation(text.clone()))?;
                if body.get("error").is_some() {
                    let is_temporary = body["error"]["status"] == 503;
                    return Err(if is_temporary {
                        FetchError::Unavailable
                    } else {
                        FetchError::Violation(text)
                    });
                }
                PollResponse::parse(&body).map(Some)
            }
            Err(_) => Ok(None),
        }
    }

    /// The JSON of the next response.
    async fn text(&mut self) -> Result<String, FetchError> {
        match self {
            Self::Events { response, unread } => loop {
                if let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                    let event: Vec<u8> = unread.drain(..end + 2).collect();
                    let event = String::from_utf8(event)
                        .map_err(|_| FetchError::Violation("an event is not UTF-8".into()))?;
                    if event.contains("event: problem") {
                        return Err(FetchError::Unavailable);
                    }
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    if let Some(data) = data {
                        return Ok(data.to_owned());
                    }
                    continue;
                }
                match response.chunk().await {
                    Ok(Some(chunk)) => unread.extend_from_slice(&chunk),
                    _ => return Err(FetchError::Unavailable),
                }
            },
            Self::Socket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => {
                        return Err(FetchError::Unavailable);
                    }
                    Some(Ok(_)) => {}
                }
            },
        }
    }
}
