//! Bodies written in chunks, so that a large one is never in memory as a whole.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::stream;

/// A chunk is sent when it has reached this size (a larger row makes a larger chunk).
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// The body that `write` appends, call by call, until it returns false.
///
/// A body that fits one chunk has a length; any other is written as the client reads, so a slow reader
/// retains what `write` holds and one chunk.
pub(crate) fn body(mut write: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static) -> Body {
    let mut more = true;
    let mut chunks = std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        while more && chunk.len() < CHUNK_BYTES {
            more = write(&mut chunk);
        }
        (!chunk.is_empty()).then(|| (Bytes::from(chunk), more))
    });
    match chunks.next() {
        None => Body::empty(),
        Some((whole, false)) => Body::from(whole),
        Some((first, true)) => {
            let rest = chunks.map(|(chunk, _)| chunk);
            Body::from_stream(stream::iter(
                std::iter::once(first).chain(rest).map(Ok::<_, Infallible>),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{HttpBody, to_bytes};

    use super::*;

    fn numbers(last: u64) -> Body {
        let mut numbers = 1..=last;
        body(move |out| {
            let Some(number) = numbers.next() else { return false };
            out.extend_from_slice(format!("{number:015}\n").as_bytes());
            true
        })
    }

    #[tokio::test]
    async fn the_body_arrives_complete_and_in_order() {
        for last in [0, 1, 4_095, 4_096, 4_097, 50_000] {
            let bytes = to_bytes(numbers(last), usize::MAX).await.unwrap();
            let lines: Vec<u64> =
                std::str::from_utf8(&bytes).unwrap().lines().map(|n| n.parse().unwrap()).collect();
            assert_eq!(lines, (1..=last).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_short_body_has_a_length_and_a_long_one_does_not() {
        assert_eq!(numbers(10).size_hint().exact(), Some(160));
        assert_eq!(numbers(100_000).size_hint().exact(), None);
    }
}
