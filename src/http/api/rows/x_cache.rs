//! The origin of a response's rows, for clients (`X-Cache`, `Age`) and for operators
//! (`cache_requests_total`).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::api::state::AppState;
use crate::store::{self, Resource, RowOrigin};

/// `hit`, `miss` or `stale`.
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// The largest `Age`, in seconds; it stands for every longer time (RFC 9111, 1.2.2).
const AGE_SECONDS_MAX: u64 = 1 << 31;

/// The value of `X-Cache`.
#[derive(Clone, Copy)]
pub(super) enum XCache {
    /// From memory, kept up to date by the change stream.
    Hit,
    /// From the database.
    Miss,
    /// From memory while the change stream is down, which it has been for this long.
    Stale(Duration),
    /// No header: it would reveal whether a row exists that the caller may not see.
    Omitted,
}

impl XCache {
    /// The value for rows of this origin, as the change stream stands now.
    pub(super) fn new(origin: RowOrigin, api: &AppState) -> Self {
        match (origin, api.silence()) {
            (RowOrigin::Database, _) => Self::Miss,
            (RowOrigin::Memory, None) => Self::Hit,
            (RowOrigin::Memory, Some(silence)) => Self::Stale(silence),
        }
    }

    fn result(self) -> Option<store::CacheResult> {
        match self {
            Self::Hit => Some(store::CacheResult::Hit),
            Self::Miss => Some(store::CacheResult::Miss),
            Self::Stale(_) => Some(store::CacheResult::Stale),
            Self::Omitted => None,
        }
    }

    /// Counts a response with rows of this table.
    pub(super) fn count(self, table: &Resource) {
        if let Some(result) = self.result() {
            table.count_request(result);
        }
    }

    /// Inserts `X-Cache`, and `Age`: the time since the origin last confirmed the rows (RFC 9111,
    /// 5.1).
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let Some(result) = self.result() else { return };
        headers.insert(X_CACHE, HeaderValue::from_static(result.as_str()));
        if let Self::Stale(silence) = self {
            headers.insert(header::AGE, silence.as_secs().min(AGE_SECONDS_MAX).into());
        }
    }
}
