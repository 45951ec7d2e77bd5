//! Where a table's key stands in the tuples of the stream.

use super::catalog::CatalogTable;
use crate::key::Key;
use crate::kind::Kind;
use crate::pgoutput::{self, Column, ReplicaIdentity, Tuple};

/// What the newest Relation message said of a table, and where its key is found.
#[derive(Debug)]
pub(super) struct Relation {
    replica_identity: ReplicaIdentity,
    columns: Vec<RelationColumn>,
    key: KeyPlan,
}

#[derive(Debug)]
struct RelationColumn {
    name: String,
    type_oid: u32,
    type_modifier: i32,
    key: bool,
}

impl RelationColumn {
    /// What of it shows in clients' rows.
    fn shape(&self) -> (&str, u32, i32) {
        (&self.name, self.type_oid, self.type_modifier)
    }
}

/// How to read an id from a tuple.
#[derive(Debug)]
enum KeyPlan {
    /// One integer column, at this place.
    Integer(usize),
    /// Any other key: place and kind of each column, in key order.
    Json(Vec<(usize, Kind)>),
    /// The message doesn't fit what the catalog said: nothing can be read until the next look.
    Unknown,
}

/// The key's value is not in the tuple, or has no JSON form we are certain of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownKey;

impl Relation {
    /// Matches a Relation message with the catalog's key.
    pub(super) fn new(message: &pgoutput::Relation<'_>, table: &CatalogTable) -> Self {
        let columns = message.columns.iter().map(|column| RelationColumn {
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            key: column.key,
        });
        let columns: Vec<RelationColumn> = columns.collect();
        let replica_identity = message.replica_identity;
        let key = plan(replica_identity, &columns, table);
        Self { replica_identity, columns, key }
    }

    /// Matches the message with a newer look at the catalog. The message may have come before the
    /// look, in the very transaction that changed the key, and need not come again.
    pub(super) fn look_again(&mut self, table: &CatalogTable) {
        self.key = plan(self.replica_identity, &self.columns, table);
    }

    /// Whether rows look the same as `other`'s.
    pub(super) fn same_columns(&self, other: &Self) -> bool {
        self.columns
            .iter()
            .map(RelationColumn::shape)
            .eq(other.columns.iter().map(RelationColumn::shape))
    }

    /// Whether ids can be read.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.key, KeyPlan::Unknown)
    }

    /// The id in `tuple`; a column that is unchanged there is read from `old`.
    pub(super) fn key(&self, tuple: Tuple<'_>, old: Option<Tuple<'_>>) -> Result<Key, UnknownKey> {
        match &self.key {
            KeyPlan::Integer(place) => read_integer(value(tuple, old, *place)?).map(Key::integer),
            KeyPlan::Json(columns) => read_json(columns, tuple, old),
            KeyPlan::Unknown => Err(UnknownKey),
        }
    }
}

fn plan(
    replica_identity: ReplicaIdentity,
    columns: &[RelationColumn],
    table: &CatalogTable,
) -> KeyPlan {
    let flagged = columns.iter().filter(|column| column.key).count();
    // With identity FULL every column is flagged, and the key is the catalog's primary key.
    if replica_identity != ReplicaIdentity::Full && flagged != table.key.len() {
        return KeyPlan::Unknown;
    }
    let mut places = Vec::with_capacity(table.key.len());
    for key in &table.key {
        let found =
            columns.iter().position(|c| c.key && c.name == key.name && c.type_oid == key.type_oid);
        let Some(place) = found else { return KeyPlan::Unknown };
        places.push((place, key.kind));
    }
    match places[..] {
        [] => KeyPlan::Unknown,
        [(place, Kind::Integer)] => KeyPlan::Integer(place),
        _ => KeyPlan::Json(places),
    }
}

fn value<'a>(
    tuple: Tuple<'a>,
    old: Option<Tuple<'a>>,
    place: usize,
) -> Result<&'a [u8], UnknownKey> {
    match tuple.columns().nth(place) {
        Some(Column::Text(text)) => Ok(text),
        Some(Column::Unchanged) => match old.and_then(|old| old.columns().nth(place)) {
            Some(Column::Text(text)) => Ok(text),
            _ => Err(UnknownKey),
        },
        // Key columns are never NULL; a NULL stands for "not sent" (a leaf whose identity is not
        // its root's). Binary is not asked for.
        _ => Err(UnknownKey),
    }
}

fn read_integer(text: &[u8]) -> Result<i64, UnknownKey> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(UnknownKey)
}

fn read_json(
    columns: &[(usize, Kind)],
    tuple: Tuple<'_>,
    old: Option<Tuple<'_>>,
) -> Result<Key, UnknownKey> {
    let mut json = Vec::with_capacity(64);
    let several = columns.len() > 1;
    for (index, (place, kind)) in columns.iter().enumerate() {
        if several {
            json.push(if index == 0 { b'[' } else { b',' });
        }
        kind.write_json(value(tuple, old, *place)?, &mut json).map_err(|_| UnknownKey)?;
    }
    if several {
        json.push(b']');
    }
    Ok(Key::json(&json))
}
