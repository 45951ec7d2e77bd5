//! The harness: what the tests' stories are told with.

mod certificates;
mod copy;
mod highwater;
pub(crate) mod jwt;
mod mirror;
mod names;
mod postgres;
mod proxy;
mod push;

pub(crate) use ::highwater::row::is_same_json;
pub(crate) use certificates::{Authority, Files, Signed, of_version_1};
pub(crate) use copy::Slots;
pub(crate) use highwater::{Highwater, PATIENCE, Poll, Program, Reply, config, position, trusting};
pub(crate) use mirror::Mirror;
pub(crate) use names::Name;
pub(crate) use postgres::{Postgres, Session, installation};
pub(crate) use proxy::{Kind, Proxy};
pub(crate) use push::{Socket, Stream};
