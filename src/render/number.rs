//! Numbers, written out in full as `numeric` prints them: jsonb keeps every number as one.

use super::Unrenderable;

/// The largest exponent either way: `double precision` reaches e+308 and e-324.
const EXPONENT_MAX: i16 = 400;

/// `smallint`, `integer`, `bigint`.
pub(super) fn write_integer(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !is_whole(digits) {
        return Err(Unrenderable);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// `real`, `double precision`, `numeric`.
pub(super) fn write_number(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return Ok(());
    }
    let decimal = PrintedNumber::parse(text)?;
    if decimal.negative && !decimal.is_zero() {
        out.push(b'-');
    }
    if decimal.exponent != 0 {
        return decimal.write_shifted(out);
    }
    decimal.write_plain(out);
    Ok(())
}

/// A number in the forms PostgreSQL prints.
struct PrintedNumber<'a> {
    negative: bool,
    /// Digits before the point; at least one.
    whole: &'a [u8],
    /// Digits after the point.
    fraction: &'a [u8],
    exponent: i16,
}

impl<'a> PrintedNumber<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Unrenderable> {
        let (negative, rest) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match split_once(rest, b'e') {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match split_once(mantissa, b'.') {
            Some((whole, fraction)) if all_digits(fraction) => (whole, fraction),
            Some(_) => return Err(Unrenderable),
            None => (mantissa, [].as_slice()),
        };
        if !is_whole(whole) {
            return Err(Unrenderable);
        }
        Ok(Self { negative, whole, fraction, exponent })
    }

    /// A float's negative zero prints as `-0`; `numeric` has none.
    fn is_zero(&self) -> bool {
        self.whole.iter().chain(self.fraction).all(|&digit| digit == b'0')
    }

    fn write_plain(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.whole);
        if !self.fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(self.fraction);
        }
    }

    /// Moves the point by the exponent. Floats print one digit, not zero, before it.
    fn write_shifted(&self, out: &mut Vec<u8>) -> Result<(), Unrenderable> {
        if self.whole.len() != 1 || self.whole == b"0" {
            return Err(Unrenderable);
        }
        let places = usize::from(self.exponent.unsigned_abs());
        if self.exponent < 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + places - 1, b'0');
            out.extend_from_slice(self.whole);
            out.extend_from_slice(self.fraction);
            return Ok(());
        }
        out.extend_from_slice(self.whole);
        if let Some((before, after)) = self.fraction.split_at_checked(places) {
            out.extend_from_slice(before);
            if !after.is_empty() {
                out.push(b'.');
                out.extend_from_slice(after);
            }
        } else {
            out.extend_from_slice(self.fraction);
            out.resize(out.len() + places - self.fraction.len(), b'0');
        }
        Ok(())
    }
}

/// `+20`, `-07`.
fn parse_exponent(text: &[u8]) -> Result<i16, Unrenderable> {
    let exponent = std::str::from_utf8(text).map_err(|_| Unrenderable)?;
    let exponent = exponent.parse().map_err(|_| Unrenderable)?;
    if (-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent) {
        Ok(exponent)
    } else {
        Err(Unrenderable)
    }
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |&byte| byte == separator);
    Some((parts.next()?, parts.next()?))
}

/// Digits as a JSON number may begin with: no zero in front of others (RFC 8259, section 6).
fn is_whole(digits: &[u8]) -> bool {
    all_digits(digits) && (digits.len() == 1 || !digits.starts_with(b"0"))
}

/// Whether there is at least one byte, and every one is a decimal digit.
pub(super) fn all_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}
