//! Debug log lines of the row cache (`logging.level`): HIT, MISS, POPULATE and INVALIDATE, with the
//! table, and with the id unless the line is about all rows of the table.

use crate::key::Key;
use crate::store::directory::Resource;

/// A reader found the row in memory.
pub(in crate::store) fn hit(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "HIT");
}

/// A reader found all of the table in memory, and got this number of rows.
pub(in crate::store) fn hit_many(table: &Resource, rows: usize) {
    tracing::debug!(table = table.name, rows, "HIT");
}

/// A reader waits for the database.
pub(in crate::store) fn miss(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "MISS");
}

/// A loaded row, or its absence, was admitted.
pub(in crate::store) fn populate(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "POPULATE");
}

/// All rows of the table are in memory now.
pub(in crate::store) fn populate_all(table: &Resource, rows: usize) {
    tracing::debug!(table = table.name, rows, "POPULATE");
}

/// A change made the row unknown, and it left memory.
pub(in crate::store) fn invalidate(table: &Resource, key: &Key) {
    tracing::debug!(table = table.name, id = ?key, "INVALIDATE");
}

/// All rows of the table, of which there were this number, left memory.
pub(in crate::store) fn invalidate_all(table: &Resource, rows: usize) {
    tracing::debug!(table = table.name, rows, "INVALIDATE");
}
