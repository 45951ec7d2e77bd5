//! `B`, `C`, `O`: begin, commit and origin of a transaction that is sent at its commit.

use super::error::FieldError;
use super::reader::{MessageReader, unknown};
use crate::change::CommitTime;
use crate::lsn::Lsn;
use crate::snapshot::Xid;

impl Xid {
    pub(super) fn read(r: &mut MessageReader<'_>, field: &'static str) -> Result<Self, FieldError> {
        r.u32(field).map(Self)
    }
}

/// A transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Start of its commit record: the `commit_lsn` of its [`Commit`].
    pub final_lsn: Lsn,
    /// Time of the commit.
    pub committed_at: CommitTime,
    /// The top-level transaction.
    pub xid: Xid,
}

/// A transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Start of the commit record.
    pub commit_lsn: Lsn,
    /// End of the commit record.
    pub end_lsn: Lsn,
    /// Time of the commit.
    pub committed_at: CommitTime,
}

/// The transaction was replicated to this server from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationOrigin<'a> {
    /// Position of its commit on the other server.
    pub commit_lsn: Lsn,
    /// The replication origin's name.
    pub name: &'a str,
}

impl Begin {
    pub(super) fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            final_lsn: read_lsn(r, "final_lsn")?,
            committed_at: read_time(r, "commit_time")?,
            xid: Xid::read(r, "xid")?,
        })
    }
}

impl Commit {
    pub(super) fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        read_no_flags(r)?;
        Ok(Self {
            commit_lsn: read_lsn(r, "commit_lsn")?,
            end_lsn: read_lsn(r, "end_lsn")?,
            committed_at: read_time(r, "commit_time")?,
        })
    }
}

impl<'a> ReplicationOrigin<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        Ok(Self { commit_lsn: read_lsn(r, "commit_lsn")?, name: r.string("name")? })
    }
}

pub(super) fn read_lsn(r: &mut MessageReader<'_>, field: &'static str) -> Result<Lsn, FieldError> {
    r.u64(field).map(Lsn)
}

pub(super) fn read_time(
    r: &mut MessageReader<'_>,
    field: &'static str,
) -> Result<CommitTime, FieldError> {
    r.i64(field).map(CommitTime)
}

/// Reads a byte of flags of which none is defined.
pub(super) fn read_no_flags(r: &mut MessageReader<'_>) -> Result<(), FieldError> {
    match r.u8("flags")? {
        0 => Ok(()),
        flags => Err(unknown("flags", flags)),
    }
}
