//! Pauses between reads while the stream is behind: pure.
//!
//! A walsender sends every message by itself. While its kernel may send, each becomes a segment of
//! its own, and the segment costs more than its message did; while it may not, messages accumulate
//! and are sent together (measured on the loopback: 60 bytes a segment or thousands, and the
//! walsender takes 2 to 3 times as long for the small ones). So the reader pauses: what is unread
//! fills the window, and the rest accumulates. That would cost latency, so it is done only while
//! the stream is behind; on a Unix socket it gains nothing.
//!
//! The pause is right when as much accumulates in it as the window holds: a shorter one leaves
//! room, which the server fills with small segments, and a longer one keeps it waiting. The unread
//! bytes are measured half-way: if almost nothing arrives in the second half, the window was full,
//! and the pause may be shorter; if more arrives, the server is still sending small segments, and
//! the pause should be longer.
//!
//! Where the window is not small ([`CopyBoth::readable_bytes`](crate::wire::CopyBoth::readable_bytes)) the pause
//! is not adjusted: there it helps in some cases, with servers whose kernel uses BBR.
//!
//! What matters is the time between reads: the time spent on the bytes of the last read counts. And
//! one read must have room for all that accumulated: reading the rest at once would be eager.

use std::time::{Duration, Instant};

use crate::change::CommitTime;

/// The pause before the next read.
#[derive(Debug)]
pub(super) struct ReadCoalescer {
    may_pause: bool,
    committed_at: CommitTime,
    behind: bool,
    /// Time of the last read.
    read_at: Option<Instant>,
    /// The current pause.
    pause: Duration,
    /// The most unread bytes at the end of a pause: about the size of the window.
    window: usize,
}

impl ReadCoalescer {
    /// The pause of a stream that has just fallen behind. Measured: 0.5 to 2 ms are alike.
    const PAUSE: Duration = Duration::from_millis(1);
    /// The shortest pause: a thread does not sleep more exactly.
    const PAUSE_MIN: Duration = Duration::from_micros(200);
    /// The longest pause: tasks on the same thread wait as long. Small segments fill the window in
    /// 6 ms.
    const PAUSE_MAX: Duration = Duration::from_millis(8);
    /// Growth of a pause that is too short, in percent: fast, because small segments cost more than
    /// a server that waits.
    const GROWTH: u32 = 30;
    /// Shrinkage of a pause that may be shorter, in percent.
    const SHRINKAGE: u32 = 2;
    /// Delay between a commit and its sending from which on the stream is behind, in microseconds.
    /// Both times are from the server's clock.
    const BEHIND_MICROSECONDS: i64 = 10_000;

    /// A coalescer for a connection over TCP, where pauses help, or over a Unix socket, where they
    /// don't.
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

    /// A transaction committed at this time begins to arrive.
    pub(super) fn on_transaction(&mut self, committed_at: CommitTime) {
        self.committed_at = committed_at;
    }

    /// A message of the current transaction arrived, sent at this time.
    pub(super) fn on_message(&mut self, clock: i64) {
        self.behind = clock.saturating_sub(self.committed_at.0) > Self::BEHIND_MICROSECONDS;
        if !self.behind {
            self.pause = Self::PAUSE;
        }
    }

    /// The server has nothing more to send for now.
    pub(super) fn on_idle(&mut self) {
        self.behind = false;
    }

    /// Bytes were read just now.
    pub(super) fn on_read(&mut self, now: Instant) {
        self.read_at = Some(now);
    }

    /// Adjusts the pause to the unread bytes half-way through it, and at its end, `rest` later.
    pub(super) fn adjust(&mut self, half_way: usize, at_end: usize, rest: Duration) {
        self.window = self.window.max(at_end);
        // Half-way was too late to be meaningful, because processing the last bytes took long.
        if rest < self.pause / 4 {
            return;
        }
        if half_way < at_end / 10 * 9 {
            self.pause = (self.pause * (100 + Self::GROWTH) / 100).min(Self::PAUSE_MAX);
        } else if at_end > self.window / 3 {
            self.pause = (self.pause * (100 - Self::SHRINKAGE) / 100).max(Self::PAUSE_MIN);
        }
    }

    /// Whether to pause before the next read.
    pub(super) fn should_pause(&self) -> bool {
        self.may_pause && self.behind
    }

    /// Time until the middle of the pause.
    pub(super) fn until_half_way(&self, now: Instant) -> Duration {
        self.remaining(self.pause / 2, now)
    }

    /// Time until the end of the pause.
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
        let mut coalescer = ReadCoalescer::new(true);
        assert!(!coalescer.should_pause());
        coalescer.on_transaction(CommitTime(1_000_000));
        coalescer.on_message(1_000_400);
        assert!(!coalescer.should_pause(), "fresh commits are read eagerly");
        coalescer.on_message(1_020_000);
        assert!(coalescer.should_pause());
        coalescer.on_idle();
        assert!(!coalescer.should_pause());

        let mut unix = ReadCoalescer::new(false);
        unix.on_transaction(CommitTime(0));
        unix.on_message(i64::MAX);
        assert!(!unix.should_pause());
    }

    #[test]
    fn processing_time_is_part_of_the_pause() {
        let (mut coalescer, read_at) = (ReadCoalescer::new(true), Instant::now());
        assert_eq!(coalescer.rest(read_at), ReadCoalescer::PAUSE);
        coalescer.on_read(read_at);
        assert_eq!(coalescer.until_half_way(read_at), ReadCoalescer::PAUSE / 2);
        assert_eq!(
            coalescer.until_half_way(read_at + ReadCoalescer::PAUSE / 4),
            ReadCoalescer::PAUSE / 4
        );
        assert_eq!(
            coalescer.rest(read_at + ReadCoalescer::PAUSE / 4),
            ReadCoalescer::PAUSE / 4 * 3
        );
        assert_eq!(coalescer.rest(read_at + 2 * ReadCoalescer::PAUSE), Duration::ZERO);
    }

    /// Bytes per millisecond that pass through this window. While it is open the server sends
    /// `slow` bytes per millisecond, and what accumulated at once; while it is shut `fast` bytes
    /// per millisecond accumulate.
    fn rate(window: u128, slow: u128, fast: u128) -> u128 {
        let (mut coalescer, mut gathered, mut total, mut time) =
            (ReadCoalescer::new(true), 0, 0, 0);
        for _ in 0..2_000 {
            let micros = coalescer.pause.as_micros();
            let open_for = (window.saturating_sub(gathered) * 1_000 / slow).min(micros);
            let here = |time: u128| (gathered + slow * time.min(open_for) / 1_000).min(window);
            let waiting = |time| usize::try_from(here(time)).unwrap();
            coalescer.adjust(waiting(micros / 2), waiting(micros), coalescer.pause / 2);
            total += here(micros);
            time += micros;
            gathered = gathered.saturating_sub(window) + fast * (micros - open_for) / 1_000;
        }
        total * 1_000 / time
    }

    #[test]
    fn most_of_what_arrives_has_accumulated() {
        for (window, slow, fast) in
            [(60_000, 10_000, 24_000), (60_000, 10_000, 100_000), (32_000, 10_000, 24_000)]
        {
            let rate = rate(window, slow, fast);
            assert!(rate > fast * 3 / 4, "{rate} of {fast} bytes/ms");
        }
    }

    #[test]
    fn the_pause_has_limits() {
        let mut coalescer = ReadCoalescer::new(true);
        for (half_way, limit) in [(0, ReadCoalescer::PAUSE_MAX), (60_000, ReadCoalescer::PAUSE_MIN)]
        {
            for _ in 0..1_000 {
                coalescer.adjust(half_way, 60_000, coalescer.pause / 2);
            }
            assert_eq!(coalescer.pause, limit);
        }
    }

    #[test]
    fn a_meaningless_measurement_changes_nothing() {
        let mut coalescer = ReadCoalescer::new(true);
        coalescer.adjust(60_000, 60_000, Duration::ZERO);
        assert_eq!(coalescer.pause, ReadCoalescer::PAUSE, "half-way was at the end");
        coalescer.adjust(0, 0, ReadCoalescer::PAUSE);
        assert_eq!(coalescer.pause, ReadCoalescer::PAUSE, "nothing came");
        coalescer.adjust(10_000, 10_000, ReadCoalescer::PAUSE);
        assert_eq!(coalescer.pause, ReadCoalescer::PAUSE, "little came, but at once");
    }

    #[test]
    fn a_stream_that_caught_up_starts_over() {
        let mut coalescer = ReadCoalescer::new(true);
        coalescer.adjust(0, 60_000, coalescer.pause);
        assert!(coalescer.pause > ReadCoalescer::PAUSE);
        coalescer.on_transaction(CommitTime(1_000_000));
        coalescer.on_message(1_000_400);
        assert_eq!(coalescer.pause, ReadCoalescer::PAUSE);
    }
}
