//! What a request asks for, read from its query string with errors that say what would be right.
//!
//! [`sent`] takes the string apart, [`value`] reads single values; each kind of request has its own
//! typed query beside them.

mod admin;
mod changes;
mod pairs;
pub(in crate::http) mod path;
mod row_filter;
mod rows;
mod value;

pub(crate) use admin::AdminQuery;
pub(crate) use changes::ChangesQuery;
pub(crate) use row_filter::RowFilter;
pub(crate) use rows::{AtLeast, RowQuery, RowsParams, RowsQuery, StoreQuery};
pub(crate) use value::{LIMIT_DEFAULT, LIMIT_MAX, version};
