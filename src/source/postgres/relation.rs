//! Relation messages matched with the catalog: where a table's key, and the values of its rows, are
//! in tuples.

use super::catalog::{CatalogKeyColumn, CatalogTable, PublishedColumn};
use super::row_layout::RowLayout;
use crate::json_type::JsonType;
use crate::key::Key;
use crate::pgoutput::{self, OldTuple, ReplicaIdentity, Tuple, TupleColumn};
use crate::scope::ScopeValues;

/// The newest Relation message of a table, and where its key and row are found.
#[derive(Clone, Debug)]
pub(super) struct TrackedRelation {
    replica_identity: ReplicaIdentity,
    columns: Vec<TrackedColumn>,
    key: KeyPlan,
    /// Positions of the scope columns and how their values are written; empty without any.
    scope: Vec<(usize, JsonType)>,
    rows: RowReading,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TrackedColumn {
    /// The part that shows in clients' rows.
    shape: PublishedColumn,
    key: bool,
}

/// How to read an id from a tuple.
#[derive(Clone, Debug)]
enum KeyPlan {
    /// One integer column, at this position.
    Integer(usize),
    /// Any other key: position and type of each column, in key order.
    Json(Vec<(usize, JsonType)>),
    /// The message does not match the catalog: nothing can be read until the next refresh.
    Unknown,
}

/// How to read a row from a tuple.
#[derive(Clone, Debug)]
enum RowReading {
    /// Rows are not cached.
    Off,
    /// Rows are read by this layout.
    Known(RowLayout),
    /// The message does not match the catalog: nothing can be read until the next refresh.
    Unknown,
}

/// The key's value is not in the tuple, or has no known JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownKey;

/// A row's id, and the values of its scope columns, if its table has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedKey {
    pub key: Key,
    /// Values of all scope columns.
    pub scope: Option<ScopeValues>,
}

impl TrackedRelation {
    /// Matches a Relation message with the catalog's key.
    pub(super) fn new(message: &pgoutput::Relation<'_>, table: &CatalogTable) -> Self {
        let mut relation = Self::unmatched(message);
        relation.update_catalog(table);
        relation
    }

    /// A Relation message of a table that no refresh has shown: nothing can be read by it.
    pub(super) fn unmatched(message: &pgoutput::Relation<'_>) -> Self {
        let columns = message.columns.iter().map(|column| TrackedColumn {
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
            scope: Vec::new(),
            rows: RowReading::Unknown,
        }
    }

    /// Matches the message with a newer refresh. The message may have arrived before the refresh,
    /// in the very transaction that changed the table, and may not be repeated.
    pub(super) fn update_catalog(&mut self, table: &CatalogTable) {
        let plans = plan(self.replica_identity, &self.columns, table).zip(scope_plan(
            self.replica_identity,
            &self.columns,
            table,
        ));
        (self.key, self.scope) = plans.unwrap_or((KeyPlan::Unknown, Vec::new()));
        self.rows = row_reading(&self.columns, table);
    }

    /// Whether rows have the same columns as `other`'s.
    pub(super) fn same_columns(&self, other: &Self) -> bool {
        let theirs = other.columns.iter().map(|column| &column.shape);
        self.columns.iter().map(|column| &column.shape).eq(theirs)
    }

    /// Whether `other` is the same message.
    pub(super) fn is_same_message(&self, other: &Self) -> bool {
        self.replica_identity == other.replica_identity && self.columns == other.columns
    }

    /// Whether ids, and rows if they are cached, can be read.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.key, KeyPlan::Unknown) && !matches!(self.rows, RowReading::Unknown)
    }

    /// The layout of rows, if they are cached and can be read.
    pub(super) fn rows(&self) -> Option<&RowLayout> {
        match &self.rows {
            RowReading::Known(plan) => Some(plan),
            RowReading::Off | RowReading::Unknown => None,
        }
    }

    /// The id in the tuple of a row after a change, and its scope; a column that is unchanged there
    /// is read from `old`.
    pub(super) fn read_row(
        &self,
        tuple: Tuple<'_>,
        old: Option<OldTuple<'_>>,
    ) -> Result<ScopedKey, UnknownKey> {
        let key = self.key(tuple, old.map(|old| old.tuple()))?;
        let scope = self.scope(tuple, old, true)?;
        Ok(ScopedKey { key, scope })
    }

    /// The same for the tuple of a row before a change.
    pub(super) fn read_old_row(&self, old: OldTuple<'_>) -> Result<ScopedKey, UnknownKey> {
        let key = self.key(old.tuple(), None)?;
        // In a tuple that holds only the key, NULL stands for "not sent".
        let scope = self.scope(old.tuple(), None, matches!(old, OldTuple::Full(_)))?;
        Ok(ScopedKey { key, scope })
    }

    /// Whether the scope of a row before an update is known only from its old tuple: a scope column
    /// that is not part of the key may change without the key.
    pub(super) fn requires_old_rows(&self) -> bool {
        let is_key = |place: usize| match &self.key {
            KeyPlan::Integer(key) => *key == place,
            KeyPlan::Json(columns) => columns.iter().any(|(key, _)| *key == place),
            KeyPlan::Unknown => false,
        };
        !self.scope.iter().all(|(place, _)| is_key(*place))
    }

    fn scope(
        &self,
        tuple: Tuple<'_>,
        old: Option<OldTuple<'_>>,
        has_nulls: bool,
    ) -> Result<Option<ScopeValues>, UnknownKey> {
        if self.scope.is_empty() {
            return Ok(None);
        }
        let mut json = Vec::with_capacity(32);
        for (index, (place, kind)) in self.scope.iter().enumerate() {
            json.push(if index == 0 { b'[' } else { b',' });
            match tuple.columns().nth(*place) {
                Some(TupleColumn::Null) if has_nulls => json.extend_from_slice(b"null"),
                _ => kind
                    .write_json(value(tuple, old.map(|old| old.tuple()), *place)?, &mut json)
                    .map_err(|_| UnknownKey)?,
            }
        }
        json.push(b']');
        Ok(Some(ScopeValues::json(&json)))
    }

    /// The id in `tuple`; a column that is unchanged there is read from `old`.
    fn key(&self, tuple: Tuple<'_>, old: Option<Tuple<'_>>) -> Result<Key, UnknownKey> {
        match &self.key {
            KeyPlan::Integer(place) => read_integer(value(tuple, old, *place)?).map(Key::integer),
            KeyPlan::Json(columns) => read_json(columns, tuple, old),
            KeyPlan::Unknown => Err(UnknownKey),
        }
    }
}

fn plan(
    replica_identity: ReplicaIdentity,
    columns: &[TrackedColumn],
    table: &CatalogTable,
) -> Option<KeyPlan> {
    let flagged = columns.iter().filter(|column| column.key).count();
    // With identity FULL every column is flagged, and the key is the catalog's primary key.
    if replica_identity != ReplicaIdentity::Full && flagged != table.key.len() {
        return None;
    }
    let mut places = Vec::with_capacity(table.key.len());
    for key in &table.key {
        let found = columns
            .iter()
            .position(|c| c.key && c.shape.name == key.name && c.shape.type_oid == key.type_oid);
        places.push((found?, key.kind));
    }
    match places[..] {
        [] => None,
        [(place, JsonType::Integer)] => Some(KeyPlan::Integer(place)),
        _ => Some(KeyPlan::Json(places)),
    }
}

/// Positions of the scope columns. Every change must carry their old values: so each is part of the
/// key, or the whole old row is sent.
fn scope_plan(
    replica_identity: ReplicaIdentity,
    columns: &[TrackedColumn],
    table: &CatalogTable,
) -> Option<Vec<(usize, JsonType)>> {
    let is_sent = |column: &TrackedColumn| column.key || replica_identity == ReplicaIdentity::Full;
    let place = |scope: &CatalogKeyColumn| {
        let is_it = |c: &TrackedColumn| {
            is_sent(c) && c.shape.name == scope.name && c.shape.type_oid == scope.type_oid
        };
        Some((columns.iter().position(is_it)?, scope.kind))
    };
    table.scope.iter().map(place).collect()
}

fn row_reading(columns: &[TrackedColumn], table: &CatalogTable) -> RowReading {
    let Some(plan) = table.table.rows.held() else { return RowReading::Off };
    if !columns.iter().map(|column| &column.shape).eq(&table.published) {
        return RowReading::Unknown;
    }
    RowLayout::new(&table.published, plan).map_or(RowReading::Unknown, RowReading::Known)
}

fn value<'a>(
    tuple: Tuple<'a>,
    old: Option<Tuple<'a>>,
    place: usize,
) -> Result<&'a [u8], UnknownKey> {
    match tuple.columns().nth(place) {
        Some(TupleColumn::Text(text)) => Ok(text),
        Some(TupleColumn::Unchanged) => match old.and_then(|old| old.columns().nth(place)) {
            Some(TupleColumn::Text(text)) => Ok(text),
            _ => Err(UnknownKey),
        },
        // Key columns are never NULL; a NULL stands for "not sent" (a leaf whose identity is not
        // its root's). Binary is not requested.
        _ => Err(UnknownKey),
    }
}

fn read_integer(text: &[u8]) -> Result<i64, UnknownKey> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(UnknownKey)
}

fn read_json(
    columns: &[(usize, JsonType)],
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
