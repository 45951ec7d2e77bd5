//! Detection of a dead connection: pure.
//!
//! A dead connection is silent, and so is a healthy walsender that assembles a giant transaction or
//! skips what is not published: it may not read its socket for minutes, and reconnecting would make
//! it start over. So the server is probed: every second a status update requests a reply. When
//! [`LivenessMonitor::PROBE_AFTER`] of them are unanswered, the walsender's activity is read over
//! the SQL connection. If it is working, that counts as a reply. If it is waiting for its client
//! although nothing arrives, the connection is dead. If the SQL connection gets no response either,
//! the server is suspect from [`LivenessMonitor::SUSPECT_AFTER`] on, and at
//! [`LivenessMonitor::DEAD_AFTER`] the connection is closed.
//!
//! Probes are counted, not seconds: while the store is busy, or the process suspended, nothing is
//! sent and so no reply is missing.

/// What the walsender does, as the server shows it (`pg_stat_activity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalsenderActivity {
    /// It computes, reads, or waits for anything except its connection.
    Working,
    /// It waits for new WAL or for its client: it would have replied.
    Waiting,
}

/// State of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// Replies arrive, or the walsender is known to be at work.
    Alive,
    /// Neither connection gets a response.
    Suspect,
    /// Nothing more will arrive.
    Dead,
}

/// Counter of unanswered probes.
#[derive(Debug, Default)]
pub(super) struct LivenessMonitor {
    unanswered: u32,
    /// Number of unanswered probes when the walsender was first observed waiting.
    waiting_since: Option<u32>,
}

impl LivenessMonitor {
    /// Unanswered probes from which on the walsender's activity is requested and counts.
    pub(super) const PROBE_AFTER: u32 = 8;
    /// Unanswered probes from which on `/readyz` reports that the server does not respond.
    pub(super) const SUSPECT_AFTER: u32 = 10;
    /// Unanswered probes at which the connection is closed.
    pub(super) const DEAD_AFTER: u32 = 20;
    /// Further probes that a waiting walsender may leave unanswered: its reply may be in flight.
    const GRACE: u32 = 2;

    /// Bytes arrived.
    pub(super) fn on_bytes(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_probing(&self) -> bool {
        self.unanswered > 0
    }

    /// Another probe was sent.
    pub(super) fn on_probe(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// The walsender's activity was read over the SQL connection.
    pub(super) fn on_activity(&mut self, activity: WalsenderActivity) {
        match activity {
            WalsenderActivity::Working => self.on_bytes(),
            WalsenderActivity::Waiting if self.unanswered >= Self::PROBE_AFTER => {
                self.waiting_since.get_or_insert(self.unanswered);
            }
            WalsenderActivity::Waiting => {}
        }
    }

    /// Whether the walsender's activity should be read over the SQL connection.
    pub(super) fn needs_refresh(&self) -> bool {
        self.unanswered >= Self::PROBE_AFTER
    }

    pub(super) fn liveness(&self) -> Liveness {
        let is_abandoned = self.waiting_since.is_some_and(|at| self.unanswered >= at + Self::GRACE);
        if is_abandoned || self.unanswered >= Self::DEAD_AFTER {
            Liveness::Dead
        } else if self.unanswered >= Self::SUSPECT_AFTER {
            Liveness::Suspect
        } else {
            Liveness::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unanswered(probes: u32) -> LivenessMonitor {
        let mut monitor = LivenessMonitor::default();
        (0..probes).for_each(|_| monitor.on_probe());
        monitor
    }

    #[test]
    fn is_suspect_and_then_dead_without_any_response() {
        assert_eq!(unanswered(LivenessMonitor::SUSPECT_AFTER - 1).liveness(), Liveness::Alive);
        assert_eq!(unanswered(LivenessMonitor::SUSPECT_AFTER).liveness(), Liveness::Suspect);
        assert_eq!(unanswered(LivenessMonitor::DEAD_AFTER).liveness(), Liveness::Dead);
    }

    #[test]
    fn a_byte_clears_all_suspicion() {
        let mut monitor = unanswered(LivenessMonitor::DEAD_AFTER);
        monitor.on_bytes();
        assert_eq!(monitor.liveness(), Liveness::Alive);
        assert!(!monitor.needs_refresh());
    }

    #[test]
    fn a_working_walsender_may_be_silent_forever() {
        let mut monitor = LivenessMonitor::default();
        for _ in 0..100 {
            (0..LivenessMonitor::SUSPECT_AFTER - 1).for_each(|_| monitor.on_probe());
            assert!(monitor.needs_refresh());
            assert_eq!(monitor.liveness(), Liveness::Alive);
            monitor.on_activity(WalsenderActivity::Working);
        }
    }

    #[test]
    fn a_walsender_that_waits_while_nothing_arrives_is_dead() {
        let mut monitor = unanswered(LivenessMonitor::PROBE_AFTER);
        monitor.on_activity(WalsenderActivity::Waiting);
        monitor.on_probe();
        assert_eq!(monitor.liveness(), Liveness::Alive, "its reply may be in flight");
        monitor.on_probe();
        assert_eq!(monitor.liveness(), Liveness::Dead);
    }

    #[test]
    fn that_it_waited_before_the_silence_means_nothing() {
        let mut monitor = unanswered(LivenessMonitor::PROBE_AFTER - 1);
        monitor.on_activity(WalsenderActivity::Waiting);
        (0..3).for_each(|_| monitor.on_probe());
        assert_eq!(monitor.liveness(), Liveness::Suspect);
    }
}
