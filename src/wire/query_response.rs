//! The response to a query, read message by message from the receive buffer, for responses that are large or
//! whose values should not be copied twice (manual: "Message Flow", "Simple Query" and "COPY Operations").

use super::error::WireError;
use super::login::LoggedIn;
use super::message::{HEADER_BYTES, ProtocolError, RawMessage, first_message};
use super::server_error::ServerError;

/// One message of the response to a string of statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryResponse<'a> {
    /// A row of a query.
    Row(Fields<'a>),
    /// Data of a `COPY … TO STDOUT`: in the text format one line, newline included.
    Copied(&'a [u8]),
    /// A statement has ended.
    Complete,
    /// A statement has failed, and the server skips those after it.
    Failed(ServerError),
    /// The response is complete.
    Ready {
        /// Whether a transaction is open, possibly a failed one.
        in_transaction: bool,
    },
}

/// The values of a row, as their types' text output; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    left: u16,
    message_bytes: usize,
}

impl<'a> Fields<'a> {
    /// Parses a DataRow's body.
    fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let (count, rest) = body.split_first_chunk().ok_or(truncated(body.len()))?;
        Ok(Self { rest, left: u16::from_be_bytes(*count), message_bytes: body.len() })
    }

    fn take_value(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        let too_short = truncated(self.message_bytes);
        let (length, rest) = self.rest.split_first_chunk().ok_or(too_short)?;
        self.rest = rest;
        // A length of -1 means NULL.
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return Ok(None) };
        let (value, rest) = self.rest.split_at_checked(length).ok_or(too_short)?;
        self.rest = rest;
        Ok(Some(value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Option<&'a [u8]>, ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = self.take_value();
        if value.is_err() {
            self.left = 0;
        }
        Some(value)
    }
}

fn truncated(length: usize) -> ProtocolError {
    ProtocolError::Truncated { tag: b'D', length }
}

impl LoggedIn {
    /// Waits for more bytes. Cancel safe.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        self.channel.fill().await.map(drop)
    }

    /// Returns the next message of the response; `None` when [`LoggedIn::fill`] must read first.
    ///
    /// # Errors
    /// When the session has ended. The failure of a statement is [`QueryResponse::Failed`].
    pub(crate) fn next_response(&mut self) -> Result<Option<QueryResponse<'_>>, WireError> {
        let limit = self.channel.message_bytes_max;
        loop {
            let Some(message) = first_message(self.channel.received.unread(), limit)? else {
                return Ok(None);
            };
            let bytes = message.bytes();
            match message.tag {
                // RowDescription, EmptyQueryResponse, CopyOutResponse, CopyDone; notices and notifications.
                b'T' | b'I' | b'H' | b'c' | b'N' | b'A' => self.channel.received.consume(bytes),
                b'S' => {
                    let parameter = super::login::parse_parameter(message.body);
                    self.parameters.extend(parameter);
                    self.channel.received.consume(bytes);
                }
                tag => {
                    let taken = self.channel.received.take(bytes);
                    let body = taken.get(HEADER_BYTES..).unwrap_or_default();
                    return parse(RawMessage { tag, body }).map(Some);
                }
            }
        }
    }
}

fn parse(message: RawMessage<'_>) -> Result<QueryResponse<'_>, WireError> {
    match message.tag {
        b'D' => Ok(QueryResponse::Row(Fields::parse(message.body)?)),
        b'd' => Ok(QueryResponse::Copied(message.body)),
        b'C' => Ok(QueryResponse::Complete),
        b'E' => failed_or_ended(ServerError::parse(message.body)),
        b'Z' => Ok(QueryResponse::Ready { in_transaction: message.body != b"I" }),
        _ => Err(message.unexpected().into()),
    }
}

/// After an ERROR the session continues; a FATAL error ends it.
fn failed_or_ended<'a>(error: ServerError) -> Result<QueryResponse<'a>, WireError> {
    if error.severity == "ERROR" { Ok(QueryResponse::Failed(error)) } else { Err(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(body: &[u8]) -> Result<Vec<Option<&[u8]>>, ProtocolError> {
        Fields::parse(body)?.collect()
    }

    #[test]
    fn rows_are_parsed() {
        let body = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(values(body), Ok(vec![Some(&b"ab"[..]), None, Some(b"")]));
        for end in 0..body.len() {
            assert_eq!(values(&body[..end]), Err(truncated(end)));
        }
    }

    #[test]
    fn an_error_ends_the_statement_and_a_fatal_one_the_session() {
        let read = |body| parse(RawMessage { tag: b'E', body }).map(drop).is_ok();
        assert!(read(b"VERROR\0C22P02\0\0"));
        assert!(!read(b"VFATAL\0C57P01\0\0"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_parsed_or_rejected(tag: u8, bytes: Vec<u8>) {
            let _ = parse(RawMessage { tag, body: &bytes });
            let _ = values(&bytes);
        }
    }
}
