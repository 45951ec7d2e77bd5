//! The framing of messages: a tag, a length, a body (manual: "Message Overview").

/// Longest message accepted from the server, in bytes, including the length word. PostgreSQL builds each in an
/// allocation of at most 1 GB less one byte. A longer one ends the connection.
pub(crate) const MESSAGE_BYTES_MAX: usize = 0x3FFF_FFFF + LENGTH_BYTES;

const TAG_BYTES: usize = 1;
const LENGTH_BYTES: usize = 4;
pub(crate) const HEADER_BYTES: usize = TAG_BYTES + LENGTH_BYTES;

/// A violation of PostgreSQL's protocol, after which the connection is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A length below four or above the limit.
    #[error("protocol violation: message {} claims a length of {length} bytes", printable(*.tag))]
    Length {
        /// The message's first byte.
        tag: u8,
        /// The length word, which counts itself.
        length: u32,
    },
    /// A message that the protocol does not allow at this point.
    #[error("protocol violation: unexpected message {} of {length} bytes", printable(*.tag))]
    Unexpected {
        /// The message's first byte.
        tag: u8,
        /// Bytes after the length.
        length: usize,
    },
    /// A message shorter than its fields.
    #[error("protocol violation: message {} of {length} bytes is truncated", printable(*.tag))]
    Truncated {
        /// The message's first byte; inside the stream, that of the replication message.
        tag: u8,
        /// Bytes after the length.
        length: usize,
    },
}

fn printable(tag: u8) -> String {
    format!("'{}'", tag.escape_ascii())
}

/// A complete message, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawMessage<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

impl RawMessage<'_> {
    /// Size in bytes, header included.
    pub(crate) fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The error for a message that is not allowed at this point.
    pub(crate) fn unexpected(&self) -> ProtocolError {
        ProtocolError::Unexpected { tag: self.tag, length: self.body.len() }
    }
}

/// Size in bytes of the message at the front, header included; `None` until the header is complete.
pub(crate) fn message_bytes(
    buffer: &[u8],
    bytes_max: usize,
) -> Result<Option<usize>, ProtocolError> {
    let [tag, a, b, c, d, ..] = *buffer else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(bytes) if (LENGTH_BYTES..=bytes_max).contains(&bytes) => Ok(Some(TAG_BYTES + bytes)),
        _ => Err(ProtocolError::Length { tag, length }),
    }
}

/// The message at the front; `None` until it is complete.
pub(crate) fn first_message(
    buffer: &[u8],
    bytes_max: usize,
) -> Result<Option<RawMessage<'_>>, ProtocolError> {
    let Some(bytes) = message_bytes(buffer, bytes_max)? else { return Ok(None) };
    let whole = buffer.get(..bytes).and_then(<[u8]>::split_first);
    let message = whole.and_then(|(tag, rest)| {
        let body = rest.get(LENGTH_BYTES..)?;
        Some(RawMessage { tag: *tag, body })
    });
    Ok(message)
}

/// The text up to the first zero byte, and what follows it.
pub(crate) fn take_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(LENGTH_BYTES + body.len()).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_parsed_or_rejected(bytes: Vec<u8>) {
            if let Ok(Some(message)) = first_message(&bytes, MESSAGE_BYTES_MAX) {
                prop_assert_eq!(encoded(message.tag, message.body), &bytes[..message.bytes()]);
            }
            let _ = take_text(&bytes);
        }

        #[test]
        fn a_message_is_complete_with_its_last_byte(tag: u8, body: Vec<u8>, after: Vec<u8>) {
            let mut bytes = encoded(tag, &body);
            let whole = bytes.len();
            bytes.extend(after);
            for end in 0..whole {
                prop_assert_eq!(first_message(&bytes[..end], MESSAGE_BYTES_MAX), Ok(None));
            }
            let expected = RawMessage { tag, body: &body };
            prop_assert_eq!(first_message(&bytes, MESSAGE_BYTES_MAX), Ok(Some(expected)));
        }
    }

    #[test]
    fn lengths_have_limits() {
        for length in [0_u32, 3, 101, u32::MAX] {
            let bytes = [&b"d"[..], &length.to_be_bytes()].concat();
            let expected = ProtocolError::Length { tag: b'd', length };
            assert_eq!(message_bytes(&bytes, 100), Err(expected));
        }
        assert_eq!(message_bytes(b"d\0\0\0\x64", 100), Ok(Some(101)));
    }
}
