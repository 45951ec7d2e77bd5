//! `json` and `jsonb` values inside of other JSON.
//!
//! The output of `jsonb` is that of `to_jsonb`. The output of `json` is the stored text, which `to_jsonb` would
//! parse again: it drops all but the last of equal keys, and fails on text that `jsonb` can't store. Such values
//! are rejected here.

use super::Unrenderable;
use crate::decimal::Decimal;

/// Longest `json` text accepted, in bytes.
pub(super) const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Deepest nesting of `json` accepted.
pub(super) const JSON_DEPTH_MAX: usize = 64;
/// Longest number accepted in `json`, in bytes, and largest exponent: far below the limits of `numeric`, far
/// above the numbers in use.
pub(super) const JSON_NUMBER_MAX: usize = 1000;

/// Appends the output of `jsonb`, which needs no change.
pub(super) fn write_jsonb(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    std::str::from_utf8(text).map_err(|_| Unrenderable)?;
    out.extend_from_slice(text);
    Ok(())
}

/// Copies a `json` value without its white space, and rejects it if the result of `to_jsonb` might differ.
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

    /// Copies a key. One with escapes is rejected: it could equal another spelling of the same key.
    fn key(&mut self) -> Result<&'t [u8], Unrenderable> {
        let key = self.string()?;
        if key.contains(&b'\\') { Err(Unrenderable) } else { Ok(key) }
    }

    /// Copies a string; returns the text between its quotes.
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

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<(), Unrenderable> {
        let (&letter, rest) = self.rest.split_first().ok_or(Unrenderable)?;
        self.rest = rest;
        match letter {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => self.unicode_escape(),
            _ => Err(Unrenderable),
        }
    }

    /// Rejects U+0000 and unpaired surrogates, which `json` accepts and `jsonb` does not.
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

/// Whether the text is a number (RFC 8259) within the limits.
fn is_json_number(number: &[u8]) -> bool {
    // Checked first, so that the time is bounded.
    number.len() <= JSON_NUMBER_MAX
        && Decimal::parse(number).is_some_and(|decimal| {
            usize::try_from(decimal.exponent.unsigned_abs()).is_ok_and(|e| e <= JSON_NUMBER_MAX)
        })
}
