//! Compression of answers that many are given: chosen by `Accept-Encoding` (RFC 9110, 12.5.3), done
//! once. What one client alone is given is left to the layer in [`router`](mod@crate::http::api::router).

use std::io::Write as _;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::response::quality;

/// Higher costs much more time for few bytes.
const GZIP_LEVEL: u32 = 6;
/// Likewise.
const BROTLI_QUALITY: u32 = 4;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// 2^22 bytes: the window beyond which no answer gains anything.
const BROTLI_WINDOW_BITS: u32 = 22;
/// How much brotli writes at a time.
const BROTLI_BUFFER_BYTES: usize = 4_096;

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

impl Encoding {
    /// Every one; of those a client wants equally, the last is taken.
    pub(crate) const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// What the client wants most; `None`: the bytes as they are.
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
        let items = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let (mut best, mut plain, mut wildcard) = ([None; 3], None, None);
        for item in items {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let place = match Self::ALL.iter().position(|e| e.is_called(name)) {
                Some(known) => best.get_mut(known),
                None if name.eq_ignore_ascii_case("identity") => Some(&mut plain),
                None if name == "*" => Some(&mut wildcard),
                None => None,
            };
            if let Some(place) = place {
                *place = Some(quality::of(parts));
            }
        }
        let qualities = best.map(|quality| quality.or(wildcard).unwrap_or(0.0));
        let most = Self::ALL.into_iter().zip(qualities).max_by(|a, b| a.1.total_cmp(&b.1));
        let acceptable = |quality: f32| quality > 0.0 && quality >= plain.unwrap_or(0.0);
        most.filter(|(_, quality)| acceptable(*quality)).map(|(encoding, _)| encoding)
    }

    /// As `Content-Encoding` says it.
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(self.token())
    }

    fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn is_called(self, name: &str) -> bool {
        let old = self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip");
        old || name.eq_ignore_ascii_case(self.token())
    }

    /// The bytes, compressed. Writing to memory doesn't fail; if it does, `None`.
    pub(crate) fn compress(self, bytes: &[u8]) -> Option<Bytes> {
        let compressed = match self {
            Self::Gzip => gzip(bytes),
            Self::Brotli => brotli(bytes),
            Self::Zstd => zstd::encode_all(bytes, ZSTD_LEVEL),
        };
        compressed.ok().map(Bytes::from)
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer =
        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
    writer.write_all(bytes)?;
    writer.finish()
}

fn brotli(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer = brotli::CompressorWriter::new(
        Vec::new(),
        BROTLI_BUFFER_BYTES,
        BROTLI_QUALITY,
        BROTLI_WINDOW_BITS,
    );
    writer.write_all(bytes)?;
    writer.flush()?;
    Ok(writer.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Option<Encoding> {
        let line = (header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
        Encoding::wanted(&[line].into_iter().collect())
    }

    #[test]
    fn what_is_wanted_most_is_taken() {
        assert_eq!(wanted("gzip"), Some(Encoding::Gzip));
        assert_eq!(wanted("GZIP, deflate"), Some(Encoding::Gzip));
        assert_eq!(wanted("gzip, deflate, br, zstd"), Some(Encoding::Zstd));
        assert_eq!(wanted("gzip;q=0.9, br;q=1.0, zstd;q=0.1"), Some(Encoding::Brotli));
        assert_eq!(wanted("*"), Some(Encoding::Zstd));
        assert_eq!(wanted("zstd;q=0, *;q=0.5"), Some(Encoding::Brotli));
    }

    #[test]
    fn what_is_refused_or_unknown_is_not_taken() {
        for accept in ["", "identity", "deflate", "gzip;q=0", "*;q=0", "gzip;q=0.1, identity"] {
            assert_eq!(wanted(accept), None, "{accept}");
        }
        assert_eq!(Encoding::wanted(&HeaderMap::new()), None);
    }
}
