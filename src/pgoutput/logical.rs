//! `M`: what someone wrote into the stream with `pg_logical_emit_message`.

use super::error::FieldError;
use super::reader::MessageReader;
use super::transaction::read_lsn;
use crate::lsn::Lsn;

/// A logical decoding message; sent only with option `messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmittedMessage<'a> {
    /// Part of a transaction, sent among its changes. Otherwise it was sent at once and stands
    /// outside of every transaction, even of the one that wrote it.
    pub transactional: bool,
    /// Where it lies in the WAL.
    pub lsn: Lsn,
    /// Whom it is for.
    pub prefix: &'a str,
    /// What it says; any bytes.
    pub content: &'a [u8],
}

const TRANSACTIONAL_FLAG: u8 = 1;

impl<'a> EmittedMessage<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            transactional: r.u8("flags")? & TRANSACTIONAL_FLAG != 0,
            lsn: read_lsn(r, "lsn")?,
            prefix: r.string("prefix")?,
            content: r.counted_bytes("content")?,
        })
    }
}
