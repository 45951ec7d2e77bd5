//! `highwater run` as a child process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use highwater::lsn::Lsn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::time::sleep;

use super::http::BenchHttpClient;
use super::output_dir;
use super::process;

/// Limit of every wait for the service.
const PATIENCE: Duration = Duration::from_mins(10);
/// Interval of status requests: long enough to cost the service next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The running service; killed when dropped.
pub(crate) struct BenchService {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    log: PathBuf,
}

/// The fields of `/v1/status` that the benchmarks read.
#[derive(Deserialize)]
struct ServiceReadiness {
    source: ServiceSource,
    applied: Option<ServiceApplied>,
}

#[derive(Deserialize)]
struct ServiceSource {
    was_ready: bool,
}

#[derive(Deserialize)]
struct ServiceApplied {
    lsn: String,
}

impl BenchService {
    /// Starts the service on the database at `url`. `settings` are configuration keys like
    /// `postgres.slot`. Its log goes to `target/bench/service.log`.
    pub(crate) fn start(url: &str, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log = output_dir()?.join("service.log");
        let stderr = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command
            .arg("run")
            .env_clear()
            .env(variable("postgres.url"), url)
            .env(variable("http.listen"), address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        for (key, value) in settings {
            command.env(variable(key), value);
        }
        let started = Instant::now();
        let child = command.spawn().context("start highwater")?;
        Ok(Self { child, address, started, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time used since the start.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        process::cpu(self.pid())
    }

    /// Waits until everything up to `end` is applied; returns the time since the start.
    pub(crate) async fn wait_until_applied(&mut self, end: Lsn) -> anyhow::Result<Duration> {
        self.wait_until(|status| status.has_applied(end)).await
    }

    /// Waits until it serves polls and everything up to `end` is applied.
    pub(crate) async fn wait_until_ready(&mut self, end: Lsn) -> anyhow::Result<Duration> {
        self.wait_until(|status| Ok(status.source.was_ready && status.has_applied(end)?)).await
    }

    /// Waits until `/readyz` reports success: preloaded tables are in memory.
    pub(crate) async fn wait_until_healthy(&mut self) -> anyhow::Result<Duration> {
        let mut client = BenchHttpClient::connect(self.address).await?;
        loop {
            client.send(&BenchHttpClient::request("/readyz")).await?;
            if client.receive().await? == 200 {
                return Ok(self.started.elapsed());
            }
            if self.started.elapsed() > PATIENCE {
                bail!("highwater does not become ready:\n{}", self.log());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        process::resident_bytes(self.pid())
    }

    async fn wait_until(
        &mut self,
        reached: impl Fn(&ServiceReadiness) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Duration> {
        let mut client = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("highwater exited ({status}):\n{}", self.log());
            }
            if client.is_none() {
                // The connection is refused until it listens.
                client = BenchHttpClient::connect(self.address).await.ok();
            }
            if let Some(client) = &mut client {
                let status: ServiceReadiness =
                    serde_json::from_slice(client.get("/v1/status").await?)?;
                if reached(&status)? {
                    return Ok(self.started.elapsed());
                }
            }
            if self.started.elapsed() > PATIENCE {
                bail!("highwater did not reach the state in time:\n{}", self.log());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Stops it with SIGTERM.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("highwater exited with an error ({status}):\n{}", self.log());
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl ServiceReadiness {
    fn has_applied(&self, end: Lsn) -> anyhow::Result<bool> {
        let Some(applied) = &self.applied else { return Ok(false) };
        Ok(applied.lsn.parse::<Lsn>()? >= end)
    }
}

impl Drop for BenchService {
    fn drop(&mut self) {
        // After `stop` the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The environment variable of a key: `postgres.slot` is `HIGHWATER_POSTGRES__SLOT`.
fn variable(key: &str) -> String {
    format!("HIGHWATER_{}", key.replace('.', "__").to_uppercase())
}

pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}
