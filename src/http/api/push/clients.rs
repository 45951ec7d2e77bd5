//! The limit on push clients.

use std::sync::Arc;

use prometheus::{IntGauge, IntGaugeVec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::options::{AllowedOrigin, PushOptions};
use crate::http::response::problem::{Problem, ProblemType};
use crate::metrics::Metrics;

/// The protocol of a push client; also the `protocol` label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushProtocol {
    Sse,
    Ws,
}

/// The open push connections: their number, and the options that apply to all of them.
pub(crate) struct PushClients {
    options: PushOptions,
    origins: Vec<AllowedOrigin>,
    permits: Arc<Semaphore>,
    counts: IntGaugeVec,
}

impl PushClients {
    pub(crate) fn new(options: &PushOptions, origins: &[AllowedOrigin], metrics: &Metrics) -> Self {
        Self {
            options: options.clone(),
            origins: origins.to_vec(),
            permits: Arc::new(Semaphore::new(options.max_clients)),
            counts: metrics.push_clients.clone(),
        }
    }

    pub(crate) fn options(&self) -> &PushOptions {
        &self.options
    }

    /// Origins whose pages may connect, beside the service's own.
    pub(crate) fn origins(&self) -> &[AllowedOrigin] {
        &self.origins
    }

    /// Counts one more client for as long as the guard lives; 503 at `http.max_push_clients`.
    pub(crate) fn admit(&self, protocol: PushProtocol) -> Result<PushClient, Problem> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let max = self.options.max_clients;
            return Err(Problem::new(
                ProblemType::TooManyClients,
                format!(
                    "{max} streams and WebSockets are open, the maximum (http.max_push_clients); poll \
                     instead, or retry later"
                ),
            ));
        };
        let label = match protocol {
            PushProtocol::Sse => "sse",
            PushProtocol::Ws => "ws",
        };
        let count = self.counts.with_label_values(&[label]);
        count.inc();
        Ok(PushClient { count, _permit: permit })
    }
}

/// One open push connection.
pub(crate) struct PushClient {
    count: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for PushClient {
    fn drop(&mut self) {
        self.count.dec();
    }
}
