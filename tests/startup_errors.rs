//! Errors at startup: one sentence with the remedy, and the exit code.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use highwater::temp_postgres::{TempPostgres, TempPostgresOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Highwater, PATIENCE, TestPostgres};

/// `highwater` with these arguments and an empty environment.
fn highwater(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs `highwater run` with this URL until it ends by itself.
async fn run(url: &str, more: &[&str]) -> Output {
    let mut command = highwater(&["run", "--url", url, "--listen", "127.0.0.1:0"]);
    command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    tokio::task::spawn_blocking(move || end_in_time(child)).await.expect("no panic")
}

fn end_in_time(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().expect("a child process").is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().expect("a child process");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

/// Asserts that the program failed with this exit code and these words on standard error.
#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[tokio::test]
async fn a_missing_publication_is_reported_with_the_command_that_creates_it() {
    let pg = TestPostgres::start().await;
    let output = run(&pg.url(), &["--slot", pg.database()]).await;
    assert_fails(&output, 1, &["publication \"highwater\" does not exist", "highwater setup"]);
    let slots =
        format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'", pg.database());
    assert_eq!(pg.value::<i64>(&slots).await, 0, "no slot is left behind");
}

#[tokio::test]
async fn wal_level_replica_is_reported_with_the_setting() {
    let pg =
        TestPostgres::private(TempPostgresOptions::default().setting("wal_level", "replica")).await;
    pg.execute("CREATE PUBLICATION highwater").await;
    let output = run(&pg.url(), &[]).await;
    assert_fails(&output, 1, &["wal_level = logical"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.matches("logical decoding requires").count(), 1, "reported twice: {text}");
}

#[tokio::test]
async fn a_role_without_replication_is_reported_with_the_statement() {
    let pg = TestPostgres::start().await;
    let role = format!("plain_{}", pg.database());
    pg.execute(&format!("CREATE ROLE {role} LOGIN; CREATE PUBLICATION highwater")).await;
    let url = with_user(pg.server(), &role, pg.database());
    let output = run(&url, &[]).await;
    assert_fails(&output, 1, &["ALTER ROLE", "REPLICATION"]);
    pg.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_database_are_reported() {
    let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let options = TempPostgresOptions { hba: Some(hba.into()), ..TempPostgresOptions::default() };
    let pg = TestPostgres::private(options).await;
    pg.execute("CREATE ROLE app LOGIN REPLICATION PASSWORD 'right'").await;
    let port = pg.server().port();
    let output =
        run(&format!("postgres://app:wrong@127.0.0.1:{port}/{}", pg.database()), &[]).await;
    assert_fails(&output, 1, &["password"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !text.contains("wrong@") && !text.contains(":wrong"),
        "the password is printed: {text}"
    );
    let output = run(&format!("postgres://app:right@127.0.0.1:{port}/nowhere"), &[]).await;
    assert_fails(&output, 1, &["nowhere", "does not exist"]);
}

#[tokio::test]
async fn a_slot_of_another_program_is_not_touched() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE PUBLICATION highwater").await;
    let slot = pg.database();
    // A physical slot, because test_decoding is not installed everywhere.
    pg.query(&format!("SELECT pg_create_physical_replication_slot('{slot}')")).await;
    let output = run(&pg.url(), &["--slot", slot]).await;
    assert_fails(&output, 1, &["belongs to something else", "postgres.slot"]);
    pg.query(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}

#[tokio::test]
async fn a_server_other_than_postgresql_is_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let url = format!("postgres://app@127.0.0.1:{port}/app?sslmode=disable");
    let output = run(&url, &[]).await;
    assert_fails(&output, 1, &["not a PostgreSQL server"]);
    server.join().expect("no panic");
}

#[tokio::test]
async fn an_unreachable_server_is_reported_while_the_service_waits_for_it() {
    let pg = TestPostgres::start().await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let url = format!("postgres://app@127.0.0.1:{gone}/app");
    let hw = Highwater::launch(&pg, &[("postgres.url", &url)]).await;
    let began = Instant::now();
    loop {
        let reply = hw.fetch("/readyz").await;
        assert_eq!(reply.status, 503);
        if reply.body.to_string().contains("can't connect") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", reply.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hw.fetch("/livez").await.status, 200);
    let poll = hw.fetch("/v1/changes").await;
    assert_eq!(poll.status, 503);
    assert!(poll.headers.contains_key("retry-after"));
    hw.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_configuration_is_exit_code_two() {
    let output = run("nonsense", &[]).await;
    assert_fails(&output, 2, &["url"]);
    let output = run("postgres://h/d", &["--slot", "Not-A-Slot"]).await;
    assert_fails(&output, 2, &["slot"]);
    let child = highwater(&["run"]).stderr(Stdio::piped()).spawn().expect("the program starts");
    assert_fails(&end_in_time(child), 2, &["postgres.url"]);
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_flag() {
    let pg = TestPostgres::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let child = highwater(&["run", "--url", &pg.url(), "--listen", &address])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let output = tokio::task::spawn_blocking(move || end_in_time(child)).await.expect("no panic");
    assert_fails(&output, 1, &["port is in use", "--listen"]);
}

#[tokio::test]
async fn a_termination_signal_completes_waiting_polls_and_stops_in_time() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a")
        .await;
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let listen = format!("127.0.0.1:{port}");
    let child =
        highwater(&["run", "--url", &pg.url(), "--slot", pg.database(), "--listen", &listen])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let base = format!("http://{listen}");
    // The HTTP client links TLS without a default provider; installing it twice fails harmlessly.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let ready = format!("{base}/readyz");
    let began = Instant::now();
    while !client.get(&ready).send().await.is_ok_and(|r| r.status().is_success()) {
        assert!(began.elapsed() < PATIENCE, "not ready in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = async |url: String| {
        client.get(url).send().await.expect("a response").text().await.expect("a body")
    };
    let body: serde_json::Value =
        serde_json::from_str(&text(format!("{base}/v1/changes")).await).expect("JSON");
    let version = body["version"].as_str().expect("a version").to_owned();
    let waiting = text(format!("{base}/v1/changes?after={version}&wait=60s"));
    let signal = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill(pid, Signal::SIGTERM).expect("a child process");
        Instant::now()
    };
    let (waiting, signalled) = tokio::join!(waiting, signal);
    assert!(waiting.contains("\"changes\":[]"), "{waiting}");
    let output = tokio::task::spawn_blocking(move || end_in_time(child)).await.expect("no panic");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(signalled.elapsed() < Duration::from_secs(30), "took {:?}", signalled.elapsed());
    pg.query(&format!("SELECT pg_drop_replication_slot('{}')", pg.database())).await;
}

fn with_user(server: &TempPostgres, user: &str, database: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{}/{database}", server.port())
}
