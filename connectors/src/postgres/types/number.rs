//! Numerics, money, bits and bytes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use num_bigint::BigInt;

use super::{BadValue, Binary};
use crate::data::{Decimal, Value};

/// Parses what `FromStr` does.
pub fn parse<T: std::str::FromStr>(text: &[u8], problem: &'static str) -> Result<T, BadValue> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| BadValue::new(text, problem))
}

/// Whether that is a whole number in the one form that it has: no zeros before it, and at most so
/// many digits.
pub fn is_plain_integer(text: &[u8], digits_max: usize) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let fits = (1..=digits_max).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits && (digits[0] != b'0' || text == b"0")
}

/// The unscaled number of a decimal with just so many digits after its point, if it is short.
pub fn small_decimal(text: &[u8], scale: i32) -> Option<i128> {
    /// As many as surely fit.
    const DIGITS_MAX: usize = 38;
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let scale = usize::try_from(scale).ok()?;
    let (whole, fraction) = match scale {
        0 => (digits, &[][..]),
        _ => {
            let (whole, fraction) =
                digits.split_at_checked(digits.len().checked_sub(scale + 1)?)?;
            (whole, fraction.strip_prefix(b".")?)
        }
    };
    let all = || whole.iter().chain(fraction);
    let count = whole.len() + fraction.len();
    if whole.is_empty() || count > DIGITS_MAX || !all().all(u8::is_ascii_digit) {
        return None;
    }
    // Most numbers fit into a word, which is quicker.
    let number = match count {
        ..=18 => i128::from(all().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))),
        _ => all().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0')),
    };
    Some(if digits.len() < text.len() { -number } else { number })
}

/// The fewest of a number's bytes, in two's complement and big-endian, that hold it.
pub fn shortest(bytes: &[u8]) -> &[u8] {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let spare = bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0);
    &bytes[spare.count()..]
}

/// A number with all its digits; nothing for NaN and the infinities, which no decimal is.
pub fn decimal(text: &[u8]) -> Result<Option<Decimal>, BadValue> {
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => return Ok(None),
        _ => {}
    }
    let bad = || BadValue::new(text, "is no number");
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let scale = point.map_or(0, |point| digits.len() - point - 1);
    let all: Vec<u8> = digits.iter().copied().filter(|byte| *byte != b'.').collect();
    let one_point = all.len() + usize::from(point.is_some()) == digits.len();
    if all.is_empty() || !one_point || !all.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let unscaled = BigInt::parse_bytes(&all, 10).ok_or_else(bad)?;
    Ok(Some(Decimal { unscaled: unscaled * sign, scale: i32::try_from(scale).map_err(|_| bad())? }))
}

/// The number with the fewest digits after the point that hold it, none before it.
pub fn stripped(decimal: Decimal) -> Decimal {
    let mut stripped = decimal;
    while stripped.scale > 0 {
        match stripped.rescaled(stripped.scale - 1) {
            Some(shorter) => stripped = shorter,
            None => break,
        }
    }
    stripped
}

/// What a `money` holds: `$1,234.56` and `-$0.05`, with lc_monetary C, are 123456 and -5.
pub fn money(text: &[u8]) -> Result<i64, BadValue> {
    let bad = || BadValue::new(text, "is no amount of money");
    let digits: Vec<u8> = text.iter().copied().filter(u8::is_ascii_digit).collect();
    let cents = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse::<i128>().ok());
    let negative = text.first().is_some_and(|byte| matches!(byte, b'-' | b'('));
    let cents = cents.map(|cents| if negative { -cents } else { cents });
    cents.and_then(|cents| i64::try_from(cents).ok()).ok_or_else(bad)
}

/// Bits as Debezium has them: the last bit is the lowest of the first byte, and bytes of zeros at
/// the end are left out.
pub fn bits(text: &[u8]) -> Result<Bytes, BadValue> {
    let mut bytes = vec![0_u8; text.len().div_ceil(8)];
    for (index, bit) in text.iter().rev().enumerate() {
        match bit {
            b'0' => {}
            b'1' => bytes[index / 8] |= 1 << (index % 8),
            _ => return Err(BadValue::new(text, "is no bit string")),
        }
    }
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    Ok(bytes.into())
}

/// A bytea in the form `\x00ff`, as the user wants to see it.
pub fn binary(text: &[u8], mode: Binary) -> Result<Value, BadValue> {
    let bad = || BadValue::new(text, "is no bytea in hexadecimal form");
    let hex = text.strip_prefix(b"\\x").ok_or_else(bad)?;
    if mode == Binary::Hex {
        let hex = std::str::from_utf8(hex).map_err(|_| bad())?;
        return Ok(Value::string(hex));
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let pairs = hex.chunks(2).map(|pair| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    });
    let bytes: Vec<u8> = pairs.collect::<Option<_>>().ok_or_else(bad)?;
    Ok(shown(bytes, mode))
}

/// Bytes as the user wants to see them.
pub fn shown(bytes: Vec<u8>, mode: Binary) -> Value {
    match mode {
        Binary::Bytes => Value::Bytes(bytes.into()),
        Binary::Base64 => Value::string(STANDARD.encode(bytes)),
        Binary::Base64UrlSafe => Value::string(URL_SAFE.encode(bytes)),
        Binary::Hex => {
            Value::string(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals() {
        let plain = |text: &str| decimal(text.as_bytes()).unwrap().unwrap();
        assert_eq!(plain("-123.4500"), Decimal::new(-1_234_500, 4));
        assert_eq!(stripped(plain("-123.4500")), Decimal::new(-12_345, 2));
        assert_eq!(stripped(plain("100")), Decimal::new(100, 0));
        assert_eq!(stripped(plain("0.00")), Decimal::new(0, 0));
        assert_eq!(decimal(b"NaN"), Ok(None));
        for text in ["", "-", ".", "1.2.3", "1e5", "--1", "1-"] {
            assert!(decimal(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_of_money() {
        assert_eq!(money(b"$1,234.56"), Ok(123_456));
        assert_eq!(money(b"-$92,233,720,368,547,758.08"), Ok(i64::MIN));
        assert_eq!(money(b"-$0.05"), Ok(-5));
        assert!(money(b"$").is_err());
    }

    #[test]
    fn bits_start_at_the_end() {
        assert_eq!(bits(b"10101").unwrap(), &[0x15][..]);
        assert_eq!(bits(b"101010101").unwrap(), &[0x55, 0x01][..]);
        assert_eq!(bits(b"00000").unwrap(), &[][..]);
        assert!(bits(b"012").is_err());
    }

    #[test]
    fn bytes_are_shown_as_asked_for() {
        let shown = |mode| binary(b"\\x00fBfe", mode).unwrap();
        assert_eq!(shown(Binary::Bytes), Value::Bytes(Bytes::from_static(&[0, 0xfb, 0xfe])));
        assert_eq!(shown(Binary::Base64), Value::string("APv+"));
        assert_eq!(shown(Binary::Base64UrlSafe), Value::string("APv-"));
        assert_eq!(shown(Binary::Hex), Value::string("00fBfe"));
        assert!(binary(b"\\x0", Binary::Bytes).is_err() && binary(b"00", Binary::Bytes).is_err());
    }

    proptest! {
        #[test]
        fn the_short_way_to_a_decimal_leads_where_the_long_one_does(
            number: i128, digits in 0..40_u32, scale in 0..8_i32,
        ) {
            let number = number % 10_i128.checked_pow(digits).unwrap_or(i128::MAX);
            let wanted = Decimal::new(number, scale);
            let text = wanted.to_plain_string();
            let long = decimal(text.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(&long, &wanted);
            match small_decimal(text.as_bytes(), scale) {
                Some(short) => {
                    prop_assert_eq!(short, number);
                    let bytes = short.to_be_bytes();
                    prop_assert_eq!(shortest(&bytes), &wanted.to_bytes());
                }
                None => prop_assert!(text.len() > 38, "{}", text),
            }
            prop_assert_eq!(small_decimal(text.as_bytes(), scale + 1), None);
            prop_assert!(is_plain_integer(text.as_bytes(), 99) == (scale == 0));
        }

        #[test]
        fn no_text_does_harm(text: Vec<u8>) {
            let _ = (small_decimal(&text, 2), is_plain_integer(&text, 9), shortest(&text));
            let _ = (decimal(&text), money(&text), bits(&text), binary(&text, Binary::Bytes));
        }
    }
}
