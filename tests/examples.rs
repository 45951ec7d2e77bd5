//! The example client of the polling guide, run as the guide describes.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::{Highwater, PATIENCE, TestPostgres};

const SHOP: &str = "
    CREATE TABLE items (id bigint PRIMARY KEY, name text);
    CREATE TABLE order_lines (order_id int, line int, PRIMARY KEY (order_id, line));
    CREATE PUBLICATION highwater FOR TABLE items, order_lines;
";

/// A running `examples/poll.py`.
struct ExampleClient {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl ExampleClient {
    fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/poll.py");
        let mut process = Command::new("python3")
            .arg(script)
            .args(arguments)
            // The service is on this machine: proxies of the environment must not be used.
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("the example needs python3 on PATH: {error}"));
        let stdout = process.stdout.take().expect("a pipe");
        Self { process, lines: BufReader::new(stdout).lines() }
    }

    /// The next line it prints.
    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
        line.expect("text").expect("the client keeps running")
    }

    /// The next lines, sorted.
    async fn lines<const N: usize>(&mut self) -> [String; N] {
        let mut lines = std::array::from_fn(|_| String::new());
        for line in &mut lines {
            *line = self.line().await;
        }
        lines.sort();
        lines
    }
}

#[tokio::test]
async fn the_example_client_prints_what_changes() {
    let pg = TestPostgres::start().await;
    pg.execute(SHOP).await;
    let hw = Highwater::start(&pg).await;
    let mut client = ExampleClient::start(&[&hw.url()]);
    let everything = ["items: read it again in full", "order_lines: read it again in full"];
    assert_eq!(client.lines().await, everything);
    pg.execute("INSERT INTO items VALUES (7, 'tea'); INSERT INTO order_lines VALUES (1, 2)").await;
    assert_eq!(client.lines().await, ["items 7 insert", "order_lines [1, 2] insert"]);
    pg.execute("UPDATE items SET name = 'green tea'").await;
    assert_eq!(client.line().await, "items 7 update");
    pg.execute("TRUNCATE items").await;
    assert_eq!(client.line().await, "items: read it again in full");
    pg.execute("DELETE FROM order_lines").await;
    assert_eq!(client.line().await, "order_lines [1, 2] delete");
}

#[tokio::test]
async fn the_example_client_outlives_the_service_and_misses_nothing() {
    let pg = TestPostgres::start().await;
    pg.execute(SHOP).await;
    // A free port that stays the same across the restart.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let listen = [("http.listen", port.as_str())];
    // Nothing listens yet: the client waits for it.
    let mut client = ExampleClient::start(&[&format!("http://{port}"), "items"]);
    let hw = Highwater::start_with(&pg, &listen).await;
    assert_eq!(client.line().await, "items: read it again in full");
    pg.execute("INSERT INTO items VALUES (1, 'a')").await;
    assert_eq!(client.line().await, "items 1 insert");

    hw.stop().await.expect("a clean end");
    pg.execute("INSERT INTO items VALUES (2, 'b')").await;
    let hw = Highwater::start_with(&pg, &listen).await;
    // With open transactions of other tests the table may be reset instead, which is correct.
    let line = client.line().await;
    assert!(["items 2 insert", "items: read it again in full"].contains(&line.as_str()), "{line}");
    drop(hw);
}

#[tokio::test]
async fn the_example_client_reports_a_wrong_request_and_exits() {
    let pg = TestPostgres::start().await;
    pg.execute(SHOP).await;
    let hw = Highwater::start(&pg).await;
    let client = ExampleClient::start(&[&hw.url(), "no_such_table"]);
    let ended = timeout(PATIENCE, client.process.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("no_such_table") && said.contains("order_lines"), "{said}");
}
