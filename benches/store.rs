//! `/v1/store`: whole tables in one response, compared with a file of that size served by the same
//! server stack (axum and tower-http's `ServeFile`), alternating; and the memory it takes meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Common;
use crate::support::bare::BareServer;
use crate::support::database::{BenchDatabase, make_tables};
use crate::support::plot::Bars;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::{Samples, figure};
use crate::support::service::BenchService;

const LEAST_RATIO: f64 = 0.5;
/// Accepted growth: bytes in transit to one client, and the allocator's reserve.
const MOST_GROWTH_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
/// Bytes received between two readings of memory.
const SAMPLE_BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 256 * 1024;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 100)]
    tables: u32,
    /// Rows of each table.
    #[arg(long, default_value_t = 10_000)]
    rows: u32,
    /// Downloads from each server; figures are medians.
    #[arg(long, default_value_t = 7)]
    turns: u32,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let database = BenchDatabase::start(common, &[]).await?;
    make_tables(&database, options.tables, options.rows).await?;
    let modes = (1..=options.tables).map(|n| (format!("tables.items_{n}.rows"), "preload"));
    let modes = modes.collect::<Vec<_>>();
    let mut settings = vec![("postgres.publication", "bench"), ("postgres.slot", "bench")];
    settings.extend(modes.iter().map(|(key, mode)| (key.as_str(), *mode)));
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(database.session.lsn("pg_current_wal_lsn()").await?).await?;
    service.wait_until_healthy().await?;

    let before = service.resident_bytes()?;
    let bytes = download(service.address, "/v1/store", || Ok(())).await?.bytes;
    let file = tempfile::NamedTempFile::new().context("make a temporary file")?;
    std::fs::write(file.path(), vec![b'x'; usize::try_from(bytes)?])?;
    let bare = BareServer::of_file(file.path()).await?;
    let (mut highwater, mut yardstick, mut most) = (Samples::default(), Samples::default(), before);
    for _ in 0..options.turns {
        let sample_memory = || {
            most = most.max(service.resident_bytes()?);
            Ok(())
        };
        highwater.push(download(service.address, "/v1/store", sample_memory).await?.rate());
        let of_file = download(bare.address, "/file", || Ok(())).await?;
        ensure!(of_file.bytes >= bytes, "the file has fewer bytes: {}", of_file.bytes);
        yardstick.push(of_file.rate());
    }
    let after = service.resident_bytes()?;
    service.stop()?;

    let mebibytes = |bytes: u64| figure(bytes as f64 / f64::from(1 << 20));
    println!("size of the response: {} MiB", mebibytes(bytes));
    print_table(
        &["whole tables", "MB/s"],
        &[
            vec!["/v1/store".into(), highwater.to_string()],
            vec!["a file".into(), yardstick.to_string()],
        ],
    );
    println!(
        "memory: {} MiB before, at most {} MiB meanwhile, {} MiB after",
        mebibytes(before),
        mebibytes(most),
        mebibytes(after)
    );
    let mut report = BenchReport::new("store");
    report.keep("postgresql", database.server.installation().version());
    report.keep("bytes", bytes);
    report.keep("resident_bytes", [before, most, after]);
    let ratio = highwater.ratio_to(&yardstick);
    report.judge("throughput / a static file's", ratio, Goal::AtLeast(LEAST_RATIO));
    let grown = most.saturating_sub(before) as f64;
    report.judge("bytes of memory meanwhile", grown, Goal::AtMost(MOST_GROWTH_BYTES));
    let mut plot = Bars::new("Whole tables", "MB/s");
    let medians = [("/v1/store", highwater.median()), ("a static file", yardstick.median())];
    let pair = medians.map(|(name, rate)| (name.to_owned(), rate));
    plot.group(format!("{} MiB", mebibytes(bytes)), pair.to_vec());
    report.plot("", plot.to_svg());
    report.keep("store_mb_per_second", highwater);
    report.keep("file_mb_per_second", yardstick);
    report.finish()
}

/// One download.
struct Download {
    bytes: u64,
    time: Duration,
}

impl Download {
    /// In MB/s.
    fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }
}

/// Receives a response, including its head, and discards it.
async fn download(
    address: SocketAddr,
    path: &str,
    mut sample_memory: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Download> {
    let mut stream = TcpStream::connect(address).await.context("connect")?;
    let mut buffer = vec![0; READ_BYTES];
    let started = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut bytes, mut sampled) = (0_u64, 0);
    loop {
        let count = stream.read(&mut buffer).await?;
        if bytes == 0 {
            ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{path} was not served");
        }
        if count == 0 {
            return Ok(Download { bytes, time: started.elapsed() });
        }
        bytes += count as u64;
        if bytes - sampled > SAMPLE_BYTES {
            sampled = bytes;
            sample_memory()?;
        }
    }
}
