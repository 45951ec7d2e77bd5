//! Announced changes of definitions, and changes that only a refresh has found.

use super::{Assembler, CurrentTransaction};
use crate::change::{Reset, ResetReason};
use crate::pgoutput::EmittedMessage;
use crate::source::postgres::announcement::{self, Announcement, CatalogDelta};

impl Assembler {
    /// Whether changed definitions were announced that no refresh in effect shows: events emitted
    /// meanwhile lack tables that joined or have another name.
    pub fn is_awaiting_refresh(&self) -> bool {
        !self.pending_announcements.is_empty()
    }

    /// Changes that only a refresh has found since the last call, to be announced to other
    /// instances.
    pub(in crate::source::postgres) fn take_delta(&mut self) -> CatalogDelta {
        std::mem::take(&mut self.delta)
    }

    /// Stops waiting for announced definitions because events are sent. Clients receive versions
    /// without them, so when the refresh comes, it must be announced to all again.
    pub(in crate::source::postgres) fn release_without_refresh(&mut self) {
        self.pending_announcements.iter_mut().for_each(|(_, tables)| tables.clear());
    }

    /// Processes a logical message that announces changed definitions in this transaction.
    pub(super) fn receive_announcement(&mut self, message: &EmittedMessage<'_>) {
        if !message.transactional || message.prefix != announcement::PREFIX {
            return;
        }
        let Ok(tables) = announcement::parse(message.content) else {
            tracing::warn!(lsn = %message.lsn, "malformed announcement of changed tables; refreshing the catalog. Is the event trigger of this release installed?");
            self.await_refresh(Vec::new());
            return;
        };
        for announced in &tables {
            self.reset(announced.table, ResetReason::Schema);
        }
        if tables.is_empty() && !self.catalogs.is_empty() {
            self.reset_partitioned();
        }
        if tables.is_empty() || !tables.iter().all(|announced| self.is_known(announced)) {
            self.expect_members(&tables);
            self.await_refresh(tables);
        }
    }

    /// Whether a refresh in effect shows what is announced.
    fn is_known(&self, announced: &Announcement) -> bool {
        let state = self.tables.get(&announced.table);
        state.is_some_and(|state| announced.fingerprint == Some(state.fingerprint()))
    }

    /// Notes that other tables or partitions may be published from here on.
    fn expect_members(&mut self, tables: &[Announcement]) {
        // A partition is announced together with its root and all the other leaves.
        let is_of_partitions = |announced: &Announcement| {
            self.tables.get(&announced.table).is_some_and(|state| state.catalog.is_partitioned)
        };
        if tables.len() > 1 || tables.iter().any(is_of_partitions) {
            match &mut self.current {
                CurrentTransaction::Streamed(block) => block.membership_changed = true,
                _ => self.membership_changed = true,
            }
        }
    }

    /// Requests a refresh that shows what the transaction announced.
    fn await_refresh(&mut self, mut tables: Vec<Announcement>) {
        self.request_refresh();
        if self.position < self.started_as_of {
            tables.clear();
        }
        match &mut self.current {
            CurrentTransaction::Streamed(block) => {
                block.announced.get_or_insert_default().extend(tables);
            }
            CurrentTransaction::Whole(xid) => self.pending_announcements.push((*xid, tables)),
            CurrentTransaction::None => {}
        }
    }

    /// Resets every root, because something was dropped, possibly a partition. A refresh that is
    /// newer than the drop shows only what is left, and after a restart there is no older one.
    fn reset_partitioned(&mut self) {
        for oid in self.roots() {
            self.reset(oid, ResetReason::Membership);
        }
    }

    /// Collects the changes among `resets` that were found by a refresh alone.
    pub(super) fn collect_delta(&mut self, resets: &[Reset]) {
        for Reset { table, .. } in resets {
            let Some(state) = self.tables.get(table) else { continue };
            let fingerprint = state.fingerprint();
            let mut announced = self.pending_announcements.iter().flat_map(|(_, tables)| tables);
            if !announced.any(|announced| announced.covers(*table, fingerprint)) {
                self.delta.insert(*table, fingerprint);
            }
        }
    }
}
