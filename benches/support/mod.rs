//! The harness of the benchmarks: a temporary PostgreSQL, the service as a child process, a small
//! HTTP client and load generator, and the summary, printing and storage of figures.
//!
//! Every benchmark compares two systems in one run on one machine, alternating; its result is the ratio
//! of the medians. Absolute figures are only comparable on the same idle machine.

pub(crate) mod bare;
pub(crate) mod clients;
pub(crate) mod database;
pub(crate) mod filled;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod nginx;
pub(crate) mod plot;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod rival;
pub(crate) mod samples;
pub(crate) mod service;
pub(crate) mod stream;
pub(crate) mod writers;
pub(crate) mod wrk;

use std::path::PathBuf;

use anyhow::Context;

/// Options of every benchmark.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Common {
    /// Passed by `cargo bench`; without it (`cargo test --benches`) nothing is measured.
    #[arg(long, hide = true, global = true)]
    pub(crate) bench: bool,

    /// The directory of PostgreSQL's server programs; otherwise they are searched for.
    #[arg(long, env = "HIGHWATER_PG_BIN", global = true)]
    pub(crate) pg_bin: Option<PathBuf>,

    /// PostgreSQL's major version; otherwise the newest on this machine.
    #[arg(long, env = "HIGHWATER_TEST_PG_MAJOR", global = true)]
    pub(crate) pg_major: Option<u16>,
}

/// Runs a benchmark on one thread, so that clients and writers disturb the measured processes least.
pub(crate) fn block_on<T>(benchmark: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(benchmark)
}

/// The folder of results and logs: `target/bench`.
pub(crate) fn output_dir() -> anyhow::Result<PathBuf> {
    // Cargo's folder for benchmarks is `target/tmp`.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let directory = target.parent().unwrap_or(&target).join("bench");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("make the folder {}", directory.display()))?;
    Ok(directory)
}
