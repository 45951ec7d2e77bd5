//! Server-Sent Events and WebSockets of a whole service.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;
use tokio::net::TcpSocket;

use crate::support::{Highwater, LocalCopy, Poll, PushSocket, PushStream, TestPostgres};

const TABLE: &str =
    "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE PUBLICATION highwater FOR TABLE a";

/// Reads until a version that includes everything committed before the call.
macro_rules! catch_up {
    ($client:ident, $mirror:ident, $goal:expr) => {
        loop {
            let answer: Poll = $client.next().await.expect("the service runs");
            let more = $mirror.apply(&answer).await;
            if !more && answer.version >= $goal {
                break;
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_that_are_pushed_to_equal_the_database() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let mut streamed = LocalCopy::new(&pg, &["a"], 7).await;
    let mut socketed = LocalCopy::new(&pg, &["a"], 1000).await;
    let mut stream = PushStream::open(&hw, "tables=a&limit=7", None).await;
    let mut socket = PushSocket::open(&hw, r#""tables":["a"]"#).await;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let writer = async {
        let mut dice = fastrand::Rng::with_seed(seed);
        let session = pg.connect().await;
        for _ in 0..400 {
            let (from, many) = (dice.i32(0..500), dice.i32(0..20));
            let sql = match dice.u32(0..40) {
                0 => "TRUNCATE a".to_owned(),
                1..12 => format!("DELETE FROM a WHERE id BETWEEN {from} AND {from} + {many}"),
                _ => format!(
                    "INSERT INTO a SELECT g, 0 FROM generate_series({from}, {from} + {many}) g
                     ON CONFLICT (id) DO UPDATE SET v = a.v + 1"
                ),
            };
            session.execute(&sql).await;
        }
        // The last message: everything after its version is reported next.
        session.execute("INSERT INTO a VALUES (1000)").await;
        hw.applied(&pg).await;
        let received = hw.fetch("/v1/changes").await;
        let applied = received.body["version"].as_str().unwrap().to_owned();
        // A version is sent with the next change only, so there is one more.
        session.execute("INSERT INTO a VALUES (1001)").await;
        applied
    };
    let (goal, ()) = tokio::join!(writer, async {
        // Reads a little in between.
        for _ in 0..20 {
            streamed.apply(&stream.next().await.unwrap()).await;
            socketed.apply(&socket.next().await.unwrap()).await;
        }
    });
    catch_up!(stream, streamed, goal);
    catch_up!(socket, socketed, goal);
    hw.applied(&pg).await;
    streamed.assert_equals_database().await;
    socketed.assert_equals_database().await;
    assert!(streamed.changes > 100 && socketed.changes > 100);
}

#[tokio::test]
async fn a_stream_resumes_by_its_last_id_across_a_restart() {
    // Without neighbours, whose open transactions would make a slot reach back to before the table.
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let mut stream = PushStream::open(&hw, "", None).await;
    assert_eq!(stream.next().await.unwrap().reset, ["a"]);
    pg.execute("INSERT INTO a VALUES (1, 0)").await;
    assert_eq!(stream.next().await.unwrap().changes, ["insert a 1"]);
    let began = Instant::now();
    hw.stop().await.expect("a clean end");
    assert!(began.elapsed() < Duration::from_secs(25), "a stream held the service up");
    assert_eq!(stream.next().await, None, "a stream ends in order");
    pg.execute("INSERT INTO a VALUES (2, 0)").await;
    let hw = Highwater::start(&pg).await;
    let mut stream = PushStream::open(&hw, "", stream.last_id.as_deref()).await;
    let received = stream.next().await.unwrap();
    assert_eq!((received.reset.len(), received.changes), (0, vec!["insert a 2".to_owned()]));
}

#[tokio::test]
async fn the_service_ends_although_sockets_are_open() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let mut reads = PushSocket::open(&hw, "").await;
    let never_reads = PushSocket::open(&hw, "").await;
    assert_eq!(reads.next().await.unwrap().reset, ["a"]);
    let began = Instant::now();
    let (stopped, closed) = tokio::join!(hw.stop(), reads.next());
    stopped.expect("a clean end");
    assert_eq!(closed, None);
    assert!(began.elapsed() < Duration::from_secs(25), "it took {:?}", began.elapsed());
    drop(never_reads);
}

/// Sockets that never read, while every one of many commits would be a long message to each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_never_read_cost_little_memory() {
    const SOCKETS: usize = 500;
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    pg.execute("INSERT INTO a SELECT g, 0 FROM generate_series(1, 1000) g").await;
    let (hw, program) = Highwater::program(&pg, &[]).await;
    let address = hw.url().replace("http://", "");
    let before = program.peak_memory();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        sockets.push(PushSocket::on(stream, &address, "").await);
    }
    for _ in 0..50 {
        pg.execute("UPDATE a SET v = v + 1").await;
        hw.applied(&pg).await;
    }
    let growth = program.peak_memory().saturating_sub(before);
    eprintln!("{} bytes a socket", growth / SOCKETS as u64);
    // 50 messages of some 40 kB for each of them would be 1 GB.
    assert!(growth < 60 << 20, "{growth} bytes for {SOCKETS} sockets");
    drop(sockets);
}
