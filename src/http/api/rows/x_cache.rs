//! Where an answer's rows came from, for clients (`X-Cache`, `Age`) and for operators
//! (`cache_requests_total`).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::api::state::AppState;
use crate::store::{self, Resource, RowOrigin};

/// `hit`, `miss` or `stale`.
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// A longer time is told as this, which stands for "very long" (RFC 9111, 1.2.2).
const AGE_SECONDS_MAX: u64 = 1 << 31;

/// Where rows came from.
#[derive(Clone, Copy)]
pub(super) enum XCache {
    /// From memory, which follows the database.
    Hit,
    /// From the database.
    Miss,
    /// From memory while the change stream is away: as it was so long ago at least.
    Stale(Duration),
    /// From somewhere: to tell from where would tell too much.
    Omitted,
}

impl XCache {
    /// What it means now that rows came from there.
    pub(super) fn from(origin: RowOrigin, api: &AppState) -> Self {
        match (origin, api.silence()) {
            (RowOrigin::Database, _) => Self::Miss,
            (RowOrigin::Memory, None) => Self::Hit,
            (RowOrigin::Memory, Some(silence)) => Self::Stale(silence),
        }
    }

    fn kind(self) -> Option<store::CacheResult> {
        match self {
            Self::Hit => Some(store::CacheResult::Hit),
            Self::Miss => Some(store::CacheResult::Miss),
            Self::Stale(_) => Some(store::CacheResult::Stale),
            Self::Omitted => None,
        }
    }

    /// Counts an answer with rows of this table.
    pub(super) fn count(self, table: &Resource) {
        if let Some(kind) = self.kind() {
            table.count_request(kind);
        }
    }

    /// Tells the client. `Age` is how long the answer was not confirmed by where it comes from
    /// (RFC 9111, 5.1).
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Some(kind) = self.kind() else { return };
        headers.insert(X_CACHE, HeaderValue::from_static(kind.as_str()));
        if let Self::Stale(silence) = self {
            headers.insert(header::AGE, silence.as_secs().min(AGE_SECONDS_MAX).into());
        }
    }
}
