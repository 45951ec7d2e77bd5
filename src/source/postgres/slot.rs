//! The replication slot: assessment, creation, removal.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::catalog::{SlotState, server_major, slot_blocker};
use super::error::ReplicationError;
use crate::change::ResetReason;
use crate::lsn::Lsn;
use crate::sql_text::fill;
use crate::wire::WalsenderConnection;

/// The only supported output plugin.
const PLUGIN: &str = "pgoutput";
/// Interval at which the transactions in the way are read while slot creation waits.
const BLOCKER_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of one such read.
const BLOCKER_TIME_MAX: Duration = Duration::from_secs(15);
/// Consecutive reads without a transaction in the way after which creation has failed.
const UNEXPLAINED_POLLS_MAX: u32 = 60;

/// What a slot's state means for a stream that has reached some position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotAssessment {
    /// It does not exist.
    Missing,
    /// Another consumer streams from it.
    InUse(i32),
    /// The server has removed WAL it needs; it can never stream again.
    Invalidated,
    /// Its position is ahead: what lies between will not be sent.
    Ahead,
    /// It can stream everything after the position.
    Usable,
}

/// Assesses a slot; `position` is `None` before the first stream of this process.
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
        // START_REPLICATION would silently start at the slot's position.
        Some(position) if slot.confirmed > position => Ok(SlotAssessment::Ahead),
        _ => Ok(SlotAssessment::Usable),
    }
}

/// The position where a stream begins, and what is lost before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartPoint {
    /// The first position the slot can stream from.
    pub(super) from: Lsn,
    /// Why nothing before it can be reported, if so.
    pub(super) broken: Option<ResetReason>,
    /// Number of the newest transactions that may have begun after it, and so may have changed the
    /// catalog after it; `None` for a slot that is newer than the catalog snapshot.
    pub(super) uncertain_transactions: Option<i64>,
}

impl StartPoint {
    /// The position of an existing slot.
    pub(super) fn at(slot: Option<&SlotState>, broken: Option<ResetReason>) -> Self {
        let from = slot.map_or(Lsn::ZERO, |slot| slot.confirmed);
        let uncertain_transactions = slot.and_then(|slot| slot.transactions_since);
        Self { from, broken, uncertain_transactions }
    }

    /// Whether definitions may have changed between the catalog snapshot and the start.
    pub(super) fn is_newer_than_catalog(&self) -> bool {
        self.uncertain_transactions.is_none()
    }
}

/// Creates the slot and returns the position where it begins.
///
/// PostgreSQL waits for every transaction that is writing; meanwhile `waiting` is called with a
/// sentence that names the one in the way.
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
    let timed_out = |_| ReplicationError::Timeout("CREATE_REPLICATION_SLOT");
    let mut polls_without_blocker = 0;
    loop {
        tokio::select! {
            rows = &mut creation => {
                let rows = rows.map_err(|source| ReplicationError::CreateSlot { slot: name.to_owned(), source })?;
                // slot_name, consistent_point, snapshot_name, output_plugin
                let point = rows.first().and_then(|row| row.get(1)?.as_deref()?.parse().ok());
                return point.ok_or(ReplicationError::Unexpected("CREATE_REPLICATION_SLOT"));
            }
            () = sleep(BLOCKER_INTERVAL) => {
                match timeout(BLOCKER_TIME_MAX, slot_blocker(sql)).await.map_err(timed_out)?? {
                    Some(blocker) => {
                        polls_without_blocker = 0;
                        waiting(format!("creation of the replication slot is waiting for {blocker} to end"));
                    }
                    None if polls_without_blocker < UNEXPLAINED_POLLS_MAX => polls_without_blocker += 1,
                    None => return Err(ReplicationError::Timeout("CREATE_REPLICATION_SLOT")),
                }
            }
        }
    }
}

/// First major version with slots that standbys keep a copy of (manual, "Logical Replication
/// Failover").
const FAILOVER_SINCE: u32 = 17;

/// Whether this server's slots can survive its failover. Slots created on a standby can't.
pub(super) fn supports_failover(replication: &WalsenderConnection) -> bool {
    let is_standby = replication.parameter("in_hot_standby") == Some("on");
    server_major(replication) >= FAILOVER_SINCE && !is_standby
}

/// Lets standbys keep a copy of the slot, to be continued after their promotion.
pub(super) async fn enable_failover(
    replication: &mut WalsenderConnection,
    name: &str,
) -> Result<(), ReplicationError> {
    let command = format!("ALTER_REPLICATION_SLOT {name} (FAILOVER true)");
    replication.simple_query(&command).await?;
    tracing::info!(slot = name, "failover enabled: standbys may now keep a copy of the slot");
    Ok(())
}

/// Drops the slot; fails while a consumer streams from it.
pub(super) async fn drop(
    sql: &mut WalsenderConnection,
    name: &str,
) -> Result<(), ReplicationError> {
    let command = fill("SELECT pg_drop_replication_slot(:'slot')", &[("slot", name)]);
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

    fn assessment(slot: &SlotState, position: Option<Lsn>) -> SlotAssessment {
        assess(Some(slot), "app", "highwater", position).unwrap()
    }

    #[test]
    fn a_slot_behind_or_at_the_position_is_usable() {
        assert_eq!(assessment(&slot(), None), SlotAssessment::Usable);
        assert_eq!(assessment(&slot(), Some(Lsn(100))), SlotAssessment::Usable);
        assert_eq!(assess(None, "app", "highwater", None).unwrap(), SlotAssessment::Missing);
    }

    #[test]
    fn a_slot_ahead_of_the_position_has_lost_something() {
        assert_eq!(assessment(&slot(), Some(Lsn(99))), SlotAssessment::Ahead);
    }

    #[test]
    fn an_invalidated_slot_is_known_by_its_status() {
        let lost = SlotState { wal_status: Some("lost".into()), ..slot() };
        assert_eq!(assessment(&lost, Some(Lsn(100))), SlotAssessment::Invalidated);
    }

    #[test]
    fn a_busy_slot_is_waited_for() {
        assert_eq!(
            assessment(&SlotState { active_pid: Some(7), ..slot() }, None),
            SlotAssessment::InUse(7)
        );
    }

    #[test]
    fn a_slot_of_another_consumer_is_left_alone() {
        let other = SlotState { database: "other".into(), ..slot() };
        assert!(assess(Some(&other), "app", "highwater", None).is_err());
        let physical = SlotState { plugin: String::new(), ..slot() };
        assert!(assess(Some(&physical), "app", "highwater", None).is_err());
    }
}
