//! The state of the database before the setup.

use crate::database::checks::{Provider, PublicationRow, RoleRow, ServerRow, SlotRow, TableRow};

/// The state that a setup plan starts from.
pub(super) struct SetupFacts {
    pub(super) provider: Option<Provider>,
    pub(super) server: ServerRow,
    /// The role of this connection.
    pub(super) connected: RoleRow,
    /// Whether the requested role exists.
    pub(super) role_exists: bool,
    pub(super) publication: Option<PublicationRow>,
    pub(super) tables: Vec<TableRow>,
    pub(super) slot: Option<SlotRow>,
    pub(super) has_event_trigger: bool,
}
