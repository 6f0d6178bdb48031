//! Dates, times and intervals, as PostgreSQL writes them in its ISO styles.
//!
//! ```text
//!  2024-02-29 12:34:56.123456+00     0044-03-15 BC     infinity     P1Y2M3DT4H5M6.7S
//! ```
//!
//! Years before Christ have no year 0, and the calendar is the Gregorian one all the way, as in
//! PostgreSQL itself and in Java's `java.time`.

use std::fmt::Write as _;

use super::BadValue;
use crate::data::civil::{days_of_date, is_date};

pub const DAY_US: i64 = 86_400_000_000;

/// What Java's driver has for timestamps that are infinite, in the unit of Debezium's fields.
pub const INFINITY_US: i64 = 9_223_372_036_825_200_000;
pub const MINUS_INFINITY_US: i64 = -9_223_372_036_832_400_000;

/// Days since 1970; infinity is the last or first day there is.
pub fn date(text: &[u8]) -> Result<i32, BadValue> {
    match text {
        b"infinity" => return Ok(i32::MAX),
        b"-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (text_of_date, before_christ) = without_bc(text);
    let mut input = Input(text_of_date);
    let days = input.date(before_christ).filter(|_| input.0.is_empty());
    let days = days.and_then(|days| i32::try_from(days).ok());
    days.ok_or_else(|| BadValue::new(text, "is no date"))
}

/// µs since midnight; 24:00:00 is a time too.
pub fn time(text: &[u8]) -> Result<i64, BadValue> {
    let mut input = Input(text);
    let time = input.time().filter(|_| input.0.is_empty());
    time.ok_or_else(|| BadValue::new(text, "is no time"))
}

/// A time of day with its offset, moved to UTC, as `java.time.OffsetTime` writes it.
pub fn time_with_zone(text: &[u8]) -> Result<String, BadValue> {
    let mut input = Input(text);
    let parts = input.time().and_then(|time| Some((time, input.offset()?)));
    let Some((time, offset_seconds)) = parts.filter(|_| input.0.is_empty()) else {
        return Err(BadValue::new(text, "is no time with a zone"));
    };
    let utc = (time - offset_seconds * 1_000_000).rem_euclid(DAY_US);
    let mut out = String::with_capacity(16);
    write_clock(&mut out, utc);
    let fraction = utc % 1_000_000;
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        // Java writes as many digits as there are.
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    out.push('Z');
    Ok(out)
}

/// µs since 1970, in whatever zone is meant.
pub fn timestamp(text: &[u8]) -> Result<i64, BadValue> {
    match text {
        b"infinity" => return Ok(INFINITY_US),
        b"-infinity" => return Ok(MINUS_INFINITY_US),
        _ => {}
    }
    let (text_of_timestamp, before_christ) = without_bc(text);
    let mut input = Input(text_of_timestamp);
    let parts = input.date(before_christ).filter(|_| input.skip(b' '));
    let parts = parts.and_then(|days| Some((days, input.time()?)));
    match parts.filter(|_| input.0.is_empty()) {
        Some((days, time)) => Ok(days.saturating_mul(DAY_US).saturating_add(time)),
        None => Err(BadValue::new(text, "is no timestamp")),
    }
}

/// A point in time in UTC with that many digits, as Debezium's ZonedTimestamp.
pub fn timestamp_with_zone(text: &[u8], digits: usize) -> Result<String, BadValue> {
    if let b"infinity" | b"-infinity" = text {
        return Ok(String::from_utf8_lossy(text).into_owned());
    }
    let (text_of_timestamp, before_christ) = without_bc(text);
    let mut input = Input(text_of_timestamp);
    let parts = input.date(before_christ).filter(|_| input.skip(b' '));
    let parts = parts.and_then(|days| Some((days, input.time()?, input.offset()?)));
    let Some((days, time, offset_seconds)) = parts.filter(|_| input.0.is_empty()) else {
        return Err(BadValue::new(text, "is no timestamp with a zone"));
    };
    let time = time - offset_seconds * 1_000_000;
    let (days, time) = (days + time.div_euclid(DAY_US), time.rem_euclid(DAY_US));
    let (year, month, day) = civil(days);
    let mut out = String::with_capacity(30);
    // Java marks years of more than four digits by a sign.
    match year {
        0..=9_999 => push_digits(&mut out, year, 4),
        10_000.. => out.push_str(&format!("+{year}")),
        _ => out.push_str(&format!("-{:04}", -year)),
    }
    out.push('-');
    push_digits(&mut out, month, 2);
    out.push('-');
    push_digits(&mut out, day, 2);
    out.push('T');
    write_clock(&mut out, time);
    if digits > 0 {
        out.push('.');
        let digits = digits.min(6);
        push_digits(&mut out, time % 1_000_000 / 10_i64.pow(6 - digits as u32), digits);
    }
    out.push('Z');
    Ok(out)
}

/// What [`timestamp_with_zone`] writes, with any offset, in µs since 1970. `None`: it is something
/// else, or finer than that.
pub fn instant_us(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(INFINITY_US),
        "-infinity" => return Some(MINUS_INFINITY_US),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut input = Input(unsigned.as_bytes());
    let year = input.number().filter(|year| *year <= 300_000)?;
    let year = if text.starts_with('-') { -year } else { year };
    let month = input.skip(b'-').then(|| input.number())??;
    let day = input.skip(b'-').then(|| input.number())??;
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    if !is_date(year, month, day) || !input.skip(b'T') {
        return None;
    }
    let time = input.time()?;
    let offset_seconds = if input.skip(b'Z') { 0 } else { input.offset()? };
    if offset_seconds.abs() > 24 * 3_600 || !input.0.is_empty() {
        return None;
    }
    let days = days_of_date(year, month, day).checked_mul(DAY_US)?;
    days.checked_add(time - offset_seconds * 1_000_000)
}

/// Appends a number with that many digits; formatting would take several times as long.
fn push_digits(out: &mut String, number: i64, digits: usize) {
    for place in (0..digits as u32).rev() {
        let digit = number / 10_i64.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

fn write_clock(out: &mut String, time_us: i64) {
    let seconds = time_us / 1_000_000;
    push_digits(out, seconds / 3_600, 2);
    out.push(':');
    push_digits(out, seconds / 60 % 60, 2);
    out.push(':');
    push_digits(out, seconds % 60, 2);
}

/// A span of time by its parts: months and days are as long as the calendar makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub years: i64,
    pub months: i64,
    pub days: i64,
    pub hours: i64,
    pub minutes: i64,
    pub seconds_us: i64,
}

impl Interval {
    /// Reads the form of `IntervalStyle = iso_8601`.
    pub fn parse(text: &[u8]) -> Result<Interval, BadValue> {
        let bad = || BadValue::new(text, "is no interval");
        let mut input = Input(text);
        let mut interval = Interval::default();
        let mut in_time = false;
        if !input.skip(b'P') {
            return Err(bad());
        }
        while !input.0.is_empty() {
            if !in_time && input.skip(b'T') {
                in_time = true;
                continue;
            }
            let negative = input.skip(b'-');
            let whole = input.number().ok_or_else(bad)?;
            let fraction_us = if input.skip(b'.') { input.fraction().ok_or_else(bad)? } else { 0 };
            let sign = if negative { -1 } else { 1 };
            let unit = input.byte().ok_or_else(bad)?;
            let number = sign * whole;
            match (in_time, unit) {
                (false, b'Y') => interval.years = number,
                (false, b'M') => interval.months = number,
                (false, b'D') => interval.days = number,
                (true, b'H') => interval.hours = number,
                (true, b'M') => interval.minutes = number,
                (true, b'S') => {
                    let whole_us = whole.checked_mul(1_000_000).ok_or_else(bad)?;
                    interval.seconds_us = sign * (whole_us + fraction_us);
                }
                _ => return Err(bad()),
            }
        }
        Ok(interval)
    }

    /// Roughly, in µs: a month is a twelfth of 365.25 days, as Debezium counts.
    pub fn micros(&self) -> i64 {
        const MONTH_DAYS: f64 = 365.25 / 12.0;
        let months = self.years.saturating_mul(12).saturating_add(self.months);
        let days = months as f64 * MONTH_DAYS + self.days as f64;
        let clock = self.hours.saturating_mul(60).saturating_add(self.minutes);
        let clock_us = clock.saturating_mul(60_000_000).saturating_add(self.seconds_us);
        ((days * DAY_US as f64) as i64).saturating_add(clock_us)
    }

    /// `P1Y2M3DT4H5M6.7S`, with all parts there, as Debezium's Interval.
    pub fn to_iso(&self) -> String {
        let Interval { years, months, days, hours, minutes, seconds_us } = *self;
        let sign = if seconds_us < 0 { "-" } else { "" };
        let (seconds, fraction) = (seconds_us.abs() / 1_000_000, seconds_us.abs() % 1_000_000);
        let mut out = format!("P{years}Y{months}M{days}DT{hours}H{minutes}M{sign}{seconds}");
        if fraction != 0 {
            let digits = format!("{fraction:06}");
            let _ = write!(out, ".{}", digits.trim_end_matches('0'));
        }
        out.push('S');
        out
    }
}

fn without_bc(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

/// Days since 1970 of a day in the Gregorian calendar, by counting years from March on.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The opposite: year, month and day.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// What is left of a text.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let there = self.0.first() == Some(&byte);
        if there {
            self.0 = &self.0[1..];
        }
        there
    }

    /// Digits, at least one and at most twelve.
    fn number(&mut self) -> Option<i64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=12).contains(&digits) {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// Digits after a point, in millionths.
    fn fraction(&mut self) -> Option<i64> {
        let before = self.0.len();
        let number = self.number()?;
        match before - self.0.len() {
            digits @ 1..=6 => Some(number * 10_i64.pow(6 - digits as u32)),
            _ => None,
        }
    }

    fn date(&mut self, before_christ: bool) -> Option<i64> {
        let year = self.number()?;
        let month = self.skip(b'-').then(|| self.number())??;
        let day = self.skip(b'-').then(|| self.number())??;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 10_000_000 {
            return None;
        }
        let year = if before_christ { 1 - year } else { year };
        Some(days_from_civil(year, month, day))
    }

    fn time(&mut self) -> Option<i64> {
        let hours = self.number()?;
        let minutes = self.skip(b':').then(|| self.number())??;
        let seconds = self.skip(b':').then(|| self.number())??;
        let fraction = if self.skip(b'.') { self.fraction()? } else { 0 };
        let in_range = hours <= 24 && minutes < 60 && seconds <= 60;
        in_range.then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
    }

    /// `+02`, `-03:30` or `+00:19:32`, in seconds.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.byte()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut seconds = self.number()? * 3_600;
        for unit in [60, 1] {
            if self.skip(b':') {
                seconds += self.number()? * unit;
            }
        }
        Some(sign * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("2024-02-29", 19_782),
            ("2000-03-01", 11_017),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            ("0044-03-15 BC", -735_160),
            ("4714-11-24 BC", -2_440_588),
            ("5874897-12-31", 2_145_042_905),
            ("infinity", i32::MAX),
            ("-infinity", i32::MIN),
        ] {
            assert_eq!(date(text.as_bytes()), Ok(days), "{text}");
        }
        for text in ["", "2024", "2024-13-01", "2024-01-32", "2024-01-01x", "-1-1-1", "9999999999"]
        {
            assert!(date(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"24:00:00"), Ok(DAY_US));
        assert_eq!(time(b"12:34:56.789"), Ok(45_296_789_000));
        assert!(time(b"25:00:00").is_err() && time(b"1:2").is_err() && time(b"1:2:3.").is_err());
        let zoned = |text: &str| time_with_zone(text.as_bytes()).unwrap();
        assert_eq!(zoned("04:05:06.789+02"), "02:05:06.789Z");
        assert_eq!(zoned("00:00:00-12"), "12:00:00Z");
        assert_eq!(zoned("24:00:00+00"), "00:00:00Z");
        assert_eq!(zoned("01:00:00+05:30"), "19:30:00Z");
    }

    #[test]
    fn timestamps() {
        let us = |text: &str| timestamp(text.as_bytes()).unwrap();
        assert_eq!(us("2024-02-29 12:34:56.123456"), 1_709_210_096_123_456);
        assert_eq!(us("0044-03-15 12:00:00.5 BC"), -63_517_780_799_500_000);
        assert_eq!(us("1969-12-31 23:59:59"), -1_000_000);
        assert_eq!(us("infinity"), INFINITY_US);
        assert_eq!(us("294276-12-31 23:59:59.999999"), i64::MAX, "past what 64 bits hold");
        let zoned = |text: &str, digits| timestamp_with_zone(text.as_bytes(), digits).unwrap();
        assert_eq!(zoned("2024-02-29 10:34:56.1+00", 6), "2024-02-29T10:34:56.100000Z");
        assert_eq!(zoned("2024-02-29 10:34:56.1+00", 3), "2024-02-29T10:34:56.100Z");
        assert_eq!(zoned("2024-02-29 10:34:56+00", 0), "2024-02-29T10:34:56Z");
        assert_eq!(zoned("2024-03-01 00:30:00+02", 0), "2024-02-29T22:30:00Z");
        assert_eq!(zoned("0044-03-15 12:00:00+00 BC", 0), "-0043-03-15T12:00:00Z");
        assert_eq!(zoned("12024-03-15 12:00:00+00", 0), "+12024-03-15T12:00:00Z");
        assert_eq!(zoned("-infinity", 6), "-infinity");
    }

    #[test]
    fn instants() {
        for (text, us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T10:34:56.1Z", 1_709_202_896_100_000),
            ("2024-02-29T12:34:56.123456+02:00", 1_709_202_896_123_456),
            ("-0043-03-15T12:00:00Z", -63_517_780_800_000_000),
            ("infinity", INFINITY_US),
            ("-infinity", MINUS_INFINITY_US),
        ] {
            assert_eq!(instant_us(text), Some(us), "{text}");
        }
        for text in [
            "",
            "2024-02-30T00:00:00Z",
            "2024-02-29",
            "2024-02-29T00:00:00",
            "2024-02-29T00:00:00.1234567Z",
            "2024-02-29T00:00:00Zx",
            "2024-02-29T00:00:00+999999999999",
            "+299999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(instant_us(text), None, "{text}");
        }
    }

    #[test]
    fn intervals() {
        let read = |text: &str| Interval::parse(text.as_bytes()).unwrap();
        let interval = read("P1Y2M3DT4H5M6.789012S");
        assert_eq!(interval.micros(), 37_091_106_789_012);
        assert_eq!(interval.to_iso(), "P1Y2M3DT4H5M6.789012S");
        assert_eq!(read("P-1Y-2DT3H").micros(), -31_719_600_000_000);
        assert_eq!(read("PT-0.000001S").micros(), -1);
        assert_eq!(read("PT-0.5S").to_iso(), "P0Y0M0DT0H0M-0.5S");
        assert_eq!(read("PT0S").to_iso(), "P0Y0M0DT0H0M0S");
        for text in ["", "P1", "1Y", "P1X", "PT1Y", "P1H", "PT1.S"] {
            assert!(Interval::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_are_counted_both_ways(days in -3_000_000_i64..2_145_042_905) {
            let (year, month, day) = civil(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }

        #[test]
        fn no_text_does_harm(text: Vec<u8>) {
            let _ = (date(&text), time(&text), time_with_zone(&text), timestamp(&text));
            let _ = (timestamp_with_zone(&text, 3), Interval::parse(&text));
        }

        #[test]
        fn instants_are_read_as_they_were_written(
            days in -3_000_000_i64..100_000_000,
            time in 0..DAY_US,
        ) {
            let (year, month, day) = civil(days);
            let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
            let mut clock = String::new();
            write_clock(&mut clock, time);
            let fraction = time % 1_000_000;
            let text = format!("{year:04}-{month:02}-{day:02} {clock}.{fraction:06}+00{era}");
            let written = timestamp_with_zone(text.as_bytes(), 6).unwrap();
            prop_assert_eq!(instant_us(&written), Some(days * DAY_US + time), "{}", written);
        }

        #[test]
        fn no_instant_does_harm(text in "[-+0-9]{0,9}[-0-9T:.Z]{0,30}") {
            let _ = instant_us(&text);
        }
    }
}
