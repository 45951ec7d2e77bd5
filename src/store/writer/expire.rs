//! Work done once a second: eviction by age, giving memory back, measuring.

use jiff::Timestamp;
use parking_lot::RwLockWriteGuard;

use super::{CHANGES_PER_LOCK, Writer, seconds_between};
use crate::change::CommitTime;
use crate::store::state::{StoreState, StoredTable};

/// Lock holds that one call spends on eviction. The rest waits for the next call: keeping changes some
/// seconds longer does no harm, while applying nothing meanwhile would.
const HOLDS_PER_CALL: usize = 32;

impl Writer {
    /// Evicts changes committed longer than `max_age` before `now`, up to some ten thousand, and
    /// refreshes the gauges. To be called about once a second.
    pub fn expire(&mut self, now: Timestamp) {
        let now = CommitTime::from_timestamp(now);
        let max_age = i64::try_from(self.limits.max_age.as_micros()).unwrap_or(i64::MAX);
        let oldest = CommitTime(now.0.saturating_sub(max_age));
        self.serve_requests();
        let shared = self.shared.clone();
        let mut state = shared.state.write();
        for _ in 0..HOLDS_PER_CALL {
            if !expire_some(&mut state, oldest) {
                break;
            }
            RwLockWriteGuard::bump(&mut state);
        }
        drop(state);
        shared.cache.run_maintenance();
        self.measure(&shared.state.read(), now);
    }

    fn measure(&self, state: &StoreState, now: CommitTime) {
        self.metrics.log_bytes.set(i64::try_from(state.bytes()).unwrap_or(i64::MAX));
        state.measure_rows();
        for table in state.tables.values() {
            let name = [table.resource.name.as_str()];
            let ids = i64::try_from(table.log.ids()).unwrap_or(i64::MAX);
            self.metrics.log_entries.with_label_values(&name).set(ids);
            let age = seconds_between(table.log.floor_time(), now);
            self.metrics.log_floor_age_seconds.with_label_values(&name).set(age);
        }
    }
}

/// Evicts and gives memory back for one lock hold; returns whether there is more to do.
fn expire_some(state: &mut StoreState, oldest: CommitTime) -> bool {
    let mut left = CHANGES_PER_LOCK;
    for log in state.tables.values_mut().flat_map(StoredTable::logs) {
        while log.expire_oldest(oldest) {
            left -= 1;
            if left == 0 {
                return true;
            }
        }
        if log.is_sparse() {
            log.release_chunk();
            return true;
        }
    }
    false
}
