//! The position up to which the slot may discard WAL: pure bookkeeping, no I/O.
//!
//! PostgreSQL's WAL is the durable version log. What is confirmed as flushed lags what is applied
//! by the resume window, so that after a restart the slot sends the window again, the log is
//! rebuilt from it, and every client with a version inside the window continues without a reset.
//! The window is bounded in bytes too: the database comes first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::lsn::Lsn;

/// Bounds of the WAL that the slot retains for restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeWindow {
    /// Age up to which applied commits are retained (`postgres.resume_window`).
    pub max_age: Duration,
    /// Bound of the retained WAL, whatever its age, in bytes (`postgres.resume_max_wal`).
    pub max_wal: u64,
}

impl ResumeWindow {
    /// Retains nothing: what is applied is confirmed. For temporary slots, which a restart drops.
    pub const NONE: Self = Self { max_age: Duration::ZERO, max_wal: 0 };

    /// Positions sampled inside the window: the granularity of the resume point.
    const SAMPLES_MAX: u32 = 64;
}

/// Derives the resume point from the applied positions.
///
/// Only positions that were reported as applied are ever confirmed. The server skips a commit whose
/// record *starts* before the confirmed position, so an arbitrary position between two records
/// would lose the commit that spans it.
#[derive(Debug)]
pub struct Feedback {
    window: ResumeWindow,
    /// Applied positions and when they were reached, oldest first, rising. The front is the resume
    /// point.
    samples: VecDeque<(Instant, Lsn)>,
    /// The newest applied position; it becomes a sample once it is far enough from the last one.
    applied: Lsn,
}

impl Feedback {
    /// A resume point at `from`: everything before it is confirmed already.
    pub fn new(window: ResumeWindow, from: Lsn, now: Instant) -> Self {
        Self { window, samples: VecDeque::from([(now, from)]), applied: from }
    }

    /// Records that everything up to `lsn` is applied.
    pub fn applied(&mut self, lsn: Lsn, now: Instant) {
        if lsn <= self.applied {
            return;
        }
        self.applied = lsn;
        let far_enough = self.samples.back().is_none_or(|&(at, last)| {
            now.duration_since(at) >= self.window.max_age / ResumeWindow::SAMPLES_MAX
                || lsn.bytes_since(last)
                    >= self.window.max_wal / u64::from(ResumeWindow::SAMPLES_MAX)
        });
        if far_enough {
            self.samples.push_back((now, lsn));
        }
    }

    /// The position to report as flushed; never moves backwards.
    pub fn resume_point(&mut self, now: Instant) -> Lsn {
        while let Some(&(reached, next)) = self.samples.get(1) {
            let old = now.duration_since(reached) >= self.window.max_age;
            let front = self.samples.front().map_or(Lsn::ZERO, |&(_, lsn)| lsn);
            if !old && self.applied.bytes_since(front) <= self.window.max_wal {
                break;
            }
            debug_assert!(next > front);
            self.samples.pop_front();
        }
        self.promote_idle(now);
        self.samples.front().map_or(Lsn::ZERO, |&(_, lsn)| lsn)
    }

    /// A quiet stream takes no samples: once the last one is old, the applied position, if it moved
    /// a little since, starts to age too. Otherwise the slot would retain the last few bytes
    /// forever.
    fn promote_idle(&mut self, now: Instant) {
        if let [(_, only)] = *self.samples.make_contiguous()
            && only < self.applied
        {
            self.samples.push_back((now, self.applied));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: ResumeWindow = ResumeWindow { max_age: Duration::from_mins(5), max_wal: 1 << 20 };

    #[test]
    fn retains_the_window_and_no_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut feedback = Feedback::new(WINDOW, Lsn(1000), start);
        for second in 1..=600 {
            feedback.applied(Lsn(1000 + second), at(second));
            let kept = feedback.resume_point(at(second));
            let age = 1000 + second - kept.0;
            assert!(age <= 310, "{age} s of WAL kept after {second} s");
            assert!(second < 300 || age >= 290, "only {age} s kept after {second} s");
        }
    }

    #[test]
    fn never_retains_more_wal_than_allowed() {
        let start = Instant::now();
        let mut feedback = Feedback::new(WINDOW, Lsn(0), start);
        for step in 1..=1000_u64 {
            feedback.applied(Lsn(step * 10_000), start);
            let kept = Lsn(step * 10_000).bytes_since(feedback.resume_point(start));
            assert!(kept <= WINDOW.max_wal, "{kept} bytes kept");
        }
    }

    #[test]
    fn a_quiet_stream_confirms_its_last_position_once_it_is_old() {
        let start = Instant::now();
        let mut feedback = Feedback::new(WINDOW, Lsn(8), start);
        feedback.applied(Lsn(16), start);
        assert_eq!(feedback.resume_point(start), Lsn(8));
        feedback.resume_point(start + Duration::from_mins(5));
        assert_eq!(feedback.resume_point(start + Duration::from_secs(601)), Lsn(16));
    }

    #[test]
    fn without_a_window_the_applied_position_is_confirmed() {
        let start = Instant::now();
        let mut feedback = Feedback::new(ResumeWindow::NONE, Lsn(8), start);
        feedback.applied(Lsn(16), start);
        assert_eq!(feedback.resume_point(start), Lsn(16));
    }

    proptest! {
        #[test]
        fn confirms_only_what_was_applied_and_never_goes_back(
            steps in prop::collection::vec((0..400_u64, 0..500_000_u64), 1..200),
        ) {
            let mut now = Instant::now();
            let mut lsn = 0;
            let mut seen = vec![Lsn(0)];
            let mut feedback = Feedback::new(WINDOW, Lsn(0), now);
            let mut last = Lsn(0);
            for (seconds, bytes) in steps {
                now += Duration::from_secs(seconds);
                lsn += bytes;
                feedback.applied(Lsn(lsn), now);
                seen.push(Lsn(lsn));
                let confirmed = feedback.resume_point(now);
                prop_assert!(confirmed >= last && seen.contains(&confirmed));
                prop_assert!(Lsn(lsn).bytes_since(confirmed) <= WINDOW.max_wal);
                last = confirmed;
            }
        }
    }
}
