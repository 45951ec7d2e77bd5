//! The steps of the teardown.

use super::{SetupError, SetupPlan, SetupStep};
use crate::database::checks::SlotRow;
use crate::database::sql::{self, fill};

/// The slot is dropped first, because it retains WAL on the server's disk.
pub(super) fn plan_slot(slot: &str, found: Option<&SlotRow>) -> Result<SetupPlan, SetupError> {
    if let Some(found) = found {
        reject_used_slot(slot, found)?;
    }
    let step = SetupStep {
        what: format!("slot {slot}"),
        statement: found.map(|_| fill(sql::DROP_SLOT, &[("slot", slot)])),
        remedy: "only a role with REPLICATION can drop a slot".into(),
    };
    Ok(SetupPlan { steps: vec![step], remarks: Vec::new(), dangers: Vec::new() })
}

pub(super) fn publication_step(publication: &str, exists: bool) -> SetupStep {
    let statement = exists.then(|| fill(sql::DROP_PUBLICATION, &[("publication", publication)]));
    SetupStep {
        what: format!("publication {publication}"),
        statement,
        remedy: "run it as the publication's owner, or as a superuser; or keep the publication: \
                 --keep-publication"
            .into(),
    }
}

pub(super) fn event_trigger() -> SetupStep {
    SetupStep {
        what: "event trigger highwater_changed".into(),
        statement: Some(sql::DROP_EVENT_TRIGGER.to_owned()),
        remedy: "run it as the event trigger's owner, or as a superuser".into(),
    }
}

fn reject_used_slot(name: &str, slot: &SlotRow) -> Result<(), SetupError> {
    if let Some(reason) = slot.unusable_reason() {
        return Err(SetupError::Conflict(format!(
            "slot {name} {reason}, so it is not Highwater's; nothing was dropped"
        )));
    }
    if !slot.active {
        return Ok(());
    }
    let pid =
        slot.active_pid.map_or_else(String::new, |pid| format!(" by the session with PID {pid}"));
    Err(SetupError::Conflict(format!(
        "slot {name} is in use{pid}; stop Highwater first, nothing was dropped"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::checks::fixtures::free_slot;

    #[test]
    fn existing_objects_are_dropped_and_missing_ones_skipped() {
        let slot = plan_slot("s", Some(&free_slot())).unwrap().steps.remove(0);
        let statements = [slot, publication_step("p", true)]
            .map(|step| sql::without_comments(step.statement.as_ref().unwrap()));
        assert_eq!(
            statements,
            ["SELECT pg_drop_replication_slot('s');", "DROP PUBLICATION IF EXISTS \"p\";"]
        );
        assert!(plan_slot("s", None).unwrap().steps.remove(0).statement.is_none());
        assert!(publication_step("p", false).statement.is_none());
    }

    #[test]
    fn nothing_is_dropped_while_the_slot_is_in_use_or_of_another_program() {
        let busy = SlotRow { active: true, active_pid: Some(7), ..free_slot() };
        assert_eq!(
            plan_slot("s", Some(&busy)).unwrap_err().to_string(),
            "slot s is in use by the session with PID 7; stop Highwater first, nothing was dropped"
        );
        let physical = SlotRow { kind: "physical".into(), ..free_slot() };
        assert!(plan_slot("s", Some(&physical)).is_err());
    }
}
