//! Text as a JSON string.

use super::Unrenderable;

/// Appends a text the server has sent, which is UTF-8 except where the database's encoding is
/// SQL_ASCII.
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    let text = std::str::from_utf8(text).map_err(|_| Unrenderable)?;
    write_string(text, out);
    Ok(())
}

/// Appends text as a JSON string (RFC 8259), escaping exactly what PostgreSQL escapes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for piece in text.as_bytes().split_inclusive(|&byte| is_escaped(byte)) {
        match piece.split_last() {
            Some((&last, plain)) if is_escaped(last) => {
                out.extend_from_slice(plain);
                write_escaped(last, out);
            }
            _ => out.extend_from_slice(piece),
        }
    }
    out.push(b'"');
}

/// RFC 8259 requires these and no others.
fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0C => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let low = byte & 0x0F;
            let low = if low < 10 { b'0' + low } else { b'a' + low - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
