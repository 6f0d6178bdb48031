//! Floating-point numbers as Java writes them.
//!
//! `Double.toString` gives the shortest digits that read back as the same number (since Java 19;
//! before that, now and then more), with at least one digit on each side of the point, and an
//! exponent below 10^-3 and from 10^7 on.

use std::fmt::LowerExp;
use std::str::FromStr;

/// As `Double.toString`.
pub fn double_to_string(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => infinity(value > 0.0),
        value => {
            let plain = value == 0.0 || (1e-3..1e7).contains(&value.abs());
            layout(&digits(value), plain)
        }
    }
}

/// As `Float.toString`.
pub fn float_to_string(value: f32) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => infinity(value > 0.0),
        value => {
            let plain = value == 0.0 || (1e-3..1e7).contains(&value.abs());
            layout(&digits(value), plain)
        }
    }
}

fn infinity(positive: bool) -> String {
    if positive { "Infinity" } else { "-Infinity" }.to_owned()
}

/// `-1.25e-7`: the shortest digits, but two at least, and the exponent of the first. Of two such
/// that are equally near, Java takes the even one.
fn digits<T: LowerExp + FromStr + PartialEq>(value: T) -> String {
    let shortest = format!("{value:e}");
    let mantissa = shortest.trim_start_matches('-').split('e').next().unwrap_or_default();
    let after_first = mantissa.len().saturating_sub(2).max(1);
    let nearest = format!("{value:.after_first$e}");
    let reads_back = nearest.parse::<T>().is_ok_and(|read| read == value);
    if reads_back || !shortest.contains('.') { nearest } else { shortest }
}

fn layout(text: &str, plain: bool) -> String {
    let (mantissa, exponent) = text.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("the form ends with a number");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    if !plain {
        return format!("{sign}{mantissa}E{exponent}");
    }
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    match usize::try_from(exponent) {
        Err(_) => {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            format!("{sign}0.{zeros}{digits}")
        }
        Ok(exponent) if exponent + 1 >= digits.len() => {
            let zeros = "0".repeat(exponent + 1 - digits.len());
            format!("{sign}{digits}{zeros}.0")
        }
        Ok(exponent) => format!("{sign}{}.{}", &digits[..=exponent], &digits[exponent + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_java_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (123456.789, "123456.789"),
            (9999999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.25e10, "1.25E10"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (0.0123, "0.0123"),
            (1e-300, "1.0E-300"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::from_bits(1), "4.9E-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double_to_string(value), text);
        }
        assert_eq!(float_to_string(5705.65625), "5705.6562", "the even one of two");
        assert_eq!(float_to_string(0.1), "0.1");
        assert_eq!(float_to_string(3.4028235e38), "3.4028235E38");
        assert_eq!(float_to_string(1.0e-5), "1.0E-5");
    }
}
