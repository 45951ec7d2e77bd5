//! The harness: what the tests' stories are told with.

mod postgres;

pub(crate) use postgres::{Postgres, Session, installation};
