//! An answer in the forms in which it is sent, each made once however many are given it.

use std::fmt::Write as _;
use std::sync::OnceLock;

use axum::body::Bytes;

use super::answer;
use super::encoding::Encoding;
use crate::store::Answer;
use crate::version::{VERSION_TEXT_MAX, Version};

/// Smaller bodies are sent as they are: compressing them costs more than it saves.
pub(crate) const COMPRESSED_BYTES_MIN: u16 = 1_024;

/// Bytes around an event's id and data.
const EVENT_FRAME_BYTES: usize = 16;

/// An encoded answer, and what has to be known of it without reading it.
#[derive(Debug)]
pub(crate) struct Told {
    /// The answer's version.
    pub(crate) version: Version,
    /// The newest change to the tables asked about.
    pub(crate) newest: Version,
    /// Whether there was more to tell.
    pub(crate) more: bool,
    /// Whether a table has to be read again.
    pub(crate) has_resets: bool,
    /// Whether there is any change.
    pub(crate) has_changes: bool,
    json: Bytes,
    event: OnceLock<Bytes>,
    compressed: [OnceLock<Option<Bytes>>; Encoding::ALL.len()],
}

impl Told {
    pub(crate) fn new(answer: &Answer, detail: bool) -> Self {
        Self {
            version: answer.version,
            newest: answer.newest,
            more: answer.more,
            has_resets: !answer.reset.is_empty(),
            has_changes: !answer.changes.is_empty(),
            json: answer::encode(answer, detail),
            event: OnceLock::new(),
            compressed: Default::default(),
        }
    }

    /// Whether it tells anything but its version.
    pub(crate) fn is_news(&self) -> bool {
        self.has_resets || self.has_changes
    }

    /// The body of a poll's answer, and the data of an event or message.
    pub(crate) fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// The body compressed; `None` where that gains nothing.
    pub(crate) fn compressed(&self, encoding: Encoding) -> Option<Bytes> {
        if self.json.len() < usize::from(COMPRESSED_BYTES_MIN) {
            return None;
        }
        let place = self.compressed.get(encoding as usize)?;
        place.get_or_init(|| encoding.compress(&self.json)).clone()
    }

    /// As a Server-Sent Event with the version as its id. JSON has no line ends of its own, so one
    /// `data` line holds it.
    pub(crate) fn event(&self) -> Bytes {
        self.event.get_or_init(|| self.write_event()).clone()
    }

    fn write_event(&self) -> Bytes {
        let mut head = String::with_capacity(EVENT_FRAME_BYTES + VERSION_TEXT_MAX);
        // Writing to a string can't fail.
        let _ = write!(head, "id: {}\ndata: ", self.version);
        Bytes::from([head.as_bytes(), &self.json, b"\n\n"].concat())
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let compressed = self.compressed.iter().filter_map(OnceLock::get).flatten();
        let forms = self.event.get().into_iter().chain(compressed);
        size_of::<Self>() + self.json.len() + forms.map(Bytes::len).sum::<usize>()
    }
}
