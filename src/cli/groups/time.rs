//! Points in time, as Kafka's commands take them (ISO 8601).

/// `2024-05-01T12:30:00.000`, with `Z`, `+02:00` or nothing (UTC) after it, in ms since 1970. Parts
/// from the hour on may be left out.
pub fn datetime_ms(text: &str) -> Option<i64> {
    let (date, rest) = match text.split_once(['T', ' ']) {
        Some((date, rest)) => (date, rest),
        None => (text, ""),
    };
    let mut parts = date.splitn(3, '-');
    let year: i64 = number(parts.next()?)?;
    let (month, day) = (number(parts.next()?)?, number(parts.next()?)?);
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) || year > 9999 {
        return None;
    }
    let (clock, zone_ms) = zone(rest)?;
    Some(days_since_1970(year, month, day) * 86_400_000 + clock_ms(clock)? - zone_ms)
}

/// Takes the zone off the end: what is before it, and its distance from UTC.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (clock, zone) = text.split_at(at);
    let digits: String = zone[1..].chars().filter(|character| *character != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(&digits[..2])?, number(&digits[2..])?),
        _ => return None,
    };
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    (hours <= 18 && minutes < 60).then_some((clock, sign * (hours * 60 + minutes) * 60_000))
}

fn clock_ms(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.splitn(3, ':');
    let hours = number(parts.next()?)?;
    let minutes = parts.next().map_or(Some(0), number)?;
    let seconds = parts.next().map_or(Some(0), number)?;
    if hours > 23 || minutes > 59 || seconds > 59 || fraction.len() > 9 {
        return None;
    }
    number(fraction)?;
    let millis = number(&format!("{fraction:0<3}")[..3])?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
}

/// Digits alone: no sign, no blanks.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, counted in years that begin in March so that the leap day comes
/// last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let in_year = (153 * from_march + 2) / 5 + day - 1;
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000", 0),
            ("1970-01-01", 0),
            ("2020-02-29T12:30:15.250Z", 1_582_979_415_250),
            ("2020-02-29T13:30:15.25+01:00", 1_582_979_415_250),
            ("2020-02-29T07:00:15.250-0530", 1_582_979_415_250),
            ("1969-12-31T23:59:59.999", -1),
            ("2000-03-01T00:00", 951_868_800_000),
        ] {
            assert_eq!(datetime_ms(text), Some(ms), "{text}");
        }
        let wrong = ["", "2020", "2021-02-29", "2020-13-01", "2020-01-01T24:00", "2020-01-01T-1"];
        for wrong in wrong.into_iter().chain(["2020-01-01T00:00:00.é", "2020-01-01T00:00+1"]) {
            assert_eq!(datetime_ms(wrong), None, "{wrong}");
        }
    }
}
