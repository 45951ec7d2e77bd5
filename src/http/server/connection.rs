//! What is left of an HTTP connection when a request takes it over.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::http::{HeaderMap, Request, header};
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::http::middleware::rate::BucketOwner;

/// A place among all connections of a listener; counted as long as it is held.
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

/// A connection's place among all others, and where its task is waited for at shutdown. Requests
/// that ask for another protocol carry it.
#[derive(Clone)]
pub(crate) struct AcceptedConnection {
    place: Arc<ConnectionPermit>,
    tasks: TaskTracker,
    /// Who is at the other end, where that matters.
    client: Option<BucketOwner>,
}

impl AcceptedConnection {
    pub(crate) fn new(
        place: Arc<ConnectionPermit>,
        tasks: TaskTracker,
        client: Option<BucketOwner>,
    ) -> Self {
        Self { place, tasks, client }
    }

    /// Gives itself along with a request that asks for another protocol; others needn't carry it.
    /// All carry who sent them.
    pub(crate) fn add_to<B: HttpBody>(&self, mut request: Request<B>) -> Request<B> {
        if request.headers().contains_key(header::UPGRADE) {
            request.extensions_mut().insert(self.clone());
        }
        if let Some(client) = self.client {
            request.extensions_mut().insert(client);
        }
        request
    }

    /// Runs what goes on over the connection after HTTP; it must end by itself once the store is
    /// closed. Until then the connection counts as one.
    pub(crate) fn go_on(self, task: impl Future<Output = ()> + Send + 'static) {
        let place = self.place;
        self.tasks.spawn(async move {
            task.await;
            drop(place);
        });
    }
}

/// Whether a header that lists words has this one; their case doesn't matter.
pub(crate) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}
