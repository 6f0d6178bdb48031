//! Decimals from text: digits beyond the scale are rounded, half away from zero, as SQL does.

use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::Decimal128Type;

/// `None` if it is no number, or has more digits than the precision.
pub fn decimal_of_text(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let parse = |text| parse_decimal::<Decimal128Type>(text, precision, scale).ok();
    let has_exponent = text.contains(['e', 'E']);
    let Some((_, fraction)) = text.split_once('.').filter(|_| !has_exponent) else {
        return parse(text);
    };
    let kept = usize::try_from(scale).unwrap_or_default();
    let Some(next) = fraction.as_bytes().get(kept) else { return parse(text) };
    // What is left out has to be digits, too.
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let cut = parse(&text[..text.len() - (fraction.len() - kept)])?;
    if *next < b'5' {
        return Some(cut);
    }
    let up = if text.starts_with('-') { -1 } else { 1 };
    let rounded = cut.checked_add(up)?;
    (rounded.unsigned_abs() < 10u128.checked_pow(u32::from(precision))?).then_some(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

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
