//! Decoder for the messages of PostgreSQL's logical replication, protocol versions 1 to 4.
//!
//! Decoding is a pure function: it keeps no state, never waits and does not copy. A [`LogicalMessage`]
//! borrows from the bytes it was decoded from. A row's values are validated once, when the message is
//! decoded, so that iterating over a [`Tuple`] afterwards can't fail and doesn't allocate.
//!
//! The layout depends on one fact outside of the bytes: between Stream Start and Stream Stop some messages
//! begin with a transaction id. The caller, which knows where a message was received, chooses between
//! [`decode`] and [`decode_streamed`].
//!
//! The input is not trusted: an unknown tag, a count larger than what follows, text that is not UTF-8 and
//! trailing bytes are errors that name the message and the field. Flags are treated as PostgreSQL's own
//! subscriber treats them: rejected where it rejects them, otherwise only the known bits count.
//!
//! Source: PostgreSQL manual, "Logical Replication Message Formats".

mod error;
mod logical;
mod reader;
mod relation;
mod row;
mod stream;
mod transaction;
mod truncate;
mod tuple;
mod two_phase;

#[cfg(test)]
pub(crate) mod tests;

use crate::snapshot::Xid;

pub use error::{DecodeError, FieldProblem};
pub use logical::EmittedMessage;
pub use relation::{Relation, RelationColumn, ReplicaIdentity, TypeMessage};
pub use row::{Delete, Insert, OldTuple, Update};
pub use stream::{AbortPosition, StreamAbort, StreamCommit, StreamStart};
pub use transaction::{Begin, Commit, ReplicationOrigin};
pub use truncate::Truncate;
pub use tuple::{Tuple, TupleColumn, TupleColumns};
pub use two_phase::{BeginPrepare, CommitPrepared, Prepare, RollbackPrepared};

use error::FieldError;
use reader::MessageReader;

/// One logical replication message, borrowing from the bytes it was decoded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogicalMessage<'a> {
    /// `B`: a transaction begins; its changes follow.
    Begin(Begin),
    /// `C`: the transaction of the last Begin is committed.
    Commit(Commit),
    /// `O`: the transaction was replicated to this server from another one.
    Origin(ReplicationOrigin<'a>),
    /// `R`: the definition of a relation, for the rows that follow.
    Relation(Relation<'a>),
    /// `Y`: the name of a type that is not built in.
    Type(TypeMessage<'a>),
    /// `I`: a row was inserted.
    Insert(Insert<'a>),
    /// `U`: a row was updated.
    Update(Update<'a>),
    /// `D`: a row was deleted.
    Delete(Delete<'a>),
    /// `T`: relations were truncated.
    Truncate(Truncate<'a>),
    /// `M`: a message written with `pg_logical_emit_message`.
    Logical(EmittedMessage<'a>),
    /// `S`: a block of changes of a transaction still in progress begins.
    StreamStart(StreamStart),
    /// `E`: the block ends.
    StreamStop,
    /// `c`: a streamed transaction is committed.
    StreamCommit(StreamCommit),
    /// `A`: a streamed transaction, or a subtransaction of it, is rolled back.
    StreamAbort(StreamAbort),
    /// `b`: a transaction that will be prepared begins.
    BeginPrepare(BeginPrepare<'a>),
    /// `P`: the transaction of the last Begin Prepare is prepared.
    Prepare(Prepare<'a>),
    /// `K`: a prepared transaction is committed.
    CommitPrepared(CommitPrepared<'a>),
    /// `r`: a prepared transaction is rolled back.
    RollbackPrepared(RollbackPrepared<'a>),
    /// `p`: a streamed transaction is prepared.
    StreamPrepare(Prepare<'a>),
}

/// A message decoded inside a stream block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed<'a> {
    /// The transaction or subtransaction the message belongs to; `None` for messages that carry
    /// no id of their own even there (`O`, `E`).
    pub xid: Option<Xid>,
    /// The decoded message, without the id.
    pub message: LogicalMessage<'a>,
}

/// Decodes a message received outside of a stream block.
///
/// # Errors
/// When the bytes are not exactly one message of the protocol.
pub fn decode(bytes: &[u8]) -> Result<LogicalMessage<'_>, DecodeError> {
    let (tag, mut reader) = open(bytes)?;
    read_whole(tag, &mut reader, bytes.len())
}

/// Decodes a message received after a Stream Start and before (or as) its Stream Stop, where
/// row changes, relations, types, truncations and logical messages name their transaction.
///
/// # Errors
/// When the bytes are not exactly one message of the protocol.
pub fn decode_streamed(bytes: &[u8]) -> Result<Streamed<'_>, DecodeError> {
    let (tag, mut reader) = open(bytes)?;
    let xid = match tag {
        b'M' | b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' => {
            Some(Xid::read(&mut reader, "xid").map_err(|e| e.within(tag))?)
        }
        _ => None,
    };
    let message = read_whole(tag, &mut reader, bytes.len())?;
    Ok(Streamed { xid, message })
}

fn open(bytes: &[u8]) -> Result<(u8, MessageReader<'_>), DecodeError> {
    let mut reader = MessageReader::new(bytes);
    let tag = reader.u8("tag").map_err(|_| DecodeError::Empty)?;
    Ok((tag, reader))
}

fn read_whole<'a>(
    tag: u8,
    reader: &mut MessageReader<'a>,
    length: usize,
) -> Result<LogicalMessage<'a>, DecodeError> {
    let body = read_body(tag, reader).map_err(|e| e.within(tag))?;
    let message = body.ok_or(DecodeError::UnknownTag { tag, length })?;
    match reader.remaining() {
        0 => Ok(message),
        excess => Err(DecodeError::TrailingBytes { message: message_name(tag), excess, length }),
    }
}

/// Decodes what follows the tag; `None` for an unknown tag.
fn read_body<'a>(
    tag: u8,
    r: &mut MessageReader<'a>,
) -> Result<Option<LogicalMessage<'a>>, FieldError> {
    let message = match tag {
        b'I' => LogicalMessage::Insert(Insert::read(r)?),
        b'U' => LogicalMessage::Update(Update::read(r)?),
        b'D' => LogicalMessage::Delete(Delete::read(r)?),
        b'B' => LogicalMessage::Begin(Begin::read(r)?),
        b'C' => LogicalMessage::Commit(Commit::read(r)?),
        b'O' => LogicalMessage::Origin(ReplicationOrigin::read(r)?),
        b'R' => LogicalMessage::Relation(Relation::read(r)?),
        b'Y' => LogicalMessage::Type(TypeMessage::read(r)?),
        b'T' => LogicalMessage::Truncate(Truncate::read(r)?),
        b'M' => LogicalMessage::Logical(EmittedMessage::read(r)?),
        b'S' => LogicalMessage::StreamStart(StreamStart::read(r)?),
        b'E' => LogicalMessage::StreamStop,
        b'c' => LogicalMessage::StreamCommit(StreamCommit::read(r)?),
        b'A' => LogicalMessage::StreamAbort(StreamAbort::read(r)?),
        b'b' => LogicalMessage::BeginPrepare(BeginPrepare::read(r)?),
        b'P' => LogicalMessage::Prepare(Prepare::read(r)?),
        b'K' => LogicalMessage::CommitPrepared(CommitPrepared::read(r)?),
        b'r' => LogicalMessage::RollbackPrepared(RollbackPrepared::read(r)?),
        b'p' => LogicalMessage::StreamPrepare(Prepare::read(r)?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

/// The manual's name for the message with this tag.
fn message_name(tag: u8) -> &'static str {
    match tag {
        b'B' => "Begin",
        b'C' => "Commit",
        b'O' => "Origin",
        b'R' => "Relation",
        b'Y' => "Type",
        b'I' => "Insert",
        b'U' => "Update",
        b'D' => "Delete",
        b'T' => "Truncate",
        b'M' => "Logical Message",
        b'S' => "Stream Start",
        b'E' => "Stream Stop",
        b'c' => "Stream Commit",
        b'A' => "Stream Abort",
        b'b' => "Begin Prepare",
        b'P' => "Prepare",
        b'K' => "Commit Prepared",
        b'r' => "Rollback Prepared",
        b'p' => "Stream Prepare",
        _ => "unknown message",
    }
}

impl LogicalMessage<'_> {
    /// The manual's name for this kind of message, for errors and logs.
    pub fn name(&self) -> &'static str {
        message_name(self.tag())
    }

    /// The message's first byte.
    pub fn tag(&self) -> u8 {
        match self {
            Self::Begin(_) => b'B',
            Self::Commit(_) => b'C',
            Self::Origin(_) => b'O',
            Self::Relation(_) => b'R',
            Self::Type(_) => b'Y',
            Self::Insert(_) => b'I',
            Self::Update(_) => b'U',
            Self::Delete(_) => b'D',
            Self::Truncate(_) => b'T',
            Self::Logical(_) => b'M',
            Self::StreamStart(_) => b'S',
            Self::StreamStop => b'E',
            Self::StreamCommit(_) => b'c',
            Self::StreamAbort(_) => b'A',
            Self::BeginPrepare(_) => b'b',
            Self::Prepare(_) => b'P',
            Self::CommitPrepared(_) => b'K',
            Self::RollbackPrepared(_) => b'r',
            Self::StreamPrepare(_) => b'p',
        }
    }
}
