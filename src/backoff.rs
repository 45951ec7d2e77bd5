//! Pauses between attempts: exponential, bounded and jittered.

use std::time::Duration;

/// The pauses of one retried operation.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// The next pause before jitter.
    next: Duration,
}

impl Backoff {
    /// Pauses that double from `min` to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause before the next attempt. Jittered between half and the whole, so that many
    /// instances don't come back at the same moment.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// Starts over from the shortest pause: the last attempt was a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_vary_and_start_over() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(10));
        let mut backoff = Backoff::new(min, max);
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= min / 2 && pauses[0] <= min);
        let last = &pauses[8..];
        assert!(last.iter().all(|pause| *pause >= max / 2 && *pause <= max));
        assert!(last.windows(2).any(|pair| pair[0] != pair[1]), "{last:?}");
        backoff.reset();
        assert!(backoff.pause() <= min);
    }
}
