//! The load generator: a process of its own, so that its work is not counted as the server's.
//!
//! A closed loop: every connection sends one request, waits for the whole answer, sends the next.
//! The same bytes and the same code whatever server it is pointed at.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http::HttpClient;

/// What to ask, and how hard.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Load {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) path: String,
    #[arg(long)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) seconds: f64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Answers a second.
    pub(crate) rate: f64,
    /// From sending a request until its answer was whole.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Load {
    /// Runs this program again as the generator (its subcommand `load`).
    pub(crate) async fn run_apart(&self) -> anyhow::Result<Outcome> {
        let program = std::env::current_exe().context("find this program")?;
        let output = Command::new(program)
            .arg("load")
            .args(["--address", &self.address.to_string()])
            .args(["--path", &self.path])
            .args(["--connections", &self.connections.to_string()])
            .args(["--seconds", &self.seconds.to_string()])
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .context("run the load generator")?;
        if !output.status.success() {
            bail!("the load generator failed: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("read what the load generator measured")
    }

    /// Generates the load in this process and prints the outcome.
    pub(crate) fn run_here(&self) -> anyhow::Result<()> {
        let outcome = super::block_on(self.generate())?;
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(())
    }

    async fn generate(&self) -> anyhow::Result<Outcome> {
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(HttpClient::connect(self.address).await?);
        }
        let started = Instant::now();
        let end = started + Duration::from_secs_f64(self.seconds);
        let mut loops = JoinSet::new();
        for client in clients {
            loops.spawn(ask_until(end, client, HttpClient::request(&self.path)));
        }
        let mut times = Histogram::<u64>::new(3)?;
        while let Some(asked) = loops.join_next().await {
            times.add(asked??)?;
        }
        Ok(Outcome {
            rate: times.len() as f64 / started.elapsed().as_secs_f64(),
            p50_us: times.value_at_quantile(0.5),
            p99_us: times.value_at_quantile(0.99),
        })
    }
}

/// One connection's loop: the time of each answer in microseconds.
async fn ask_until(
    end: Instant,
    mut client: HttpClient,
    request: Vec<u8>,
) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    let mut sent = Instant::now();
    while sent < end {
        client.send(&request).await?;
        let status = client.receive().await?;
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(client.body()));
        }
        let now = Instant::now();
        times.record(u64::try_from((now - sent).as_micros())?)?;
        sent = now;
    }
    Ok(times)
}
