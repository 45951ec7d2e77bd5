//! Signals: SIGHUP, and the request to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The stream of SIGHUP, which requests a reload of files.
///
/// The handler is installed by the constructor; until then the signal terminates the process.
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

/// Completes at the first SIGINT (Ctrl-C) or SIGTERM.
///
/// The handlers are installed by the call, not by the first poll; until then the signals terminate
/// the process.
pub(crate) fn terminated() -> impl Future<Output = ()> + Send {
    // Without a handler the signal terminates the process: an acceptable fallback.
    let mut signals: Vec<Signal> = [SignalKind::interrupt(), SignalKind::terminate()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    std::future::poll_fn(move |context| {
        let received = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if received { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
}
