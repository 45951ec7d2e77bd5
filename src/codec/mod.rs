//! Batches of events in a compact binary form.
//!
//! # Layout
//!
//! | bytes | content |
//! | --- | --- |
//! | 0–1 | [`FORMAT`], big-endian |
//! | 2–9 | XXH3 (64 bits) of the payload, seeded with the format number, big-endian |
//! | 10– | the batch in postcard's wire format: integers as varints, enums by the number of the variant |
//!
//! A reader accepts exactly the formats it knows. A change of the serialised form of a type inside
//! [`Event`] (a field, the order of fields or of an enum's variants) raises [`FORMAT`] and adds a golden
//! file; the golden files of earlier releases under `tests/fixtures/codec` must still decode, or be
//! refused as unknown.
//!
//! # Why postcard
//!
//! The alternatives were a self-describing format (CBOR, JSON) and one with a schema (protobuf).
//! Reader and writer are the same types of the same program, so field names carry no information: a
//! commit takes 21 bytes and each change with an integer key 10 (a test keeps it so), where JSON takes
//! about ten times as much. A schema would be a second definition of every type and a generator in the
//! build. postcard encodes in one pass through serde's derived code into one buffer, and decodes
//! without an intermediate tree; its wire format is specified and stable since 1.0, and it brings one
//! small crate beside serde.
//!
//! Compression and encryption belong to the transport. XXH3 detects damage, not forgery.

use twox_hash::XxHash3_64;

use crate::change::Event;

/// The format this release writes, and the only one it reads.
pub const FORMAT: u16 = 1;

const FORMAT_BYTES: usize = size_of::<u16>();
const CHECKSUM_BYTES: usize = size_of::<u64>();
const HEADER_BYTES: usize = FORMAT_BYTES + CHECKSUM_BYTES;

/// Why a batch could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("encode a batch of events: {0}")]
pub struct EncodeError(postcard::Error);

/// Why bytes are not a batch of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside the header.
    #[error("decode a batch of events: {0} bytes are too few for a header")]
    CutShort(usize),
    /// The batch was written by another release.
    #[error(
        "decode a batch of events: format {0} is unknown (this release reads format {FORMAT}); run the same release on every instance"
    )]
    UnknownFormat(u16),
    /// The bytes are not those that were written.
    #[error(
        "decode a batch of events: the checksum does not match, so the bytes were damaged in transit or storage"
    )]
    Damaged,
    /// The bytes are undamaged, but not a batch: the writer's types differ from the reader's.
    #[error("decode a batch of events: {0}, although the checksum matches")]
    Malformed(postcard::Error),
    /// Bytes follow the batch.
    #[error("decode a batch of events: {0} bytes follow its end")]
    TrailingBytes(usize),
}

/// The batch in the current format.
///
/// # Errors
/// Only if a value exceeds what the format can express; no event does.
pub fn encode(events: &[Event]) -> Result<Vec<u8>, EncodeError> {
    let mut header = Vec::with_capacity(HEADER_BYTES + 64 * events.len());
    header.extend_from_slice(&FORMAT.to_be_bytes());
    header.extend_from_slice(&[0; CHECKSUM_BYTES]);
    let mut encoded = postcard::to_extend(events, header).map_err(EncodeError)?;
    let checksum = checksum(FORMAT, encoded.get(HEADER_BYTES..).unwrap_or_default());
    if let Some(field) = encoded.get_mut(FORMAT_BYTES..HEADER_BYTES) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    Ok(encoded)
}

/// The events of an encoded batch.
///
/// # Errors
/// If the bytes are of another format, damaged, or not a batch.
pub fn decode(bytes: &[u8]) -> Result<Vec<Event>, CodecError> {
    let cut_short = CodecError::CutShort(bytes.len());
    let (format, rest) = bytes.split_first_chunk().ok_or(cut_short.clone())?;
    let format = u16::from_be_bytes(*format);
    if format != FORMAT {
        return Err(CodecError::UnknownFormat(format));
    }
    let (expected, payload) = rest.split_first_chunk().ok_or(cut_short)?;
    if checksum(format, payload) != u64::from_be_bytes(*expected) {
        return Err(CodecError::Damaged);
    }
    match postcard::take_from_bytes(payload).map_err(CodecError::Malformed)? {
        (events, []) => Ok(events),
        (_, trailing) => Err(CodecError::TrailingBytes(trailing.len())),
    }
}

/// The format number is the seed, so that damage to it is detected too.
fn checksum(format: u16, payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from(format), payload)
}

#[cfg(test)]
mod tests;
