//! Tests of the decoder as a whole.

use super::*;

#[test]
fn an_unknown_tag_is_told_with_its_length() {
    let error = decode(b"xyz").unwrap_err();
    assert_eq!(error, DecodeError::UnknownTag { tag: b'x', length: 3 });
    assert!(error.to_string().starts_with("unknown logical replication message 'x' of 3 bytes"));
    assert_eq!(decode(b""), Err(DecodeError::Empty));
}
