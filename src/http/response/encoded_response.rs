//! An answer in the forms in which it is sent, each made once however many are given it.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::{Body, Bytes};

use crate::http::response::changes_body::BodyContent;
use crate::http::response::encoding::Encoding;
use crate::http::response::response_budget::BudgetPermit;
use crate::version::{VERSION_TEXT_MAX, Version};

/// Smaller bodies are sent as they are: compressing them costs more than it saves.
pub(crate) const COMPRESSED_BYTES_MIN: u16 = 1_024;

/// A larger answer, by estimate, is written for each poll as its client reads it, so that a slow
/// reader keeps a chunk and not the whole. Answers without rows and details are smaller.
const WHOLE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes around an event's id and data.
const EVENT_FRAME_BYTES: usize = 16;

/// An encoded answer, and what has to be known of it without reading it.
#[derive(Debug)]
pub(crate) struct EncodedResponse {
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
    /// When it was made.
    pub(crate) made_at: Instant,
    json: Json,
    /// What it takes of the room for answers, shared by its forms.
    taken: BudgetPermit,
    event: OnceLock<Bytes>,
    compressed: [OnceLock<Option<Bytes>>; Encoding::ALL.len()],
}

/// An answer as JSON.
#[derive(Debug)]
enum Json {
    Whole(Bytes),
    /// Too long to be written before somebody needs it in one piece.
    Long {
        content: Arc<BodyContent>,
        whole: OnceLock<Bytes>,
    },
}

impl EncodedResponse {
    pub(crate) fn new(content: BodyContent, taken: BudgetPermit) -> Self {
        let answer = &content.answer;
        Self {
            version: answer.version,
            newest: answer.newest,
            more: answer.more,
            has_resets: !answer.reset.is_empty(),
            has_changes: !answer.changes.is_empty(),
            made_at: Instant::now(),
            json: Json::new(content, &taken),
            taken,
            event: OnceLock::new(),
            compressed: Default::default(),
        }
    }

    /// Whether it tells anything but its version.
    pub(crate) fn is_news(&self) -> bool {
        self.has_resets || self.has_changes
    }

    /// The data of an event or message.
    pub(crate) fn json(&self) -> Bytes {
        match &self.json {
            Json::Whole(json) => json.clone(),
            Json::Long { content, whole } => {
                whole.get_or_init(|| self.taken.keep(content.whole())).clone()
            }
        }
    }

    /// The same as the body of a poll's answer.
    pub(crate) fn body(&self) -> Body {
        match &self.json {
            Json::Whole(json) => Body::from(json.clone()),
            Json::Long { content, .. } => Arc::clone(content).body(self.taken.clone()),
        }
    }

    /// The body compressed; `None` where that gains nothing, or where it is better done as the
    /// client reads.
    pub(crate) fn compressed(&self, encoding: Encoding) -> Option<Bytes> {
        let Json::Whole(json) = &self.json else { return None };
        if json.len() < usize::from(COMPRESSED_BYTES_MIN) {
            return None;
        }
        let place = self.compressed.get(encoding as usize)?;
        let compress = || encoding.compress(json).map(|bytes| self.taken.keep(bytes));
        place.get_or_init(compress).clone()
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
        self.taken.keep([head.as_bytes(), &self.json(), b"\n\n"].concat())
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let compressed = self.compressed.iter().filter_map(OnceLock::get).flatten();
        let forms = self.event.get().into_iter().chain(compressed);
        size_of::<Self>() + self.json.bytes() + forms.map(Bytes::len).sum::<usize>()
    }
}

impl Json {
    fn new(content: BodyContent, taken: &BudgetPermit) -> Self {
        if content.bytes() <= WHOLE_BYTES_MAX {
            return Self::Whole(taken.keep(content.whole()));
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
