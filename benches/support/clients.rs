//! Many waiting or polling clients in a separate process, with a record of the ids that each received.
//!
//! Every commit inserts one row, whose id is the commit's number. So received ids are counted exactly:
//! at the end each client must have received every id once, however the commits were merged.
//! The bytes are searched for ids and not parsed, so that thousands of clients cost little.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http::BenchHttpClient;

/// Connections opened concurrently.
const OPENED_AT_ONCE: usize = 64;
/// Bytes of one read.
const READ_BYTES: usize = 2 * 1024;
/// Bytes kept for the next read: a read may end within an id or the text before it, which are shorter.
const CUT_BYTES: usize = 32;
/// Limit of every wait.
const WAIT_TIME_MAX: Duration = Duration::from_secs(90);

/// How the clients receive changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CrowdKind {
    /// Server-sent events, of Highwater or of the bare server.
    Stream,
    Socket,
    /// Long polls.
    Poll,
    /// Polls at a fixed rate.
    Follow,
}

impl CrowdKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stream => "SSE",
            Self::Socket => "WebSocket",
            Self::Poll => "long poll",
            Self::Follow => "polls",
        }
    }

    fn argument(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

/// Options of the process: the service, the clients, the expected ids.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Clients {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long, value_enum)]
    pub(crate) kind: CrowdKind,
    #[arg(long)]
    pub(crate) count: usize,
    /// The version that the clients start from.
    #[arg(long)]
    pub(crate) after: String,
    /// Last expected id; the first is 1.
    #[arg(long)]
    pub(crate) last: usize,
    /// Polls per second of all clients together.
    #[arg(long, default_value_t = 1000.0)]
    pub(crate) rate: f64,
}

/// Results of all clients.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CrowdResult {
    /// Whether every client received every id exactly once, and no reset.
    pub(crate) complete: bool,
    pub(crate) answers: u64,
    pub(crate) bytes: u64,
    /// Per id, when the last client received it: microseconds since the Unix epoch.
    pub(crate) last_received_us: Vec<u64>,
    /// Per id, when the first client received it.
    pub(crate) first_received_us: Vec<u64>,
}

pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Handle of the process.
pub(crate) struct ClientsProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl ClientsProcess {
    /// Starts the process and waits until all clients are connected.
    pub(crate) async fn start(clients: &Clients) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .arg("clients")
            .args(["--address", &clients.address.to_string()])
            .args(["--kind", &clients.kind.argument()])
            .args(["--count", &clients.count.to_string()])
            .args(["--after", &clients.after])
            .args(["--last", &clients.last.to_string()])
            .args(["--rate", &clients.rate.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the clients")?;
        let stdout = child.stdout.take().context("the clients' output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first =
            timeout(WAIT_TIME_MAX, lines.next_line()).await.context("clients don't connect")??;
        ensure!(first.as_deref() == Some("connected"), "the clients failed");
        Ok(Self { child, lines })
    }

    /// Waits until every client has received every id.
    pub(crate) async fn received(mut self) -> anyhow::Result<CrowdResult> {
        let line = self.lines.next_line().await?.context("the clients failed")?;
        self.child.wait().await?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Clients {
    /// Runs the clients in this process.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let received = super::block_on(self.listen())?;
        println!("{}", serde_json::to_string(&received)?);
        Ok(())
    }

    async fn listen(&self) -> anyhow::Result<CrowdResult> {
        let tally = Rc::new(RefCell::new(CrowdTally::new(self.last, self.count)));
        let mut clients = Vec::with_capacity(self.count);
        while clients.len() < self.count {
            let some = (clients.len()..self.count).take(OPENED_AT_ONCE);
            let opened = some.map(|_| CrowdClient::open(self, Rc::clone(&tally)));
            clients.extend(try_join_all(opened).await?);
        }
        println!("connected");
        let begun = Instant::now();
        let all = clients.into_iter().enumerate().map(|(place, client)| {
            let every = Duration::from_secs_f64(self.count as f64 / self.rate);
            let first = begun + every.mul_f64(place as f64 / self.count as f64);
            client.listen(first, every)
        });
        let end = async {
            // Ends also if a client misses an id: the result says so.
            while !tally.borrow().is_over() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            ended = try_join_all(all) => drop(ended?),
            () = end => {}
        }
        Ok(tally.take().received())
    }
}

/// Counts of the ids that the clients received.
#[derive(Default)]
struct CrowdTally {
    clients: usize,
    /// Per id, the number of clients.
    received_by: Vec<usize>,
    first_received_us: Vec<u64>,
    last_received_us: Vec<u64>,
    /// Ids that all clients have received.
    complete: usize,
    /// An id was received twice by a client or was never committed, or a reset occurred.
    wrong: bool,
    answers: u64,
    bytes: u64,
    last_receipt: Option<Instant>,
}

impl CrowdTally {
    fn new(last: usize, clients: usize) -> Self {
        let zero = || vec![0; last];
        Self {
            clients,
            received_by: vec![0; last],
            first_received_us: zero(),
            last_received_us: zero(),
            last_receipt: Some(Instant::now()),
            ..Self::default()
        }
    }

    fn record(&mut self, id: usize, now: u64) {
        let Some(place) = id.checked_sub(1).filter(|place| *place < self.received_by.len()) else {
            self.wrong = true;
            return;
        };
        let (Some(received_by), Some(first), Some(last)) = (
            self.received_by.get_mut(place),
            self.first_received_us.get_mut(place),
            self.last_received_us.get_mut(place),
        ) else {
            return;
        };
        *received_by += 1;
        if *received_by == 1 {
            *first = now;
        }
        *last = now;
        match (*received_by).cmp(&self.clients) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => self.complete += 1,
            std::cmp::Ordering::Greater => self.wrong = true,
        }
    }

    fn is_over(&self) -> bool {
        let silent =
            self.last_receipt.is_none_or(|last_receipt| last_receipt.elapsed() > WAIT_TIME_MAX);
        self.complete == self.received_by.len() || silent
    }

    fn received(self) -> CrowdResult {
        CrowdResult {
            complete: self.complete == self.received_by.len() && !self.wrong,
            answers: self.answers,
            bytes: self.bytes,
            last_received_us: self.last_received_us,
            first_received_us: self.first_received_us,
        }
    }
}

/// One client.
enum CrowdClient {
    Pushed {
        stream: TcpStream,
        tally: Rc<RefCell<CrowdTally>>,
    },
    Polling {
        client: BenchHttpClient,
        after: String,
        kind: CrowdKind,
        tally: Rc<RefCell<CrowdTally>>,
    },
}

impl CrowdClient {
    async fn open(clients: &Clients, tally: Rc<RefCell<CrowdTally>>) -> anyhow::Result<Self> {
        let Clients { address, kind, after, .. } = clients;
        let (address, kind) = (*address, *kind);
        if matches!(kind, CrowdKind::Poll | CrowdKind::Follow) {
            let client = BenchHttpClient::connect(address).await?;
            return Ok(Self::Polling { client, after: after.clone(), kind, tally });
        }
        let mut stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (request, status) = match kind {
            CrowdKind::Socket => (UPGRADE.to_vec(), "101"),
            _ => {
                (BenchHttpClient::request(&format!("/v1/stream?limit=10000&after={after}")), "200")
            }
        };
        stream.write_all(&request).await?;
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            ensure!(stream.read_buf(&mut head).await? > 0, "the connection was closed");
        }
        let received = std::str::from_utf8(head.get(9..12).unwrap_or_default()).unwrap_or_default();
        ensure!(received == status, "status {received}: {}", String::from_utf8_lossy(&head));
        if kind == CrowdKind::Socket {
            stream.write_all(&subscribe(after)).await?;
        }
        Ok(Self::Pushed { stream, tally })
    }

    /// Receives until the process ends.
    async fn listen(self, first: Instant, every: Duration) -> anyhow::Result<()> {
        match self {
            Self::Pushed { stream, tally } => listen_to(stream, &tally).await,
            Self::Polling { client, after, kind, tally } => {
                let pace = (kind == CrowdKind::Follow).then_some((first, every));
                poll(client, after, pace, &tally).await
            }
        }
    }
}

async fn listen_to(mut stream: TcpStream, tally: &RefCell<CrowdTally>) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        if stream.read_buf(&mut buffer).await.context("receive")? == 0 {
            bail!("the connection was closed");
        }
        let used = take_ids(&buffer, tally);
        buffer.drain(..used);
    }
}

async fn poll(
    mut client: BenchHttpClient,
    mut after: String,
    pace: Option<(Instant, Duration)>,
    tally: &RefCell<CrowdTally>,
) -> anyhow::Result<()> {
    let mut due = pace.map(|(first, _)| first);
    let wait = if pace.is_some() { "0" } else { "60s" };
    loop {
        if let (Some(due), Some((_, every))) = (&mut due, pace) {
            sleep_until(*due).await;
            *due += every;
        }
        let path = format!("/v1/changes?limit=10000&wait={wait}&after={after}");
        let body = client.get(&path).await?;
        take_ids(body, tally);
        let version = body.get(br#"{"version":""#.len()..);
        let version = version.and_then(|rest| rest.split(|b| *b == b'"').next());
        after = std::str::from_utf8(version.unwrap_or_default())?.to_owned();
    }
}

/// Counts the ids in received bytes; returns how many bytes are consumed.
fn take_ids(bytes: &[u8], tally: &RefCell<CrowdTally>) -> usize {
    const BEFORE: &[u8] = br#""id":"#;
    const RESET: &[u8] = br#""reset":[""#;
    let mut tally = tally.borrow_mut();
    tally.answers += 1;
    tally.bytes += bytes.len() as u64;
    tally.last_receipt = Some(Instant::now());
    tally.wrong |= bytes.windows(RESET.len()).any(|window| window == RESET);
    let now = now_us();
    let mut used = bytes.len().saturating_sub(CUT_BYTES);
    let mut at = 0;
    while let Some(place) = find(bytes.get(at..).unwrap_or_default(), BEFORE) {
        let begin = at + place + BEFORE.len();
        let rest = bytes.get(begin..).unwrap_or_default();
        let Some(digits) = rest.iter().position(|b| !b.is_ascii_digit()) else {
            // The read ended within the id: it is parsed with the next read.
            return used.min(at + place);
        };
        let id = std::str::from_utf8(rest.get(..digits).unwrap_or_default());
        tally.record(id.ok().and_then(|id| id.parse().ok()).unwrap_or(0), now);
        at = begin + digits;
        used = used.max(at);
    }
    used
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let (first, _) = wanted.split_first()?;
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let place = from + rest.iter().position(|byte| byte == first)?;
        if bytes.get(place..)?.starts_with(wanted) {
            return Some(place);
        }
        from = place + 1;
    }
}

/// A request that upgrades a connection to a WebSocket.
const UPGRADE: &[u8] = b"GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A WebSocket's first message.
fn subscribe(after: &str) -> Vec<u8> {
    let subscribe = format!(r#"{{"subscribe":{{"limit":10000,"after":"{after}"}}}}"#);
    // A text frame, masked with zeros.
    let mut bytes = vec![0x81, 0x80 | u8::try_from(subscribe.len()).unwrap_or(0), 0, 0, 0, 0];
    bytes.extend_from_slice(subscribe.as_bytes());
    bytes
}
