//! Being asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Done when the process is asked to read its files again (SIGHUP); then wait for the next time.
///
/// Caught from the call on: before that it kills the process.
pub(crate) struct SighupStream(Option<Signal>);

impl SighupStream {
    pub(crate) fn catch() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Done when the process is asked to stop: Ctrl-C (SIGINT) or SIGTERM.
///
/// Both are caught from the call on, not from the first poll: before that they kill the process.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> + Send {
    // Without a handler the signal goes on killing the process, which is as good as can be.
    let mut signals: Vec<Signal> = [SignalKind::interrupt(), SignalKind::terminate()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    std::future::poll_fn(move |context| {
        let asked = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if asked { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
}
