//! Decimals from text: digits beyond the scale are rounded, half away from zero, as SQL does.

/// Exponents beyond it are as good as this one.
const EXPONENT_MAX: i64 = 1 << 32;

/// `None` if it is no number, or has more digits than the precision.
///
/// A number is a sign or none, digits with a point among them or none, and an exponent (`e-3`) or
/// none.
pub fn decimal_of_text(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (is_negative, unsigned) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let end = unsigned.iter().position(|sign| matches!(sign, b'e' | b'E'));
    let (mantissa, exponent) = match end {
        Some(end) => (&unsigned[..end], exponent(&unsigned[end + 1..])?),
        None => (unsigned, 0),
    };
    let point = mantissa.iter().position(|sign| *sign == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &[][..]),
    };
    let digits = || whole.iter().chain(fraction);
    if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
        return None;
    }
    // How many places the digits go up, to be counted in units of the scale.
    let up = exponent - i64::try_from(fraction.len()).ok()? + i64::from(scale);
    let kept = i64::try_from(whole.len() + fraction.len()).ok()? + up.min(0);
    let kept_len = usize::try_from(kept).unwrap_or_default();
    let mut value: u128 = 0;
    for digit in digits().take(kept_len) {
        value = value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))?;
    }
    if up > 0 && value > 0 {
        value = value.checked_mul(10u128.checked_pow(u32::try_from(up).ok()?)?)?;
    }
    if kept >= 0 && digits().nth(kept_len).is_some_and(|next| *next >= b'5') {
        value += 1;
    }
    if value >= 10u128.checked_pow(u32::from(precision))? {
        return None;
    }
    let value = i128::try_from(value).ok()?;
    Some(if is_negative { -value } else { value })
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    let exponent = digits.iter().fold(0, add);
    Some(if is_negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers of more than 255 digits became others, and with an exponent they were cut.
    #[test]
    fn numbers_are_what_they_are_however_they_are_written() {
        for (text, value) in [
            ("5e-3", Some(1)),
            ("4.9e-3", Some(0)),
            ("1259e-3", Some(126)),
            ("-1255E-3", Some(-126)),
            ("0.0012e+3", Some(120)),
            ("1e300", None),
            ("1e-300", Some(0)),
            ("-1.797e308", None),
            ("0e99999999999999999999", Some(0)),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", Some(0)),
            (".5", Some(50)),
            ("5.", Some(500)),
            ("+5", Some(500)),
            ("", None),
            (".", None),
            ("-", None),
            ("e5", None),
            ("5e", None),
            ("5e-", None),
            ("1e1.5", None),
            ("--5", None),
            ("1 ", None),
        ] {
            assert_eq!(decimal_of_text(text, 4, 2), value, "{text}");
        }
        let long = "9".repeat(300);
        assert_eq!(decimal_of_text(&long, 38, 0), None);
        assert_eq!(decimal_of_text(&long, 10, 2), None);
        assert_eq!(decimal_of_text(&format!("{}1.25", "0".repeat(300)), 4, 2), Some(125));
        assert_eq!(decimal_of_text(&format!("1.25{}", "0".repeat(300)), 4, 2), Some(125));
        assert_eq!(decimal_of_text(&format!("1.2{long}"), 4, 2), Some(130));
        assert_eq!(decimal_of_text(&"9".repeat(38), 38, 0), Some(10i128.pow(38) - 1));
        assert_eq!(decimal_of_text(&format!("{}.5", "9".repeat(38)), 38, 0), None);
        assert_eq!(decimal_of_text("1234", 4, -2), Some(12));
    }

    proptest! {
        /// Where the point stands says nothing that an exponent could not.
        #[test]
        fn the_point_and_the_exponent_say_the_same(
            number in -1_000_000_000i64..1_000_000_000,
            places in 0..12usize,
            by in -6..6i64,
            scale in 0..6i8,
        ) {
            let digits = format!("{:012}", number.unsigned_abs());
            let sign = if number < 0 { "-" } else { "" };
            let (whole, fraction) = digits.split_at(digits.len() - places);
            let plain = decimal_of_text(&format!("{sign}{whole}.{fraction}"), 38, scale);
            let moved = i64::try_from(places).unwrap() - by;
            let with_exponent = match usize::try_from(moved) {
                Ok(moved) if moved <= digits.len() => {
                    let (whole, fraction) = digits.split_at(digits.len() - moved);
                    format!("{sign}{whole}.{fraction}e{}", -by)
                }
                _ => format!("{sign}{digits}e-{places}"),
            };
            prop_assert_eq!(decimal_of_text(&with_exponent, 38, scale), plain);
            let exact = i128::from(number) * 10i128.pow(scale as u32);
            let (unit, half) = (10i128.pow(places as u32), 10i128.pow(places as u32) / 2);
            let rounded = (exact.abs() + half) / unit * exact.signum();
            prop_assert_eq!(plain, Some(rounded));
        }
    }

    #[test]
    fn digits_beyond_the_scale_are_rounded() {
        for (text, value) in [
            ("1.259", Some(126)),
            ("1.254", Some(125)),
            ("1.255", Some(126)),
            ("-1.255", Some(-126)),
            ("-0.004", Some(0)),
            ("-0.005", Some(-1)),
            ("1.25", Some(125)),
            ("7", Some(700)),
            ("0.999", Some(100)),
            ("99.994", Some(9999)),
            ("99.995", None),
            ("1.2x9", None),
            ("1.25x", None),
            ("x", None),
        ] {
            assert_eq!(decimal_of_text(text, 4, 2), value, "{text}");
        }
        assert_eq!(decimal_of_text("2.5", 4, 0), Some(3));
        assert_eq!(decimal_of_text("1.5e2", 5, 2), Some(15_000));
    }
}
