//! A network with faults: a TCP proxy between the service and PostgreSQL.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{PATIENCE, TestPostgres};

/// The kind of session that a client requests in its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionKind {
    /// A walsender.
    Replication,
    /// An ordinary session.
    Sql,
}

/// A running proxy, which ends with its connections when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<ProxyInner>,
    accepting: JoinHandle<()>,
}

struct ProxyInner {
    upstream: Mutex<SocketAddr>,
    faults: watch::Sender<ProxyFaults>,
    /// The value whose row is damaged on its way from the server.
    damage: Mutex<Option<&'static [u8]>>,
    damaged: AtomicBool,
    /// Whether a `START_REPLICATION` has arrived.
    is_starting: AtomicBool,
    replication_connections: AtomicUsize,
}

/// The current faults. Connections are numbered from 1.
#[derive(Clone, Copy, Default)]
struct ProxyFaults {
    /// The number of the latest connection.
    opened: usize,
    /// Nothing passes on connections up to this number, without either end being notified.
    silent_replication_until: usize,
    silent_sql_until: usize,
    /// Connections up to this number are reset (RST).
    reset_until: usize,
    /// On connections up to this number the server's direction is shut down; the client can still write.
    half_closed_until: usize,
    /// New connections are closed at once.
    refuses: bool,
    /// `START_REPLICATION` is held back.
    holds_start: bool,
    /// The delay of each read, in each direction.
    delay: Duration,
}

impl ProxyFaults {
    fn is_silent(&self, number: usize, kind: SessionKind) -> bool {
        number
            <= match kind {
                SessionKind::Replication => self.silent_replication_until,
                SessionKind::Sql => self.silent_sql_until,
            }
    }
}

impl Proxy {
    /// Starts without faults in front of this server.
    pub(crate) async fn start(pg: &TestPostgres) -> Self {
        Self::start_at(pg, "127.0.0.1:0").await
    }

    /// Like [`Self::start`], listening on this address.
    #[allow(clippy::disallowed_methods, reason = "aborted when the proxy is dropped")]
    pub(crate) async fn start_at(pg: &TestPostgres, listen: &str) -> Self {
        let listener = TcpListener::bind(listen).await.expect("a port");
        let shared = Arc::new(ProxyInner {
            upstream: Mutex::new(address(pg)),
            faults: watch::Sender::new(ProxyFaults::default()),
            damage: Mutex::new(None),
            damaged: AtomicBool::new(false),
            is_starting: AtomicBool::new(false),
            replication_connections: AtomicUsize::new(0),
        });
        let address = listener.local_addr().expect("an address");
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// The address on which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The database's URL through the proxy, as the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}?sslmode=disable", self.address)
    }

    /// From now on nothing passes on the present connections of this kind, like behind a firewall
    /// that has lost their state. New connections work.
    pub(crate) fn silence(&self, kind: SessionKind) {
        self.change(|faults| match kind {
            SessionKind::Replication => faults.silent_replication_until = faults.opened,
            SessionKind::Sql => faults.silent_sql_until = faults.opened,
        });
    }

    /// From now on nothing passes on any connection, present or new.
    pub(crate) fn black_hole(&self) {
        self.change(|faults| {
            (faults.silent_replication_until, faults.silent_sql_until) = (usize::MAX, usize::MAX);
        });
    }

    /// Ends all faults; data that was held back passes.
    pub(crate) fn heal(&self) {
        self.change(|faults| {
            (faults.silent_replication_until, faults.silent_sql_until) = (0, 0);
            (faults.refuses, faults.holds_start) = (false, false);
            faults.delay = Duration::ZERO;
        });
    }

    /// Resets the present connections.
    pub(crate) fn reset(&self) {
        self.change(|faults| faults.reset_until = faults.opened);
    }

    /// Resets the present connections and refuses new ones.
    pub(crate) fn cut(&self) {
        self.change(|faults| {
            faults.refuses = true;
            faults.reset_until = faults.opened;
        });
    }

    /// Resets the present connections and holds back the next `START_REPLICATION`. Returns when it has
    /// arrived.
    pub(crate) async fn hold_next_start(&self) {
        self.shared.is_starting.store(false, Ordering::Relaxed);
        self.change(|faults| {
            faults.holds_start = true;
            faults.reset_until = faults.opened;
        });
        let began = Instant::now();
        while !self.shared.is_starting.load(Ordering::Relaxed) {
            assert!(began.elapsed() < PATIENCE, "no stream is started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Shuts down the server's direction of the present connections.
    pub(crate) fn half_close(&self) {
        self.change(|faults| faults.half_closed_until = faults.opened);
    }

    /// Delays everything by this much in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|faults| faults.delay = delay);
    }

    /// Redirects new connections to another server and resets the present ones.
    pub(crate) fn switch(&self, pg: &TestPostgres) {
        self.redirect_new_connections(pg);
        self.reset();
    }

    /// Redirects new connections to another server; the present ones stay.
    pub(crate) fn redirect_new_connections(&self, pg: &TestPostgres) {
        *self.shared.upstream.lock().unwrap() = address(pg);
    }

    /// Damages every message that inserts a row of one text column with this value; `None` stops that.
    pub(crate) fn damage(&self, value: Option<&'static [u8]>) {
        *self.shared.damage.lock().unwrap() = value;
    }

    /// Whether a message was damaged.
    pub(crate) fn has_damaged(&self) -> bool {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// The number of walsender connections opened so far.
    pub(crate) fn replication_connections(&self) -> usize {
        self.shared.replication_connections.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut ProxyFaults)) {
        self.shared.faults.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.change(|faults| {
            faults.reset_until = usize::MAX;
        });
    }
}

fn address(pg: &TestPostgres) -> SocketAddr {
    ([127, 0, 0, 1], pg.server().port()).into()
}

#[allow(clippy::disallowed_methods, reason = "reset when the proxy is dropped")]
async fn accept(listener: TcpListener, shared: Arc<ProxyInner>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        if shared.faults.borrow().refuses {
            continue;
        }
        let mut number = 0;
        shared.faults.send_modify(|faults| {
            faults.opened += 1;
            number = faults.opened;
        });
        tokio::spawn(carry(number, client, shared.clone()));
    }
}

async fn carry(number: usize, mut client: TcpStream, shared: Arc<ProxyInner>) {
    let mut first = vec![0; 1024];
    let Ok(count @ 1..) = client.read(&mut first).await else { return };
    first.truncate(count);
    let is_replication = first.windows(12).any(|word| word == b"replication\0");
    let kind = if is_replication { SessionKind::Replication } else { SessionKind::Sql };
    if is_replication {
        shared.replication_connections.fetch_add(1, Ordering::Relaxed);
    }
    let upstream = *shared.upstream.lock().unwrap();
    // A server that refuses the connection appears as a closed connection.
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    if !wait_for_passage(&mut shared.faults.subscribe(), number, kind).await
        || server.write_all(&first).await.is_err()
    {
        return;
    }
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        // Closing resets the connection (see `reset`); an orderly end is forwarded by shutting down.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let wire = ProxiedWire { number, kind, shared };
    tokio::join!(wire.pass(from_client, to_server, false), wire.pass(from_server, to_client, true));
}

/// Waits while nothing passes; returns false if the connection is reset.
async fn wait_for_passage(
    faults: &mut watch::Receiver<ProxyFaults>,
    number: usize,
    kind: SessionKind,
) -> bool {
    let reset = |faults: &ProxyFaults| number <= faults.reset_until;
    let passes = |faults: &ProxyFaults| reset(faults) || !faults.is_silent(number, kind);
    faults.wait_for(passes).await.is_ok_and(|faults| !reset(&faults))
}

/// A connection through the proxy.
struct ProxiedWire {
    number: usize,
    kind: SessionKind,
    shared: Arc<ProxyInner>,
}

impl ProxiedWire {
    async fn pass(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, from_server: bool) {
        let mut faults = self.shared.faults.subscribe();
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let cut = |f: &ProxyFaults| {
                self.number <= f.reset_until || (from_server && self.number <= f.half_closed_until)
            };
            let count = tokio::select! {
                count = from.read(&mut bytes) => count.unwrap_or(0),
                cut = faults.wait_for(cut) => { drop(cut); 0 }
            };
            if !wait_for_passage(&mut faults, self.number, self.kind).await {
                return;
            }
            if count == 0 {
                let _ = to.shutdown().await;
                return;
            }
            let piece = &mut bytes[..count];
            if from_server && self.kind == SessionKind::Replication {
                self.damage(piece);
            }
            if piece.windows(17).any(|word| word == b"START_REPLICATION") {
                self.shared.is_starting.store(true, Ordering::Relaxed);
                let _ = faults.wait_for(|faults| !faults.holds_start).await;
            }
            let delay = faults.borrow().delay;
            tokio::time::sleep(delay).await;
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    /// `I`, the relation's OID, `N`, the number of columns, `t`, a length, the value.
    fn damage(&self, piece: &mut [u8]) {
        const BEFORE: usize = 1 + 4 + 1 + 2 + 1 + 4;
        let Some(value) = *self.shared.damage.lock().unwrap() else { return };
        let found = piece.windows(value.len()).position(|window| window == value);
        let Some(tag) = found.and_then(|at| at.checked_sub(BEFORE)) else { return };
        if piece[tag] == b'I' {
            piece[tag] = b'?';
            self.shared.damaged.store(true, Ordering::Relaxed);
        }
    }
}
