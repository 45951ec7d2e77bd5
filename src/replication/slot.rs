//! The replication slot: found, judged, made.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::catalog::{SlotState, bind, server_major, slot_blocker};
use super::error::ReplicationError;
use crate::change::ResetReason;
use crate::lsn::Lsn;
use crate::wire::WalsenderConnection;

/// The output plugin we read.
const PLUGIN: &str = "pgoutput";
/// While slot creation waits, look this often for what is in the way.
const BLOCKER_INTERVAL: Duration = Duration::from_secs(1);
/// A look that takes longer has failed.
const BLOCKER_TIME_MAX: Duration = Duration::from_secs(15);
/// When so many looks in a row find nothing in the way, creation has failed.
const UNEXPLAINED_POLLS_MAX: u32 = 60;

/// What a slot's state means for a stream that has reached `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotAssessment {
    /// It does not exist.
    Missing,
    /// Another consumer streams from it.
    InUse(i32),
    /// The server has removed WAL it needs; it will never stream again.
    Invalidated,
    /// It stands beyond the position: what lies between will not be sent.
    Ahead,
    /// It can stream what comes next.
    Usable,
}

/// Judges a slot; `position` is `None` before the first stream of this process.
pub(super) fn assess(
    slot: Option<&SlotState>,
    database: &str,
    name: &str,
    position: Option<Lsn>,
) -> Result<SlotAssessment, ReplicationError> {
    let Some(slot) = slot else { return Ok(SlotAssessment::Missing) };
    if slot.plugin != PLUGIN || slot.database != database {
        return Err(ReplicationError::ForeignSlot {
            slot: name.to_owned(),
            plugin: if slot.plugin.is_empty() {
                "none (physical)".into()
            } else {
                slot.plugin.clone()
            },
            database: slot.database.clone(),
        });
    }
    if let Some(pid) = slot.active_pid {
        return Ok(SlotAssessment::InUse(pid));
    }
    if slot.wal_status.as_deref() == Some("lost") {
        return Ok(SlotAssessment::Invalidated);
    }
    match position {
        // START_REPLICATION would begin at the slot's position without a word.
        Some(position) if slot.confirmed > position => Ok(SlotAssessment::Ahead),
        _ => Ok(SlotAssessment::Usable),
    }
}

/// Where a stream begins, and what is lost before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartPoint {
    /// The first position the slot can tell about.
    pub(super) from: Lsn,
    /// Why nothing before it can be told, if so.
    pub(super) broken: Option<ResetReason>,
    /// So many of the newest transactions may have begun after it, and so may have changed the
    /// catalog after it; `None` for a slot that is newer than the look at the catalog.
    pub(super) uncertain_transactions: Option<i64>,
}

impl StartPoint {
    /// Where a slot stands that was made before.
    pub(super) fn at(slot: Option<&SlotState>, broken: Option<ResetReason>) -> Self {
        let from = slot.map_or(Lsn::ZERO, |slot| slot.confirmed);
        let uncertain_transactions = slot.and_then(|slot| slot.transactions_since);
        Self { from, broken, uncertain_transactions }
    }

    /// Whether definitions may have changed after the look and before the beginning.
    pub(super) fn is_newer_than_look(&self) -> bool {
        self.uncertain_transactions.is_none()
    }
}

/// Creates the slot; answers with the position it begins at.
///
/// PostgreSQL waits for every transaction that is writing; meanwhile `waiting` is told what is in the way.
pub(super) async fn create(
    replication: &mut WalsenderConnection,
    sql: &mut WalsenderConnection,
    name: &str,
    temporary: bool,
    mut waiting: impl FnMut(String),
) -> Result<Lsn, ReplicationError> {
    let kind = if temporary { "TEMPORARY " } else { "" };
    let command =
        format!("CREATE_REPLICATION_SLOT {name} {kind}LOGICAL {PLUGIN} NOEXPORT_SNAPSHOT");
    let creation = replication.simple_query(&command);
    tokio::pin!(creation);
    let too_late = |_| ReplicationError::Timeout("CREATE_REPLICATION_SLOT");
    let mut unexplained = 0;
    loop {
        tokio::select! {
            rows = &mut creation => {
                let rows = rows.map_err(|source| ReplicationError::CreateSlot { slot: name.to_owned(), source })?;
                // slot_name, consistent_point, snapshot_name, output_plugin
                let point = rows.first().and_then(|row| row.get(1)?.as_deref()?.parse().ok());
                return point.ok_or(ReplicationError::Unexpected("CREATE_REPLICATION_SLOT"));
            }
            () = sleep(BLOCKER_INTERVAL) => {
                match timeout(BLOCKER_TIME_MAX, slot_blocker(sql)).await.map_err(too_late)?? {
                    Some(blocker) => {
                        unexplained = 0;
                        waiting(format!("creating the replication slot waits for {blocker} to end"));
                    }
                    None if unexplained < UNEXPLAINED_POLLS_MAX => unexplained += 1,
                    None => return Err(ReplicationError::Timeout("CREATE_REPLICATION_SLOT")),
                }
            }
        }
    }
}

/// Standbys can keep a copy of a slot since this version (manual, "Logical Replication Failover").
const FAILOVER_SINCE: u32 = 17;

/// Whether this server's slots can survive its failover. Those that a standby has made can't.
pub(super) fn supports_failover(replication: &WalsenderConnection) -> bool {
    let is_standby = replication.parameter("in_hot_standby") == Some("on");
    server_major(replication) >= FAILOVER_SINCE && !is_standby
}

/// Lets standbys keep a copy of the slot, and go on with it once they are promoted.
pub(super) async fn enable_failover(
    replication: &mut WalsenderConnection,
    name: &str,
) -> Result<(), ReplicationError> {
    let command = format!("ALTER_REPLICATION_SLOT {name} (FAILOVER true)");
    replication.simple_query(&command).await?;
    tracing::info!(slot = name, "standbys may now keep a copy of the slot");
    Ok(())
}

/// Drops the slot; refused while anybody streams from it.
pub(super) async fn drop(
    sql: &mut WalsenderConnection,
    name: &str,
) -> Result<(), ReplicationError> {
    let command = bind("SELECT pg_drop_replication_slot(:'slot')", &[("slot", name)]);
    sql.simple_query(&command)
        .await
        .map_err(|source| ReplicationError::DropSlot { slot: name.to_owned(), source })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> SlotState {
        SlotState {
            plugin: "pgoutput".into(),
            database: "app".into(),
            active_pid: None,
            confirmed: Lsn(100),
            wal_status: Some("reserved".into()),
            retained_bytes: Some(0),
            transactions_since: Some(0),
            walsender_waits: true,
            survives_failover: false,
        }
    }

    fn verdict(slot: &SlotState, position: Option<Lsn>) -> SlotAssessment {
        assess(Some(slot), "app", "highwater", position).unwrap()
    }

    #[test]
    fn a_slot_behind_or_at_the_position_is_usable() {
        assert_eq!(verdict(&slot(), None), SlotAssessment::Usable);
        assert_eq!(verdict(&slot(), Some(Lsn(100))), SlotAssessment::Usable);
        assert_eq!(assess(None, "app", "highwater", None).unwrap(), SlotAssessment::Missing);
    }

    #[test]
    fn a_slot_ahead_of_the_position_has_lost_something() {
        assert_eq!(verdict(&slot(), Some(Lsn(99))), SlotAssessment::Ahead);
    }

    #[test]
    fn an_invalidated_slot_is_known_by_its_status() {
        let lost = SlotState { wal_status: Some("lost".into()), ..slot() };
        assert_eq!(verdict(&lost, Some(Lsn(100))), SlotAssessment::Invalidated);
    }

    #[test]
    fn a_busy_slot_is_waited_for() {
        assert_eq!(
            verdict(&SlotState { active_pid: Some(7), ..slot() }, None),
            SlotAssessment::InUse(7)
        );
    }

    #[test]
    fn a_slot_of_something_else_is_left_alone() {
        let other = SlotState { database: "other".into(), ..slot() };
        assert!(assess(Some(&other), "app", "highwater", None).is_err());
        let physical = SlotState { plugin: String::new(), ..slot() };
        assert!(assess(Some(&physical), "app", "highwater", None).is_err());
    }
}
