//! The state of the replication slot.

use serde::Deserialize;

use super::finding::Finding;
use crate::database::sql::literal;

/// A row of `check_slot.sql`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SlotRow {
    pub(crate) plugin: Option<String>,
    /// `logical` or `physical`.
    pub(crate) kind: String,
    pub(crate) database: Option<String>,
    pub(crate) connected_database: String,
    pub(crate) temporary: bool,
    pub(crate) active: bool,
    pub(crate) active_pid: Option<i32>,
    pub(crate) wal_status: Option<String>,
    pub(crate) invalidation_reason: Option<String>,
    pub(crate) retained_bytes: Option<i64>,
    pub(crate) safe_wal_bytes: Option<i64>,
    /// Whether the slot is synchronized to standbys; `None` before PostgreSQL 17.
    pub(crate) failover: Option<bool>,
    /// The names of the physical slots, separated by `, `.
    pub(crate) standby_slots: Option<String>,
    /// The setting of that name; `None` before PostgreSQL 17.
    pub(crate) synchronized_standby_slots: Option<String>,
}

impl SlotRow {
    /// Why Highwater can't use the slot; `None` if it can.
    pub(crate) fn unusable_reason(&self) -> Option<String> {
        if self.kind != "logical" {
            return Some("is a physical slot, which a standby uses".into());
        }
        if self.database.as_deref() != Some(&self.connected_database) {
            let theirs = self.database.as_deref().unwrap_or("another");
            return Some(format!("belongs to database {theirs}"));
        }
        match self.plugin.as_deref() {
            Some("pgoutput") => None,
            plugin => Some(format!("decodes with {}, not pgoutput", plugin.unwrap_or("nothing"))),
        }
    }

    /// Whether the server has invalidated the slot.
    fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation_reason.is_some()
    }
}

/// `temporary`: Highwater creates a slot that ends with the connection, so no slot of the name may exist.
pub(crate) fn findings(name: &str, slot: Option<&SlotRow>, temporary: bool) -> Vec<Finding> {
    let topic = format!("slot {name}");
    let Some(slot) = slot else {
        if temporary {
            return vec![Finding::ok(topic, "will be created, and ends with the connection")];
        }
        return vec![Finding::ok(topic, "does not exist yet; `highwater run` creates it")];
    };
    if let Some(reason) = slot.unusable_reason() {
        return vec![
            Finding::error(topic, reason)
                .why("Highwater does not touch the slots of other programs")
                .fix("give Highwater another name: postgres.slot = \"highwater_2\"")
                .fix(format!(
                    "or, if it is no longer needed: SELECT pg_drop_replication_slot({});",
                    literal(name).trim()
                )),
        ];
    }
    if slot.is_lost() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("its WAL was removed");
        return vec![
            Finding::warn(topic, format!("the server has invalidated it ({reason})"))
                .why("`highwater run` replaces it, and every client is reset once"),
        ];
    }
    if temporary && !slot.temporary {
        return vec![
            Finding::error(topic, "exists, but postgres.temporary_slot requires that Highwater creates it")
                .why("an existing slot does not end with the connection")
                .fix("drop it with highwater teardown; or give the temporary slot another name: postgres.slot = \"highwater_2\""),
        ];
    }
    let mut findings = vec![presence(topic.clone(), slot)];
    findings.extend(failover(topic.clone(), slot));
    findings.extend(retention(topic, name, slot));
    findings
}

fn presence(topic: String, slot: &SlotRow) -> Finding {
    if !slot.active {
        return Finding::ok(topic, "exists and is not in use");
    }
    let pid =
        slot.active_pid.map_or_else(String::new, |pid| format!(" by the session with PID {pid}"));
    if slot.temporary {
        return Finding::error(topic, format!("is a temporary slot in use{pid}"))
            .why("no other session can use a temporary slot")
            .fix("stop that instance, or give this one another slot name: postgres.slot = \"highwater_2\"");
    }
    Finding::note(topic, format!("is in use{pid}"))
        .why("presumably by a running instance; a second one waits as a hot standby and takes over")
}

/// Where the primary does not wait for its standbys, a failover may lose commits already reported.
fn failover(topic: String, slot: &SlotRow) -> Option<Finding> {
    let standbys = slot.standby_slots.as_deref().filter(|_| slot.failover == Some(true))?;
    let waits = slot.synchronized_standby_slots.as_deref().is_some_and(|names| !names.is_empty());
    (!waits).then(|| {
        Finding::note(topic, "changes may be reported before a standby has received them")
            .why("a failover that loses such a commit resets every client; other failovers reset no client")
            .fix(format!(
                "ALTER SYSTEM SET synchronized_standby_slots = {}; SELECT pg_reload_conf(); -- those of {standbys} that may be promoted",
                literal(standbys).trim()
            ))
    })
}

fn retention(topic: String, name: &str, slot: &SlotRow) -> Option<Finding> {
    /// Bytes. More than this retained for an inactive slot is a warning.
    const RETAINED_WARNING: u64 = 1 << 30;
    let retained = slot.retained_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    let shown = bytesize::ByteSize::b(retained).display().iec();
    if slot.wal_status.as_deref() == Some("unreserved") {
        let safe = slot
            .safe_wal_bytes
            .map_or_else(String::new, |bytes| format!(" ({bytes} bytes from now)"));
        return Some(
            Finding::warn(topic, format!("is about to be invalidated by the server, which retains {shown} of WAL for it"))
                .why(format!("the WAL exceeds max_slot_wal_keep_size, so the next checkpoint may invalidate the slot{safe}"))
                .fix("start Highwater, so that the WAL is read and released"),
        );
    }
    if slot.active || retained < RETAINED_WARNING {
        return None;
    }
    Some(
        Finding::warn(topic, format!("is inactive, and the server retains {shown} of WAL for it"))
            .why("WAL retained for an inactive slot eventually fills the disk")
            .fix("start Highwater, or drop the slot: highwater teardown")
            .fix(format!("or: SELECT pg_drop_replication_slot({});", literal(name).trim())),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::fixtures::free_slot;
    use super::*;

    fn first(slot: &SlotRow) -> Finding {
        findings("hw", Some(slot), false).remove(0)
    }

    #[test]
    fn a_missing_slot_and_an_inactive_slot_pass() {
        assert_eq!(findings("hw", None, false)[0].severity, Severity::Ok);
        let found = findings("hw", Some(&free_slot()), false);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Ok));
    }

    #[test]
    fn a_slot_of_another_program_is_an_error() {
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
    fn a_temporary_slot_must_not_exist_beforehand() {
        assert_eq!(findings("hw", None, true)[0].severity, Severity::Ok);
        assert_eq!(findings("hw", Some(&free_slot()), true)[0].severity, Severity::Error);
    }

    #[test]
    fn an_active_slot_means_hot_standby() {
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
    fn an_invalidated_slot_is_a_warning() {
        let lost = SlotRow { wal_status: Some("lost".into()), ..free_slot() };
        assert_eq!(first(&lost).severity, Severity::Warn);
        let idle = SlotRow { invalidation_reason: Some("idle_timeout".into()), ..free_slot() };
        assert!(first(&idle).what.contains("idle_timeout"));
    }

    #[test]
    fn a_primary_that_does_not_wait_for_its_standbys_is_a_note() {
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
    fn retained_wal_of_an_inactive_slot_is_a_warning() {
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
