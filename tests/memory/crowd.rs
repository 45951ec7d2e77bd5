//! Clients that take what they can get: connections that do nothing, and such that ask for the
//! largest answers there are and never read them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::load::LARGE_ROWS;
use crate::support::{Highwater, PATIENCE};

/// Connections that are made at once.
const AT_ONCE: u64 = 100;
/// Rounds of greedy requests, one of each kind; more only while a limit was not reached yet.
const ROUNDS: usize = 60;
/// Limits that greedy requests must reach, by the problems that report it.
const LIMIT_PROBLEMS: [&str; 2] = ["answers-full", "too-many-clients"];
/// Limit for the greedy to reach them: generous, because on a slow machine there is little to be told
/// at first.
const REACHED_WITHIN: Duration = Duration::from_mins(3);
/// From one greedy request to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client asks for that never reads the answer. `{after}` is a version from the beginning.
const WISHES: &[&str] = &[
    // From ancient versions: keys of 8 kB, rows of 64 kB, and both with all there is to tell.
    "/v1/changes?tables=wide&limit=10000&after={after}",
    "/v1/changes?tables=large&limit=10000&include=rows&after={after}",
    "/v1/changes?tables=hot,large,wide&limit=10000&detail=true&after={after}",
    "/v1/tables/large/rows?ids={ids}",
    // Push, to whom every commit of the hot table would be an event.
    "/v1/stream?tables=hot&include=rows&after={after}",
    "/v1/stream?tables=hot,large,wide&limit=10000&after={after}",
];

/// A connection that is held, and whether the beginning of its response was read.
struct UnreadResponse {
    stream: TcpStream,
    answered: bool,
}

/// Connections, held until they are dropped.
pub(super) struct Crowd {
    held: Vec<UnreadResponse>,
    /// What the greedy were told in the end, how often: the last word of a problem's `type`, if it was one.
    pub(super) seen: BTreeMap<String, usize>,
}

impl Crowd {
    /// So many, each of which has asked once and goes on doing nothing.
    pub(super) async fn idle(hw: &Highwater, count: u64) -> Self {
        let mut held = Vec::new();
        let address = hw.address();
        for first in (0..count).step_by(usize::try_from(AT_ONCE).unwrap()) {
            let some = (first..count.min(first + AT_ONCE)).map(|_| asked_once(address));
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
        let mut crowd = Self { held: Vec::new(), seen: BTreeMap::new() };
        let deadline = until + REACHED_WITHIN;
        for round in 0.. {
            let due = Instant::now() < until;
            if (!due && crowd.has_reached_limits()) || Instant::now() > deadline {
                break;
            }
            if due && round >= ROUNDS {
                tokio::time::sleep_until(until.into()).await;
            } else {
                crowd.ask_greedily(hw, start).await;
            }
            crowd.count_responses();
        }
        crowd
    }

    /// One greedy request of each kind.
    async fn ask_greedily(&mut self, hw: &Highwater, start: &str) {
        let ids: Vec<String> = (1..=LARGE_ROWS).map(|id| id.to_string()).collect();
        for wish in WISHES {
            let path = wish.replace("{after}", start).replace("{ids}", &ids.join(","));
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

    /// Whether somebody was told of this problem.
    pub(super) fn has_seen(&self, problem: &str) -> bool {
        self.seen.contains_key(problem)
    }
}

async fn asked_once(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\"alive\"}") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert!(read.expect("it is answered").expect("it is open") > 0, "it stays open");
    }
    stream
}

/// Asks, and takes next to nothing of the answer.
async fn unread(address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream
}
