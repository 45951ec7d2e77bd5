//! What becomes of rows in memory, line by line, for who looks on (`logging.level`): HIT, MISS,
//! POPULATE and INVALIDATE, with the table, and the id unless it is about all rows of it.

use crate::key::Key;
use crate::store::directory::Resource;

/// A reader found the row in memory.
pub(super) fn hit(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "HIT");
}

/// A reader found all of the table in memory, and was given so many rows.
pub(super) fn hit_many(table: &Resource, rows: usize) {
    tracing::debug!(table = table.name, rows, "HIT");
}

/// A reader waits for the database.
pub(super) fn miss(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "MISS");
}

/// What the database says of the row is in memory now.
pub(super) fn populate(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "POPULATE");
}

/// All rows of the table are in memory now.
pub(super) fn populate_all(table: &Resource, rows: usize) {
    tracing::debug!(table = table.name, rows, "POPULATE");
}

/// After a change it is not known what stands there: the row left memory.
pub(super) fn invalidate(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "INVALIDATE");
}

/// None of the table's rows is to be trusted any more: so many left memory.
pub(super) fn invalidate_all(table: &Resource, rows: usize) {
    tracing::debug!(table = table.name, rows, "INVALIDATE");
}
