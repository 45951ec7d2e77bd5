//! Request ids, which connect a response with log lines: the client's own, or a generated one.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header of requests and responses that carries the id.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Length of a client's id at most; a longer one is replaced by a generated id.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of a request: the client's if it is short and plain, else a generated one.
pub(crate) fn of_request(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(sent) if is_plain(sent.as_bytes()) => owned(sent).unwrap_or_else(generate),
        _ => generate(),
    }
}

/// A copy with bytes of its own: the values of a request's headers are slices of the connection's read
/// buffer, and keeping one keeps the whole buffer in memory.
pub(crate) fn owned(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// Letters, digits and the punctuation of UUIDs, trace ids and base64: nothing that could break
/// a log line or a JSON string.
fn is_plain(id: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(plain)
}

/// A number unique to this process, then a counter.
fn generate() -> HeaderValue {
    static PROCESS: LazyLock<u64> =
        LazyLock::new(|| std::hash::RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut text = [0; 32];
    let (process, count) = text.split_at_mut(16);
    write_hex(*PROCESS, process);
    write_hex(number, count);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
}

fn write_hex(number: u64, out: &mut [u8]) {
    for (index, out) in out.iter_mut().rev().enumerate() {
        let digit = u8::try_from((number >> (4 * index)) & 0xF).unwrap_or_default();
        *out = if digit < 10 { b'0' + digit } else { b'a' + (digit - 10) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str) -> HeaderMap {
        [(X_REQUEST_ID, HeaderValue::from_str(id).unwrap())].into_iter().collect()
    }

    #[test]
    fn a_plain_id_of_the_client_is_kept() {
        let id = "0b5c7f1e-6a7e.A/b+c=:@_";
        assert_eq!(of_request(&sent(id)), id);
    }

    #[test]
    fn other_ids_are_replaced() {
        for id in ["", "a b", "a\"b", "<x>", &"a".repeat(129)] {
            let generated = of_request(&sent(id));
            assert_ne!(generated, id);
            assert_eq!(generated.len(), 32);
        }
        assert_ne!(of_request(&HeaderMap::new()), of_request(&HeaderMap::new()));
    }

    #[test]
    fn numbers_are_written_as_hexadecimal() {
        let mut text = [0; 16];
        write_hex(0x0123_4567_89AB_CDEF, &mut text);
        assert_eq!(&text, b"0123456789abcdef");
    }
}
