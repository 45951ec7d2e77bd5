//! Clients that receive commits: three of Highwater's API, and two without Highwater.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use highwater::lsn::Lsn;
use highwater::pgoutput::{self, TupleColumn};
use highwater::wire::{
    ConnectOptions, CopyBoth, Frame, LibpqEnvironment, StatusUpdate, WalsenderConnection,
};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::database::{BenchDatabase, BenchSession};
use crate::support::http::BenchHttpClient;

/// Capacity for notifications: more than arrive while one is processed.
const NOTIFICATIONS_MAX: usize = 100_000;
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// How a client receives commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryMethod {
    LongPoll,
    Stream,
    Socket,
    /// A minimal client that reads its own slot.
    Replication,
    Notify,
}

impl DeliveryMethod {
    pub(super) const ALL: [Self; 5] =
        [Self::LongPoll, Self::Stream, Self::Socket, Self::Replication, Self::Notify];
    pub(super) const HIGHWATER: [Self; 3] = [Self::LongPoll, Self::Stream, Self::Socket];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LongPoll => "long poll",
            Self::Stream => "SSE",
            Self::Socket => "WebSocket",
            Self::Replication => "minimal replication client",
            Self::Notify => "LISTEN/NOTIFY",
        }
    }
}

/// A client of one delivery method.
pub(crate) enum Receiver {
    LongPoll { client: BenchHttpClient, after: String },
    Stream { stream: TcpStream, unread: Vec<u8> },
    Socket(Box<WebSocketStream<TcpStream>>),
    Replication { copy: Box<CopyBoth>, slot: &'static str },
    Notify { ids: mpsc::Receiver<usize>, _session: BenchSession },
}

/// The fields of a response that the benchmark reads.
#[derive(Deserialize)]
struct ReceivedChanges {
    version: String,
    reset: Vec<String>,
    changes: Vec<ReceivedChange>,
}

#[derive(Deserialize)]
struct ReceivedChange {
    id: usize,
}

impl ReceivedChanges {
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let answer: Self = serde_json::from_slice(bytes)
            .with_context(|| String::from_utf8_lossy(bytes).into_owned())?;
        ensure!(answer.reset.is_empty(), "the response has a reset");
        Ok(answer)
    }

    fn ids(self) -> Vec<usize> {
        self.changes.into_iter().map(|change| change.id).collect()
    }
}

impl Receiver {
    pub(crate) async fn open(
        way: DeliveryMethod,
        database: &BenchDatabase,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let after = version(address).await?;
        Ok(match way {
            DeliveryMethod::LongPoll => {
                Self::LongPoll { client: BenchHttpClient::connect(address).await?, after }
            }
            DeliveryMethod::Stream => stream(address, &after).await?,
            DeliveryMethod::Socket => socket(address, &after).await?,
            DeliveryMethod::Replication => replication(database).await?,
            DeliveryMethod::Notify => notify(database).await?,
        })
    }

    /// The next ids.
    pub(crate) async fn received(&mut self) -> anyhow::Result<Vec<usize>> {
        match self {
            Self::LongPoll { client, after } => {
                let path = format!("/v1/changes?limit=10000&wait=60s&after={after}");
                let answer = ReceivedChanges::parse(client.get(&path).await?)?;
                after.clone_from(&answer.version);
                Ok(answer.ids())
            }
            Self::Stream { stream, unread } => loop {
                if let Some(ids) = take_events(unread)? {
                    return Ok(ids);
                }
                ensure!(stream.read_buf(unread).await? > 0, "the stream has ended");
            },
            Self::Socket(socket) => loop {
                match socket.next().await.context("the socket was closed")?? {
                    Message::Text(text) => {
                        return Ok(ReceivedChanges::parse(text.as_bytes())?.ids());
                    }
                    Message::Close(why) => bail!("the socket was closed: {why:?}"),
                    _ => {}
                }
            },
            Self::Replication { copy, .. } => next_rows(copy).await,
            Self::Notify { ids, .. } => {
                let mut received = Vec::new();
                ensure!(ids.recv_many(&mut received, 1000).await > 0, "the listener has ended");
                Ok(received)
            }
        }
    }

    /// Disconnects and drops the client's slot.
    pub(crate) async fn close(self, database: &BenchDatabase) -> anyhow::Result<()> {
        let Self::Replication { copy, slot } = self else { return Ok(()) };
        copy.finish().await?;
        let free = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
        );
        while database.session.value::<i64>(&free).await? > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        database.session.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await
    }
}

async fn version(address: SocketAddr) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct LatencyPoller {
        version: String,
    }
    let mut client = BenchHttpClient::connect(address).await?;
    let polled: LatencyPoller = serde_json::from_slice(client.get("/v1/changes").await?)?;
    Ok(polled.version)
}

async fn stream(address: SocketAddr, after: &str) -> anyhow::Result<Receiver> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = BenchHttpClient::request(&format!("/v1/stream?limit=10000&after={after}"));
    stream.write_all(&request).await?;
    let mut unread = Vec::with_capacity(READ_BYTES);
    while !unread.windows(4).any(|end| end == b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut unread).await? > 0, "the connection was closed");
    }
    ensure!(unread.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&unread));
    Ok(Receiver::Stream { stream, unread })
}

/// The ids of complete events; `None` if there is none yet.
fn take_events(unread: &mut Vec<u8>) -> anyhow::Result<Option<Vec<usize>>> {
    const BEFORE: &[u8] = b"\ndata: ";
    let Some(end) = unread.windows(2).rposition(|end| end == b"\n\n") else { return Ok(None) };
    let whole = unread.drain(..end + 2).collect::<Vec<_>>();
    let mut ids = Vec::new();
    let mut rest = &whole[..];
    while let Some(place) = rest.windows(BEFORE.len()).position(|window| window == BEFORE) {
        let data = rest.get(place + BEFORE.len()..).unwrap_or_default();
        let end = data.windows(2).position(|end| end == b"\n\n").unwrap_or(data.len());
        let (data, behind) = data.split_at(end);
        ids.extend(ReceivedChanges::parse(data)?.ids());
        rest = behind;
    }
    Ok((!ids.is_empty()).then_some(ids))
}

async fn socket(address: SocketAddr, after: &str) -> anyhow::Result<Receiver> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = client_async(format!("ws://{address}/v1/ws"), stream).await?;
    let subscribe = format!(r#"{{"subscribe":{{"limit":10000,"after":"{after}"}}}}"#);
    socket.send(Message::text(subscribe)).await?;
    Ok(Receiver::Socket(Box::new(socket)))
}

async fn replication(database: &BenchDatabase) -> anyhow::Result<Receiver> {
    let slot = "minimal_client";
    let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    database.session.execute(&create).await?;
    let target = ConnectOptions::parse(&database.url(), &LibpqEnvironment::default())?;
    let connection = WalsenderConnection::connect(&target).await?;
    let options = [("proto_version", "1"), ("publication_names", "bench")];
    let copy = connection.start_replication(slot, Lsn::ZERO, &options).await?;
    Ok(Receiver::Replication { copy: Box::new(copy), slot })
}

/// The ids of the next transactions.
async fn next_rows(copy: &mut CopyBoth) -> anyhow::Result<Vec<usize>> {
    loop {
        let (mut ids, mut reply_at) = (Vec::new(), None);
        while let Some(frame) = copy.next_frame()? {
            match frame {
                Frame::XLogData { data, .. } => ids.extend(inserted(data)?),
                Frame::Keepalive { wal_end, reply_requested, .. } if reply_requested => {
                    reply_at = Some(wal_end);
                }
                Frame::Keepalive { .. } => {}
            }
        }
        if let Some(end) = reply_at {
            let (written, flushed, applied) = (end, Lsn::ZERO, Lsn::ZERO);
            let clock = 0;
            let reply_requested = false;
            copy.send_status(StatusUpdate { written, flushed, applied, clock, reply_requested })
                .await?;
        }
        if !ids.is_empty() {
            return Ok(ids);
        }
        copy.fill().await?;
    }
}

fn inserted(message: &[u8]) -> anyhow::Result<Option<usize>> {
    let pgoutput::LogicalMessage::Insert(insert) = pgoutput::decode(message)? else {
        return Ok(None);
    };
    let Some(TupleColumn::Text(id)) = insert.new.columns().next() else {
        bail!("a row without id")
    };
    Ok(Some(std::str::from_utf8(id)?.parse()?))
}

async fn notify(database: &BenchDatabase) -> anyhow::Result<Receiver> {
    let (sender, ids) = mpsc::channel(NOTIFICATIONS_MAX);
    let session = BenchSession::open_listening(&database.url(), move |message| {
        if let AsyncMessage::Notification(notification) = message
            && let Ok(id) = notification.payload().parse()
        {
            // A notification beyond the capacity is lost, which fails the run.
            let _ = sender.try_send(id);
        }
    })
    .await?;
    session.execute("LISTEN commits").await?;
    Ok(Receiver::Notify { ids, _session: session })
}
