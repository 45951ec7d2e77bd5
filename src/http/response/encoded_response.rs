//! A response in the encodings in which it is sent, each made once however many clients get it.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::{Body, Bytes};

use crate::http::response::changes_body::BodyContent;
use crate::http::response::encoding::Encoding;
use crate::http::response::response_budget::BudgetPermit;
use crate::version::{VERSION_TEXT_MAX, Version};

/// Smaller bodies are not compressed: that costs more time than it saves.
pub(crate) const COMPRESSED_BYTES_MIN: u16 = 1_024;

/// A larger response, by estimate, is written for each poll as its client reads it, so that a slow
/// reader retains a chunk and not the whole. Responses without rows and details are smaller.
const WHOLE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of an event around its id and data.
const EVENT_FRAME_BYTES: usize = 16;

/// An encoded response with the properties that decide how it is sent.
#[derive(Debug)]
pub(crate) struct EncodedResponse {
    pub(crate) version: Version,
    /// The version of the newest change to the requested tables.
    pub(crate) newest: Version,
    /// Whether more changes are available than the limit allows.
    pub(crate) more: bool,
    pub(crate) has_resets: bool,
    pub(crate) has_changes: bool,
    pub(crate) made_at: Instant,
    json: Json,
    /// The reservation in the response budget, shared by all encodings.
    reserved: BudgetPermit,
    event: OnceLock<Bytes>,
    compressed: [OnceLock<Option<Bytes>>; Encoding::ALL.len()],
}

/// A response as JSON.
#[derive(Debug)]
enum Json {
    Whole(Bytes),
    /// Too long to be written before a client needs it in one piece.
    Long {
        content: Arc<BodyContent>,
        whole: OnceLock<Bytes>,
    },
}

impl EncodedResponse {
    pub(crate) fn new(content: BodyContent, reserved: BudgetPermit) -> Self {
        let changes = &content.changes;
        Self {
            version: changes.version,
            newest: changes.newest,
            more: changes.more,
            has_resets: !changes.reset.is_empty(),
            has_changes: !changes.changes.is_empty(),
            made_at: Instant::now(),
            json: Json::new(content, &reserved),
            reserved,
            event: OnceLock::new(),
            compressed: Default::default(),
        }
    }

    /// Whether it reports anything but its version.
    pub(crate) fn is_news(&self) -> bool {
        self.has_resets || self.has_changes
    }

    /// The data of an event or message.
    pub(crate) fn json(&self) -> Bytes {
        match &self.json {
            Json::Whole(json) => json.clone(),
            Json::Long { content, whole } => {
                whole.get_or_init(|| self.reserved.keep(content.whole())).clone()
            }
        }
    }

    /// The body of a response to a poll.
    pub(crate) fn body(&self) -> Body {
        match &self.json {
            Json::Whole(json) => Body::from(json.clone()),
            Json::Long { content, .. } => Arc::clone(content).body(self.reserved.clone()),
        }
    }

    /// The compressed body; `None` where compression gains nothing, or is done as the client reads.
    pub(crate) fn compressed(&self, encoding: Encoding) -> Option<Bytes> {
        let Json::Whole(json) = &self.json else { return None };
        if json.len() < usize::from(COMPRESSED_BYTES_MIN) {
            return None;
        }
        let place = self.compressed.get(encoding as usize)?;
        let compress = || encoding.compress(json).map(|bytes| self.reserved.keep(bytes));
        place.get_or_init(compress).clone()
    }

    /// A Server-Sent Event with the version as its id. The JSON contains no line breaks, so it fits one
    /// `data` line.
    pub(crate) fn event(&self) -> Bytes {
        self.event.get_or_init(|| self.write_event()).clone()
    }

    fn write_event(&self) -> Bytes {
        let mut head = String::with_capacity(EVENT_FRAME_BYTES + VERSION_TEXT_MAX);
        // Writing to a string can't fail.
        let _ = write!(head, "id: {}\ndata: ", self.version);
        self.reserved.keep([head.as_bytes(), &self.json(), b"\n\n"].concat())
    }

    /// The approximate memory of all encodings, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let compressed = self.compressed.iter().filter_map(OnceLock::get).flatten();
        let encodings = self.event.get().into_iter().chain(compressed);
        size_of::<Self>() + self.json.bytes() + encodings.map(Bytes::len).sum::<usize>()
    }
}

impl Json {
    fn new(content: BodyContent, reserved: &BudgetPermit) -> Self {
        if content.bytes() <= WHOLE_BYTES_MAX {
            return Self::Whole(reserved.keep(content.whole()));
        }
        Self::Long { content: Arc::new(content), whole: OnceLock::new() }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Whole(json) => json.len(),
            Self::Long { content, whole } => content.bytes() + whole.get().map_or(0, Bytes::len),
        }
    }
}
