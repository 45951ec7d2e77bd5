//! Dates and timestamps: from `DateStyle = ISO` to the XML Schema style of `to_jsonb`.

use super::Unrenderable;
use crate::decimal::is_digits;

/// The suffix of years before 1 AD, in both styles.
const BEFORE_CHRIST: &[u8] = b" BC";

/// Renders `2024-01-31 12:00:00.5` as `"2024-01-31T12:00:00.5"`.
pub(super) fn write_timestamp(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    write_quoted(text, out, |text, out| write_date_and_time(text, b"", out))
}

/// Renders `2024-01-31 12:00:00+00` as `"2024-01-31T12:00:00+00:00"`.
pub(super) fn write_timestamptz(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    write_quoted(text, out, |text, out| {
        // Any other offset means that the session's time zone is not UTC.
        let text = text.strip_suffix(b"+00").ok_or(Unrenderable)?;
        write_date_and_time(text, b"+00:00", out)
    })
}

/// Renders `2024-01-31`, which is the same in both styles.
pub(super) fn write_date(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    write_quoted(text, out, |text, out| {
        if !is_date(text) {
            return Err(Unrenderable);
        }
        out.extend_from_slice(text);
        Ok(())
    })
}

/// Handles what dates and timestamps have in common: quotes, infinities, years before 1 AD.
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

/// Whether the text is year, month and day, in this order, which only `DateStyle = ISO` produces.
fn is_date(text: &[u8]) -> bool {
    let mut parts = text.split(|&byte| byte == b'-');
    let year = parts.next().is_some_and(|year| year.len() >= 4 && is_digits(year));
    let month = parts.next().is_some_and(is_two_digits);
    let day = parts.next().is_some_and(is_two_digits);
    year && month && day && parts.next().is_none()
}

/// Whether the text is hours, minutes and seconds, with an optional fraction.
fn is_time(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let clock = parts.next().is_some_and(|clock| {
        clock.len() == 8 && clock.split(|&byte| byte == b':').all(is_two_digits)
    });
    clock && parts.next().is_none_or(is_digits)
}

fn is_two_digits(text: &[u8]) -> bool {
    text.len() == 2 && is_digits(text)
}
