//! Static tokens: long random strings of which only a hash is stored.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::access::Access;

/// A token of the configuration.
#[derive(Clone, Debug)]
pub struct StaticToken {
    /// Its name in the configuration.
    pub name: String,
    /// The hash that a presented token's hash must equal.
    pub hash: TokenHash,
    /// The tables that its bearer may read.
    pub access: Access,
    /// Whether its bearer may use admin routes.
    pub is_admin: bool,
}

/// The SHA-256 hash of a token. A plain hash without salt and iterations is enough, because tokens have as
/// much entropy as keys and can't be guessed.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// A text that is not a token's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a token's hash; write the line that `highwater token` prints, sha256: and 64 hexadecimal digits"
)]
pub struct HashError;

impl TokenHash {
    /// The prefix of the text form.
    const PREFIX: &'static str = "sha256:";

    /// Computes the hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Compares in constant time, which does not depend on where the hashes differ.
    pub(super) fn equals(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for TokenHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(HashError)?.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(HashError);
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |index: usize| {
                let digit = pair.get(index).copied().map(char::from);
                digit.and_then(|digit| digit.to_digit(16)).ok_or(HashError)
            };
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| HashError)?;
        }
        Ok(Self(hash))
    }
}

/// The text form of the configuration: `sha256:` and 64 hexadecimal digits.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Opaque: not even the hash belongs in logs.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_the_round_trip_through_text() {
        let hash = TokenHash::of("abc");
        let text = hash.to_string();
        assert_eq!(text, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let read: TokenHash = text.parse().unwrap();
        assert!(bool::from(read.equals(&hash)));
        assert!(!bool::from(read.equals(&TokenHash::of("abd"))));
        assert_eq!(format!("{hash:?}"), "(hash)");
    }

    #[test]
    fn invalid_hashes_are_rejected() {
        let hash = TokenHash::of("abc").to_string();
        for wrong in ["", "abc", &hash[7..], &hash[..70], &hash.replace('b', "g"), "sha256:"] {
            assert!(wrong.parse::<TokenHash>().is_err(), "{wrong}");
        }
        assert!(format!("{hash}0").parse::<TokenHash>().is_err());
        assert!(hash.replace("ba", "é").parse::<TokenHash>().is_err());
    }
}
