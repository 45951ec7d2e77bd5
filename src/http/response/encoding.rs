//! Content negotiation, and compression of responses that many clients share: chosen by
//! `Accept-Encoding` (RFC 9110, 12.5.3), done once. A response for one client is compressed by the
//! layer [`Compress`](crate::http::middleware::compress::Compress).

use std::io::Write as _;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};

/// Higher levels cost much more time for few bytes.
const GZIP_LEVEL: u32 = 6;
/// Higher levels cost much more time for few bytes.
const BROTLI_QUALITY: u32 = 4;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// A window of 2^22 bytes, more than twice the largest response that is compressed here.
const BROTLI_WINDOW_BITS: u32 = 22;
/// The size of brotli's output buffer.
const BROTLI_BUFFER_BYTES: usize = 4_096;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

impl Encoding {
    /// In ascending preference: of those with equal quality values the last is chosen.
    pub(crate) const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// The coding that the client prefers; `None`: identity.
    pub(crate) fn preferred(headers: &HeaderMap) -> Option<Self> {
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
                *place = Some(quality_value(parts));
            }
        }
        let qualities = best.map(|quality| quality.or(wildcard).unwrap_or(0.0));
        let most = Self::ALL.into_iter().zip(qualities).max_by(|a, b| a.1.total_cmp(&b.1));
        let acceptable = |quality: f32| quality > 0.0 && quality >= plain.unwrap_or(0.0);
        most.filter(|(_, quality)| acceptable(*quality)).map(|(encoding, _)| encoding)
    }

    /// The value of `Content-Encoding`.
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

    /// The compressed bytes; `None` if compressing fails, which writing to memory does not.
    pub(crate) fn compress(self, bytes: &[u8]) -> Option<Bytes> {
        let compressed = match self {
            Self::Gzip => gzip(bytes),
            Self::Brotli => brotli(bytes),
            Self::Zstd => zstd::encode_all(bytes, ZSTD_LEVEL),
        };
        compressed.ok().map(Bytes::from)
    }
}

/// The quality value among an item's parameters (RFC 9110, 12.4.2): 1 when there is none, 0 when it
/// can't be read.
pub(crate) fn quality_value<'a>(mut parameters: impl Iterator<Item = &'a str>) -> f32 {
    let q = parameters.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    q.map_or(1.0, |q| q.trim().parse().unwrap_or(0.0))
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

    fn preferred(accept: &'static str) -> Option<Encoding> {
        let line = (header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
        Encoding::preferred(&[line].into_iter().collect())
    }

    #[test]
    fn the_preferred_coding_is_chosen() {
        assert_eq!(preferred("gzip"), Some(Encoding::Gzip));
        assert_eq!(preferred("GZIP, deflate"), Some(Encoding::Gzip));
        assert_eq!(preferred("gzip, deflate, br, zstd"), Some(Encoding::Zstd));
        assert_eq!(preferred("gzip;q=0.9, br;q=1.0, zstd;q=0.1"), Some(Encoding::Brotli));
        assert_eq!(preferred("*"), Some(Encoding::Zstd));
        assert_eq!(preferred("zstd;q=0, *;q=0.5"), Some(Encoding::Brotli));
    }

    #[test]
    fn a_rejected_or_unknown_coding_is_not_chosen() {
        for accept in ["", "identity", "deflate", "gzip;q=0", "*;q=0", "gzip;q=0.1, identity"] {
            assert_eq!(preferred(accept), None, "{accept}");
        }
        assert_eq!(Encoding::preferred(&HeaderMap::new()), None);
    }
}
