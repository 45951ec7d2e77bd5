//! Response bodies: encoding, compression, caching of identical responses, memory budget, problems.

pub(in crate::http) mod body;
pub(in crate::http) mod changes_body;
pub(in crate::http) mod conditional;
pub(in crate::http) mod encoded_response;
pub(in crate::http) mod encoding;
pub(in crate::http) mod openmetrics;
pub(in crate::http) mod problem;
pub(in crate::http) mod problem_schema;
mod problem_type;
pub(in crate::http) mod response_budget;
pub(in crate::http) mod response_cache;
