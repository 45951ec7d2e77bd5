//! How messages are delimited on the wire: a tag, a length, a body (manual: "Message Overview").

/// The largest message accepted from the server: PostgreSQL builds each in an allocation of at most
/// 1 GB less one byte, to which the length word adds four. A longer one ends the connection.
pub(crate) const MESSAGE_BYTES_MAX: usize = 0x3FFF_FFFF + LENGTH_BYTES;

const TAG_BYTES: usize = 1;
const LENGTH_BYTES: usize = 4;
pub(crate) const HEADER_BYTES: usize = TAG_BYTES + LENGTH_BYTES;

/// The bytes make no sense as PostgreSQL's protocol; the connection can't be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A length below four or above the limit.
    #[error("protocol violation: message {} claims a length of {length} bytes", shown(*.tag))]
    Length {
        /// The message's first byte.
        tag: u8,
        /// The length it claims, including the length itself.
        length: u32,
    },
    /// A message that has no place here.
    #[error("protocol violation: unexpected message {} of {length} bytes", shown(*.tag))]
    Unexpected {
        /// The message's first byte.
        tag: u8,
        /// Bytes after the length.
        length: usize,
    },
    /// A message shorter than its fields.
    #[error("protocol violation: message {} of {length} bytes is cut short", shown(*.tag))]
    CutShort {
        /// The message's first byte; inside the stream, that of the replication message.
        tag: u8,
        /// Bytes there were.
        length: usize,
    },
}

fn shown(tag: u8) -> String {
    format!("'{}'", tag.escape_ascii())
}

/// A whole message, where it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawMessage<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

impl RawMessage<'_> {
    /// Bytes it occupies, header included.
    pub(crate) fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// "This message has no place here."
    pub(crate) fn unexpected(&self) -> ProtocolError {
        ProtocolError::Unexpected { tag: self.tag, length: self.body.len() }
    }
}

/// Bytes the message at the front occupies, header included; `None` until the header is there.
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

/// The message at the front; `None` until all of it is there.
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
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(Some(message)) = first_message(&bytes, MESSAGE_BYTES_MAX) {
                prop_assert_eq!(encoded(message.tag, message.body), &bytes[..message.bytes()]);
            }
            let _ = take_text(&bytes);
        }

        #[test]
        fn a_message_is_there_when_its_last_byte_is(tag: u8, body: Vec<u8>, after: Vec<u8>) {
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
