//! Whether the other end is still there: pure.
//!
//! A dead connection says nothing, and so does a healthy walsender that assembles a giant transaction
//! or skips what is not published: it may not look at its socket for minutes, and to reconnect would
//! make it begin again. So we probe: every second a status update asks for an answer. When
//! [`Silence::LOOK_AT`] of them are unanswered, the server is asked over the SQL connection what its
//! walsender does. At work: that is as good as an answer. Waiting for us, and yet we hear nothing: the
//! connection is dead. No answer there either: doubt is told from [`Silence::DOUBT_AT`] on, and at
//! [`Silence::DEAD_AT`] the connection is given up.
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
pub(super) enum Presence {
    /// Nothing speaks against it.
    Alive,
    /// Nobody answers, nowhere.
    Doubtful,
    /// Nothing more will come.
    Dead,
}

/// How long nothing has been heard, in probes.
#[derive(Debug, Default)]
pub(super) struct Silence {
    unanswered: u32,
    /// How many were unanswered when the walsender was seen waiting.
    seen_waiting_at: Option<u32>,
}

impl Silence {
    /// From here on looks at the walsender count, and one is asked for.
    pub(super) const LOOK_AT: u32 = 8;
    /// From here on `/readyz` says that the server does not answer.
    pub(super) const DOUBT_AT: u32 = 10;
    /// Here the connection is given up.
    pub(super) const DEAD_AT: u32 = 20;
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
            Walsender::Waiting if self.unanswered >= Self::LOOK_AT => {
                self.seen_waiting_at.get_or_insert(self.unanswered);
            }
            Walsender::Waiting => {}
        }
    }

    /// Whether the server should be asked over another connection.
    pub(super) fn wants_look(&self) -> bool {
        self.unanswered >= Self::LOOK_AT
    }

    /// What is to be thought of the connection now.
    pub(super) fn presence(&self) -> Presence {
        let waits_for_nothing =
            self.seen_waiting_at.is_some_and(|at| self.unanswered >= at + Self::GRACE);
        if waits_for_nothing || self.unanswered >= Self::DEAD_AT {
            Presence::Dead
        } else if self.unanswered >= Self::DOUBT_AT {
            Presence::Doubtful
        } else {
            Presence::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent_for(probes: u32) -> Silence {
        let mut silence = Silence::default();
        (0..probes).for_each(|_| silence.probed());
        silence
    }

    #[test]
    fn is_doubted_and_then_given_up_when_nobody_answers() {
        assert_eq!(silent_for(Silence::DOUBT_AT - 1).presence(), Presence::Alive);
        assert_eq!(silent_for(Silence::DOUBT_AT).presence(), Presence::Doubtful);
        assert_eq!(silent_for(Silence::DEAD_AT).presence(), Presence::Dead);
    }

    #[test]
    fn a_byte_clears_all_doubt() {
        let mut silence = silent_for(Silence::DEAD_AT);
        silence.heard();
        assert_eq!(silence.presence(), Presence::Alive);
        assert!(!silence.wants_look());
    }

    #[test]
    fn a_walsender_at_work_may_be_silent_for_ever() {
        let mut silence = Silence::default();
        for _ in 0..100 {
            (0..Silence::DOUBT_AT - 1).for_each(|_| silence.probed());
            assert!(silence.wants_look());
            assert_eq!(silence.presence(), Presence::Alive);
            silence.seen(Walsender::Working);
        }
    }

    #[test]
    fn a_walsender_that_waits_while_we_hear_nothing_is_cut_off() {
        let mut silence = silent_for(Silence::LOOK_AT);
        silence.seen(Walsender::Waiting);
        silence.probed();
        assert_eq!(silence.presence(), Presence::Alive, "its answer may be under way");
        silence.probed();
        assert_eq!(silence.presence(), Presence::Dead);
    }

    #[test]
    fn that_it_waited_before_the_silence_says_nothing() {
        let mut silence = silent_for(Silence::LOOK_AT - 1);
        silence.seen(Walsender::Waiting);
        (0..3).for_each(|_| silence.probed());
        assert_eq!(silence.presence(), Presence::Doubtful);
    }
}
