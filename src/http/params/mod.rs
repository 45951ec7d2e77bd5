//! The parameters of requests, read with errors that say what would be right.
//!
//! Each endpoint has one struct of parameters: [`query_string`] reads it, and the OpenAPI document
//! describes it. [`values`] has the types of its fields, [`path`] the parts of a path.

mod admin;
mod changes;
pub(in crate::http) mod path;
mod query_string;
mod row_filter;
mod rows;
mod values;

pub(crate) use admin::{AdminParams, AdminTables};
pub(crate) use changes::{ChangesParams, ChangesRequest, StreamParams, TableChangesParams};
pub(crate) use row_filter::RowFilter;
pub(crate) use rows::{RowParams, RowRequest, RowsParams, RowsSelection, StoreParams};
pub(crate) use values::{AtLeast, Include, LIMIT_DEFAULT, checked_limit, version};
