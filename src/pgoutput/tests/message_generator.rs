//! Retells messages in short lines, leaving out what differs from one capture to the next.

use std::collections::HashMap;

use super::*;
use crate::snapshot::Xid;
use crate::table::TableOid;

/// Remembers the names that numbers stand for.
#[derive(Default)]
pub(super) struct MessageGenerator {
    relations: HashMap<TableOid, String>,
    types: HashMap<u32, String>,
    xids: Vec<Xid>,
}

/// The first OID that a type of a user's can have.
const FIRST_USER_OID: u32 = 16_384;

impl MessageGenerator {
    pub(super) fn tell(&mut self, streamed: &Streamed<'_>) -> String {
        let line = self.tell_message(&streamed.message);
        match streamed.xid {
            Some(xid) => format!("{}: {line}", self.xid(xid)),
            None => line,
        }
    }

    fn tell_message(&mut self, message: &LogicalMessage<'_>) -> String {
        match message {
            LogicalMessage::Begin(_) => "begin".into(),
            LogicalMessage::Commit(_) => "commit".into(),
            LogicalMessage::Origin(m) => format!("origin {} {}", m.name, m.commit_lsn),
            LogicalMessage::Relation(m) => self.tell_relation(m),
            LogicalMessage::Type(m) => self.tell_type(m),
            LogicalMessage::Insert(m) => {
                format!("insert {} {}", self.relation(m.oid), tuple(m.new))
            }
            LogicalMessage::Update(m) => {
                let old = m.old.as_ref().map(|m| old(m) + " ").unwrap_or_default();
                format!("update {} {old}{}", self.relation(m.oid), tuple(m.new))
            }
            LogicalMessage::Delete(m) => format!("delete {} {}", self.relation(m.oid), old(&m.old)),
            LogicalMessage::Truncate(m) => self.tell_truncate(m),
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
                let told = if m.position.is_some() { " at a position" } else { "" };
                let whole = if m.is_whole_transaction() { " whole" } else { "" };
                format!("stream abort {} {}{whole}{told}", self.xid(m.xid), self.xid(m.subxid))
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

    fn tell_relation(&mut self, relation: &Relation<'_>) -> String {
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

    fn tell_type(&mut self, named: &TypeMessage<'_>) -> String {
        let name = format!("{}.{}", named.namespace, named.name);
        assert!(named.oid >= FIRST_USER_OID, "{name}");
        self.types.insert(named.oid, name.clone());
        format!("type {name}")
    }

    fn tell_truncate(&self, truncate: &Truncate<'_>) -> String {
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
