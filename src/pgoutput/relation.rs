//! `R`, `Y`: definitions of relations and types.

use super::error::FieldError;
use super::reader::{MessageReader, unknown};
use crate::table::TableOid;

/// The definition of a relation, valid until the next one of the same relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Identifies the relation in later messages.
    pub oid: TableOid,
    /// Its schema, as stored; `pg_catalog`, which the protocol leaves out, is spelled out.
    pub namespace: &'a str,
    /// Its name, as stored.
    pub name: &'a str,
    /// Decides which columns the old row of an update or delete contains.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of every tuple of the relation.
    pub columns: Vec<RelationColumn<'a>>,
}

/// A published column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity. With [`ReplicaIdentity::Full`] every column is.
    pub key: bool,
    /// Its name, as stored.
    pub name: &'a str,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`; -1 for none.
    pub type_modifier: i32,
}

/// `pg_class.relreplident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// None: the server rejects updates and deletes.
    Nothing,
    /// The whole row.
    Full,
    /// A unique index.
    Index,
}

/// The name of a type that is not built in; for a domain, the name of its base type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeMessage<'a> {
    /// The type, as columns refer to it.
    pub oid: u32,
    /// Its schema, as stored; `pg_catalog`, which the protocol leaves out, is spelled out.
    pub namespace: &'a str,
    /// Its name, as stored.
    pub name: &'a str,
}

/// Smallest size of a column, that of one with an empty name: flags, terminator of the name, type, modifier.
const COLUMN_BYTES_MIN: usize = 1 + 1 + 4 + 4;
/// The only flag of a column.
const KEY_FLAG: u8 = 1;

impl<'a> Relation<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            oid: TableOid(r.u32("oid")?),
            namespace: read_namespace(r)?,
            name: r.string("name")?,
            replica_identity: ReplicaIdentity::read(r)?,
            columns: read_columns(r)?,
        })
    }
}

fn read_columns<'a>(r: &mut MessageReader<'a>) -> Result<Vec<RelationColumn<'a>>, FieldError> {
    let count = usize::from(r.u16("column count")?);
    r.expect(count, COLUMN_BYTES_MIN, "columns")?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        columns.push(RelationColumn::read(r)?);
    }
    Ok(columns)
}

impl<'a> RelationColumn<'a> {
    fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            key: r.u8("column flags")? & KEY_FLAG != 0,
            name: r.string("column name")?,
            type_oid: r.u32("column type")?,
            type_modifier: r.i32("column type modifier")?,
        })
    }
}

impl ReplicaIdentity {
    fn read(r: &mut MessageReader<'_>) -> Result<Self, FieldError> {
        match r.u8("replica identity")? {
            b'd' => Ok(Self::Default),
            b'n' => Ok(Self::Nothing),
            b'f' => Ok(Self::Full),
            b'i' => Ok(Self::Index),
            other => Err(unknown("replica identity", other)),
        }
    }
}

impl<'a> TypeMessage<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        Ok(Self { oid: r.u32("oid")?, namespace: read_namespace(r)?, name: r.string("name")? })
    }
}

fn read_namespace<'a>(r: &mut MessageReader<'a>) -> Result<&'a str, FieldError> {
    match r.string("namespace")? {
        "" => Ok("pg_catalog"),
        namespace => Ok(namespace),
    }
}
