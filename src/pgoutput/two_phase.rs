//! `b`, `P`, `K`, `r`, `p`: transactions of a two-phase commit.
//!
//! Sent only with option `two_phase`; without it a prepared transaction arrives at its commit, as an
//! ordinary one.

use super::error::FieldError;
use super::reader::MessageReader;
use super::transaction::{read_lsn, read_no_flags, read_time};
use crate::change::CommitTime;
use crate::lsn::Lsn;
use crate::snapshot::Xid;

/// A transaction that will be prepared begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginPrepare<'a> {
    /// Start of the prepare record.
    pub prepare_lsn: Lsn,
    /// End of the prepare record.
    pub end_lsn: Lsn,
    /// Time of the prepare.
    pub prepared_at: CommitTime,
    /// The top-level transaction.
    pub xid: Xid,
    /// Its global identifier (`PREPARE TRANSACTION`).
    pub gid: &'a str,
}

/// A transaction is prepared (`P`; `p` for one that was streamed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// Start of the prepare record.
    pub prepare_lsn: Lsn,
    /// End of the prepare record.
    pub end_lsn: Lsn,
    /// Time of the prepare.
    pub prepared_at: CommitTime,
    /// The top-level transaction.
    pub xid: Xid,
    /// Its global identifier (`PREPARE TRANSACTION`).
    pub gid: &'a str,
}

/// A prepared transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// Start of the commit record.
    pub commit_lsn: Lsn,
    /// End of the commit record.
    pub end_lsn: Lsn,
    /// Time of the commit.
    pub committed_at: CommitTime,
    /// The top-level transaction.
    pub xid: Xid,
    /// Its global identifier (`PREPARE TRANSACTION`).
    pub gid: &'a str,
}

/// A prepared transaction is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// End of the prepare record.
    pub prepare_end_lsn: Lsn,
    /// End of the rollback record.
    pub rollback_end_lsn: Lsn,
    /// Time of the prepare.
    pub prepared_at: CommitTime,
    /// Time of the rollback.
    pub rolled_back_at: CommitTime,
    /// The top-level transaction.
    pub xid: Xid,
    /// Its global identifier (`PREPARE TRANSACTION`).
    pub gid: &'a str,
}

impl<'a> BeginPrepare<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            prepare_lsn: read_lsn(r, "prepare_lsn")?,
            end_lsn: read_lsn(r, "end_lsn")?,
            prepared_at: read_time(r, "prepare_time")?,
            xid: Xid::read(r, "xid")?,
            gid: r.string("gid")?,
        })
    }
}

impl<'a> Prepare<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        read_no_flags(r)?;
        Ok(Self {
            prepare_lsn: read_lsn(r, "prepare_lsn")?,
            end_lsn: read_lsn(r, "end_lsn")?,
            prepared_at: read_time(r, "prepare_time")?,
            xid: Xid::read(r, "xid")?,
            gid: r.string("gid")?,
        })
    }
}

impl<'a> CommitPrepared<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        read_no_flags(r)?;
        Ok(Self {
            commit_lsn: read_lsn(r, "commit_lsn")?,
            end_lsn: read_lsn(r, "end_lsn")?,
            committed_at: read_time(r, "commit_time")?,
            xid: Xid::read(r, "xid")?,
            gid: r.string("gid")?,
        })
    }
}

impl<'a> RollbackPrepared<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        read_no_flags(r)?;
        Ok(Self {
            prepare_end_lsn: read_lsn(r, "prepare_end_lsn")?,
            rollback_end_lsn: read_lsn(r, "rollback_end_lsn")?,
            prepared_at: read_time(r, "prepare_time")?,
            rolled_back_at: read_time(r, "rollback_time")?,
            xid: Xid::read(r, "xid")?,
            gid: r.string("gid")?,
        })
    }
}
