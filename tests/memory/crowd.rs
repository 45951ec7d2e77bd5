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
/// So many never read, of each kind, if there is time for them to come.
const GREEDY: usize = 60;
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

/// Connections, held until they are dropped.
pub(super) struct Crowd {
    held: Vec<TcpStream>,
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
            held.extend(futures_util::future::join_all(some).await);
        }
        Self { held, seen: BTreeMap::new() }
    }

    /// Comes one after another until then, and asks for much.
    pub(super) async fn greedy(hw: &Highwater, start: &str, until: Instant) -> Self {
        let mut crowd = Self { held: Vec::new(), seen: BTreeMap::new() };
        'coming: for _ in 0..GREEDY {
            let ids: Vec<String> = (1..=LARGE_ROWS).map(|id| id.to_string()).collect();
            for wish in WISHES {
                if Instant::now() > until {
                    break 'coming;
                }
                let path = wish.replace("{after}", start).replace("{ids}", &ids.join(","));
                crowd.held.push(unread(hw.address(), &path).await);
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::time::sleep_until(until.into()).await;
        crowd.look();
        crowd
    }

    /// Looks how the answers begin.
    fn look(&mut self) {
        for stream in &self.held {
            let mut bytes = [0; 1000];
            let count = stream.try_read(&mut bytes).unwrap_or(0);
            let answer = String::from_utf8_lossy(&bytes[..count]);
            let problem = answer.split_once("urn:highwater:problem:").map(|(_, rest)| rest);
            let kind = problem.and_then(|rest| rest.split('"').next());
            let word = kind.unwrap_or(if count == 0 { "nothing yet" } else { "answered" });
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
