//! A future that is polled only after it was woken itself, however often its task is polled.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

pin_project! {
    /// A future that is expensive to poll and seldom ready, beside one that wakes the task often.
    ///
    /// `CancellationToken::cancelled` is one: a poll of it locks two mutexes that all connections of a
    /// listener share, and a connection's task is polled for every request.
    pub(crate) struct PollOnWake<F> {
        #[pin]
        future: F,
        wakes: Arc<WakeFlag>,
        // Made of `wakes`: what the future wakes.
        waker: Waker,
    }
}

/// Remembers that the future was woken, and wakes its task.
struct WakeFlag {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl<F> PollOnWake<F> {
    pub(crate) fn new(future: F) -> Self {
        // Woken at the beginning, so that the first poll reaches the future.
        let is_woken = AtomicBool::new(true);
        let flag = Arc::new(WakeFlag { is_woken, task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&flag));
        Self { future, wakes: flag, waker }
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> Future for PollOnWake<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Before the flag is read: a wake-up in between wakes the task.
        this.wakes.task.register(cx.waker());
        if this.wakes.is_woken.swap(false, Ordering::AcqRel) {
            this.future.poll(&mut Context::from_waker(this.waker))
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::task::JoinSet;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn the_future_is_polled_once_until_it_is_woken() {
        let token = CancellationToken::new();
        let mut polls = 0;
        let mut cancelled = pin!(token.cancelled());
        let counted = std::future::poll_fn(|cx| {
            polls += 1;
            cancelled.as_mut().poll(cx)
        });
        {
            let mut on_wake = pin!(PollOnWake::new(counted));
            for _ in 0..10 {
                assert!(on_wake.as_mut().now_or_never().is_none());
            }
            token.cancel();
            assert!(on_wake.now_or_never().is_some());
        }
        assert_eq!(polls, 2);
    }

    #[tokio::test]
    async fn its_task_is_woken() {
        let token = CancellationToken::new();
        let mut waiting = JoinSet::new();
        waiting.spawn(PollOnWake::new(token.clone().cancelled_owned()));
        tokio::task::yield_now().await;
        token.cancel();
        timeout(Duration::from_mins(1), waiting.join_next()).await.unwrap().unwrap().unwrap();
    }
}
