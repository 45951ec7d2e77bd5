//! How many are pushed to.

use std::sync::Arc;

use prometheus::{IntGauge, IntGaugeVec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::options::{AllowedOrigin, PushOptions};
use crate::http::response::problem::{Problem, ProblemType};
use crate::metrics::Metrics;

/// How a client is pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushProtocol {
    Sse,
    Ws,
}

/// The clients that are pushed to, and what holds for all of them.
pub(crate) struct PushClients {
    options: PushOptions,
    origins: Vec<AllowedOrigin>,
    room: Arc<Semaphore>,
    counts: IntGaugeVec,
}

impl PushClients {
    pub(crate) fn new(options: &PushOptions, origins: &[AllowedOrigin], metrics: &Metrics) -> Self {
        Self {
            options: options.clone(),
            origins: origins.to_vec(),
            room: Arc::new(Semaphore::new(options.max_clients)),
            counts: metrics.push_clients.clone(),
        }
    }

    pub(crate) fn options(&self) -> &PushOptions {
        &self.options
    }

    /// Origins whose pages may ask, beside our own.
    pub(crate) fn origins(&self) -> &[AllowedOrigin] {
        &self.origins
    }

    /// Counts one more client for as long as the guard lives; refuses it when there are too many.
    pub(crate) fn admit(&self, way: PushProtocol) -> Result<PushClient, Problem> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            let most = self.options.max_clients;
            return Err(Problem::new(
                ProblemType::TooManyClients,
                format!(
                    "{most} streams and sockets are open, as many as may be (http.max_push_clients); \
                     poll instead, or try again later"
                ),
            ));
        };
        let label = match way {
            PushProtocol::Sse => "sse",
            PushProtocol::Ws => "ws",
        };
        let count = self.counts.with_label_values(&[label]);
        count.inc();
        Ok(PushClient { count, _permit: permit })
    }
}

/// One client that is pushed to.
pub(crate) struct PushClient {
    count: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for PushClient {
    fn drop(&mut self) {
        self.count.dec();
    }
}
