//! The load generator: a separate process, so that its work is not counted as the server's.
//!
//! Every connection sends one request, waits for the whole response, and sends the next one: at once, or
//! at its due time if a rate is given. Every server gets the same bytes from the same code.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::http::BenchHttpClient;

/// The requests, and their rate.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct WriteLoad {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) path: String,
    #[arg(long)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Requests per second of all connections together; without it each connection sends as soon as it has
    /// its response.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
}

/// Measured rate and latency.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) answers: u64,
    /// Responses per second.
    pub(crate) rate: f64,
    /// From sending a request until its response is complete.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl WriteLoad {
    /// Runs this program again as the generator (its subcommand `load`).
    pub(crate) async fn run_apart(&self) -> anyhow::Result<Outcome> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command
            .arg("load")
            .args(["--address", &self.address.to_string()])
            .args(["--path", &self.path])
            .args(["--connections", &self.connections.to_string()])
            .args(["--seconds", &self.seconds.to_string()]);
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let output = command
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .context("run the load generator")?;
        if !output.status.success() {
            bail!("the load generator failed: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("read the load generator's result")
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
            clients.push(BenchHttpClient::connect(self.address).await?);
        }
        let started = Instant::now();
        let end = started + Duration::from_secs_f64(self.seconds);
        let every = self.rate.map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
        let mut loops = JoinSet::new();
        for (place, client) in (0_u32..).zip(clients) {
            // Staggered starts, so that the connections do not send all at once.
            let apart = every
                .map_or(Duration::ZERO, |e| e.mul_f64(f64::from(place) / self.connections as f64));
            let pace = WriteRate { next: started + apart, every };
            loops.spawn(send_until(end, pace, client, BenchHttpClient::request(&self.path)));
        }
        let mut times = Histogram::<u64>::new(3)?;
        while let Some(finished) = loops.join_next().await {
            times.add(finished??)?;
        }
        Ok(Outcome {
            answers: times.len(),
            rate: times.len() as f64 / started.elapsed().as_secs_f64(),
            p50_us: times.value_at_quantile(0.5),
            p99_us: times.value_at_quantile(0.99),
        })
    }
}

/// The schedule of a connection's requests.
struct WriteRate {
    next: Instant,
    every: Option<Duration>,
}

impl WriteRate {
    /// Waits until the next request is due and returns its due time: latency counts from then, so that a
    /// server that stalls does not hide the delay.
    async fn wait(&mut self, now: Instant) -> Instant {
        let Some(every) = self.every else { return now };
        let due = self.next;
        sleep_until(due).await;
        self.next = due + every;
        due
    }
}

/// One connection's loop; records the latency of each response in microseconds.
async fn send_until(
    end: Instant,
    mut pace: WriteRate,
    mut client: BenchHttpClient,
    request: Vec<u8>,
) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    let mut now = Instant::now();
    loop {
        let sent = pace.wait(now).await;
        if sent >= end {
            return Ok(times);
        }
        client.send(&request).await?;
        let status = client.receive().await?;
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(client.body()));
        }
        now = Instant::now();
        times.record(u64::try_from((now - sent).as_micros())?)?;
    }
}
