//! Tests of the store as a whole: races of real threads, changes of server, random histories.

pub(in crate::store) mod harness;
pub(in crate::store) mod lock_races;
pub(in crate::store) mod model;
pub(in crate::store) mod row_model;
pub(in crate::store) mod row_races;
pub(in crate::store) mod row_timelines;
pub(in crate::store) mod rows;
pub(in crate::store) mod scripted_loader;
pub(in crate::store) mod timeline_switches;

pub(in crate::store) use harness::*;
