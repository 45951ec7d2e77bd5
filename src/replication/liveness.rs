//! Whether the other end is still there: pure.
//!
//! A dead connection says nothing, and so does a healthy walsender that assembles a giant transaction
//! or skips what is not published: it may not look at its socket for minutes, and to reconnect would
//! make it begin again. So we probe: every second a status update asks for an answer. When
//! [`LivenessMonitor::PROBE_AFTER`] of them are unanswered, the server is asked over the SQL connection what its
//! walsender does. At work: that is as good as an answer. Waiting for us, and yet we hear nothing: the
//! connection is dead. No answer there either: doubt is told from [`LivenessMonitor::SUSPECT_AFTER`] on, and at
//! [`LivenessMonitor::DEAD_AFTER`] the connection is given up.
//!
//! Probes are counted, not seconds: while the store is busy, or the process suspended, nothing is
//! sent and so nothing is missing.

/// What a look at the server showed of the walsender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walsender {
    /// It computes, reads or waits for something else than its connection.
    Working,
    /// It waits for new WAL or for us: it would have answered.
    Waiting,
}

/// What is to be thought of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// Nothing speaks against it.
    Alive,
    /// Nobody answers, nowhere.
    Doubtful,
    /// Nothing more will come.
    Dead,
}

/// How long nothing has been heard, in probes.
#[derive(Debug, Default)]
pub(super) struct LivenessMonitor {
    unanswered: u32,
    /// How many were unanswered when the walsender was seen waiting.
    seen_waiting_at: Option<u32>,
}

impl LivenessMonitor {
    /// From here on looks at the walsender count, and one is asked for.
    pub(super) const PROBE_AFTER: u32 = 8;
    /// From here on `/readyz` says that the server does not answer.
    pub(super) const SUSPECT_AFTER: u32 = 10;
    /// Here the connection is given up.
    pub(super) const DEAD_AFTER: u32 = 20;
    /// Probes a walsender that was seen waiting is given to be heard after all.
    const GRACE: u32 = 2;

    /// Bytes came.
    pub(super) fn heard(&mut self) {
        *self = Self::default();
    }

    /// Whether a probe is unanswered.
    pub(super) fn is_probing(&self) -> bool {
        self.unanswered > 0
    }

    /// One more probe has been sent.
    pub(super) fn probed(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// The server, asked over another connection, told what the walsender does.
    pub(super) fn seen(&mut self, walsender: Walsender) {
        match walsender {
            Walsender::Working => self.heard(),
            Walsender::Waiting if self.unanswered >= Self::PROBE_AFTER => {
                self.seen_waiting_at.get_or_insert(self.unanswered);
            }
            Walsender::Waiting => {}
        }
    }

    /// Whether the server should be asked over another connection.
    pub(super) fn needs_refresh(&self) -> bool {
        self.unanswered >= Self::PROBE_AFTER
    }

    /// What is to be thought of the connection now.
    pub(super) fn liveness(&self) -> Liveness {
        let waits_for_nothing =
            self.seen_waiting_at.is_some_and(|at| self.unanswered >= at + Self::GRACE);
        if waits_for_nothing || self.unanswered >= Self::DEAD_AFTER {
            Liveness::Dead
        } else if self.unanswered >= Self::SUSPECT_AFTER {
            Liveness::Doubtful
        } else {
            Liveness::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent_for(probes: u32) -> LivenessMonitor {
        let mut silence = LivenessMonitor::default();
        (0..probes).for_each(|_| silence.probed());
        silence
    }

    #[test]
    fn is_doubted_and_then_given_up_when_nobody_answers() {
        assert_eq!(silent_for(LivenessMonitor::SUSPECT_AFTER - 1).liveness(), Liveness::Alive);
        assert_eq!(silent_for(LivenessMonitor::SUSPECT_AFTER).liveness(), Liveness::Doubtful);
        assert_eq!(silent_for(LivenessMonitor::DEAD_AFTER).liveness(), Liveness::Dead);
    }

    #[test]
    fn a_byte_clears_all_doubt() {
        let mut silence = silent_for(LivenessMonitor::DEAD_AFTER);
        silence.heard();
        assert_eq!(silence.liveness(), Liveness::Alive);
        assert!(!silence.needs_refresh());
    }

    #[test]
    fn a_walsender_at_work_may_be_silent_for_ever() {
        let mut silence = LivenessMonitor::default();
        for _ in 0..100 {
            (0..LivenessMonitor::SUSPECT_AFTER - 1).for_each(|_| silence.probed());
            assert!(silence.needs_refresh());
            assert_eq!(silence.liveness(), Liveness::Alive);
            silence.seen(Walsender::Working);
        }
    }

    #[test]
    fn a_walsender_that_waits_while_we_hear_nothing_is_cut_off() {
        let mut silence = silent_for(LivenessMonitor::PROBE_AFTER);
        silence.seen(Walsender::Waiting);
        silence.probed();
        assert_eq!(silence.liveness(), Liveness::Alive, "its answer may be under way");
        silence.probed();
        assert_eq!(silence.liveness(), Liveness::Dead);
    }

    #[test]
    fn that_it_waited_before_the_silence_says_nothing() {
        let mut silence = silent_for(LivenessMonitor::PROBE_AFTER - 1);
        silence.seen(Walsender::Waiting);
        (0..3).for_each(|_| silence.probed());
        assert_eq!(silence.liveness(), Liveness::Doubtful);
    }
}
