//! `S`, `c`, `A` (and `E`, which consists of its tag): large transactions, sent before they commit.

use super::error::FieldError;
use super::reader::MessageReader;
use super::transaction::{read_lsn, read_no_flags, read_time};
use crate::change::CommitTime;
use crate::lsn::Lsn;
use crate::snapshot::Xid;

/// A block of changes of one transaction in progress begins; it lasts until Stream Stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction.
    pub xid: Xid,
    /// Whether this is the transaction's first block.
    pub first_segment: bool,
}

/// A streamed transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction.
    pub xid: Xid,
    /// Start of the commit record.
    pub commit_lsn: Lsn,
    /// End of the commit record.
    pub end_lsn: Lsn,
    /// When it was committed.
    pub committed_at: CommitTime,
}

/// A streamed transaction, or one of its subtransactions, is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction.
    pub xid: Xid,
    /// What is rolled back: a subtransaction, or `xid` itself.
    pub subxid: Xid,
    /// Position and time; sent only with option `streaming = parallel`.
    pub position: Option<AbortPosition>,
}

/// Position and time of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortPosition {
    /// Start of the abort record.
    pub lsn: Lsn,
    /// Time by the server's clock.
    pub at: CommitTime,
}

impl StreamAbort {
    /// Whether the whole transaction is rolled back, not only a subtransaction.
    pub fn is_whole_transaction(&self) -> bool {
        self.xid == self.subxid
    }

    pub(super) fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        let xid = Xid::read(r, "xid")?;
        let subxid = Xid::read(r, "subxid")?;
        // A message always arrives complete, so its length decides which of the two forms it has.
        let position = if r.remaining() == 0 { None } else { Some(AbortPosition::read(r)?) };
        Ok(Self { xid, subxid, position })
    }
}

impl AbortPosition {
    fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        Ok(Self { lsn: read_lsn(r, "abort_lsn")?, at: read_time(r, "abort_time")? })
    }
}

impl StreamStart {
    pub(super) fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        Ok(Self { xid: Xid::read(r, "xid")?, first_segment: r.u8("first segment")? == 1 })
    }
}

impl StreamCommit {
    pub(super) fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        let xid = Xid::read(r, "xid")?;
        read_no_flags(r)?;
        Ok(Self {
            xid,
            commit_lsn: read_lsn(r, "commit_lsn")?,
            end_lsn: read_lsn(r, "end_lsn")?,
            committed_at: read_time(r, "commit_time")?,
        })
    }
}
