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
//! server fills with small segments, and a longer one keeps it waiting. We look half-way: if next to
//! nothing comes in the second half, the window was full, and the pause may be shorter; if more comes, the
//! server is still sending small segments, and the pause should be longer.
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
pub(super) struct ReadCoalescer {
    may_pause: bool,
    committed_at: CommitTime,
    behind: bool,
    /// When bytes were last read.
    read_at: Option<Instant>,
    /// How long bytes gather.
    pause: Duration,
    /// The most bytes that waited at the end of a pause: about what the window holds.
    window: usize,
}

impl ReadCoalescer {
    /// The pause of a stream that begins to be behind. Measured: 0.5 to 2 ms are alike.
    const PAUSE: Duration = Duration::from_millis(1);
    /// No pause is shorter: a thread does not sleep more exactly…
    const PAUSE_MIN: Duration = Duration::from_micros(200);
    /// …or longer: who shares the thread waits as long. Small segments fill the window in 6 ms.
    const PAUSE_MAX: Duration = Duration::from_millis(8);
    /// A pause that is too short grows by so much, in percent: soon it is not, …
    const GROWTH: u32 = 30;
    /// …and one that may be shorter shrinks by so much: small segments cost more than a server that waits.
    const SHRINKAGE: u32 = 2;
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
            window: 0,
        }
    }

    /// A transaction made at this time begins to arrive.
    pub(super) fn begin(&mut self, committed_at: CommitTime) {
        self.committed_at = committed_at;
    }

    /// The server sent a message of the current transaction at this time.
    pub(super) fn sent(&mut self, clock: i64) {
        self.behind = clock.saturating_sub(self.committed_at.0) > Self::BEHIND_MICROSECONDS;
        if !self.behind {
            self.pause = Self::PAUSE;
        }
    }

    /// The server has nothing more to send.
    pub(super) fn idle(&mut self) {
        self.behind = false;
    }

    /// Bytes were read just now.
    pub(super) fn read(&mut self, now: Instant) {
        self.read_at = Some(now);
    }

    /// So many bytes waited half-way through a pause, and at its end, `rest` later.
    pub(super) fn gathered(&mut self, half_way: usize, at_end: usize, rest: Duration) {
        self.window = self.window.max(at_end);
        // Half-way was too late, because the last bytes took long, to tell anything.
        if rest < self.pause / 4 {
            return;
        }
        if half_way < at_end / 10 * 9 {
            self.pause = (self.pause * (100 + Self::GROWTH) / 100).min(Self::PAUSE_MAX);
        } else if at_end > self.window / 3 {
            self.pause = (self.pause * (100 - Self::SHRINKAGE) / 100).max(Self::PAUSE_MIN);
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
        let mut pace = ReadCoalescer::new(true);
        assert!(!pace.should_pause());
        pace.begin(CommitTime(1_000_000));
        pace.sent(1_000_400);
        assert!(!pace.should_pause(), "fresh commits are read eagerly");
        pace.sent(1_020_000);
        assert!(pace.should_pause());
        pace.idle();
        assert!(!pace.should_pause());

        let mut unix = ReadCoalescer::new(false);
        unix.begin(CommitTime(0));
        unix.sent(i64::MAX);
        assert!(!unix.should_pause());
    }

    #[test]
    fn what_is_done_between_reads_is_part_of_the_pause() {
        let (mut pace, read_at) = (ReadCoalescer::new(true), Instant::now());
        assert_eq!(pace.rest(read_at), ReadCoalescer::PAUSE);
        pace.read(read_at);
        assert_eq!(pace.until_half_way(read_at), ReadCoalescer::PAUSE / 2);
        assert_eq!(
            pace.until_half_way(read_at + ReadCoalescer::PAUSE / 4),
            ReadCoalescer::PAUSE / 4
        );
        assert_eq!(pace.rest(read_at + ReadCoalescer::PAUSE / 4), ReadCoalescer::PAUSE / 4 * 3);
        assert_eq!(pace.rest(read_at + 2 * ReadCoalescer::PAUSE), Duration::ZERO);
    }

    /// Bytes a millisecond that come through this window. While it is open the server sends `slow` bytes
    /// a millisecond, and what gathered at once; while it is shut `fast` bytes a millisecond gather.
    fn rate(window: u128, slow: u128, fast: u128) -> u128 {
        let (mut pace, mut gathered, mut total, mut time) = (ReadCoalescer::new(true), 0, 0, 0);
        for _ in 0..2_000 {
            let micros = pace.pause.as_micros();
            let open_for = (window.saturating_sub(gathered) * 1_000 / slow).min(micros);
            let here = |time: u128| (gathered + slow * time.min(open_for) / 1_000).min(window);
            let waiting = |time| usize::try_from(here(time)).unwrap();
            pace.gathered(waiting(micros / 2), waiting(micros), pace.pause / 2);
            total += here(micros);
            time += micros;
            gathered = gathered.saturating_sub(window) + fast * (micros - open_for) / 1_000;
        }
        total * 1_000 / time
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
    fn the_pause_has_limits() {
        let mut pace = ReadCoalescer::new(true);
        for (half_way, limit) in [(0, ReadCoalescer::PAUSE_MAX), (60_000, ReadCoalescer::PAUSE_MIN)]
        {
            for _ in 0..1_000 {
                pace.gathered(half_way, 60_000, pace.pause / 2);
            }
            assert_eq!(pace.pause, limit);
        }
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let mut pace = ReadCoalescer::new(true);
        pace.gathered(60_000, 60_000, Duration::ZERO);
        assert_eq!(pace.pause, ReadCoalescer::PAUSE, "half-way was at the end");
        pace.gathered(0, 0, ReadCoalescer::PAUSE);
        assert_eq!(pace.pause, ReadCoalescer::PAUSE, "nothing came");
        pace.gathered(10_000, 10_000, ReadCoalescer::PAUSE);
        assert_eq!(pace.pause, ReadCoalescer::PAUSE, "little came, but at once");
    }

    #[test]
    fn who_was_not_behind_begins_anew() {
        let mut pace = ReadCoalescer::new(true);
        pace.gathered(0, 60_000, pace.pause);
        assert!(pace.pause > ReadCoalescer::PAUSE);
        pace.begin(CommitTime(1_000_000));
        pace.sent(1_000_400);
        assert_eq!(pace.pause, ReadCoalescer::PAUSE);
    }
}
