//! Numbers, written in full as `numeric` prints them: `jsonb` stores every number as one.

use super::Unrenderable;
use crate::decimal::{Decimal, is_whole};

/// Largest exponent accepted, in either direction: `double precision` reaches e+308 and e-324.
const EXPONENT_MAX: usize = 400;

/// Appends a `smallint`, `integer` or `bigint`.
pub(super) fn write_integer(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    if !is_whole(text.strip_prefix(b"-").unwrap_or(text)) {
        return Err(Unrenderable);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// Appends a `real`, `double precision` or `numeric`.
pub(super) fn write_number(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    // JSON has no numbers for these; `to_jsonb` writes strings.
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return Ok(());
    }
    let decimal = Decimal::parse(text).ok_or(Unrenderable)?;
    // A float's negative zero prints as `-0`; `numeric` has none.
    if decimal.negative && !decimal.is_zero() {
        out.push(b'-');
    }
    if decimal.exponent != 0 {
        return write_shifted(&decimal, out);
    }
    out.extend_from_slice(decimal.whole);
    if !decimal.fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(decimal.fraction);
    }
    Ok(())
}

/// Appends the digits with the point moved by the exponent. Floats with an exponent are printed with
/// exactly one digit, not zero, before the point; any other form is rejected.
fn write_shifted(decimal: &Decimal<'_>, out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    let Decimal { whole, fraction, exponent, .. } = *decimal;
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    if whole.len() != 1 || whole == b"0" || places > EXPONENT_MAX {
        return Err(Unrenderable);
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + places - 1, b'0');
        out.extend_from_slice(whole);
        out.extend_from_slice(fraction);
        return Ok(());
    }
    out.extend_from_slice(whole);
    if let Some((before, after)) = fraction.split_at_checked(places) {
        out.extend_from_slice(before);
        if !after.is_empty() {
            out.push(b'.');
            out.extend_from_slice(after);
        }
    } else {
        out.extend_from_slice(fraction);
        out.resize(out.len() + places - fraction.len(), b'0');
    }
    Ok(())
}
