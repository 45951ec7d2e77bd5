//! Room for answers that clients have not read yet, all of them together.
//!
//! An answer lies in memory until its client has taken it, and clients that take nothing keep their
//! connection for a while. So answers of some size need room, and beyond it clients are told to come
//! again (503). Small ones need none: there is at most one for each request, and the kernel takes most
//! of them from us at once.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::options::HttpOptions;
use crate::http::response::problem::{Problem, ProblemType};

/// Answers up to this size need no room.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// What room is counted in, in bytes.
const UNIT_BYTES: usize = 1024;

/// The room of all answers. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct ResponseBudget {
    free: Arc<Semaphore>,
    units: u32,
}

/// Room that an answer takes until it is dropped. Cloning shares it.
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

    /// Room for one more answer. One that needs more than there is at all has it when nobody else
    /// has any.
    pub(crate) fn take(&self, bytes: usize) -> Result<BudgetPermit, Problem> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(BudgetPermit::default());
        }
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.units);
        let taken = Arc::clone(&self.free).try_acquire_many_owned(units);
        let units = taken.map_err(|_| full())?;
        Ok(BudgetPermit { units: Some(Arc::new(units)) })
    }
}

impl BudgetPermit {
    /// The same bytes; when the last of those who hold them lets go, so does the room.
    pub(crate) fn keep(&self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        if self.units.is_none() {
            return bytes;
        }
        Bytes::from_owner(BudgetedBytes { bytes, _taken: self.clone() })
    }
}

fn full() -> Problem {
    Problem::new(
        ProblemType::AnswersFull,
        "answers that other clients have not read yet take all the room there is \
         (http.max_buffered_response_bytes): ask again, or for less",
    )
}

/// Bytes, and the room they take.
struct BudgetedBytes {
    bytes: Bytes,
    _taken: BudgetPermit,
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
    fn room_comes_back_with_the_last_who_holds_the_bytes() {
        let room = ResponseBudget::new(100 << 10);
        let taken = room.take(80 << 10).unwrap();
        let bytes = taken.keep(vec![7; 80 << 10]);
        drop(taken);
        let piece = bytes.slice(5..6);
        assert_eq!(&*piece, [7]);
        drop(bytes);
        assert!(room.take(30 << 10).is_err(), "a piece holds all of it");
        drop(piece);
        assert!(room.take(30 << 10).is_ok());
    }

    #[test]
    fn small_answers_need_none_and_huge_ones_all() {
        let room = ResponseBudget::new(100 << 10);
        let huge = room.take(1 << 40).unwrap();
        assert!(room.take(SMALL_BYTES_MAX + 1).is_err());
        assert!(room.take(SMALL_BYTES_MAX).is_ok());
        drop(huge);
        let _one = room.take(50 << 10).unwrap();
        assert!(room.take(1 << 40).is_err());
        assert!(room.take(50 << 10).is_ok());
    }
}
