//! The memory budget for responses that clients have not read yet
//! (`http.max_buffered_response_bytes`).
//!
//! A response stays in memory until its client has read it, and a client that reads nothing keeps its
//! connection until the write timeout. So responses beyond a small size reserve their bytes, and past the budget
//! clients get 503. Small responses need no reservation: there is at most one for each request, and most
//! fit the kernel's send buffer at once.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::options::HttpOptions;
use crate::http::response::problem::{Problem, ProblemType};

/// Responses up to this size need no reservation.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The unit in which the semaphore counts, in bytes.
const UNIT_BYTES: usize = 1024;

/// The budget of all responses. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ResponseBudget {
    free: Arc<Semaphore>,
    units: u32,
}

/// A response's reservation, released when the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct BudgetPermit {
    units: Option<Arc<OwnedSemaphorePermit>>,
}

impl Default for ResponseBudget {
    fn default() -> Self {
        Self::new(HttpOptions::ANSWERS_BYTES_MAX)
    }
}

impl ResponseBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Reserves a response's bytes; 503 if the budget is exhausted. A response larger than the whole
    /// budget is admitted when nothing else is reserved.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<BudgetPermit, Problem> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(BudgetPermit::default());
        }
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.units);
        let permits = Arc::clone(&self.free).try_acquire_many_owned(units);
        let units = permits.map_err(|_| exhausted())?;
        Ok(BudgetPermit { units: Some(Arc::new(units)) })
    }
}

impl BudgetPermit {
    /// The same bytes with the reservation, which is released when the last reference to them is dropped.
    pub(crate) fn keep(&self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        if self.units.is_none() {
            return bytes;
        }
        Bytes::from_owner(BudgetedBytes { bytes, _permit: self.clone() })
    }
}

fn exhausted() -> Problem {
    Problem::new(
        ProblemType::ResponseBudgetExhausted,
        "responses that other clients have not read yet fill the budget \
         (http.max_buffered_response_bytes): retry, or request less",
    )
}

/// Bytes with their reservation.
struct BudgetedBytes {
    bytes: Bytes,
    _permit: BudgetPermit,
}

impl AsRef<[u8]> for BudgetedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reference_to_the_bytes_releases_the_reservation() {
        let budget = ResponseBudget::new(100 << 10);
        let permit = budget.reserve(80 << 10).unwrap();
        let bytes = permit.keep(vec![7; 80 << 10]);
        drop(permit);
        let piece = bytes.slice(5..6);
        assert_eq!(&*piece, [7]);
        drop(bytes);
        assert!(budget.reserve(30 << 10).is_err(), "a slice retains all of it");
        drop(piece);
        assert!(budget.reserve(30 << 10).is_ok());
    }

    #[test]
    fn small_responses_need_no_budget_and_huge_ones_all_of_it() {
        let budget = ResponseBudget::new(100 << 10);
        let huge = budget.reserve(1 << 40).unwrap();
        assert!(budget.reserve(SMALL_BYTES_MAX + 1).is_err());
        assert!(budget.reserve(SMALL_BYTES_MAX).is_ok());
        drop(huge);
        let _one = budget.reserve(50 << 10).unwrap();
        assert!(budget.reserve(1 << 40).is_err());
        assert!(budget.reserve(50 << 10).is_ok());
    }
}
