//! Changed definitions that are announced in the stream, and those that only a look has found.

use super::{Assembler, CurrentTransaction};
use crate::change::{Reset, ResetReason};
use crate::pgoutput::EmittedMessage;
use crate::replication::announcement::{self, Announcement, CatalogDelta};

impl Assembler {
    /// Whether definitions were announced to have changed that no look in effect shows: what is told
    /// meanwhile lacks the tables that joined or have another name.
    pub fn is_awaiting_refresh(&self) -> bool {
        !self.unshown.is_empty()
    }

    /// What only a look has shown since this was asked last: other instances are to be told.
    pub(in crate::replication) fn take_delta(&mut self) -> CatalogDelta {
        std::mem::take(&mut self.found)
    }

    /// Events are handed on: what was announced and no look shows yet is not waited for. Clients are given
    /// versions that lack it, so when the look comes, all are to be told again.
    pub(in crate::replication) fn release_without_refresh(&mut self) {
        self.unshown.iter_mut().for_each(|(_, tables)| tables.clear());
    }

    /// Somebody says in the stream that definitions changed in this transaction.
    pub(super) fn receive_announcement(&mut self, message: &EmittedMessage<'_>) {
        if !message.transactional || message.prefix != announcement::PREFIX {
            return;
        }
        let Ok(tables) = announcement::parse(message.content) else {
            tracing::warn!(lsn = %message.lsn, "an announcement of changed tables can't be read; looking at the catalog. Is the event trigger of this release installed?");
            self.await_refresh(Vec::new());
            return;
        };
        for announced in &tables {
            self.reset(announced.table, ResetReason::Schema);
        }
        if tables.is_empty() && !self.looks.is_empty() {
            self.reset_partitioned();
        }
        if tables.is_empty() || !tables.iter().all(|announced| self.knows(announced)) {
            self.expect_members(&tables);
            self.await_refresh(tables);
        }
    }

    /// Whether a look in effect shows what is announced.
    fn knows(&self, announced: &Announcement) -> bool {
        let state = self.tables.get(&announced.table);
        state.is_some_and(|state| announced.fingerprint == Some(state.fingerprint()))
    }

    /// Other tables or partitions may be published from here on.
    fn expect_members(&mut self, tables: &[Announcement]) {
        // A partition is announced together with its root and all the other leaves.
        let is_of_partitions = |announced: &Announcement| {
            self.tables.get(&announced.table).is_some_and(|state| state.catalog.is_partitioned)
        };
        if tables.len() > 1 || tables.iter().any(is_of_partitions) {
            match &mut self.arriving {
                CurrentTransaction::Streamed(block) => block.membership_changed = true,
                _ => self.membership_changed = true,
            }
        }
    }

    /// The transaction announced these: a look is to show them.
    fn await_refresh(&mut self, mut tables: Vec<Announcement>) {
        self.request_refresh();
        if self.position < self.looked_since {
            tables.clear();
        }
        match &mut self.arriving {
            CurrentTransaction::Streamed(block) => {
                block.announced.get_or_insert_default().extend(tables)
            }
            CurrentTransaction::Whole(xid) => self.unshown.push((*xid, tables)),
            CurrentTransaction::None => {}
        }
    }

    /// Something was dropped, perhaps a partition. A look that is newer than this shows only what
    /// is left, and after a restart there is no older one.
    fn reset_partitioned(&mut self) {
        for oid in self.roots() {
            self.reset(oid, ResetReason::Membership);
        }
    }

    /// Remembers what of this was found by a look alone.
    pub(super) fn find(&mut self, resets: &[Reset]) {
        for Reset { table, .. } in resets {
            let Some(state) = self.tables.get(table) else { continue };
            let fingerprint = state.fingerprint();
            let mut announced = self.unshown.iter().flat_map(|(_, tables)| tables);
            if !announced.any(|announced| announced.tells(*table, fingerprint)) {
                self.found.insert(*table, fingerprint);
            }
        }
    }
}
