//! When to pause between reads: pure.
//!
//! An eager reader slows a busy walsender down, which sends every message by itself: while all that
//! was sent has been acknowledged, each becomes a segment of its own, and the segment costs more than
//! its message did. While acknowledgements are awaited, messages gather and go together (measured on
//! the loopback: 1 message a segment or 30, and the walsender takes 2 to 3 times as long for it).
//! Letting bytes gather for a millisecond doubles or triples the rate of both sides over TCP. It
//! would cost latency, so it is done only while the stream is behind; on a Unix socket it gains
//! nothing.
//!
//! What matters is the time between reads: what is done meanwhile with the bytes of the last one
//! counts. And one read must have room for all that gathered: to read the rest at once is eager.
//!
//! All this was measured where the server's kernel uses BBR. With cubic, the usual congestion control, the
//! loopback acknowledges everything at once, and pauses neither help nor harm.

use std::time::{Duration, Instant};

use crate::change::CommitTime;

/// Decides the pause before the next read.
#[derive(Debug)]
pub(super) struct Pace {
    may_pause: bool,
    committed_at: CommitTime,
    behind: bool,
    /// When bytes were last read.
    read_at: Option<Instant>,
}

impl Pace {
    /// How long bytes may gather. Measured: 0.5 to 2 ms are alike.
    pub(super) const PAUSE: Duration = Duration::from_millis(1);
    /// A stream is behind when the server sends a commit this long after it was made. Both times
    /// are from the server's clock.
    const BEHIND_MICROSECONDS: i64 = 10_000;

    /// For a connection over TCP, where pauses help, or over a Unix socket, where they don't.
    pub(super) fn new(over_tcp: bool) -> Self {
        Self {
            may_pause: over_tcp,
            committed_at: CommitTime::default(),
            behind: false,
            read_at: None,
        }
    }

    /// A transaction made at this time begins to arrive.
    pub(super) fn begin(&mut self, committed_at: CommitTime) {
        self.committed_at = committed_at;
    }

    /// The server sent a message of the current transaction at this time.
    pub(super) fn sent(&mut self, clock: i64) {
        self.behind = clock.saturating_sub(self.committed_at.0) > Self::BEHIND_MICROSECONDS;
    }

    /// The server has nothing more to send.
    pub(super) fn idle(&mut self) {
        self.behind = false;
    }

    /// Bytes were read just now.
    pub(super) fn read(&mut self, now: Instant) {
        self.read_at = Some(now);
    }

    /// Whether to let bytes gather before the next read.
    pub(super) fn should_pause(&self) -> bool {
        self.may_pause && self.behind
    }

    /// How much longer they should, when it is now.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let gathering = self.read_at.map_or(Duration::ZERO, |at| now.duration_since(at));
        Self::PAUSE.saturating_sub(gathering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_only_over_tcp_and_only_while_behind() {
        let mut pace = Pace::new(true);
        assert!(!pace.should_pause());
        pace.begin(CommitTime(1_000_000));
        pace.sent(1_000_400);
        assert!(!pace.should_pause(), "fresh commits are read eagerly");
        pace.sent(1_020_000);
        assert!(pace.should_pause());
        pace.idle();
        assert!(!pace.should_pause());

        let mut unix = Pace::new(false);
        unix.begin(CommitTime(0));
        unix.sent(i64::MAX);
        assert!(!unix.should_pause());
    }

    #[test]
    fn what_is_done_between_reads_is_part_of_the_pause() {
        let (mut pace, read_at) = (Pace::new(true), Instant::now());
        assert_eq!(pace.rest(read_at), Pace::PAUSE);
        pace.read(read_at);
        assert_eq!(pace.rest(read_at + Pace::PAUSE / 4), Pace::PAUSE / 4 * 3);
        assert_eq!(pace.rest(read_at + 2 * Pace::PAUSE), Duration::ZERO);
    }
}
