//! `I`, `U`, `D`: changes of one row.

use super::error::FieldError;
use super::reader::{MessageReader, unknown};
use super::tuple::Tuple;
use crate::table::TableOid;

/// A row was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The row's relation.
    pub oid: TableOid,
    /// The new row.
    pub new: Tuple<'a>,
}

/// A row was updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// The row's relation.
    pub oid: TableOid,
    /// The row before the update. `None` when its key did not change and the replica identity is not full.
    pub old: Option<OldTuple<'a>>,
    /// The row after the update.
    pub new: Tuple<'a>,
}

/// A row was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The row's relation.
    pub oid: TableOid,
    /// The deleted row, or its key.
    pub old: OldTuple<'a>,
}

/// A row before its change, as far as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// The replica identity's columns; all others are NULL, whatever their values were.
    Key(Tuple<'a>),
    /// Every column (`REPLICA IDENTITY FULL`).
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    /// The columns in either case. Those of the replica identity always have their values.
    pub fn tuple(&self) -> Tuple<'a> {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => *tuple,
        }
    }
}

impl<'a> Insert<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        let oid = TableOid(r.u32("oid")?);
        match r.u8("tuple kind")? {
            b'N' => Ok(Self { oid, new: Tuple::read(r)? }),
            other => Err(unknown("tuple kind", other)),
        }
    }
}

impl<'a> Update<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        let oid = TableOid(r.u32("oid")?);
        let old = match r.u8("tuple kind")? {
            b'N' => return Ok(Self { oid, old: None, new: Tuple::read(r)? }),
            kind => read_old(kind, r)?,
        };
        match r.u8("new tuple kind")? {
            b'N' => Ok(Self { oid, old: Some(old), new: Tuple::read(r)? }),
            other => Err(unknown("new tuple kind", other)),
        }
    }
}

impl<'a> Delete<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        let oid = TableOid(r.u32("oid")?);
        let kind = r.u8("tuple kind")?;
        Ok(Self { oid, old: read_old(kind, r)? })
    }
}

fn read_old<'a>(kind: u8, r: &mut MessageReader<'a>) -> Result<OldTuple<'a>, FieldError> {
    match kind {
        b'K' => Tuple::read(r).map(OldTuple::Key),
        b'O' => Tuple::read(r).map(OldTuple::Full),
        other => Err(unknown("tuple kind", other)),
    }
}
