//! Errors of the decoder.

use std::fmt;

use super::message_name;

/// The bytes are not exactly one message of the protocol. The stream can't be trusted afterwards: the caller
/// must reconnect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message has no bytes.
    #[error("empty logical replication message; the stream is damaged; reconnect")]
    Empty,
    /// The first byte names no message of protocol versions 1 to 4.
    #[error(
        "unknown logical replication message {:?} of {length} bytes: the server or a proxy \
         uses another protocol; use a PostgreSQL version this release supports",
        char::from(*tag)
    )]
    UnknownTag {
        /// The first byte.
        tag: u8,
        /// Length of the whole message in bytes.
        length: usize,
    },
    /// The message is complete, and more bytes follow.
    #[error(
        "{message} message of {length} bytes has {excess} too many; the stream is damaged or \
         was decoded out of place; reconnect"
    )]
    TrailingBytes {
        /// The message's name in the manual.
        message: &'static str,
        /// Bytes after its end.
        excess: usize,
        /// Length of the whole message in bytes.
        length: usize,
    },
    /// A field does not conform to the protocol.
    #[error(
        "{message} message, field {field:?}: {problem}; the stream is damaged or was decoded \
         out of place; reconnect"
    )]
    Field {
        /// The message's name in the manual.
        message: &'static str,
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        problem: FieldProblem,
    },
}

/// The defect of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldProblem {
    /// The message ends before or within it.
    Missing {
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes left in the message.
        remaining: usize,
    },
    /// Text without its terminating zero byte.
    Unterminated,
    /// Text that is not UTF-8.
    NotUtf8,
    /// An undefined value.
    Unknown(u8),
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { needed, remaining } => {
                write!(f, "{needed} bytes needed, {remaining} left")
            }
            Self::Unterminated => f.write_str("text without a terminating zero byte"),
            Self::NotUtf8 => f.write_str("text that is not UTF-8 (is client_encoding UTF8?)"),
            Self::Unknown(value) => write!(f, "unknown value {value:#04x}"),
        }
    }
}

/// A defect whose message is not known yet: the functions that read fields don't know where they are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldError {
    pub(super) field: &'static str,
    pub(super) problem: FieldProblem,
}

impl FieldError {
    #[cold]
    pub(super) fn within(self, tag: u8) -> DecodeError {
        DecodeError::Field { message: message_name(tag), field: self.field, problem: self.problem }
    }
}
