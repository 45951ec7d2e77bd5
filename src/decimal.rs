//! Decimal numbers as text: the grammar of JSON numbers, and their comparison by value.
//!
//! Numbers are never converted to floating point: `numeric` has more digits than any machine type.

use std::cmp::Ordering;

/// A number in the grammar of RFC 8259, section 6, borrowed from its text.
///
/// Comparison and equality are by value, however the number is written: `1.50` equals `15e-1`, and
/// `-0.0` equals `0`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    /// Whether a minus sign is written; a negative zero is possible.
    pub negative: bool,
    /// Digits before the point: at least one, without leading zeros.
    pub whole: &'a [u8],
    /// Digits after the point; empty when there is no point.
    pub fraction: &'a [u8],
    /// The power of ten; 0 when none is written, saturated where it exceeds 64 bits.
    pub exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Parses a number; `None` when the text is not exactly one JSON number.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match split_once(unsigned, |b| matches!(b, b'e' | b'E')) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match split_once(mantissa, |b| b == b'.') {
            Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, [].as_slice()),
        };
        is_whole(whole).then_some(Self { negative, whole, fraction, exponent })
    }

    /// Whether the value is zero, in any spelling.
    pub fn is_zero(&self) -> bool {
        self.whole.iter().chain(self.fraction).all(|&digit| digit == b'0')
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// The power of ten of the first significant digit, plus one. Meaningless for zero.
    fn magnitude(&self) -> i64 {
        let count = |digits: usize| i64::try_from(digits).unwrap_or(i64::MAX);
        let shift = match self.whole {
            b"0" => -count(self.fraction.iter().take_while(|&&digit| digit == b'0').count()),
            whole => count(whole.len()),
        };
        self.exponent.saturating_add(shift)
    }

    /// The digits from the first to the last that is not zero.
    fn significant_digits(&self) -> impl Iterator<Item = &'a u8> + use<'a> {
        let fraction = without_trailing_zeros(self.fraction);
        let whole =
            if fraction.is_empty() { without_trailing_zeros(self.whole) } else { self.whole };
        whole.iter().chain(fraction).skip_while(|&&digit| digit == b'0')
    }

    /// Compares absolute values, of which neither is zero.
    fn cmp_absolute(&self, other: &Self) -> Ordering {
        // Of two numbers of one magnitude, the digits decide as text does: `15` is below `2` in 1.5 and 2.
        let magnitude = self.magnitude().cmp(&other.magnitude());
        magnitude.then_with(|| self.significant_digits().cmp(other.significant_digits()))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.sign();
        sign.cmp(&other.sign()).then_with(|| match sign {
            0 => Ordering::Equal,
            1 => self.cmp_absolute(other),
            _ => other.cmp_absolute(self),
        })
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal<'_> {}

/// Whether the text has at least one byte and consists of decimal digits.
pub fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether the text is the part of a JSON number before the point: digits without leading zeros.
pub fn is_whole(text: &[u8]) -> bool {
    is_digits(text) && (text.len() == 1 || !text.starts_with(b"0"))
}

/// Parses `20`, `+20` or `-07`.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    if !is_digits(digits) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    Some(if negative { -value } else { value })
}

fn split_once(text: &[u8], is_separator: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |&byte| is_separator(byte));
    Some((parts.next()?, parts.next()?))
}

fn without_trailing_zeros(digits: &[u8]) -> &[u8] {
    let end = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    digits.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal<'_> {
        Decimal::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn numbers_compare_by_value() {
        let rising = [
            "-123456789012345678902",
            "-1e3",
            "-100.5",
            "-100",
            "-0.5",
            "-0.05",
            "0",
            "1e-30",
            "0.005",
            "0.05",
            "1.5",
            "2",
            "10",
            "99.99",
            "100",
            "123456789012345678901",
            "1e+30",
            "1e99999999999999999999",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(decimal(a).cmp(&decimal(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn spellings_of_one_value_are_equal() {
        for (one, other) in
            [("1.50", "15E-1"), ("-0.0", "0e5"), ("100", "1e2"), ("1e+20", "100000000000000000000")]
        {
            assert_eq!(decimal(one), decimal(other));
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1e+-2", "1.2.3", "1e2e3", "NaN",
            " 1", "1 ",
        ] {
            assert!(Decimal::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_grammar_is_that_of_serde_json(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?") {
            let expected = serde_json::from_str::<serde_json::Number>(&text).is_ok();
            prop_assert_eq!(Decimal::parse(text.as_bytes()).is_some(), expected);
        }

        #[test]
        fn order_is_that_of_the_integers(a: i64, b: i64, zeros in 0..4_usize) {
            let (left, right) = (format!("{a}.{}", "0".repeat(zeros + 1)), b.to_string());
            prop_assert_eq!(decimal(&left).cmp(&decimal(&right)), a.cmp(&b));
        }
    }
}
