//! The receive buffer.

/// A receive buffer, filled at its end and consumed at its front.
///
/// It holds [`ReceiveBuffer::BYTES_USUAL`]. It grows only for a larger message, as its bytes arrive and never
/// beyond that message, and shrinks back afterwards.
pub(crate) struct ReceiveBuffer {
    /// Zeroed where nothing has been received yet, so that no uninitialised memory is involved.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// Usual size, in bytes: more than a walsender sends in the pause between two reads of the stream, so
    /// that one read leaves nothing behind.
    pub(crate) const BYTES_USUAL: usize = 256 * 1024;

    /// Size during startup, whose messages are short; [`ReceiveBuffer::make_room`] enlarges it.
    const BYTES_INITIAL: usize = 8 * 1024;

    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; Self::BYTES_INITIAL], start: 0, end: 0 }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Drops `count` bytes at the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
    }

    /// Drops `count` bytes at the front, and returns them: they stay in place until more is received.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.consume(count);
        self.bytes.get(start..self.start).unwrap_or_default()
    }

    /// Makes room to receive the message at the front, `message` bytes long if the length is known.
    pub(crate) fn make_room(&mut self, message: Option<usize>) {
        // The last read filled the buffer: more bytes are probably waiting.
        let was_full = self.end == self.bytes.len();
        self.move_to_front();
        let wanted = message.unwrap_or(0).max(Self::BYTES_USUAL);
        if self.bytes.len() > wanted && self.end <= wanted {
            self.bytes.truncate(wanted);
            self.bytes.shrink_to_fit();
        } else if was_full && self.bytes.len() < wanted {
            // The length is not trusted until the bytes arrive, so the buffer only doubles.
            let doubled = self.bytes.len() * 2;
            self.grow_to(wanted.min(doubled.max(Self::BYTES_USUAL)));
        }
    }

    fn grow_to(&mut self, length: usize) {
        self.bytes.reserve_exact(length - self.bytes.len());
        self.bytes.resize(length, 0);
    }

    fn move_to_front(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// The free part, to receive into; empty when the buffer is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Records that `count` bytes of [`ReceiveBuffer::space`] have been received.
    pub(crate) fn received(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end.saturating_add(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn receive(buffer: &mut ReceiveBuffer, bytes: &[u8]) -> usize {
        let space = buffer.space();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        buffer.received(count);
        count
    }

    #[test]
    fn grows_to_one_message_and_shrinks_back() {
        let message = vec![7_u8; 3 * ReceiveBuffer::BYTES_USUAL + 11];
        let mut buffer = ReceiveBuffer::new();
        let mut sent = 0;
        while sent < message.len() {
            buffer.make_room(Some(message.len()));
            sent += receive(&mut buffer, &message[sent..]);
        }
        assert_eq!(buffer.unread(), message);
        assert_eq!(buffer.bytes.len(), message.len());
        buffer.consume(message.len());
        buffer.make_room(None);
        assert_eq!(buffer.bytes.capacity(), ReceiveBuffer::BYTES_USUAL);
    }

    #[test]
    fn small_messages_use_the_usual_size() {
        let mut buffer = ReceiveBuffer::new();
        receive(&mut buffer, &[7; 2 * ReceiveBuffer::BYTES_INITIAL]);
        buffer.consume(ReceiveBuffer::BYTES_INITIAL - 3);
        buffer.make_room(None);
        assert_eq!(buffer.bytes.len(), ReceiveBuffer::BYTES_USUAL);
        assert_eq!(buffer.unread(), [7; 3]);
    }

    #[test]
    fn a_length_alone_does_not_grow_it() {
        let mut buffer = ReceiveBuffer::new();
        buffer.make_room(Some(1 << 30));
        receive(&mut buffer, b"d");
        buffer.make_room(Some(1 << 30));
        assert!(buffer.bytes.len() <= ReceiveBuffer::BYTES_USUAL);
    }

    proptest! {
        #[test]
        fn bytes_are_read_as_they_were_received(
            steps in prop::collection::vec((0..5_000_usize, 0..5_000_usize), 0..40)
        ) {
            let mut buffer = ReceiveBuffer::new();
            let (mut next_in, mut next_out) = (0_usize, 0_usize);
            let byte = |n: usize| u8::try_from(n % 251).unwrap();
            for (receiving, consuming) in steps {
                buffer.make_room(None);
                let bytes: Vec<u8> = (next_in..next_in + receiving).map(byte).collect();
                next_in += receive(&mut buffer, &bytes);
                let count = consuming.min(buffer.unread().len());
                for n in 0..count {
                    prop_assert_eq!(buffer.unread()[n], byte(next_out + n));
                }
                buffer.consume(count);
                next_out += count;
                prop_assert_eq!(buffer.unread().len(), next_in - next_out);
            }
        }
    }
}
