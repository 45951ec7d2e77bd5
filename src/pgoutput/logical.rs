//! `M`: messages written into the WAL with `pg_logical_emit_message`.

use super::error::FieldError;
use super::reader::MessageReader;
use super::transaction::read_lsn;
use crate::lsn::Lsn;

/// A logical decoding message; sent only with option `messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmittedMessage<'a> {
    /// Whether it is part of a transaction, and sent among its changes. Otherwise it is sent immediately and
    /// is outside of every transaction, even of the one that wrote it.
    pub transactional: bool,
    /// Its position in the WAL.
    pub lsn: Lsn,
    /// Identifies the consumer it is meant for.
    pub prefix: &'a str,
    /// Its content: arbitrary bytes.
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
