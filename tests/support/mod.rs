//! The harness of the integration tests.

mod certificates;
mod copy;
mod highwater;
pub(crate) mod jwt;
mod local_copy;
mod names;
mod postgres;
mod proxy;
mod push;

pub(crate) use ::highwater::row::is_same_json;
pub(crate) use certificates::{CertificateAuthority, CertificateFiles, SignedPair, of_version_1};
pub(crate) use copy::Slots;
pub(crate) use highwater::{
    Highwater, HttpReply, PATIENCE, Poll, Program, config, position, trusting,
};
pub(crate) use local_copy::LocalCopy;
pub(crate) use names::Name;
pub(crate) use postgres::{TestPostgres, TestSession, installation};
pub(crate) use proxy::{Proxy, SessionKind};
pub(crate) use push::{PushSocket, PushStream};
