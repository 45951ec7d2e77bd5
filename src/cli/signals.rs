//! Being asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

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
