//! Servers that alternate under the same load, and the figures of each.

use std::net::SocketAddr;

use serde::Serialize;

use super::load::WriteLoad;
use super::process;
use super::samples::Samples;
use super::wrk;

/// Load before the counted one.
const WARM_UP_SECONDS: f64 = 0.5;

/// Connections, duration and repetitions of the load.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Keep-alive connections, each of which sends its next request after the response.
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Turns of each server; figures are medians.
    #[arg(long, default_value_t = 5)]
    pub(crate) turns: u32,
}

/// A server under load.
#[derive(Serialize)]
pub(crate) struct Rival {
    pub(crate) name: String,
    /// Process ids.
    #[serde(skip)]
    pids: Vec<u32>,
    #[serde(skip)]
    address: SocketAddr,
    path: String,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// Figures of a server, one value per turn.
#[derive(Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) rate: Samples,
    p50_us: Samples,
    p99_us: Samples,
    pub(crate) cpu_us_per_answer: Samples,
}

impl Rival {
    pub(crate) const HEADINGS: [&'static str; 4] =
        ["responses/s", "p50 µs", "p99 µs", "CPU µs per response"];

    pub(crate) fn new(name: &str, pids: &[u32], address: SocketAddr, path: &str) -> Self {
        let (name, path) = (name.to_owned(), path.to_owned());
        Self { name, pids: pids.to_vec(), address, path, figures: Figures::default() }
    }

    async fn turn(&mut self, effort: &Effort, warm_up: bool) -> anyhow::Result<()> {
        let load = WriteLoad {
            address: self.address,
            path: self.path.clone(),
            connections: effort.connections,
            seconds: if warm_up { WARM_UP_SECONDS } else { effort.seconds },
            rate: None,
        };
        let cpu_before = self.cpu()?;
        let outcome = match wrk::run(&load).await? {
            Some(outcome) => outcome,
            None => load.run_apart().await?,
        };
        let cpu = self.cpu()? - cpu_before;
        if warm_up {
            return Ok(());
        }
        self.figures.rate.push(outcome.rate);
        self.figures.p50_us.push(outcome.p50_us as f64);
        self.figures.p99_us.push(outcome.p99_us as f64);
        self.figures.cpu_us_per_answer.push(cpu * 1e6 / outcome.answers as f64);
        Ok(())
    }

    fn cpu(&self) -> anyhow::Result<f64> {
        let mut seconds = 0.0;
        for pid in &self.pids {
            seconds += process::cpu(*pid)?.as_secs_f64();
        }
        Ok(seconds)
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let Figures { rate, p50_us, p99_us, cpu_us_per_answer } = &self.figures;
        let figures = [rate, p50_us, p99_us, cpu_us_per_answer].map(ToString::to_string);
        [vec![self.name.clone()], figures.to_vec()].concat()
    }

    /// Name and rate, for a plot.
    pub(crate) fn bar(&self) -> (String, f64) {
        (self.name.clone(), self.figures.rate.median())
    }
}

/// Puts each server under load, alternating.
pub(crate) async fn compete(effort: &Effort, rivals: &mut [Rival]) -> anyhow::Result<()> {
    for turn in 0..=effort.turns {
        for rival in &mut *rivals {
            rival.turn(effort, turn == 0).await?;
        }
    }
    Ok(())
}
