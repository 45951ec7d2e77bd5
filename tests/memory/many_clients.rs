//! Greedy clients: connections that do nothing, and clients that request the largest responses and never
//! read them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::load::LARGE_ROWS;
use crate::support::{Highwater, PATIENCE};

/// Connections opened concurrently.
const AT_ONCE: u64 = 100;
/// Rounds of greedy requests, one of each kind; more only while a limit was not reached yet.
const ROUNDS: usize = 60;
/// Limits that greedy requests must reach, by the problems that report it.
const LIMIT_PROBLEMS: [&str; 2] = ["response-budget-exhausted", "too-many-clients"];
/// Time for the greedy clients to reach them: generous, because on a slow machine responses are small at
/// first.
const REACHED_WITHIN: Duration = Duration::from_mins(3);
/// From one greedy request to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Requests whose responses are never read. `{after}` is a version from before all changes.
const GREEDY_REQUESTS: &[&str] = &[
    // From old versions: keys of 8 kB, rows of 64 kB, and both with all details.
    "/v1/changes?tables=wide&limit=10000&after={after}",
    "/v1/changes?tables=large&limit=10000&include=rows&after={after}",
    "/v1/changes?tables=hot,large,wide&limit=10000&detail=true&after={after}",
    "/v1/tables/large/rows?ids={ids}",
    // Push, where every commit of the hot table is an event.
    "/v1/stream?tables=hot&include=rows&after={after}",
    "/v1/stream?tables=hot,large,wide&limit=10000&after={after}",
];

/// A connection that is held, and whether the beginning of its response was read.
struct UnreadResponse {
    stream: TcpStream,
    answered: bool,
}

/// Open connections, closed when dropped.
pub(super) struct GreedyClients {
    held: Vec<UnreadResponse>,
    /// Counts of the responses: by the last word of a problem's `type`, or `answered`.
    pub(super) seen: BTreeMap<String, usize>,
}

impl GreedyClients {
    /// Opens `count` connections, each of which sends one request and then stays idle.
    pub(super) async fn idle(hw: &Highwater, count: u64) -> Self {
        let mut held = Vec::new();
        let address = hw.address();
        for first in (0..count).step_by(usize::try_from(AT_ONCE).unwrap()) {
            let some = (first..count.min(first + AT_ONCE)).map(|_| idle_connection(address));
            let streams = futures_util::future::join_all(some).await;
            held.extend(
                streams.into_iter().map(|stream| UnreadResponse { stream, answered: true }),
            );
        }
        Self { held, seen: BTreeMap::new() }
    }

    /// Sends greedy requests one after another: until `until`, and longer on a slow machine, until the
    /// limits are reached.
    pub(super) async fn greedy(hw: &Highwater, start: &str, until: Instant) -> Self {
        let mut greedy = Self { held: Vec::new(), seen: BTreeMap::new() };
        let deadline = until + REACHED_WITHIN;
        for round in 0.. {
            let due = Instant::now() < until;
            if (!due && greedy.has_reached_limits()) || Instant::now() > deadline {
                break;
            }
            if due && round >= ROUNDS {
                tokio::time::sleep_until(until.into()).await;
            } else {
                greedy.send_greedy_requests(hw, start).await;
            }
            greedy.count_responses();
        }
        greedy
    }

    /// One greedy request of each kind.
    async fn send_greedy_requests(&mut self, hw: &Highwater, start: &str) {
        let ids: Vec<String> = (1..=LARGE_ROWS).map(|id| id.to_string()).collect();
        for request in GREEDY_REQUESTS {
            let path = request.replace("{after}", start).replace("{ids}", &ids.join(","));
            let stream = unread(hw.address(), &path).await;
            self.held.push(UnreadResponse { stream, answered: false });
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn has_reached_limits(&self) -> bool {
        LIMIT_PROBLEMS.iter().all(|problem| self.has_seen(problem))
    }

    /// Counts how the responses begin that have arrived since the last call.
    fn count_responses(&mut self) {
        for held in self.held.iter_mut().filter(|held| !held.answered) {
            let mut bytes = [0; 1000];
            let count = held.stream.try_read(&mut bytes).unwrap_or(0);
            if count == 0 {
                continue;
            }
            held.answered = true;
            let answer = String::from_utf8_lossy(&bytes[..count]);
            let problem = answer.split_once("urn:highwater:problem:").map(|(_, rest)| rest);
            let kind = problem.and_then(|rest| rest.split('"').next());
            let word = kind.unwrap_or("answered");
            *self.seen.entry(word.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn connections(&self) -> u64 {
        self.held.len() as u64
    }

    /// Whether a response was this problem.
    pub(super) fn has_seen(&self, problem: &str) -> bool {
        self.seen.contains_key(problem)
    }
}

async fn idle_connection(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\"alive\"}") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert!(read.expect("it is answered").expect("it is open") > 0, "it stays open");
    }
    stream
}

/// Sends a request and reads next to nothing of its response.
async fn unread(address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream
}
