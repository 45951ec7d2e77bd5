//! The temporary PostgreSQL: it starts as any user, follows its options, and leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgres, TempPostgresOptions};

use crate::support::{TestPostgres, installation};

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (one, other) = tokio::join!(TestPostgres::start(), TestPostgres::start());
    one.execute("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1), (2)").await;
    assert_ne!(one.database(), other.database());
    assert_eq!(one.server().pid(), other.server().pid());
    assert_eq!(one.value::<i64>("SELECT count(*) FROM items").await, 2);
    let there = "SELECT to_regclass('items') IS NOT NULL";
    assert!(one.value::<bool>(there).await);
    assert!(!other.value::<bool>(there).await);
}

#[tokio::test]
async fn the_server_is_ready_for_logical_replication_and_is_the_version_asked_for() {
    let pg = TestPostgres::start().await;
    let row = pg
        .query_one(
            "SELECT current_setting('wal_level'), current_setting('server_version_num')::int / 10000",
        )
        .await;
    assert_eq!(row.get::<_, &str>(0), "logical");
    assert_eq!(row.get::<_, i32>(1), i32::from(installation().major()));
    let slot = format!("slot_{}", pg.database());
    pg.query(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    pg.query(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}

#[tokio::test]
async fn both_addresses_lead_to_the_same_database() {
    let pg = TestPostgres::start().await;
    for url in [pg.url(), pg.socket_url()] {
        let session = crate::support::TestSession::open(&url).await;
        assert_eq!(session.value::<String>("SELECT current_database()::text").await, pg.database());
        let row = session.client().query_one("SELECT host(inet_client_addr())", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<&str>>(0).is_some(), url == pg.url(), "{url}");
    }
}

#[tokio::test]
async fn a_private_server_has_its_own_settings_files_and_rules() {
    let options = TempPostgresOptions {
        hba: Some("local all all trust\nhost all all 127.0.0.1/32 reject\n".into()),
        files: vec![("passwords.txt".into(), "it's secret".into())],
        ..TempPostgresOptions::default()
    }
    .setting("cluster_name", "it's mine")
    .setting("max_connections", "20");
    let pg = TestPostgres::private(options).await;
    assert_eq!(pg.value::<String>("SHOW cluster_name").await, "it's mine");
    assert_eq!(pg.value::<String>("SHOW max_connections").await, "20");
    assert_eq!(pg.value::<String>("SELECT pg_read_file('passwords.txt')").await, "it's secret");
    let refused = tokio_postgres::connect(&pg.url(), tokio_postgres::NoTls).await.err().unwrap();
    assert_eq!(refused.code().unwrap().code(), "28000");

    pg.server().set_hba("local all all trust\nhost all all 127.0.0.1/32 trust\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while tokio_postgres::connect(&pg.url(), tokio_postgres::NoTls).await.is_err() {
        assert!(Instant::now() < deadline, "the new rules were never read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_unrelated_server_is_another_database_system() {
    let of = "SELECT system_identifier::text FROM pg_control_system()";
    let shared = TestPostgres::start().await.value::<String>(of).await;
    let private =
        TestPostgres::private(TempPostgresOptions::default()).await.value::<String>(of).await;
    let unrelated =
        TestPostgres::unrelated(TempPostgresOptions::default()).await.value::<String>(of).await;
    assert_eq!(shared, private);
    assert_ne!(shared, unrelated);
}

#[tokio::test]
async fn without_tcp_it_is_reached_over_its_socket_only() {
    let options = TempPostgresOptions { listen_tcp: false, ..TempPostgresOptions::default() };
    let pg = TestPostgres::private(options).await;
    assert_eq!(pg.url(), pg.socket_url());
    assert_eq!(pg.value::<String>("SHOW listen_addresses").await, "");
    let mode = std::fs::metadata(pg.server().socket_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others could connect as the superuser");
}

#[tokio::test]
async fn committed_rows_outlive_stops_and_kills_but_not_the_server() {
    let mut pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE items (id int PRIMARY KEY)").await;
    let url = pg.url();
    for (id, mode) in [(1, ShutdownMode::Fast), (2, ShutdownMode::Immediate)] {
        pg.execute(&format!("INSERT INTO items VALUES ({id})")).await;
        let before = pg.server().pid();
        pg.server().restart(mode).unwrap();
        assert_ne!(pg.server().pid(), before);
        pg.reconnect().await;
    }
    pg.execute("INSERT INTO items VALUES (3)").await;
    pg.server().kill().unwrap();
    assert_eq!(pg.server().pid(), None);
    pg.server().restart(ShutdownMode::Fast).unwrap();
    pg.reconnect().await;
    assert_eq!(pg.value::<i64>("SELECT count(*) FROM items").await, 3);
    assert_eq!(pg.url(), url);

    let (pid, directory) = (pg.server().pid().unwrap(), pg.server().data_dir());
    drop(pg);
    assert!(!is_running(pid));
    assert!(!directory.parent().unwrap().exists());
}

#[test]
fn a_server_that_can_t_start_says_why() {
    let options = TempPostgresOptions::default().setting("shared_buffers", "a lot");
    let error = TempPostgres::start(&installation(), &options).unwrap_err().to_string();
    assert!(error.contains("shared_buffers"), "{error}");
}

#[test]
fn nothing_is_left_when_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let for_all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), for_all).unwrap();
    let mut victim = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["demo", "--for", "1m", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", directory.path())
        .env("HIGHWATER_PG_BIN", installation().bin_dir())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let pid = loop {
        if let Some(pid) = server_in(directory.path()) {
            break pid;
        }
        assert!(Instant::now() < deadline, "the program starts no server");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(is_running(pid));

    victim.kill().unwrap();
    victim.wait().unwrap();
    // Less than the minute after which a server exits by itself when its directory is gone.
    let deadline = Instant::now() + Duration::from_secs(8);
    while is_running(pid) || std::fs::read_dir(directory.path()).unwrap().next().is_some() {
        assert!(Instant::now() < deadline, "server {pid} or what it wrote is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process of the server whose files are somewhere in `directory`.
fn server_in(directory: &Path) -> Option<u32> {
    let mut inside = std::fs::read_dir(directory).unwrap().filter_map(Result::ok);
    let pid_file = |entry: std::fs::DirEntry| entry.path().join("data/postmaster.pid");
    let text = inside.find_map(|entry| std::fs::read_to_string(pid_file(entry)).ok())?;
    text.lines().next()?.parse().ok()
}

/// Whether a process exists (signal 0 only checks).
fn is_running(pid: u32) -> bool {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("process ids are small"));
    nix::sys::signal::kill(pid, None).is_ok()
}
