//! Dates and timestamps: ISO style on the way in, the XML Schema style of `to_jsonb` on the way out.

use super::Unrenderable;
use super::number::all_digits;

/// Years before the first carry it at the very end, in both styles.
const BEFORE_CHRIST: &[u8] = b" BC";

/// `2024-01-31 12:00:00.5` becomes `"2024-01-31T12:00:00.5"`.
pub(super) fn write_timestamp(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    write_quoted(text, out, |text, out| write_date_and_time(text, b"", out))
}

/// `2024-01-31 12:00:00+00` becomes `"2024-01-31T12:00:00+00:00"`.
pub(super) fn write_timestamptz(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    write_quoted(text, out, |text, out| {
        // Any other offset means that the session is not at UTC.
        let text = text.strip_suffix(b"+00").ok_or(Unrenderable)?;
        write_date_and_time(text, b"+00:00", out)
    })
}

/// `2024-01-31`, the same in both styles.
pub(super) fn write_date(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    write_quoted(text, out, |text, out| {
        if !is_date(text) {
            return Err(Unrenderable);
        }
        out.extend_from_slice(text);
        Ok(())
    })
}

/// Takes care of what dates and timestamps share: quotes, infinities, years before the first.
fn write_quoted(
    text: &[u8],
    out: &mut Vec<u8>,
    write_inner: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(), Unrenderable>,
) -> Result<(), Unrenderable> {
    out.push(b'"');
    if matches!(text, b"infinity" | b"-infinity") {
        out.extend_from_slice(text);
    } else if let Some(text) = text.strip_suffix(BEFORE_CHRIST) {
        write_inner(text, out)?;
        out.extend_from_slice(BEFORE_CHRIST);
    } else {
        write_inner(text, out)?;
    }
    out.push(b'"');
    Ok(())
}

fn write_date_and_time(text: &[u8], zone: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    let mut parts = text.splitn(2, |&byte| byte == b' ');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return Err(Unrenderable);
    };
    if !is_date(date) || !is_time(time) {
        return Err(Unrenderable);
    }
    out.extend_from_slice(date);
    out.push(b'T');
    out.extend_from_slice(time);
    out.extend_from_slice(zone);
    Ok(())
}

/// Year, month and day, in this order: what only `DateStyle = ISO` prints.
fn is_date(text: &[u8]) -> bool {
    let mut parts = text.split(|&byte| byte == b'-');
    let year = parts.next().is_some_and(|year| year.len() >= 4 && all_digits(year));
    let month = parts.next().is_some_and(is_two_digits);
    let day = parts.next().is_some_and(is_two_digits);
    year && month && day && parts.next().is_none()
}

/// Hours, minutes, seconds, and perhaps a fraction of a second.
fn is_time(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let clock = parts.next().is_some_and(|clock| {
        clock.len() == 8 && clock.split(|&byte| byte == b':').all(is_two_digits)
    });
    clock && parts.next().is_none_or(all_digits)
}

fn is_two_digits(text: &[u8]) -> bool {
    text.len() == 2 && all_digits(text)
}
