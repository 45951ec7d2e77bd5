//! The commands as a user runs them: the program, a real PostgreSQL, exit codes and output.

use std::process::{Output, Stdio};
use std::time::Duration;

use highwater::temp_postgres::TempPostgresOptions;
use highwater::wire::{ConnectOptions, LibpqEnvironment, WalsenderConnection};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::support::{Highwater, TestPostgres};

/// Time limit of one command.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program with an empty environment.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn highwater(arguments: &[&str]) -> Finished {
    finish(program(arguments)).await
}

pub(crate) async fn finish(mut command: Command) -> Finished {
    let output =
        tokio::time::timeout(PATIENCE, command.output()).await.expect("the command ends in time");
    Finished(output.expect("the program starts"))
}

/// The output and exit status of a command.
pub(crate) struct Finished(Output);

impl Finished {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn error(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", self.out(), self.error());
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let all = format!("{}{}", self.out(), self.error());
        assert!(all.contains(text), "{text:?} is not in: {all}");
        self
    }
}

/// The flags for this test's database and its own slot.
fn flags_of(pg: &TestPostgres, url: &str) -> Vec<String> {
    ["--url", url, "--slot", &format!("slot_{}", pg.database())].map(str::to_owned).into()
}

async fn command(pg: &TestPostgres, words: &[&str]) -> Finished {
    let flags = flags_of(pg, &pg.url());
    let flags: Vec<&str> = words.iter().copied().chain(flags.iter().map(String::as_str)).collect();
    highwater(&flags).await
}

#[tokio::test]
async fn setup_makes_a_database_ready_and_teardown_removes_everything() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
    let objects = format!(
        "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots \
         WHERE slot_name = 'slot_{}')",
        pg.database()
    );

    command(&pg, &["check"]).await.expect(1).says("publication highwater does not exist");
    command(&pg, &["setup"]).await.expect(0).says("CREATE PUBLICATION \"highwater\" FOR TABLE");
    assert_eq!(pg.value::<i64>(&objects).await, 0, "printing changes nothing");

    command(&pg, &["setup", "--apply"]).await.expect(0).says("publication highwater set up");
    assert_eq!(pg.value::<i64>(&objects).await, 2);
    command(&pg, &["setup", "--apply"]).await.expect(0).says("publication highwater already there");
    command(&pg, &["check"]).await.expect(0).says("\nready");

    command(&pg, &["teardown", "--dry-run"]).await.expect(0).says("pg_drop_replication_slot");
    assert_eq!(pg.value::<i64>(&objects).await, 2, "printing changes nothing");
    command(&pg, &["teardown", "--keep-publication"]).await.expect(0).says("dropped");
    assert_eq!(pg.value::<i64>(&objects).await, 1, "the slot is gone, the publication is not");
    command(&pg, &["teardown"]).await.expect(0).says("dropped");
    assert_eq!(pg.value::<i64>(&objects).await, 0);
    command(&pg, &["teardown"]).await.expect(0).says("not there");
}

#[tokio::test]
async fn the_output_of_setup_is_an_sql_script() {
    let pg = TestPostgres::start().await;
    let role = format!("Reader of {}", pg.database());
    pg.execute("CREATE TABLE \"Order lines\" (a int, b int, PRIMARY KEY (a, b))").await;
    let printed = command(&pg, &["setup", "--role", &role]).await.expect(0).out();
    for statement in printed.split_inclusive(";\n") {
        pg.execute(statement).await;
    }
    command(&pg, &["check"]).await.expect(0);
    assert!(
        pg.value::<bool>(&format!("SELECT rolreplication FROM pg_roles WHERE rolname = '{role}'"))
            .await
    );
    command(&pg, &["teardown"]).await.expect(0);
    pg.execute(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await;
}

#[tokio::test]
async fn a_role_that_may_only_replicate_and_connect_is_enough() {
    let pg = TestPostgres::start().await;
    let role = format!("hw_{}", pg.database());
    pg.execute(&format!(
        "CREATE TABLE items (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE items; \
         REVOKE ALL ON DATABASE {database} FROM public; REVOKE ALL ON SCHEMA public FROM public; \
         CREATE ROLE {role} LOGIN REPLICATION; GRANT CONNECT ON DATABASE {database} TO {role}",
        database = pg.database()
    ))
    .await;
    let url = pg.url().replacen("//postgres@", &format!("//{role}@"), 1);
    assert!(url.contains(&role), "{url}");
    let flags = flags_of(&pg, &url);
    let flags: Vec<&str> = ["check"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    highwater(&flags).await.expect(0).says(&format!("role {role} may replicate"));

    // Cached rows need SELECT on their tables.
    let with_rows = || {
        let mut command = program(&flags);
        command.env("HIGHWATER_TABLES__ITEMS__ROWS", "lazy");
        finish(command)
    };
    let found = with_rows().await.expect(1);
    let all = format!("{}{}", found.out(), found.error());
    let grants = all.lines().filter_map(|line| line.split_once("→ ")).map(|(_, sql)| sql);
    let grants: Vec<&str> = grants.filter(|sql| sql.starts_with("GRANT")).collect();
    assert_eq!(grants.len(), 2, "{all}");
    pg.execute(&grants.concat()).await;
    with_rows().await.expect(0);

    pg.execute(&format!("ALTER ROLE {role} NOREPLICATION")).await;
    highwater(&flags).await.expect(1).says(&format!("ALTER ROLE \"{role}\" REPLICATION;"));
    pg.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_table_whose_updates_fail_is_an_error_with_a_fix_that_works() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE log (at int NOT NULL UNIQUE, line text); INSERT INTO log VALUES (1, 'a'); \
         CREATE PUBLICATION highwater FOR ALL TABLES WITH (publish_via_partition_root = true)",
    )
    .await;
    // The server behaves as the finding says.
    let client = pg.connect().await;
    assert!(client.client().batch_execute("UPDATE log SET line = 'b'").await.is_err());

    let report = command(&pg, &["check", "--format", "json"]).await.expect(1).out();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["ready"], false);
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["topic"] == "table log").unwrap();
    assert_eq!(found["what"], "the application's UPDATE and DELETE on log FAIL");
    pg.execute(found["fix"][0].as_str().unwrap()).await;
    pg.execute("UPDATE log SET line = 'b'").await;
    command(&pg, &["check"]).await.expect(0);
}

#[tokio::test]
async fn setup_never_breaks_the_application() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE log (line text); INSERT INTO log VALUES ('a')").await;
    command(&pg, &["setup", "--tables", "log"]).await.expect(0).says("-- CAREFUL: log has no key");
    for tables in [&["--tables", "log"][..], &["--all-tables"]] {
        let words = [&["setup", "--apply"], tables].concat();
        command(&pg, &words).await.expect(1).says("nothing was changed");
    }
    pg.execute("UPDATE log SET line = 'b'").await;
    pg.execute("ALTER TABLE log REPLICA IDENTITY FULL").await;
    command(&pg, &["setup", "--tables", "log", "--apply"]).await.expect(0).says("set up");
    pg.execute("UPDATE log SET line = 'c'").await;
    command(&pg, &["teardown"]).await.expect(0);
}

#[tokio::test]
async fn a_deferrable_primary_key_is_no_replica_identity() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE log (id int PRIMARY KEY DEFERRABLE); INSERT INTO log VALUES (1); \
         CREATE PUBLICATION highwater FOR TABLE log",
    )
    .await;
    let client = pg.connect().await;
    assert!(client.client().batch_execute("DELETE FROM log").await.is_err());
    command(&pg, &["check"]).await.expect(1).says("UPDATE and DELETE on log FAIL");
}

#[tokio::test]
async fn partitions_are_checked_with_their_root() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE orders (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (10); \
         CREATE PUBLICATION highwater FOR TABLE orders",
    )
    .await;
    command(&pg, &["check"]).await.expect(0).says("publish_via_partition_root is off");
    pg.execute("ALTER PUBLICATION highwater SET (publish_via_partition_root = true)").await;
    command(&pg, &["check"]).await.expect(0).says("publication highwater has 1 table\n");
    pg.execute("ALTER TABLE orders_1 REPLICA IDENTITY NOTHING").await;
    command(&pg, &["check"]).await.expect(1).says("UPDATE and DELETE on orders_1 FAIL");
}

#[tokio::test]
async fn tables_are_added_to_an_existing_publication() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); \
         CREATE PUBLICATION highwater FOR TABLE a",
    )
    .await;
    for _ in 0..2 {
        command(&pg, &["setup", "--apply", "--tables", "a,public.b"]).await.expect(0);
        let tables = "SELECT string_agg(tablename, ',' ORDER BY 1) FROM pg_publication_tables";
        assert_eq!(pg.value::<String>(tables).await, "a,b");
    }
    command(&pg, &["setup", "--tables", "c"]).await.expect(1).says("there is no table c in this");
    command(&pg, &["teardown"]).await.expect(0);
}

#[tokio::test]
async fn a_slot_in_use_is_not_dropped() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
    command(&pg, &["setup", "--apply"]).await.expect(0);
    let target = ConnectOptions::parse(&pg.url(), &LibpqEnvironment::default()).unwrap();
    let connection = WalsenderConnection::connect(&target).await.unwrap();
    let slot = format!("slot_{}", pg.database());
    let options = [("proto_version", "1"), ("publication_names", "highwater")];
    let stream =
        connection.start_replication(&slot, highwater::lsn::Lsn::ZERO, &options).await.unwrap();

    command(&pg, &["teardown"]).await.expect(1).says("stop Highwater first, nothing was dropped");
    assert!(pg.value::<bool>("SELECT count(*) = 1 FROM pg_publication").await);
    command(&pg, &["check"]).await.expect(0).says("is in use by the session with PID");

    stream.finish().await.unwrap();
    command(&pg, &["teardown"]).await.expect(0);
}

#[tokio::test]
async fn a_foreign_slot_is_not_touched() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
    let slot = format!("slot_{}", pg.database());
    pg.query(&format!("SELECT pg_create_physical_replication_slot('{slot}')")).await;
    command(&pg, &["check"]).await.expect(1).says("is a physical slot");
    command(&pg, &["setup", "--apply"]).await.expect(1).says("choose another name with --slot");
    command(&pg, &["teardown"]).await.expect(1).says("nothing was dropped");
    pg.query(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}

#[tokio::test]
async fn transactions_that_delay_a_new_slot_are_named() {
    let pg = TestPostgres::private(
        TempPostgresOptions::default().setting("max_prepared_transactions", "1"),
    )
    .await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE items",
    )
    .await;
    pg.execute("BEGIN; INSERT INTO items VALUES (1)").await;
    let other = pg.connect().await;
    other.execute("BEGIN; INSERT INTO items VALUES (2); PREPARE TRANSACTION 'later'").await;
    // Younger transactions are not reported.
    tokio::time::sleep(Duration::from_millis(5_200)).await;
    let pid: i32 = pg.value("SELECT pg_backend_pid()").await;
    command(&pg, &["check"])
        .await
        .expect(0)
        .says(&format!("SELECT pg_terminate_backend({pid});"))
        .says("ROLLBACK PREPARED 'later';");
}

#[tokio::test]
async fn a_server_without_logical_decoding_is_not_ready() {
    let options = TempPostgresOptions::default()
        .setting("wal_level", "replica")
        .setting("max_replication_slots", "1")
        .setting("wal_sender_timeout", "0");
    let pg = TestPostgres::private(options).await;
    pg.query("SELECT pg_create_physical_replication_slot('other')").await;
    command(&pg, &["check"])
        .await
        .expect(1)
        .says("ALTER SYSTEM SET wal_level = 'logical';")
        .says("all 1 replication slots are used")
        .says("(inactive now: other)")
        .says("wal_sender_timeout is 0");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_a_finding() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("postgres://u@{unused}/shop");
    highwater(&["check", "--url", &url]).await.expect(1).says("can't connect");
    highwater(&["setup", "--url", &url]).await.expect(1).says("highwater: ");
}

#[tokio::test]
async fn invalid_usage_and_configuration_exit_with_2() {
    highwater(&["walk"]).await.expect(2);
    highwater(&[]).await.expect(2);
    highwater(&["check"]).await.expect(2).says("no database given");
    highwater(&["check", "--url", "postgres://u@h", "--slot", "A-B"])
        .await
        .expect(2)
        .says("--slot: postgres.slot = \"A-B\"");
    highwater(&["check", "--config", "/nowhere.toml"]).await.expect(2).says("/nowhere.toml");
    let mut misspelled = program(&["check", "--url", "postgres://u@h"]);
    misspelled.env("HIGHWATER_POSTGRES__PUBLICATON", "x");
    finish(misspelled).await.expect(2).says("HIGHWATER_POSTGRES__PUBLICATION");
    let open = ["run", "--url", "postgres://u@h", "--listen", "0.0.0.0:0"];
    highwater(&open).await.expect(2).says("auth.mode = \"none\"");
    highwater(&["tail", "--url", "localhost"])
        .await
        .expect(2)
        .says("--url localhost: not the address");
}

#[tokio::test]
async fn help_and_version_exit_with_0() {
    highwater(&["--version"]).await.expect(0).says("highwater 0.");
    highwater(&["run", "--help"]).await.expect(0).says("postgres.resume_window");
}

/// An HTTP server that sends these responses, one per connection. Its task returns the request lines.
async fn serve(responses: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
    let url = format!("http://{}", listener.local_addr().expect("loopback works"));
    #[allow(clippy::disallowed_methods, reason = "joined by the test")]
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for response in responses {
            let (mut socket, _) = listener.accept().await.expect("loopback works");
            requests.push(request_line(&mut socket).await);
            socket.write_all(response.as_bytes()).await.expect("loopback works");
        }
        requests
    });
    (url, server)
}

async fn request_line(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.expect("loopback works"));
    }
    String::from_utf8_lossy(&request).lines().next().expect("a request has a first line").to_owned()
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn tail_prints_changes_and_continues_after_failures() {
    let change = r#"{"table":"users","id":7,"op":"update","version":"v2","at":null}"#;
    let (url, server) = serve(vec![
        http("503 Service Unavailable", r#"{"title":"Not ready","detail":"still connecting"}"#),
        http("200 OK", r#"{"version":"v1","more":false,"reset":["users"],"changes":[]}"#),
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"cut".into(),
        http(
            "200 OK",
            &format!(r#"{{"version":"v2","more":false,"reset":[],"changes":[{change}]}}"#),
        ),
        http("404 Not Found", r#"{"detail":"there is no table nope"}"#),
    ])
    .await;
    let words = ["tail", "--url", &url, "--tables", "a,b c", "--format", "json"];
    let ended =
        highwater(&words).await.expect(1).says("still connecting").says("there is no table nope");
    let reset = r#"{"op":"reset","table":"users","version":"v1"}"#;
    assert_eq!(ended.out().lines().collect::<Vec<_>>(), [reset, change]);

    let requests = server.await.unwrap();
    assert!(
        requests[0].starts_with("GET /v1/changes?detail=true&wait=30s&tables=a%2Cb+c HTTP"),
        "{requests:?}"
    );
    let after: Vec<bool> = requests.iter().map(|line| line.contains("&after=v")).collect();
    assert_eq!(after, [false, false, true, true, true]);
    assert!(requests[3].contains("after=v1") && requests[4].contains("after=v2"), "{requests:?}");
}

#[tokio::test]
async fn tail_exits_with_0_on_a_closed_pipe_and_on_sigterm() {
    let response = r#"{"version":"v1","more":false,"reset":["users"],"changes":[]}"#;
    let (url, server) = serve(vec![http("200 OK", response), http("200 OK", response)]).await;
    let mut child = program(&["tail", "--url", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(first.as_deref(), Some("following users from version v1"));
    drop(lines);
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "a closed pipe is no failure");
    server.await.unwrap();

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut child = program(&["tail", "--url", &url]).spawn().unwrap();
    let (_held, _) = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn reload_makes_a_running_service_read_a_table_again() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE items",
    )
    .await;
    let service = Highwater::start_with(&pg, &[("tables.items.rows", "lazy")]).await;
    let version = service.version().await;
    let url = service.url();
    highwater(&["reload", "items", "--url", &url]).await.expect(0).says("reloading items");
    assert_eq!(service.poll(&format!("after={version}&wait=20s")).await.reset, ["items"]);
    highwater(&["reload", "users", "--url", &url])
        .await
        .expect(1)
        .says("published tables are items");
    service.stop().await.unwrap();
    highwater(&["reload", "all", "--url", &url])
        .await
        .expect(1)
        .says("is Highwater running there?");
}

#[tokio::test]
async fn verify_compares_cached_rows_with_the_database() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY, n int);
         INSERT INTO items SELECT g, g FROM generate_series(1, 1000) g;
         CREATE TABLE plain (id int PRIMARY KEY);
         CREATE PUBLICATION highwater FOR TABLE items, plain",
    )
    .await;
    let service = Highwater::start_with(&pg, &[("tables.items.rows", "preload")]).await;
    let url = service.url();
    let verify = ["verify", "--url", &url];
    highwater(&verify).await.expect(0).says("items: right, 1000 rows compared");
    highwater(&["verify", "plain", "--url", &url]).await.expect(0).says("no rows are cached");
    highwater(&["verify", "users", "--url", &url]).await.expect(1).says("tables are items, plain");

    // A change that the stream does not contain: the publication excludes it.
    pg.execute(
        "BEGIN; ALTER PUBLICATION highwater SET (publish = 'truncate');
         UPDATE items SET n = 0 WHERE id = 7; DELETE FROM items WHERE id = 8;
         INSERT INTO items VALUES (5000, 1);
         ALTER PUBLICATION highwater SET (publish = 'insert, update, delete, truncate'); COMMIT",
    )
    .await;
    highwater(&verify)
        .await
        .expect(1)
        .says("items: WRONG, 1001 rows compared, 3 not equal to the database")
        .says("  7 \"n\" is 7 in memory, 0 in the database\n")
        .says("  8 it is in memory and not in the database\n")
        .says("  5000 it is in the database and not in memory\n");
    highwater(&["reload", "items", "--url", &url]).await.expect(0);
    service.ready().await;
    service.applied(&pg).await;
    service.stop().await.unwrap();
    highwater(&verify).await.expect(1).says("is Highwater running there?");
}

#[tokio::test]
async fn status_prints_the_response_and_fails_without_one() {
    let body = r#"{"highwater":"0.1.0","source":{"server":"db:5432/shop","server_version":null,
        "publication":"p","slot":"s","phase":"streaming","reason":null}}"#;
    let (url, server) = serve(vec![http("200 OK", body), http("200 OK", body)]).await;
    highwater(&["status", "--url", &url]).await.expect(0).says("highwater streaming");
    let raw = highwater(&["status", "--url", &url, "--format", "json"]).await.expect(0).out();
    assert_eq!(raw.trim_end(), body);
    server.await.unwrap();
    highwater(&["status", "--url", &url]).await.expect(1).says("is Highwater running there?");
}
