//! `json` and `jsonb` values inside of other JSON.
//!
//! What `jsonb` prints is what `to_jsonb` gives. `json` prints what was stored, and `to_jsonb`
//! would read it anew: it drops all but the last of equal keys, and fails on text that jsonb can't
//! hold. Here such values are refused.

use super::Unrenderable;
use super::number::all_digits;

/// Longest `json` text that is looked at, in bytes: a longer one is refused.
pub(super) const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Deepest nesting of `json` that is looked at; deeper values are refused.
pub(super) const JSON_DEPTH_MAX: usize = 64;
/// Longest number in `json`, in bytes, and largest exponent: far inside of what `numeric` keeps
/// exactly, far outside of what is used.
pub(super) const JSON_NUMBER_MAX: usize = 1000;

/// What `jsonb` prints needs no change.
pub(super) fn write_jsonb(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    std::str::from_utf8(text).map_err(|_| Unrenderable)?;
    out.extend_from_slice(text);
    Ok(())
}

/// Copies a `json` value without its white space, and refuses it where `to_jsonb` might not agree.
pub(super) fn write_json(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    if text.len() > JSON_BYTES_MAX {
        return Err(Unrenderable);
    }
    std::str::from_utf8(text).map_err(|_| Unrenderable)?;
    let mut scanner = Scanner { rest: text, out, depth: 0 };
    scanner.value()?;
    scanner.skip_space();
    if scanner.rest.is_empty() { Ok(()) } else { Err(Unrenderable) }
}

struct Scanner<'t, 'o> {
    rest: &'t [u8],
    out: &'o mut Vec<u8>,
    depth: usize,
}

impl<'t> Scanner<'t, '_> {
    fn value(&mut self) -> Result<(), Unrenderable> {
        self.skip_space();
        match self.rest.first() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            _ => self.word(b"null"),
        }
    }

    fn nested(
        &mut self,
        inner: fn(&mut Self) -> Result<(), Unrenderable>,
    ) -> Result<(), Unrenderable> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(Unrenderable);
        }
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), Unrenderable> {
        self.word(b"[")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self) -> Result<(), Unrenderable> {
        self.word(b"{")?;
        if self.take(b'}') {
            return Ok(());
        }
        let mut keys = Vec::new();
        loop {
            self.skip_space();
            keys.push(self.key()?);
            self.expect(b':')?;
            self.value()?;
            if self.take(b'}') {
                break;
            }
            self.expect(b',')?;
        }
        keys.sort_unstable();
        if keys.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Unrenderable) }
    }

    /// A key spelled with escapes could equal another one that is not.
    fn key(&mut self) -> Result<&'t [u8], Unrenderable> {
        let key = self.string()?;
        if key.contains(&b'\\') { Err(Unrenderable) } else { Ok(key) }
    }

    /// Copies a string; returns what is between its quotes.
    fn string(&mut self) -> Result<&'t [u8], Unrenderable> {
        let text = self.rest;
        self.rest = self.rest.strip_prefix(b"\"").ok_or(Unrenderable)?;
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or(Unrenderable)?;
            self.rest = rest;
            match byte {
                b'"' => break,
                b'\\' => self.escape()?,
                0..0x20 => return Err(Unrenderable),
                _ => {}
            }
        }
        let length = text.len() - self.rest.len();
        let whole = text.get(..length).ok_or(Unrenderable)?;
        self.out.extend_from_slice(whole);
        whole.get(1..length - 1).ok_or(Unrenderable)
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), Unrenderable> {
        let (&letter, rest) = self.rest.split_first().ok_or(Unrenderable)?;
        self.rest = rest;
        match letter {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => self.unicode_escape(),
            _ => Err(Unrenderable),
        }
    }

    /// jsonb refuses U+0000 and half of a surrogate pair; `json` doesn't.
    fn unicode_escape(&mut self) -> Result<(), Unrenderable> {
        match self.four_hex_digits()? {
            0 | 0xDC00..=0xDFFF => Err(Unrenderable),
            0xD800..=0xDBFF => {
                self.rest = self.rest.strip_prefix(b"\\u").ok_or(Unrenderable)?;
                match self.four_hex_digits()? {
                    0xDC00..=0xDFFF => Ok(()),
                    _ => Err(Unrenderable),
                }
            }
            _ => Ok(()),
        }
    }

    fn four_hex_digits(&mut self) -> Result<u16, Unrenderable> {
        let (digits, rest) = self.rest.split_first_chunk::<4>().ok_or(Unrenderable)?;
        self.rest = rest;
        let mut value = 0;
        for &digit in digits {
            let digit = char::from(digit).to_digit(16).ok_or(Unrenderable)?;
            value = value * 16 + digit;
        }
        u16::try_from(value).map_err(|_| Unrenderable)
    }

    fn number(&mut self) -> Result<(), Unrenderable> {
        let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = self.rest.iter().take_while(|byte| is_number(byte)).count();
        let (number, rest) = self.rest.split_at_checked(length).ok_or(Unrenderable)?;
        if !is_json_number(number) {
            return Err(Unrenderable);
        }
        self.rest = rest;
        self.out.extend_from_slice(number);
        Ok(())
    }

    /// Copies exactly these bytes.
    fn word(&mut self, word: &[u8]) -> Result<(), Unrenderable> {
        self.rest = self.rest.strip_prefix(word).ok_or(Unrenderable)?;
        self.out.extend_from_slice(word);
        Ok(())
    }

    /// Copies this byte if it comes next, after white space.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.word(&[byte]).is_ok()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unrenderable> {
        if self.take(byte) { Ok(()) } else { Err(Unrenderable) }
    }

    fn skip_space(&mut self) {
        while let Some((b' ' | b'\n' | b'\r' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }
}

/// RFC 8259's numbers, inside of the limits.
fn is_json_number(number: &[u8]) -> bool {
    if number.len() > JSON_NUMBER_MAX {
        return false;
    }
    let unsigned = number.strip_prefix(b"-").unwrap_or(number);
    let mut parts = unsigned.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mut mantissa = parts.next().unwrap_or_default().splitn(2, |&byte| byte == b'.');
    let whole = mantissa.next().unwrap_or_default();
    all_digits(whole)
        && (whole.len() == 1 || !whole.starts_with(b"0"))
        && mantissa.next().is_none_or(all_digits)
        && parts.next().is_none_or(is_small_exponent)
}

fn is_small_exponent(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")).unwrap_or(text);
    let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
    all_digits(digits) && value.is_some_and(|value| value <= JSON_NUMBER_MAX)
}
