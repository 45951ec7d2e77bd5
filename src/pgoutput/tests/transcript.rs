//! Readable transcripts of messages, one short line each, without what differs between captures.

use std::collections::HashMap;

use super::*;
use crate::snapshot::Xid;
use crate::table::TableOid;

/// Writes a transcript; remembers the names of the relations, types and transactions that appear.
#[derive(Default)]
pub(super) struct TranscriptWriter {
    relations: HashMap<TableOid, String>,
    types: HashMap<u32, String>,
    xids: Vec<Xid>,
}

/// The first OID that a user-defined type can have.
const FIRST_USER_OID: u32 = 16_384;

impl TranscriptWriter {
    pub(super) fn line(&mut self, streamed: &Streamed<'_>) -> String {
        let line = self.message_line(&streamed.message);
        match streamed.xid {
            Some(xid) => format!("{}: {line}", self.xid(xid)),
            None => line,
        }
    }

    fn message_line(&mut self, message: &LogicalMessage<'_>) -> String {
        match message {
            LogicalMessage::Begin(_) => "begin".into(),
            LogicalMessage::Commit(_) => "commit".into(),
            LogicalMessage::Origin(m) => format!("origin {} {}", m.name, m.commit_lsn),
            LogicalMessage::Relation(m) => self.relation_line(m),
            LogicalMessage::Type(m) => self.type_line(m),
            LogicalMessage::Insert(m) => {
                format!("insert {} {}", self.relation(m.oid), tuple(m.new))
            }
            LogicalMessage::Update(m) => {
                let old = m.old.as_ref().map(|m| old(m) + " ").unwrap_or_default();
                format!("update {} {old}{}", self.relation(m.oid), tuple(m.new))
            }
            LogicalMessage::Delete(m) => format!("delete {} {}", self.relation(m.oid), old(&m.old)),
            LogicalMessage::Truncate(m) => self.truncate_line(m),
            LogicalMessage::Logical(m) => {
                let kind = if m.transactional { "transactional" } else { "immediate" };
                format!("message {kind} {:?} {}", m.prefix, m.content.escape_ascii())
            }
            LogicalMessage::StreamStart(m) => {
                let first = if m.first_segment { " first" } else { "" };
                format!("stream start {}{first}", self.xid(m.xid))
            }
            LogicalMessage::StreamStop => "stream stop".into(),
            LogicalMessage::StreamCommit(m) => format!("stream commit {}", self.xid(m.xid)),
            LogicalMessage::StreamAbort(m) => {
                let position = if m.position.is_some() { " at a position" } else { "" };
                let whole = if m.is_whole_transaction() { " whole" } else { "" };
                format!("stream abort {} {}{whole}{position}", self.xid(m.xid), self.xid(m.subxid))
            }
            LogicalMessage::BeginPrepare(m) => format!("begin prepare {:?}", m.gid),
            LogicalMessage::Prepare(m) => format!("prepare {:?}", m.gid),
            LogicalMessage::CommitPrepared(m) => format!("commit prepared {:?}", m.gid),
            LogicalMessage::RollbackPrepared(m) => format!("rollback prepared {:?}", m.gid),
            LogicalMessage::StreamPrepare(m) => {
                format!("stream prepare {} {:?}", self.xid(m.xid), m.gid)
            }
        }
    }

    fn relation_line(&mut self, relation: &Relation<'_>) -> String {
        let name = format!("{}.{}", relation.namespace, relation.name);
        let columns = relation.columns.iter().map(|column| self.column(column));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let line = format!("relation {name} {:?} ({columns})", relation.replica_identity);
        self.relations.insert(relation.oid, relation.name.to_owned());
        line
    }

    fn column(&self, column: &RelationColumn<'_>) -> String {
        let key = if column.key { "*" } else { "" };
        let modifier = match column.type_modifier {
            -1 => String::new(),
            modifier => format!("/{modifier}"),
        };
        let type_name = if column.type_oid < FIRST_USER_OID {
            column.type_oid.to_string()
        } else {
            self.types[&column.type_oid].clone()
        };
        format!("{}{key} {type_name}{modifier}", column.name)
    }

    fn type_line(&mut self, named: &TypeMessage<'_>) -> String {
        let name = format!("{}.{}", named.namespace, named.name);
        assert!(named.oid >= FIRST_USER_OID, "{name}");
        self.types.insert(named.oid, name.clone());
        format!("type {name}")
    }

    fn truncate_line(&self, truncate: &Truncate<'_>) -> String {
        let names: Vec<_> = truncate.oids().map(|oid| self.relation(oid)).collect();
        let cascade = if truncate.cascade { " cascade" } else { "" };
        let restart = if truncate.restart_identity { " restart identity" } else { "" };
        format!("truncate {}{cascade}{restart}", names.join(", "))
    }

    fn relation(&self, oid: TableOid) -> String {
        self.relations[&oid].clone()
    }

    /// Transactions are numbered as they appear.
    fn xid(&mut self, xid: Xid) -> String {
        let known = self.xids.iter().position(|&known| known == xid);
        let number = known.unwrap_or_else(|| {
            self.xids.push(xid);
            self.xids.len() - 1
        });
        format!("x{}", number + 1)
    }
}

fn old(old: &OldTuple<'_>) -> String {
    match old {
        OldTuple::Key(key) => format!("key {}", tuple(*key)),
        OldTuple::Full(full) => format!("old {}", tuple(*full)),
    }
}

fn tuple(tuple: Tuple<'_>) -> String {
    let columns: Vec<_> = tuple.columns().map(column).collect();
    format!("({})", columns.join(", "))
}

fn column(column: TupleColumn<'_>) -> String {
    match column {
        TupleColumn::Null => "null".into(),
        TupleColumn::Unchanged => "unchanged".into(),
        TupleColumn::Text(text) if text.len() > 100 => format!("{} bytes", text.len()),
        TupleColumn::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        TupleColumn::Binary(bytes) => format!("b'{}'", bytes.escape_ascii()),
    }
}
