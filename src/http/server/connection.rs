//! What a request needs to take over its connection, and what every request carries of it.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::http::{HeaderMap, Request, header};
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::http::middleware::rate::BucketOwner;

/// A permit for one of a listener's connections, counted in the gauge as long as it is held.
pub(crate) struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl ConnectionPermit {
    pub(crate) fn new(permit: OwnedSemaphorePermit, open: IntGauge) -> Self {
        open.inc();
        Self { _permit: permit, open }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A connection's permit, and the tracker through which shutdown waits for tasks that took over a
/// connection. A request that asks for another protocol carries it in its extensions.
#[derive(Clone)]
pub(crate) struct AcceptedConnection {
    permit: Arc<ConnectionPermit>,
    tasks: TaskTracker,
    /// The client by its address; `None` without a rate limit.
    client: Option<BucketOwner>,
}

impl AcceptedConnection {
    pub(crate) fn new(
        permit: Arc<ConnectionPermit>,
        tasks: TaskTracker,
        client: Option<BucketOwner>,
    ) -> Self {
        Self { permit, tasks, client }
    }

    /// Adds the client to a request's extensions, and the connection if the request asks for another
    /// protocol: only then can it be taken over, and an extension costs allocations.
    pub(crate) fn add_to<B: HttpBody>(&self, mut request: Request<B>) -> Request<B> {
        if request.headers().contains_key(header::UPGRADE) {
            request.extensions_mut().insert(self.clone());
        }
        if let Some(client) = self.client {
            request.extensions_mut().insert(client);
        }
        request
    }

    /// Spawns the task of a connection that no longer speaks HTTP; the connection counts until the
    /// task ends, which it must do by itself once the store is closed.
    pub(crate) fn spawn_upgraded(self, task: impl Future<Output = ()> + Send + 'static) {
        let permit = self.permit;
        self.tasks.spawn(async move {
            task.await;
            drop(permit);
        });
    }
}

/// Whether a header that lists tokens contains this one, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}
