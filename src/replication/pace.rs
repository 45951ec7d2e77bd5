//! When to pause between reads, and how long: pure.
//!
//! A walsender sends every message by itself. While its kernel may send, each becomes a segment of its
//! own, and the segment costs more than its message did; while it may not, messages gather and go
//! together (measured on the loopback: 60 bytes a segment or thousands, and the walsender takes 2 to 3
//! times as long for the small ones). So we don't read for a while: what is unread fills the window, and
//! the rest gathers. It would cost latency, so it is done only while the stream is behind; on a Unix socket
//! it gains nothing.
//!
//! The pause is right when as much gathers in it as the window holds: a shorter one leaves room, which the
//! server fills with small segments, and a longer one keeps it waiting. Half-way through tells: what
//! gathered came at once when we read, so all is here that will be; otherwise bytes are still trickling in.
//!
//! Where the window is not small ([`CopyBoth::waiting`](crate::wire::CopyBoth::waiting)) the pause stays as
//! it is: there it helps by luck, with servers whose kernel uses BBR.
//!
//! What matters is the time between reads: what is done meanwhile with the bytes of the last one
//! counts. And one read must have room for all that gathered: to read the rest at once is eager.

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
    /// How long bytes gather.
    pause: Duration,
    /// Bytes that had come half-way through the pause, if that tells something.
    early: Option<usize>,
}

impl Pace {
    /// The first pause.
    const PAUSE: Duration = Duration::from_millis(2);
    /// No pause is shorter…
    const PAUSE_MIN: Duration = Duration::from_micros(100);
    /// …or longer.
    const PAUSE_MAX: Duration = Duration::from_millis(10);
    /// A read of fewer bytes does not fill any window: it is no reason for a shorter pause.
    const FULL_BYTES: usize = 24 << 10;
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
            pause: Self::PAUSE,
            early: None,
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

    /// So many bytes were read just now.
    pub(super) fn read(&mut self, bytes: usize, now: Instant) {
        self.read_at = Some(now);
        let Some(early) = self.early.take() else { return };
        if early < bytes / 10 * 9 {
            self.pause = (self.pause * 13 / 10).min(Self::PAUSE_MAX);
        } else if bytes >= Self::FULL_BYTES {
            self.pause = (self.pause * 98 / 100).max(Self::PAUSE_MIN);
        }
    }

    /// Whether to let bytes gather before the next read.
    pub(super) fn should_pause(&self) -> bool {
        self.may_pause && self.behind
    }

    /// How long it is until the middle of the pause, when it is now.
    pub(super) fn until_half_way(&self, now: Instant) -> Duration {
        self.remaining(self.pause / 2, now)
    }

    /// In the middle of the pause so many bytes wait to be read.
    pub(super) fn half_way(&mut self, waiting: Option<usize>) {
        self.early = waiting;
    }

    /// How much longer bytes should gather, when it is now.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.remaining(self.pause, now)
    }

    fn remaining(&self, of: Duration, now: Instant) -> Duration {
        of.saturating_sub(self.read_at.map_or(Duration::ZERO, |at| now.duration_since(at)))
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
        pace.read(1, read_at);
        assert_eq!(pace.until_half_way(read_at), Pace::PAUSE / 2);
        assert_eq!(pace.until_half_way(read_at + Pace::PAUSE / 4), Pace::PAUSE / 4);
        assert_eq!(pace.rest(read_at + Pace::PAUSE / 4), Pace::PAUSE / 4 * 3);
        assert_eq!(pace.rest(read_at + 2 * Pace::PAUSE), Duration::ZERO);
    }

    /// Bytes a millisecond that come through this window. While it is open the server sends `slow` bytes
    /// a millisecond, and what gathered at once; while it is shut `fast` bytes a millisecond gather.
    fn rate(window: u128, slow: u128, fast: u128) -> u128 {
        let (mut pace, begin, mut gathered, mut total) = (Pace::new(true), Instant::now(), 0, 0);
        let mut now = begin;
        for _ in 0..2_000 {
            let micros = pace.pause.as_micros();
            let open_for = (window.saturating_sub(gathered) * 1_000 / slow).min(micros);
            let here = |time: u128| (gathered + slow * time.min(open_for) / 1_000).min(window);
            pace.half_way(usize::try_from(here(micros / 2)).ok());
            now += pace.pause;
            pace.read(usize::try_from(here(micros)).unwrap(), now);
            total += here(micros);
            gathered = gathered.saturating_sub(window) + fast * (micros - open_for) / 1_000;
        }
        total * 1_000 / (now - begin).as_micros()
    }

    #[test]
    fn most_of_what_comes_has_gathered() {
        for (window, slow, fast) in
            [(60_000, 10_000, 24_000), (60_000, 10_000, 100_000), (32_000, 10_000, 24_000)]
        {
            let rate = rate(window, slow, fast);
            assert!(rate > fast * 3 / 4, "{rate} of {fast} bytes/ms");
        }
    }

    #[test]
    fn where_the_window_is_not_known_the_pause_stays() {
        let mut pace = Pace::new(true);
        for bytes in [10, 100_000] {
            pace.half_way(None);
            pace.read(bytes, Instant::now());
        }
        assert_eq!(pace.pause, Pace::PAUSE);
    }

    #[test]
    fn the_pause_has_limits() {
        let mut pace = Pace::new(true);
        for (early, limit) in [(0, Pace::PAUSE_MAX), (60_000, Pace::PAUSE_MIN)] {
            for _ in 0..1_000 {
                pace.half_way(Some(early));
                pace.read(60_000, Instant::now());
            }
            assert_eq!(pace.pause, limit);
        }
    }
}
