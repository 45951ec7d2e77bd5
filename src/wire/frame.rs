//! The messages of the replication stream inside CopyData (manual: "Streaming Replication Protocol").

use super::message::ProtocolError;
use crate::lsn::Lsn;

/// One message of the stream, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// WAL data: with logical replication one message of the output plugin.
    XLogData {
        /// Start of the data in the WAL. With logical replication the position of the change for its last
        /// message, 0/0 for those before it (such as Relation).
        wal_start: Lsn,
        /// With physical replication the end of the server's WAL; with logical replication equal to
        /// `wal_start`, so it does *not* report the server's progress: only keepalives do.
        wal_end: Lsn,
        /// The server's clock, in microseconds since 2000-01-01.
        clock: i64,
        /// The output plugin's message.
        data: &'a [u8],
    },
    /// Primary keepalive message.
    Keepalive {
        /// Every commit that ends at or before this position has been sent.
        wal_end: Lsn,
        /// The server's clock, in microseconds since 2000-01-01.
        clock: i64,
        /// Whether the server wants a status update immediately, and disconnects otherwise.
        reply_requested: bool,
    },
}

impl<'a> Frame<'a> {
    /// Parses the content of a CopyData message.
    ///
    /// # Errors
    /// When the message is of another kind, or truncated.
    pub fn parse(content: &'a [u8]) -> Result<Self, ProtocolError> {
        let truncated = |tag| ProtocolError::Truncated { tag, length: content.len() };
        let (tag, rest) = content.split_first().ok_or(truncated(b'd'))?;
        let frame = match tag {
            b'w' => parse_xlog_data(rest),
            b'k' => parse_keepalive(rest),
            tag => return Err(ProtocolError::Unexpected { tag: *tag, length: content.len() }),
        };
        frame.ok_or(truncated(*tag))
    }
}

fn parse_xlog_data(rest: &[u8]) -> Option<Frame<'_>> {
    let (wal_start, rest) = rest.split_first_chunk()?;
    let (wal_end, rest) = rest.split_first_chunk()?;
    let (clock, data) = rest.split_first_chunk()?;
    Some(Frame::XLogData {
        wal_start: Lsn(u64::from_be_bytes(*wal_start)),
        wal_end: Lsn(u64::from_be_bytes(*wal_end)),
        clock: i64::from_be_bytes(*clock),
        data,
    })
}

fn parse_keepalive(rest: &[u8]) -> Option<Frame<'_>> {
    let (wal_end, rest) = rest.split_first_chunk()?;
    let (clock, rest) = rest.split_first_chunk()?;
    let reply_requested = *rest.first()? != 0;
    let wal_end = Lsn(u64::from_be_bytes(*wal_end));
    Some(Frame::Keepalive { wal_end, clock: i64::from_be_bytes(*clock), reply_requested })
}

/// The client's report of its progress (`r`, Standby status update).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusUpdate {
    /// End of the WAL that has been received.
    pub written: Lsn,
    /// End of the WAL that is no longer needed: the only position that moves the slot's
    /// `confirmed_flush_lsn`.
    pub flushed: Lsn,
    /// End of the WAL that has been applied.
    pub applied: Lsn,
    /// The client's clock, in microseconds since 2000-01-01.
    pub clock: i64,
    /// Requests a keepalive immediately.
    pub reply_requested: bool,
}

impl StatusUpdate {
    /// Size in bytes: tag, three positions, clock, flag.
    const CONTENT_BYTES: u32 = 1 + 3 * 8 + 8 + 1;

    /// Appends the update as a CopyData message.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        out.extend_from_slice(&(4 + Self::CONTENT_BYTES).to_be_bytes());
        out.push(b'r');
        for lsn in [self.written, self.flushed, self.applied] {
            out.extend_from_slice(&lsn.0.to_be_bytes());
        }
        out.extend_from_slice(&self.clock.to_be_bytes());
        out.push(u8::from(self.reply_requested));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::first_message;
    use proptest::prelude::*;

    #[test]
    fn frames_are_parsed() {
        let mut content = vec![b'w'];
        content.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]);
        content.extend(5_i64.to_be_bytes());
        content.extend(b"B...");
        let expected = Frame::XLogData {
            wal_start: Lsn(1 << 32 | 2),
            wal_end: Lsn(1 << 32 | 3),
            clock: 5,
            data: b"B...",
        };
        assert_eq!(Frame::parse(&content), Ok(expected));

        let content = [&b"k"[..], &7_u64.to_be_bytes(), &(-1_i64).to_be_bytes(), &[1]].concat();
        let expected = Frame::Keepalive { wal_end: Lsn(7), clock: -1, reply_requested: true };
        assert_eq!(Frame::parse(&content), Ok(expected));
    }

    #[test]
    fn truncated_frames_are_rejected() {
        for (tag, whole) in [(b'w', 25), (b'k', 18)] {
            let content: Vec<u8> = std::iter::once(tag).chain((1..whole).map(|_| 0)).collect();
            assert!(Frame::parse(&content).is_ok());
            for length in 1..content.len() {
                let expected = ProtocolError::Truncated { tag, length };
                assert_eq!(Frame::parse(&content[..length]), Err(expected));
            }
        }
        assert_eq!(Frame::parse(b""), Err(ProtocolError::Truncated { tag: b'd', length: 0 }));
        assert_eq!(Frame::parse(b"p1"), Err(ProtocolError::Unexpected { tag: b'p', length: 2 }));
    }

    #[test]
    fn a_status_update_is_one_copy_data_message() {
        let update = StatusUpdate {
            written: Lsn(3),
            flushed: Lsn(1),
            applied: Lsn(2),
            clock: 9,
            reply_requested: true,
        };
        let mut out = Vec::new();
        update.write(&mut out);
        let message = first_message(&out, 100).unwrap().unwrap();
        assert_eq!((message.tag, message.bytes()), (b'd', out.len()));
        let expected = [
            &b"r"[..],
            &3_u64.to_be_bytes(),
            &1_u64.to_be_bytes(),
            &2_u64.to_be_bytes(),
            &9_i64.to_be_bytes(),
            &[1],
        ];
        assert_eq!(message.body, expected.concat());
    }

    proptest! {
        #[test]
        fn arbitrary_content_is_parsed_or_rejected(content: Vec<u8>) {
            let _ = Frame::parse(&content);
        }
    }
}
