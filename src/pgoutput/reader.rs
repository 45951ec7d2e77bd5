//! Reads fields from the front of a message; the only file that takes bytes apart.

use super::error::{FieldError, FieldProblem};

/// The unread rest of a message. Each method reads one field, or fails with the name of the field and reads
/// nothing.
#[derive(Clone, Debug)]
pub(super) struct MessageReader<'a> {
    rest: &'a [u8],
}

impl<'a> MessageReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Number of unread bytes.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, FieldError> {
        let [value] = self.array(field)?;
        Ok(value)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, FieldError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, FieldError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, FieldError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, FieldError> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, FieldError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// Reads a 32-bit length, then that many bytes.
    pub(super) fn counted_bytes(&mut self, field: &'static str) -> Result<&'a [u8], FieldError> {
        // A negative length, read as unsigned, is longer than any message.
        let length = self.u32(field)?;
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX), field)
    }

    /// Reads `length` bytes.
    pub(super) fn bytes(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a [u8], FieldError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| missing(field, length, self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads text up to and including a zero byte.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, FieldError> {
        let mut parts = self.rest.splitn(2, |&byte| byte == 0);
        let (Some(text), Some(rest)) = (parts.next(), parts.next()) else {
            return Err(FieldError { field, problem: FieldProblem::Unterminated });
        };
        let text = std::str::from_utf8(text)
            .map_err(|_| FieldError { field, problem: FieldProblem::NotUtf8 })?;
        self.rest = rest;
        Ok(text)
    }

    /// Fails if fewer bytes are left than `count` items of at least `size` bytes need, so that a count alone
    /// never causes an allocation or a loop.
    pub(super) fn expect(
        &self,
        count: usize,
        size: usize,
        field: &'static str,
    ) -> Result<(), FieldError> {
        let needed = count.saturating_mul(size);
        if needed > self.rest.len() {
            return Err(missing(field, needed, self.rest.len()));
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FieldError> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| missing(field, N, self.rest.len()))?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cold]
fn missing(field: &'static str, needed: usize, remaining: usize) -> FieldError {
    FieldError { field, problem: FieldProblem::Missing { needed, remaining } }
}

/// The error for an undefined value.
#[cold]
pub(super) fn unknown(field: &'static str, value: u8) -> FieldError {
    FieldError { field, problem: FieldProblem::Unknown(value) }
}
