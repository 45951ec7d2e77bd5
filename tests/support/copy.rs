//! Physical copies of a test's server: a standby, a restored backup.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use super::{PATIENCE, TestPostgres};

/// The replication slots in a copy of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slots {
    /// None, as in every base backup.
    None,
    /// All of them, as in a copy of the disk.
    Copied,
}

impl TestPostgres {
    /// A standby that replicates from this server. Restarts the server.
    pub(crate) async fn standby(&mut self, slots: Slots, options: TempPostgresOptions) -> Self {
        let server = self.server();
        let primary = format!(
            "host={} port={} user=postgres dbname=postgres",
            server.socket_dir().display(),
            server.port()
        );
        let options = options
            .setting("primary_conninfo", &primary)
            .setting("wal_retrieve_retry_interval", "100ms");
        self.copied(slots, "standby.signal", options).await
    }

    /// A restored backup: the same history up to now, then a new timeline. Restarts the server.
    pub(crate) async fn restored(&mut self, slots: Slots) -> Self {
        let options = TempPostgresOptions::default().setting("restore_command", "false");
        let restored = self.copied(slots, "recovery.signal", options).await;
        restored.until("NOT pg_is_in_recovery()").await;
        restored
    }

    async fn copied(
        &mut self,
        slots: Slots,
        signal: &str,
        mut options: TempPostgresOptions,
    ) -> Self {
        let server = self.server();
        server.stop(ShutdownMode::Fast).expect("it stops");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join(server.installation().version());
        copy(&server.data_dir(), &data, slots);
        options.templates = Some(directory.path().to_path_buf());
        options.files.push((signal.into(), String::new()));
        let copy = Self::of_template(options, self.database()).await;
        self.server().restart(ShutdownMode::Fast).expect("it starts again");
        self.reconnect().await;
        copy
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, condition: &str) {
        let began = Instant::now();
        while !self.value::<bool>(&format!("SELECT coalesce(({condition}), false)")).await {
            assert!(began.elapsed() < PATIENCE, "never: {condition}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a standby has replayed everything committed on this server.
    pub(crate) async fn replicated(&self, standby: &Self) {
        let end: String = self.value("SELECT pg_current_wal_flush_lsn()::text").await;
        standby.until(&format!("pg_last_wal_replay_lsn() >= '{end}'")).await;
    }

    /// Disconnects a standby from its primary.
    pub(crate) async fn stop_receiving(&self) {
        self.execute("ALTER SYSTEM SET primary_conninfo = ''").await;
        self.execute("SELECT pg_reload_conf()").await;
        self.until("NOT EXISTS (SELECT FROM pg_stat_wal_receiver)").await;
    }

    /// Promotes a standby to primary.
    pub(crate) async fn promote(&self) {
        assert!(self.value::<bool>("SELECT pg_promote()").await, "it is promoted");
    }

    /// A URL that leads to the writable server of the two.
    pub(crate) fn url_of_either(&self, other: &Self) -> String {
        let (one, two) = (self.server().port(), other.server().port());
        format!(
            "postgres://postgres@127.0.0.1:{one},127.0.0.1:{two}/{}?target_session_attrs=read-write",
            self.database()
        )
    }
}

fn copy(from: &Path, to: &Path, slots: Slots) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp is installed").success());
    if slots == Slots::None {
        let slots = to.join("pg_replslot");
        std::fs::remove_dir_all(&slots).expect("a directory");
        std::fs::create_dir(&slots).expect("a directory");
    }
}
