//! Numbers of any length with a decimal point: Java's `BigDecimal`.

use std::fmt;
use std::str::FromStr;

use num_bigint::{BigInt, Sign};

use super::DataError;

/// `unscaled` × 10^-`scale`. Two of different scale differ, as 1.0 and 1.00 do in Java.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    pub unscaled: BigInt,
    /// Digits after the point; below zero, zeros before it.
    pub scale: i32,
}

/// The longest exponent that text may have: more would make huge numbers of few letters.
const EXPONENT_MAX: i64 = 100_000;

impl Decimal {
    pub fn new(unscaled: impl Into<BigInt>, scale: i32) -> Decimal {
        Decimal { unscaled: unscaled.into(), scale }
    }

    /// From the unscaled number's bytes, two's complement and big-endian, as Connect keeps them.
    pub fn from_bytes(bytes: &[u8], scale: i32) -> Decimal {
        Decimal { unscaled: BigInt::from_signed_bytes_be(bytes), scale }
    }

    /// The unscaled number in as few bytes as hold it, as Java's `toByteArray`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.unscaled.to_signed_bytes_be()
    }

    /// The same number with that scale, unless digits other than 0 would be lost.
    pub fn rescaled(&self, scale: i32) -> Option<Decimal> {
        let more = i64::from(scale) - i64::from(self.scale);
        match more {
            0 => return Some(self.clone()),
            _ if more.abs() > EXPONENT_MAX => return None,
            _ => {}
        }
        let factor = BigInt::from(10).pow(more.unsigned_abs() as u32);
        let unscaled = match more >= 0 {
            true => &self.unscaled * factor,
            false if (&self.unscaled % &factor).sign() == Sign::NoSign => &self.unscaled / factor,
            false => return None,
        };
        Some(Decimal { unscaled, scale })
    }

    /// The whole part, towards zero.
    pub fn to_integer(&self) -> BigInt {
        let ten = BigInt::from(10);
        match u32::try_from(self.scale) {
            Ok(digits) => &self.unscaled / ten.pow(digits),
            Err(_) => &self.unscaled * ten.pow(self.scale.unsigned_abs()),
        }
    }

    /// The low 64 bits of the whole part, as Java's `longValue`.
    pub fn to_low_i64(&self) -> i64 {
        let bytes = self.to_integer().to_signed_bytes_le();
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut low = [if negative { 0xff } else { 0 }; 8];
        let count = bytes.len().min(8);
        low[..count].copy_from_slice(&bytes[..count]);
        i64::from_le_bytes(low)
    }

    pub fn to_f64(&self) -> f64 {
        // Correctly rounded, as the parser of numbers is.
        let text = format!("{}e{}", self.unscaled, -i64::from(self.scale));
        text.parse().expect("an integer and an exponent")
    }

    /// With all its digits and no exponent, as `toPlainString`.
    pub fn to_plain_string(&self) -> String {
        let (sign, digits) = self.digits();
        let text = match usize::try_from(self.scale) {
            Ok(0) => digits,
            Ok(scale) => point_before_last(&digits, scale),
            Err(_) if digits == "0" => digits,
            Err(_) => digits + &"0".repeat(self.scale.unsigned_abs() as usize),
        };
        format!("{sign}{text}")
    }

    fn digits(&self) -> (&'static str, String) {
        let sign = if self.unscaled.sign() == Sign::Minus { "-" } else { "" };
        (sign, self.unscaled.magnitude().to_string())
    }
}

fn point_before_last(digits: &str, scale: usize) -> String {
    match digits.len().checked_sub(scale) {
        Some(whole) if whole > 0 => format!("{}.{}", &digits[..whole], &digits[whole..]),
        _ => format!("0.{}{digits}", "0".repeat(scale - digits.len())),
    }
}

/// As Java's `BigDecimal.toString`: with an exponent where the plain form would be padded with
/// zeros.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, digits) = self.digits();
        let exponent = digits.len() as i64 - 1 - i64::from(self.scale);
        f.write_str(sign)?;
        if self.scale >= 0 && exponent >= -6 {
            return match self.scale {
                0 => f.write_str(&digits),
                scale => f.write_str(&point_before_last(&digits, scale as usize)),
            };
        }
        let (first, rest) = digits.split_at(1);
        f.write_str(first)?;
        if !rest.is_empty() {
            write!(f, ".{rest}")?;
        }
        if exponent != 0 { write!(f, "E{exponent:+}") } else { Ok(()) }
    }
}

/// As Java's `new BigDecimal(String)`.
impl FromStr for Decimal {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Decimal, DataError> {
        let wrong = || DataError(format!("'{text}' is not a decimal number"));
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => {
                (number, exponent.parse::<i64>().ok().filter(|e| e.abs() <= EXPONENT_MAX))
            }
            None => (text, Some(0)),
        };
        let exponent = exponent.ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if unsigned.len() + fraction.len() == 0 || !digits(unsigned) || !digits(fraction) {
            return Err(wrong());
        }
        let sign = if whole.starts_with('-') { "-" } else { "" };
        let unscaled = format!("{sign}{unsigned}{fraction}").parse().map_err(|_| wrong())?;
        let scale = i32::try_from(fraction.len() as i64 - exponent).map_err(|_| wrong())?;
        Ok(Decimal { unscaled, scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_javas() {
        let shown = |unscaled: i64, scale| Decimal::new(unscaled, scale).to_string();
        assert_eq!(shown(123, 0), "123");
        assert_eq!(shown(-123, 0), "-123");
        assert_eq!(shown(123, -1), "1.23E+3");
        assert_eq!(shown(123, 1), "12.3");
        assert_eq!(shown(123, 5), "0.00123");
        assert_eq!(shown(123, 10), "1.23E-8");
        assert_eq!(shown(-123, 12), "-1.23E-10");
        assert_eq!(shown(0, 2), "0.00");
        assert_eq!(shown(0, -2), "0E+2");
        assert_eq!(shown(5, 7), "5E-7");
        let plain = |unscaled: i64, scale| Decimal::new(unscaled, scale).to_plain_string();
        assert_eq!((plain(123, -2), plain(-5, 7)), ("12300".into(), "-0.0000005".into()));
        assert_eq!((plain(0, -2), plain(0, 2)), ("0".into(), "0.00".into()));
    }

    #[test]
    fn text_goes_there_and_back() {
        for text in ["0", "-0.5", "12.30", "1E+3", "1.23E-8", "123456789012345678901234567890.1"] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
        assert_eq!(".5".parse(), Ok(Decimal::new(5, 1)));
        assert_eq!("+5.".parse(), Ok(Decimal::new(5, 0)));
        for text in ["", ".", "-", "1e", "1e99999999999", "1_0", "0x1", "--1", "1.-1", "NaN"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_javas() {
        for (number, bytes) in [
            (0i64, &[0u8][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (-1, &[255]),
            (-128, &[128]),
            (-129, &[255, 127]),
            (156, &[0, 156]),
        ] {
            assert_eq!(Decimal::new(number, 2).to_bytes(), bytes, "{number}");
            assert_eq!(Decimal::from_bytes(bytes, 2), Decimal::new(number, 2));
        }
    }

    #[test]
    fn scales_change_only_without_loss() {
        assert_eq!(Decimal::new(15, 1).rescaled(3), Some(Decimal::new(1500, 3)));
        assert_eq!(Decimal::new(1500, 3).rescaled(1), Some(Decimal::new(15, 1)));
        assert_eq!(Decimal::new(15, 1).rescaled(0), None);
        assert_eq!(Decimal::new(-199, 2).to_integer(), BigInt::from(-1));
        assert_eq!(Decimal::new(2, -2).to_integer(), BigInt::from(200));
        assert_eq!(Decimal::new(125, 3).to_f64(), 0.125);
    }
}
