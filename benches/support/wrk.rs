//! `wrk` as the load generator, where it is installed: it takes less processor time for a request than
//! the generator of [`super::load`], so more of the machine is left to the server that is measured.

use std::io::ErrorKind;
use std::process::Output;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::load::{Outcome, WriteLoad};

/// Generates the load with one thread. `None` if `wrk` is not installed.
pub(crate) async fn run(load: &WriteLoad) -> anyhow::Result<Option<Outcome>> {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--latency"])
        .args(["--connections", &load.connections.to_string()])
        // wrk takes whole seconds only.
        .args(["--duration", &format!("{:.0}s", load.seconds.ceil())])
        .arg(format!("http://{}{}", load.address, load.path))
        .kill_on_drop(true);
    match command.output().await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        output => outcome(&output.context("run wrk")?).map(Some),
    }
}

fn outcome(output: &Output) -> anyhow::Result<Outcome> {
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    if text.contains("Non-2xx or 3xx responses") || text.contains("Socket errors") {
        bail!("not every request succeeded:\n{text}");
    }
    parse(&text).with_context(|| format!("unknown output of wrk:\n{text}"))
}

fn parse(text: &str) -> Option<Outcome> {
    let lines = || text.lines().map(str::trim);
    let after = |label: &str| lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
    let requests = lines().find_map(|line| line.split_once(" requests in "))?.0;
    Some(Outcome {
        answers: requests.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(after("50%")?)?,
        p99_us: microseconds(after("99%")?)?,
    })
}

/// Reads `151.00us`, `1.02ms` or `1.20s`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a short time")]
fn microseconds(text: &str) -> Option<u64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) =
        units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some((number.parse::<f64>().ok()? * factor).round() as u64)
}
