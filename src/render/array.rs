//! Arrays in the output format of `array_out`: `{1,2}`, `{{a,NULL},{"b c","\"d\""}}`, `[0:1]={x,y}`.
//!
//! JSON has no lower bounds. An element is quoted if it would be ambiguous otherwise: so every unquoted brace
//! and delimiter belongs to the array, and an unquoted `NULL` is not text.
//!
//! Source: PostgreSQL manual, "Arrays", "Array Input and Output Syntax".

use super::Unrenderable;
use crate::json_type::JsonType;

/// Largest number of dimensions of an array (`MAXDIM` in `src/include/c.h`).
pub(super) const DIMENSIONS_MAX: usize = 6;

/// Renders `[2:3]={1,NULL}` as `[1,null]`.
pub(super) fn write_array(
    text: &[u8],
    element: JsonType,
    delimiter: u8,
    out: &mut Vec<u8>,
) -> Result<(), Unrenderable> {
    let (bounds, text) = split_bounds(text)?;
    if text == b"{}" && bounds.is_none() {
        out.extend_from_slice(b"[]");
        return Ok(());
    }
    let dimensions = text.iter().take_while(|&&byte| byte == b'{').count();
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) || bounds.is_some_and(|b| b != dimensions) {
        return Err(Unrenderable);
    }
    let mut reader = ArrayReader { rest: text, element, delimiter, unescaped: Vec::new(), out };
    reader.dimension(dimensions)?;
    if reader.rest.is_empty() { Ok(()) } else { Err(Unrenderable) }
}

/// Splits the bounds (`[0:1][-1:5]=`) off the front, and returns their number of dimensions.
fn split_bounds(text: &[u8]) -> Result<(Option<usize>, &[u8]), Unrenderable> {
    if !text.starts_with(b"[") {
        return Ok((None, text));
    }
    let length = text.iter().position(|&byte| byte == b'=').ok_or(Unrenderable)?;
    let (bounds, rest) = text.split_at_checked(length).ok_or(Unrenderable)?;
    let rest = rest.strip_prefix(b"=").ok_or(Unrenderable)?;
    let bounds = bounds.strip_prefix(b"[").and_then(|bounds| bounds.strip_suffix(b"]"));
    let bounds = std::str::from_utf8(bounds.ok_or(Unrenderable)?).map_err(|_| Unrenderable)?;
    let pairs: Vec<_> = bounds.split("][").collect();
    if pairs.iter().all(|pair| is_bounds(pair)) {
        Ok((Some(pairs.len()), rest))
    } else {
        Err(Unrenderable)
    }
}

/// Whether the text is a pair of bounds, such as `-1:5`.
fn is_bounds(pair: &str) -> bool {
    pair.split_once(':').is_some_and(|(lower, upper)| {
        let (lower, upper) = (lower.parse::<i32>(), upper.parse::<i32>());
        lower.is_ok_and(|lower| upper.is_ok_and(|upper| lower <= upper))
    })
}

struct ArrayReader<'t, 'o> {
    rest: &'t [u8],
    element: JsonType,
    delimiter: u8,
    /// A quoted element without its backslashes; kept to reuse the allocation.
    unescaped: Vec<u8>,
    out: &'o mut Vec<u8>,
}

impl ArrayReader<'_, '_> {
    /// Reads a pair of braces with `depth` dimensions inside.
    fn dimension(&mut self, depth: usize) -> Result<(), Unrenderable> {
        self.expect(b'{')?;
        self.out.push(b'[');
        loop {
            match depth {
                1 => self.element()?,
                _ => self.dimension(depth - 1)?,
            }
            if !self.take(self.delimiter) {
                break;
            }
            self.out.push(b',');
        }
        self.expect(b'}')?;
        self.out.push(b']');
        Ok(())
    }

    fn element(&mut self) -> Result<(), Unrenderable> {
        if self.take(b'"') {
            self.unescape()?;
            return self.element.write_json(&self.unescaped, self.out);
        }
        let is_end = |&byte: &u8| byte == self.delimiter || byte == b'}';
        let length = self.rest.iter().position(is_end).ok_or(Unrenderable)?;
        let (bare, rest) = self.rest.split_at_checked(length).ok_or(Unrenderable)?;
        if bare.is_empty() || bare.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'{')) {
            return Err(Unrenderable);
        }
        self.rest = rest;
        if bare.eq_ignore_ascii_case(b"NULL") {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        self.element.write_json(bare, self.out)
    }

    /// Reads up to the closing quote; a backslash escapes the byte that follows.
    fn unescape(&mut self) -> Result<(), Unrenderable> {
        self.unescaped.clear();
        loop {
            let is_special = |byte: &u8| matches!(byte, b'"' | b'\\');
            let length = self.rest.iter().position(is_special).ok_or(Unrenderable)?;
            let (plain, rest) = self.rest.split_at_checked(length).ok_or(Unrenderable)?;
            self.unescaped.extend_from_slice(plain);
            self.rest = rest;
            if self.take(b'"') {
                return Ok(());
            }
            let (&[_, escaped], rest) = self.rest.split_first_chunk().ok_or(Unrenderable)?;
            self.unescaped.push(escaped);
            self.rest = rest;
        }
    }

    /// Skips this byte if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let after = self.rest.strip_prefix(&[byte]);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unrenderable> {
        if self.take(byte) { Ok(()) } else { Err(Unrenderable) }
    }
}
