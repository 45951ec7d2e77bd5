//! The inverse of the decoder: encodes messages in the layout of the manual.

use super::*;

/// Encodes a message; with an `xid`, as inside a stream block.
pub(super) fn encode(streamed: &Streamed<'_>) -> Vec<u8> {
    let message = &streamed.message;
    let mut w = MessageWriter(vec![message.tag()]);
    if let Some(xid) = streamed.xid {
        w.u32(xid.0);
    }
    match message {
        LogicalMessage::Begin(m) => {
            w.u64(m.final_lsn.0).i64(m.committed_at.0).u32(m.xid.0);
        }
        LogicalMessage::Commit(m) => {
            w.u8(0).u64(m.commit_lsn.0).u64(m.end_lsn.0).i64(m.committed_at.0);
        }
        LogicalMessage::Origin(m) => {
            w.u64(m.commit_lsn.0).string(m.name);
        }
        LogicalMessage::Relation(m) => relation(&mut w, m),
        LogicalMessage::Type(m) => {
            w.u32(m.oid).namespace(m.namespace).string(m.name);
        }
        LogicalMessage::Insert(m) => {
            w.u32(m.oid.0).u8(b'N').tuple(m.new);
        }
        LogicalMessage::Update(m) => {
            w.u32(m.oid.0);
            m.old.iter().for_each(|old| w.old(old));
            w.u8(b'N').tuple(m.new);
        }
        LogicalMessage::Delete(m) => w.u32(m.oid.0).old(&m.old),
        LogicalMessage::Truncate(m) => {
            let flags = u8::from(m.cascade) | u8::from(m.restart_identity) << 1;
            w.u32(u32::try_from(m.oids().len()).unwrap()).u8(flags);
            m.oids().for_each(|oid| {
                w.u32(oid.0);
            });
        }
        LogicalMessage::Logical(m) => {
            w.u8(m.transactional.into()).u64(m.lsn.0).string(m.prefix).counted(m.content);
        }
        LogicalMessage::StreamStart(m) => {
            w.u32(m.xid.0).u8(m.first_segment.into());
        }
        LogicalMessage::StreamStop => {}
        LogicalMessage::StreamCommit(m) => {
            w.u32(m.xid.0).u8(0).u64(m.commit_lsn.0).u64(m.end_lsn.0).i64(m.committed_at.0);
        }
        LogicalMessage::StreamAbort(m) => {
            w.u32(m.xid.0).u32(m.subxid.0);
            m.position.iter().for_each(|p| {
                w.u64(p.lsn.0).i64(p.at.0);
            });
        }
        LogicalMessage::BeginPrepare(m) => {
            w.u64(m.prepare_lsn.0).u64(m.end_lsn.0).i64(m.prepared_at.0).u32(m.xid.0).string(m.gid);
        }
        LogicalMessage::Prepare(m) | LogicalMessage::StreamPrepare(m) => {
            w.u8(0).u64(m.prepare_lsn.0).u64(m.end_lsn.0).i64(m.prepared_at.0);
            w.u32(m.xid.0).string(m.gid);
        }
        LogicalMessage::CommitPrepared(m) => {
            w.u8(0).u64(m.commit_lsn.0).u64(m.end_lsn.0).i64(m.committed_at.0);
            w.u32(m.xid.0).string(m.gid);
        }
        LogicalMessage::RollbackPrepared(m) => {
            w.u8(0).u64(m.prepare_end_lsn.0).u64(m.rollback_end_lsn.0);
            w.i64(m.prepared_at.0).i64(m.rolled_back_at.0).u32(m.xid.0).string(m.gid);
        }
    }
    w.0
}

fn relation(w: &mut MessageWriter, relation: &Relation<'_>) {
    let identity = match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    };
    w.u32(relation.oid.0).namespace(relation.namespace).string(relation.name).u8(identity);
    w.u16(relation.columns.len());
    for column in &relation.columns {
        w.u8(column.key.into()).string(column.name).u32(column.type_oid);
        w.0.extend(column.type_modifier.to_be_bytes());
    }
}

struct MessageWriter(Vec<u8>);

impl MessageWriter {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u16(&mut self, value: usize) -> &mut Self {
        self.0.extend(u16::try_from(value).unwrap().to_be_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn string(&mut self, value: &str) -> &mut Self {
        self.0.extend(value.as_bytes());
        self.u8(0)
    }

    fn namespace(&mut self, value: &str) -> &mut Self {
        self.string(if value == "pg_catalog" { "" } else { value })
    }

    fn counted(&mut self, value: &[u8]) -> &mut Self {
        self.u32(u32::try_from(value.len()).unwrap());
        self.0.extend(value);
        self
    }

    fn old(&mut self, old: &OldTuple<'_>) {
        match old {
            OldTuple::Key(tuple) => self.u8(b'K').tuple(*tuple),
            OldTuple::Full(tuple) => self.u8(b'O').tuple(*tuple),
        };
    }

    fn tuple(&mut self, tuple: Tuple<'_>) -> &mut Self {
        self.u16(tuple.len());
        for column in tuple.columns() {
            match column {
                TupleColumn::Null => self.u8(b'n'),
                TupleColumn::Unchanged => self.u8(b'u'),
                TupleColumn::Text(value) => self.u8(b't').counted(value),
                TupleColumn::Binary(value) => self.u8(b'b').counted(value),
            };
        }
        self
    }
}
