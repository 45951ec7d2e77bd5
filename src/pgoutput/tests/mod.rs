//! Tests of the decoder as a whole.

mod damage;
mod encode;
mod fixtures;
mod round_trip;
mod transcript;

use super::*;

pub(crate) use fixtures::captured;

/// Decodes a message received inside or outside of a stream block.
fn decode_at(streamed: bool, bytes: &[u8]) -> Result<Streamed<'_>, DecodeError> {
    if streamed {
        decode_streamed(bytes)
    } else {
        decode(bytes).map(|message| Streamed { xid: None, message })
    }
}

#[test]
fn an_unknown_tag_is_reported_with_its_length() {
    let error = decode(b"xyz").unwrap_err();
    assert_eq!(error, DecodeError::UnknownTag { tag: b'x', length: 3 });
    assert!(error.to_string().starts_with("unknown logical replication message 'x' of 3 bytes"));
    assert_eq!(decode(b""), Err(DecodeError::Empty));
    assert_eq!(decode_streamed(b""), Err(DecodeError::Empty));
}

#[test]
fn a_bad_field_is_reported_with_its_message() {
    let field = |bytes| match decode(bytes).unwrap_err() {
        DecodeError::Field { message, field, problem } => (message, field, problem),
        other => panic!("{other}"),
    };
    assert_eq!(
        field(b"I\0\0\0\x01N\0\x02t\0\0"),
        ("Insert", "column value", FieldProblem::Missing { needed: 4, remaining: 2 })
    );
    assert_eq!(
        field(b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xffx"),
        ("Insert", "column value", FieldProblem::Missing { needed: 0xffff_ffff, remaining: 1 })
    );
    assert_eq!(
        field(b"I\0\0\0\x01N\0\x01?"),
        ("Insert", "column kind", FieldProblem::Unknown(b'?'))
    );
    assert_eq!(field(b"U\0\0\0\x01?"), ("Update", "tuple kind", FieldProblem::Unknown(b'?')));
    assert_eq!(
        field(b"U\0\0\0\x01K\0\0O"),
        ("Update", "new tuple kind", FieldProblem::Unknown(b'O'))
    );
    assert_eq!(field(b"D\0\0\0\x01N"), ("Delete", "tuple kind", FieldProblem::Unknown(b'N')));
    assert_eq!(field(b"C\x01"), ("Commit", "flags", FieldProblem::Unknown(1)));
    assert_eq!(field(b"Y\0\0\0\x01a\xff\0"), ("Type", "namespace", FieldProblem::NotUtf8));
    assert_eq!(field(b"Y\0\0\0\x01a\0b"), ("Type", "name", FieldProblem::Unterminated));
    assert_eq!(
        field(b"R\0\0\0\x01a\0b\0x"),
        ("Relation", "replica identity", FieldProblem::Unknown(b'x'))
    );
    assert_eq!(
        field(b"R\0\0\0\x01a\0b\0d\xff\xff"),
        ("Relation", "columns", FieldProblem::Missing { needed: 655_350, remaining: 0 })
    );
    assert_eq!(
        field(b"T\xff\xff\xff\xff\0\0\0\0\0"),
        ("Truncate", "relations", FieldProblem::Missing { needed: 0x3_ffff_fffc, remaining: 4 })
    );
    let error = decode(b"C\x01").unwrap_err().to_string();
    assert!(error.starts_with(r#"Commit message, field "flags": unknown value 0x01;"#), "{error}");
}

#[test]
fn trailing_bytes_are_reported() {
    let error = decode(b"E..").unwrap_err();
    assert_eq!(error, DecodeError::TrailingBytes { message: "Stream Stop", excess: 2, length: 3 });
}

#[test]
fn a_message_decoded_with_the_wrong_function_is_rejected() {
    let plain = b"I\0\0\0\x01N\0\0";
    let streamed = b"I\0\0\0\x09\0\0\0\x01N\0\0";
    assert!(decode(plain).is_ok());
    assert!(decode(streamed).is_err());
    assert!(decode_streamed(plain).is_err());
    assert_eq!(decode_streamed(streamed).unwrap().xid, Some(Xid(9)));
}
