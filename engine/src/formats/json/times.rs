//! Timestamps as JSON text, as Arrow writes them: `2013-01-01T10:00:00.5` has three, six or nine
//! digits after the second, or none; one of a zone ends in `Z` where the zone is UTC.
//!
//! Arrow's own writer goes through two layers of formatting for each. Rows that are near in time
//! have the same date, which is written once here.

use arrow::array::{Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::Encoder;
use chrono::{DateTime, Datelike};

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

struct TimeEncoder<'a> {
    array: &'a dyn Array,
    values: &'a [i64],
    /// How many of the unit are a second.
    per_second: i64,
    is_of_utc: bool,
    /// The last date, as days since 1970, and its text.
    day: i64,
    date: [u8; 10],
}

/// `None` for types of other zones than UTC, and those that are no timestamps.
pub fn encoder<'a>(array: &'a dyn Array) -> Option<Box<dyn Encoder + 'a>> {
    let DataType::Timestamp(unit, zone) = array.data_type() else { return None };
    let is_of_utc = match zone.as_deref() {
        None => false,
        Some("UTC" | "+00:00" | "Z") => true,
        Some(_) => return None,
    };
    fn values<T: ArrowTimestampType>(array: &dyn Array) -> Option<&[i64]> {
        Some(array.as_any().downcast_ref::<PrimitiveArray<T>>()?.values())
    }
    let (values, per_second) = match unit {
        TimeUnit::Second => (values::<TimestampSecondType>(array)?, 1),
        TimeUnit::Millisecond => (values::<TimestampMillisecondType>(array)?, 1_000),
        TimeUnit::Microsecond => (values::<TimestampMicrosecondType>(array)?, 1_000_000),
        TimeUnit::Nanosecond => (values::<TimestampNanosecondType>(array)?, NANOS),
    };
    let (day, date) = (i64::MIN, [b'0'; 10]);
    Some(Box::new(TimeEncoder { array, values, per_second, is_of_utc, day, date }))
}

impl Encoder for TimeEncoder<'_> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let value = self.values[idx];
        let seconds = value.div_euclid(self.per_second);
        let nanos = value.rem_euclid(self.per_second) * (NANOS / self.per_second);
        let (day, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        out.push(b'"');
        if day == self.day || self.begin_day(day) {
            out.extend_from_slice(&self.date);
            let mut clock = *b"T00:00:00";
            put_two(&mut clock[1..], second / 3_600);
            put_two(&mut clock[4..], second / 60 % 60);
            put_two(&mut clock[7..], second % 60);
            out.extend_from_slice(&clock);
            put_fraction(nanos, out);
            if self.is_of_utc {
                out.push(b'Z');
            }
        } else {
            out.extend_from_slice(self.far(idx).as_bytes());
        }
        out.push(b'"');
    }
}

impl TimeEncoder<'_> {
    /// False for years that do not have four digits.
    fn begin_day(&mut self, day: i64) -> bool {
        let first = day.checked_mul(DAY_SECONDS).and_then(|at| DateTime::from_timestamp(at, 0));
        let Some(date) = first.map(|at| at.date_naive()) else { return false };
        let year = i64::from(date.year());
        if !(0..=9_999).contains(&year) {
            return false;
        }
        let mut text = *b"0000-00-00";
        put_two(&mut text, year / 100);
        put_two(&mut text[2..], year % 100);
        put_two(&mut text[5..], i64::from(date.month()));
        put_two(&mut text[8..], i64::from(date.day()));
        (self.day, self.date) = (day, text);
        true
    }

    /// A time that is seldom, as Arrow writes it.
    fn far(&self, idx: usize) -> String {
        let options = FormatOptions::new().with_display_error(true);
        match ArrayFormatter::try_new(self.array, &options) {
            Ok(formatter) => formatter.value(idx).to_string(),
            Err(error) => error.to_string(),
        }
    }
}

fn put_two(text: &mut [u8], number: i64) {
    text[0] = b'0' + (number / 10) as u8;
    text[1] = b'0' + (number % 10) as u8;
}

/// Three, six or nine digits after a point, or nothing.
fn put_fraction(nanos: i64, out: &mut Vec<u8>) {
    if nanos == 0 {
        return;
    }
    let (mut rest, digits) = match (nanos % 1_000_000, nanos % 1_000) {
        (0, _) => (nanos / 1_000_000, 3),
        (_, 0) => (nanos / 1_000, 6),
        _ => (nanos, 9),
    };
    let mut text = *b".000000000";
    for at in (1..=digits).rev() {
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[..=digits]);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::compute::cast;
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[i64], unit: TimeUnit, zone: Option<&str>) {
        let of = DataType::Timestamp(unit, zone.map(Into::into));
        let numbers: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let array = cast(&numbers, &of).unwrap();
        let mut ours = encoder(array.as_ref()).unwrap();
        let options = FormatOptions::new().with_display_error(true);
        let theirs = ArrayFormatter::try_new(array.as_ref(), &options).unwrap();
        for row in 0..values.len() {
            let mut text = Vec::new();
            ours.encode(row, &mut text);
            let expected = format!("\"{}\"", theirs.value(row));
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{} {of}", values[row]);
        }
    }

    const UNITS: [TimeUnit; 4] =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

    #[test]
    fn edges_are_written_as_arrow_writes_them() {
        let year_0 = -62_167_219_200;
        let year_10_000 = 253_402_300_800;
        let mut values = vec![0, -1, 1, 999, 1_000, 86_399, 86_400, -86_401, 951_782_400];
        for factor in [1, 1_000, 1_000_000] {
            for edge in [year_0, year_10_000] {
                values.extend([-1, 0, 1].map(|by| edge * factor + by));
            }
        }
        values.extend([i64::MAX, i64::MIN, i64::MAX - 1]);
        for unit in UNITS {
            for zone in [None, Some("UTC"), Some("+00:00")] {
                check(&values, unit, zone);
            }
        }
    }

    proptest! {
        #[test]
        fn times_are_written_as_arrow_writes_them(
            values in prop::collection::vec(
                prop_oneof![any::<i64>(), -1_000_000_000_000_000..4_000_000_000_000_000i64], 1..20),
            unit in 0..4usize,
            zoned: bool,
        ) {
            check(&values, UNITS[unit], zoned.then_some("UTC"));
        }
    }
}
