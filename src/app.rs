//! Builds the service, runs it and stops it.

use tokio_util::sync::CancellationToken;

use crate::cli::demo::ServiceRequest;
use crate::config::Config;

/// Runs the service until it is asked to stop.
#[allow(clippy::unused_async, reason = "the service is joined to it next")]
pub async fn run(config: Config) -> anyhow::Result<()> {
    anyhow::bail!(
        "{}: the service is not part of this build",
        config.postgres.target.display_name()
    )
}

/// Runs the service for the demo, on a listener that is bound already, until `stop` is cancelled.
#[allow(clippy::unused_async, reason = "the service is joined to it next")]
pub async fn serve_demo(request: ServiceRequest, _stop: CancellationToken) -> anyhow::Result<()> {
    anyhow::bail!("{}: the service is not part of this build", request.slot)
}
