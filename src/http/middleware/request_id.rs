//! The id of a request, to find it again in logs: the client's own, or one of ours.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header in requests and answers.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id from a client is replaced by one of ours.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of this request: what the client sent when it is short and plain, else a new one.
pub(crate) fn of_request(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(sent) if is_sane(sent.as_bytes()) => owned(sent).unwrap_or_else(next),
        _ => next(),
    }
}

/// A copy with bytes of its own: those of a request's headers lie in the connection's buffer, and
/// whoever keeps one keeps the whole buffer.
pub(crate) fn owned(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// Letters, digits and the punctuation of UUIDs, trace ids and base64: nothing that could break
/// a log line or a JSON string.
fn is_sane(id: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(plain)
}

/// A number unique to this process in its first half, counted in its second.
fn next() -> HeaderValue {
    static PROCESS: LazyLock<u64> =
        LazyLock::new(|| std::hash::RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut text = [0; 32];
    let (process, counted) = text.split_at_mut(16);
    write_hex(*PROCESS, process);
    write_hex(number, counted);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
}

fn write_hex(number: u64, out: &mut [u8]) {
    for (place, out) in out.iter_mut().rev().enumerate() {
        let digit = u8::try_from((number >> (4 * place)) & 0xF).unwrap_or_default();
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
    fn a_plain_id_is_kept() {
        let id = "0b5c7f1e-6a7e.A/b+c=:@_";
        assert_eq!(of_request(&sent(id)), id);
    }

    #[test]
    fn anything_else_is_replaced() {
        for id in ["", "a b", "a\"b", "<x>", &"a".repeat(129)] {
            let ours = of_request(&sent(id));
            assert_ne!(ours, id);
            assert_eq!(ours.len(), 32);
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
