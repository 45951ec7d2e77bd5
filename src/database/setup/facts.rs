//! What is there before anything is set up.

use crate::database::checks::{Provider, PublicationRow, RoleRow, ServerRow, SlotRow, TableRow};

/// What is there.
pub(super) struct SetupFacts {
    pub(super) provider: Option<Provider>,
    pub(super) server: ServerRow,
    /// The role we are connected as.
    pub(super) connected: RoleRow,
    /// The role wanted exists.
    pub(super) role_exists: bool,
    pub(super) publication: Option<PublicationRow>,
    pub(super) tables: Vec<TableRow>,
    pub(super) slot: Option<SlotRow>,
    pub(super) has_event_trigger: bool,
}
