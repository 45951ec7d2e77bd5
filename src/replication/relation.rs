//! Where a table's key, and the values of its rows, stand in the tuples of the stream.

use super::catalog::{CatalogTable, PublishedColumn};
use super::row_plan::RowPlan;
use crate::key::Key;
use crate::kind::Kind;
use crate::pgoutput::{self, Column, ReplicaIdentity, Tuple};

/// What the newest Relation message said of a table, and where its key and row are found.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    replica_identity: ReplicaIdentity,
    columns: Vec<RelationColumn>,
    key: KeyPlan,
    rows: RowReading,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RelationColumn {
    /// What of it shows in clients' rows.
    shape: PublishedColumn,
    key: bool,
}

/// How to read an id from a tuple.
#[derive(Clone, Debug)]
enum KeyPlan {
    /// One integer column, at this place.
    Integer(usize),
    /// Any other key: place and kind of each column, in key order.
    Json(Vec<(usize, Kind)>),
    /// The message doesn't fit what the catalog said: nothing can be read until the next look.
    Unknown,
}

/// How to read a row from a tuple.
#[derive(Clone, Debug)]
enum RowReading {
    /// Nobody wants to know.
    Off,
    /// In this way.
    Known(RowPlan),
    /// The message doesn't fit what the catalog said: nothing can be read until the next look.
    Unknown,
}

/// The key's value is not in the tuple, or has no JSON form we are certain of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownKey;

impl Relation {
    /// Matches a Relation message with the catalog's key.
    pub(super) fn new(message: &pgoutput::Relation<'_>, table: &CatalogTable) -> Self {
        let mut relation = Self::unmatched(message);
        relation.look_again(table);
        relation
    }

    /// A Relation message of a table that no look has shown: nothing can be read by it.
    pub(super) fn unmatched(message: &pgoutput::Relation<'_>) -> Self {
        let columns = message.columns.iter().map(|column| RelationColumn {
            shape: PublishedColumn {
                name: column.name.to_owned(),
                type_oid: column.type_oid,
                type_modifier: column.type_modifier,
            },
            key: column.key,
        });
        Self {
            replica_identity: message.replica_identity,
            columns: columns.collect(),
            key: KeyPlan::Unknown,
            rows: RowReading::Unknown,
        }
    }

    /// Matches the message with a newer look at the catalog. The message may have come before the
    /// look, in the very transaction that changed the table, and need not come again.
    pub(super) fn look_again(&mut self, table: &CatalogTable) {
        self.key = plan(self.replica_identity, &self.columns, table);
        self.rows = row_reading(&self.columns, table);
    }

    /// Whether rows look the same as `other`'s.
    pub(super) fn same_columns(&self, other: &Self) -> bool {
        let theirs = other.columns.iter().map(|column| &column.shape);
        self.columns.iter().map(|column| &column.shape).eq(theirs)
    }

    /// Whether `other` came from the same message.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.replica_identity == other.replica_identity && self.columns == other.columns
    }

    /// Whether ids, and rows where they are wanted, can be read.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.key, KeyPlan::Unknown) && !matches!(self.rows, RowReading::Unknown)
    }

    /// How to read rows, where they are wanted and can be read.
    pub(super) fn rows(&self) -> Option<&RowPlan> {
        match &self.rows {
            RowReading::Known(plan) => Some(plan),
            RowReading::Off | RowReading::Unknown => None,
        }
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
        let found = columns
            .iter()
            .position(|c| c.key && c.shape.name == key.name && c.shape.type_oid == key.type_oid);
        let Some(place) = found else { return KeyPlan::Unknown };
        places.push((place, key.kind));
    }
    match places[..] {
        [] => KeyPlan::Unknown,
        [(place, Kind::Integer)] => KeyPlan::Integer(place),
        _ => KeyPlan::Json(places),
    }
}

fn row_reading(columns: &[RelationColumn], table: &CatalogTable) -> RowReading {
    let Some(held) = table.table.rows.held() else { return RowReading::Off };
    if !columns.iter().map(|column| &column.shape).eq(&table.published) {
        return RowReading::Unknown;
    }
    RowPlan::new(&table.published, held).map_or(RowReading::Unknown, RowReading::Known)
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
