//! Being told without asking: events and sockets, which may break off at any time.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::answer::{PollAnswer, PollTrouble};
use crate::instance::Instance;

/// Nothing for so long is no answer for now.
const SILENCE: Duration = Duration::from_millis(500);
/// A service that is there answers a handshake.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection that is pushed to.
pub(crate) enum Push {
    Events { response: reqwest::Response, unread: Vec<u8> },
    Socket(Box<WebSocketStream<TcpStream>>),
}

impl Push {
    pub(crate) async fn events(instance: &Instance, query: &str) -> Result<Self, PollTrouble> {
        let url = format!("{}/v1/stream?{query}", instance.url());
        let response = instance.client.get(url).send().await.map_err(|_| PollTrouble::Later)?;
        match response.status().as_u16() {
            200 => Ok(Self::Events { response, unread: Vec::new() }),
            503 => Err(PollTrouble::Later),
            status => Err(PollTrouble::Wrong(format!("/v1/stream: {status}"))),
        }
    }

    pub(crate) async fn socket(instance: &Instance, subscribe: &str) -> Result<Self, PollTrouble> {
        let address = instance.address();
        let opening = async {
            let stream = TcpStream::connect(address).await.map_err(|_| PollTrouble::Later)?;
            let opened = client_async(format!("ws://{address}/v1/ws"), stream).await;
            let (mut socket, _) = opened.map_err(|_| PollTrouble::Later)?;
            let message = Message::text(format!("{{\"subscribe\":{{{subscribe}}}}}"));
            socket.send(message).await.map_err(|_| PollTrouble::Later)?;
            Ok(Self::Socket(Box::new(socket)))
        };
        timeout(OPEN_TIME_MAX, opening).await.unwrap_or(Err(PollTrouble::Later))
    }

    /// The next answer; `None` if there is none for a while.
    pub(crate) async fn next(&mut self) -> Result<Option<PollAnswer>, PollTrouble> {
        match timeout(SILENCE, self.text()).await {
            Ok(text) => {
                let text = text?;
                let body = serde_json::from_str(&text);
                let body: serde_json::Value = body.map_err(|_| PollTrouble::Wrong(text.clone()))?;
                if body.get("error").is_some() {
                    let is_temporary = body["error"]["status"] == 503;
                    return Err(if is_temporary {
                        PollTrouble::Later
                    } else {
                        PollTrouble::Wrong(text)
                    });
                }
                PollAnswer::read(&body).map(Some)
            }
            Err(_) => Ok(None),
        }
    }

    /// The next answer's JSON.
    async fn text(&mut self) -> Result<String, PollTrouble> {
        match self {
            Self::Events { response, unread } => loop {
                if let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                    let event: Vec<u8> = unread.drain(..end + 2).collect();
                    let event = String::from_utf8(event)
                        .map_err(|_| PollTrouble::Wrong("an event is no UTF-8".into()))?;
                    if event.contains("event: problem") {
                        return Err(PollTrouble::Later);
                    }
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    if let Some(data) = data {
                        return Ok(data.to_owned());
                    }
                    continue;
                }
                match response.chunk().await {
                    Ok(Some(chunk)) => unread.extend_from_slice(&chunk),
                    _ => return Err(PollTrouble::Later),
                }
            },
            Self::Socket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(PollTrouble::Later),
                    Some(Ok(_)) => {}
                }
            },
        }
    }
}
