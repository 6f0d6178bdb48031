//! Durations as people write them: `1 hour`, `500ms`, `1h 30m`.

use std::time::Duration;

use super::diagnostic::{Diagnostic, Span};
use super::model::STATE_TTL_MIN;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    #[error("a duration is a number and a unit, such as '90s', '1 hour' or '500ms'")]
    Shape,
    #[error("'{0}' is no unit of time; there are ms, s, min, h and days")]
    Unit(String),
    #[error("this duration is too long; at most 10,000 years")]
    TooLong,
}

const NANOS_PER_S: u64 = 1_000_000_000;
const LONGEST: Duration = Duration::from_secs(10_000 * 366 * 86_400);

/// The sum of one or more numbers with their units.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Shape);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::Shape);
        }
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_ns = match unit {
            "" if number.bytes().all(|digit| digit == b'0') => 0,
            "" => return Err(DurationError::Shape),
            unit => unit_ns(unit).ok_or_else(|| DurationError::Unit(unit.to_owned()))?,
        };
        // Seconds and the rest apart, since nanoseconds alone reach 584 years.
        let number = number.parse::<u64>().map_err(|_| DurationError::TooLong)?;
        let whole_s = unit_ns / NANOS_PER_S;
        let part = if whole_s > 0 {
            number.checked_mul(whole_s).map(Duration::from_secs)
        } else {
            number.checked_mul(unit_ns).map(Duration::from_nanos)
        };
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Refuses a time in which nothing can happen.
pub(crate) fn check_state_ttl(ttl: Duration, span: &Span, mistakes: &mut Vec<Diagnostic>) {
    if ttl < STATE_TTL_MIN {
        let message = "state that lives for no time at all keeps nothing";
        let help = "give it as long as a key may be left alone: '1 day'";
        mistakes.push(Diagnostic::error(message, span.clone()).help(help));
    }
}

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ns" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "microsecond" | "microseconds" => 1_000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "week" | "weeks" => 7 * 86_400_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units_add_up() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("500ms", ms(500)),
            ("90s", ms(90_000)),
            ("1 hour", ms(3_600_000)),
            ("1h30m", ms(5_400_000)),
            ("1 day 1 second", ms(86_401_000)),
            ("0", ms(0)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        assert_eq!(parse_duration(""), Err(DurationError::Shape));
        assert_eq!(parse_duration("5"), Err(DurationError::Shape));
        assert_eq!(parse_duration("-1s"), Err(DurationError::Shape));
        assert_eq!(parse_duration("1.5h"), Err(DurationError::Shape));
        assert_eq!(parse_duration("3 parsecs"), Err(DurationError::Unit("parsecs".to_owned())));
        assert_eq!(parse_duration("99999999999999999 days"), Err(DurationError::TooLong));
    }
}
