//! The replication slot.

use serde::Deserialize;

use super::finding::Finding;
use crate::database::sql::literal;

/// What `check_slot.sql` answers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SlotRow {
    pub(crate) plugin: Option<String>,
    /// `logical` or `physical`.
    pub(crate) kind: String,
    pub(crate) database: Option<String>,
    pub(crate) our_database: String,
    pub(crate) temporary: bool,
    pub(crate) active: bool,
    pub(crate) active_pid: Option<i32>,
    pub(crate) wal_status: Option<String>,
    pub(crate) invalidation_reason: Option<String>,
    pub(crate) retained_bytes: Option<i64>,
    pub(crate) safe_wal_bytes: Option<i64>,
    /// Whether standbys may keep a copy; `None` before PostgreSQL 17.
    pub(crate) failover: Option<bool>,
    /// The slots of standbys, separated by `, `.
    pub(crate) standby_slots: Option<String>,
    /// The setting; `None` before PostgreSQL 17.
    pub(crate) synchronized_standby_slots: Option<String>,
}

impl SlotRow {
    /// Why the slot cannot be ours; `None` when it can.
    pub(crate) fn foreign(&self) -> Option<String> {
        if self.kind != "logical" {
            return Some("is a physical slot: a standby uses it".into());
        }
        if self.database.as_deref() != Some(&self.our_database) {
            let theirs = self.database.as_deref().unwrap_or("another");
            return Some(format!("belongs to database {theirs}"));
        }
        match self.plugin.as_deref() {
            Some("pgoutput") => None,
            plugin => Some(format!("decodes with {}, not pgoutput", plugin.unwrap_or("nothing"))),
        }
    }

    /// Whether the server has given up what the slot was for.
    fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation_reason.is_some()
    }
}

/// `temporary`: the slot wanted ends with the connection, so one that is there is in the way.
pub(crate) fn findings(name: &str, slot: Option<&SlotRow>, temporary: bool) -> Vec<Finding> {
    let topic = format!("slot {name}");
    let Some(slot) = slot else {
        if temporary {
            return vec![Finding::ok(topic, "will be created, and ends with the connection")];
        }
        return vec![Finding::ok(topic, "does not exist yet; `highwater run` creates it")];
    };
    if let Some(reason) = slot.foreign() {
        return vec![
            Finding::error(topic, reason)
                .why("somebody else's slot is not touched")
                .fix("give Highwater another name: postgres.slot = \"highwater_2\"")
                .fix(format!(
                    "or, if nobody needs it: SELECT pg_drop_replication_slot({});",
                    literal(name).trim()
                )),
        ];
    }
    if slot.is_lost() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("its WAL was removed");
        return vec![
            Finding::warn(topic, format!("the server has given it up ({reason})")).why(
                "`highwater run` makes a new one in its place, and every client is reset once",
            ),
        ];
    }
    if temporary && !slot.temporary {
        return vec![
            Finding::error(topic, "exists, and postgres.temporary_slot wants to create one of this name")
                .why("a slot that is there does not end with the connection")
                .fix("highwater teardown drops it; or give the temporary one another name: postgres.slot = \"highwater_2\""),
        ];
    }
    let mut findings = vec![presence(topic.clone(), slot)];
    findings.extend(failover(topic.clone(), slot));
    findings.extend(retention(topic, name, slot));
    findings
}

fn presence(topic: String, slot: &SlotRow) -> Finding {
    if !slot.active {
        return Finding::ok(topic, "exists and is free");
    }
    let pid =
        slot.active_pid.map_or_else(String::new, |pid| format!(" by the session with PID {pid}"));
    if slot.temporary {
        return Finding::error(topic, format!("is a temporary slot in use{pid}"))
            .why("nobody else can take it over")
            .fix("stop that Highwater, or give this one another name: postgres.slot = \"highwater_2\"");
    }
    Finding::note(topic, format!("is in use{pid}"))
        .why("presumably by a running Highwater; another one waits beside it as a hot standby and takes over")
}

/// Where the primary does not wait for its standby, a failover may take back what has been told.
fn failover(topic: String, slot: &SlotRow) -> Option<Finding> {
    let standbys = slot.standby_slots.as_deref().filter(|_| slot.failover == Some(true))?;
    let waits = slot.synchronized_standby_slots.as_deref().is_some_and(|names| !names.is_empty());
    (!waits).then(|| {
        Finding::note(topic, "changes may be told before a standby has them")
            .why("a failover that takes such a commit back resets every client; without one they go on")
            .fix(format!(
                "ALTER SYSTEM SET synchronized_standby_slots = {}; SELECT pg_reload_conf(); -- those of {standbys} that may be promoted",
                literal(standbys).trim()
            ))
    })
}

fn retention(topic: String, name: &str, slot: &SlotRow) -> Option<Finding> {
    /// More than this kept for a slot nobody reads is worth a word.
    const MUCH: u64 = 1 << 30;
    let retained = slot.retained_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    let shown = bytesize::ByteSize::b(retained).display().iec();
    if slot.wal_status.as_deref() == Some("unreserved") {
        let safe = slot
            .safe_wal_bytes
            .map_or_else(String::new, |bytes| format!(" ({bytes} bytes from now)"));
        return Some(
            Finding::warn(topic, format!("is about to be given up by the server: it keeps {shown} of WAL"))
                .why(format!("it is over max_slot_wal_keep_size and may be invalidated at the next checkpoint{safe}"))
                .fix("start Highwater, so that the WAL is read and released"),
        );
    }
    if slot.active || retained < MUCH {
        return None;
    }
    Some(
        Finding::warn(topic, format!("nobody reads it and the server keeps {shown} of WAL for it"))
            .why("WAL kept for a slot fills the disk in the end")
            .fix("start Highwater, or drop the slot: highwater teardown")
            .fix(format!("or: SELECT pg_drop_replication_slot({});", literal(name).trim())),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::testing::free_slot;
    use super::*;

    fn first(slot: &SlotRow) -> Finding {
        findings("hw", Some(slot), false).remove(0)
    }

    #[test]
    fn a_missing_and_a_free_slot_are_fine() {
        assert_eq!(findings("hw", None, false)[0].severity, Severity::Ok);
        let found = findings("hw", Some(&free_slot()), false);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Ok));
    }

    #[test]
    fn somebody_elses_slot_is_refused() {
        let physical =
            SlotRow { kind: "physical".into(), plugin: None, database: None, ..free_slot() };
        let plugin = SlotRow { plugin: Some("wal2json".into()), ..free_slot() };
        let database = SlotRow { database: Some("other".into()), ..free_slot() };
        for slot in [physical, plugin, database] {
            let found = first(&slot);
            assert_eq!(found.severity, Severity::Error);
            assert!(found.fix[1].ends_with("SELECT pg_drop_replication_slot('hw');"), "{found:?}");
        }
    }

    #[test]
    fn a_temporary_slot_needs_its_name_free_slot() {
        assert_eq!(findings("hw", None, true)[0].severity, Severity::Ok);
        assert_eq!(findings("hw", Some(&free_slot()), true)[0].severity, Severity::Error);
    }

    #[test]
    fn a_slot_in_use_means_standing_by() {
        let busy = SlotRow { active: true, active_pid: Some(42), ..free_slot() };
        let found = first(&busy);
        assert_eq!(
            (found.severity, found.what.as_str()),
            (Severity::Note, "is in use by the session with PID 42")
        );
        let temporary = SlotRow { temporary: true, ..busy };
        assert_eq!(first(&temporary).severity, Severity::Error);
    }

    #[test]
    fn a_lost_slot_is_replaced() {
        let lost = SlotRow { wal_status: Some("lost".into()), ..free_slot() };
        assert_eq!(first(&lost).severity, Severity::Warn);
        let idle = SlotRow { invalidation_reason: Some("idle_timeout".into()), ..free_slot() };
        assert!(first(&idle).what.contains("idle_timeout"));
    }

    #[test]
    fn a_primary_that_does_not_wait_for_its_standbys_is_noted() {
        let ahead = SlotRow {
            failover: Some(true),
            standby_slots: Some("standby".into()),
            synchronized_standby_slots: Some(String::new()),
            ..free_slot()
        };
        let found = findings("hw", Some(&ahead), false).remove(1);
        assert_eq!(found.severity, Severity::Note);
        assert!(found.fix[0].contains("synchronized_standby_slots = 'standby';"), "{found:?}");
        let waits = SlotRow { synchronized_standby_slots: Some("standby".into()), ..ahead.clone() };
        let alone = SlotRow { standby_slots: None, ..ahead.clone() };
        let old = SlotRow { failover: None, ..ahead };
        for slot in [waits, alone, old] {
            assert_eq!(findings("hw", Some(&slot), false).len(), 1, "{slot:?}");
        }
    }

    #[test]
    fn wal_that_piles_up_is_warned_of() {
        let much = SlotRow { retained_bytes: Some(3 << 30), ..free_slot() };
        let found = &findings("hw", Some(&much), false)[1];
        assert_eq!(found.severity, Severity::Warn);
        assert!(found.what.contains("3.0 GiB"), "{found:?}");
        let read = SlotRow { active: true, ..much };
        assert_eq!(findings("hw", Some(&read), false).len(), 1);
        let nearly = SlotRow { wal_status: Some("unreserved".into()), ..free_slot() };
        assert_eq!(findings("hw", Some(&nearly), false)[1].severity, Severity::Warn);
    }
}
