//! What a request asks for, read from its query string with errors that say what would be right.
//!
//! [`sent`] takes the string apart, [`value`] reads single values; each kind of request has its own
//! typed query beside them.

mod changes;
mod narrowing;
mod operator;
mod rows;
mod sent;
mod value;

pub(crate) use changes::ChangesQuery;
pub(crate) use narrowing::Narrowing;
pub(crate) use operator::OperatorQuery;
pub(crate) use rows::{AtLeast, RowQuery, RowsQuery, StoreQuery, Wanted};
pub(crate) use value::{LIMIT_DEFAULT, LIMIT_MAX, version};
