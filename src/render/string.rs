//! Text as JSON strings.

use super::Unrenderable;
use crate::json_text::write_string;

/// Appends text from the server, which is UTF-8 unless the database's encoding is SQL_ASCII.
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    let text = std::str::from_utf8(text).map_err(|_| Unrenderable)?;
    write_string(text, out);
    Ok(())
}
