//! `T`: relations emptied by `TRUNCATE`.

use super::error::FieldError;
use super::reader::MessageReader;
use crate::table::TableOid;

/// Relations were truncated by one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// Whether the command has `CASCADE`.
    pub cascade: bool,
    /// Whether the command has `RESTART IDENTITY`.
    pub restart_identity: bool,
    oids: &'a [[u8; OID_BYTES]],
}

const OID_BYTES: usize = 4;
const CASCADE_FLAG: u8 = 1;
const RESTART_IDENTITY_FLAG: u8 = 2;

impl<'a> Truncate<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        let count = usize::try_from(r.u32("relation count")?).unwrap_or(usize::MAX);
        let flags = r.u8("flags")?;
        let bytes = r.bytes(count.saturating_mul(OID_BYTES), "relations")?;
        // The second part is empty: the length is a multiple of OID_BYTES.
        let (oids, _) = bytes.as_chunks();
        Ok(Self {
            cascade: flags & CASCADE_FLAG != 0,
            restart_identity: flags & RESTART_IDENTITY_FLAG != 0,
            oids,
        })
    }

    /// The truncated relations.
    pub fn oids(&self) -> impl ExactSizeIterator<Item = TableOid> + use<'a> {
        self.oids.iter().map(|oid| TableOid(u32::from_be_bytes(*oid)))
    }
}
