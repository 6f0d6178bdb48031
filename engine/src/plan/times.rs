//! Points in time, as Flink makes them and counts between them.
//!
//! | call | gives |
//! |---|---|
//! | `to_timestamp_ltz(n, 3)`, `to_timestamp_ltz(n)` | the time n ms after 1970 |
//! | `to_timestamp_ltz(n, 0)` | the time n s after 1970 |
//! | `to_timestamp_ltz('2013-01-01 10:00:00')` | that time in UTC, unless it names another zone |
//! | `timestampdiff('month', a, b)` | how many of the unit fit between `a` and `b` |
//! | `timestampadd('month', n, t)` | the time n of the unit after `t` |
//!
//! Text that says no time gives NULL, as there; so does a time that cannot be counted. Units are
//! `microsecond` to `year`. A month after the 31st is the last day of one that is shorter.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Months, Utc};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::pipeline::cases::parse_time_ms;

const NAME: &str = "to_timestamp_ltz";
const UTC: &str = "+00:00";

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestampLtz {
    signature: Signature,
}

/// For any registry that plans or runs our queries.
pub fn functions() -> [Arc<ScalarUDF>; 3] {
    let signature = || Signature::user_defined(Volatility::Immutable);
    let counting = |adds| Arc::new(ScalarUDF::from(Counting { adds, signature: signature() }));
    let ltz = Arc::new(ScalarUDF::from(ToTimestampLtz { signature: signature() }));
    [ltz, counting(false), counting(true)]
}

impl ScalarUDFImpl for ToTimestampLtz {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text =
            |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match types {
            [text] if is_text(text) => Ok(vec![DataType::Utf8]),
            [number] if number.is_numeric() || number.is_null() => Ok(vec![DataType::Int64]),
            [number, precision]
                if (number.is_numeric() || number.is_null()) && precision.is_integer() =>
            {
                Ok(vec![DataType::Int64, DataType::Int64])
            }
            _ => plan_err!(
                "{NAME} takes a number and its precision, 0 for seconds or 3 for milliseconds; or \
                 text"
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let factor = match args.args.get(1) {
            None | Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(3)))) => 1,
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(0)))) => 1_000,
            Some(_) => return exec_err!("the precision of {NAME} is 0 (seconds) or 3 (ms)"),
        };
        let values = args.args[0].to_array(args.number_rows)?;
        let times: TimestampMillisecondArray = match values.data_type() {
            DataType::Utf8 => {
                let texts = values.as_string::<i32>().iter();
                texts.map(|text| text.and_then(parse_time_ms)).collect()
            }
            _ => {
                let numbers: ArrayRef = cast(&values, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>().iter();
                // Beyond what can be counted there is no time.
                numbers.map(|number| number.and_then(|of| of.checked_mul(factor))).collect()
            }
        };
        Ok(ColumnarValue::Array(Arc::new(times.with_timezone(UTC))))
    }
}

/// `timestampdiff` and `timestampadd`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Counting {
    adds: bool,
    signature: Signature,
}

impl Counting {
    fn column(&self, unit: Unit, of: &[ArrayRef]) -> Result<ArrayRef> {
        let micros = |at: usize| cast(&of[at], &DataType::Timestamp(TimeUnit::Microsecond, None));
        let times = |of: &ArrayRef| of.as_primitive::<TimestampMicrosecondType>().clone();
        let to = times(&micros(1)?);
        if self.adds {
            let counts = of[0].as_primitive::<Int64Type>().iter();
            let moved = counts.zip(to.iter()).map(|(count, from)| unit.after(from?, count?));
            return Ok(cast(&moved.collect::<TimestampMicrosecondArray>(), of[1].data_type())?);
        }
        let from = times(&micros(0)?);
        let counts = from.iter().zip(to.iter()).map(|(from, to)| unit.between(from?, to?));
        Ok(Arc::new(counts.collect::<Int64Array>()))
    }
}

impl ScalarUDFImpl for Counting {
    fn name(&self) -> &str {
        if self.adds { "timestampadd" } else { "timestampdiff" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(if self.adds { types[2].clone() } else { DataType::Int64 })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let time = |of: &DataType| match of {
            DataType::Timestamp(..) => Some(of.clone()),
            DataType::Date32 | DataType::Date64 | DataType::Null => {
                Some(DataType::Timestamp(TimeUnit::Millisecond, None))
            }
            _ => None,
        };
        let whole = |of: &DataType| (of.is_integer() || of.is_null()).then_some(DataType::Int64);
        let coerced = match types {
            [_, count, of] if self.adds => whole(count).zip(time(of)),
            [_, from, to] if !self.adds => time(from).zip(time(to)),
            _ => None,
        };
        match (coerced, self.adds) {
            (Some((first, second)), _) => Ok(vec![DataType::Utf8, first, second]),
            (None, true) => plan_err!("it is TIMESTAMPADD(HOUR, number, time)"),
            (None, false) => plan_err!("it is TIMESTAMPDIFF(HOUR, from, to), of two times"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(unit))) = &args.args[0] else {
            return exec_err!("the unit of {} is a constant", self.name());
        };
        let unit = Unit::named(unit).ok_or_else(|| {
            exec_datafusion_err!(
                "{} knows no unit '{unit}': they are MICROSECOND, MILLISECOND, SECOND, MINUTE, \
                 HOUR, DAY, WEEK, MONTH, QUARTER and YEAR",
                self.name()
            )
        })?;
        let of = args.args[1..].iter().map(|arg| arg.to_array(args.number_rows));
        Ok(ColumnarValue::Array(self.column(unit, &of.collect::<Result<Vec<_>>>()?)?))
    }
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Micros(i64),
    Months(i64),
}

impl Unit {
    fn named(name: &str) -> Option<Unit> {
        const SECOND: i64 = 1_000_000;
        Some(match name {
            "microsecond" => Unit::Micros(1),
            "millisecond" => Unit::Micros(1_000),
            "second" => Unit::Micros(SECOND),
            "minute" => Unit::Micros(60 * SECOND),
            "hour" => Unit::Micros(3_600 * SECOND),
            "day" => Unit::Micros(86_400 * SECOND),
            "week" => Unit::Micros(604_800 * SECOND),
            "month" => Unit::Months(1),
            "quarter" => Unit::Months(3),
            "year" => Unit::Months(12),
            _ => return None,
        })
    }

    /// The time, in µs, `count` units after another.
    fn after(self, from_us: i64, count: i64) -> Option<i64> {
        let months = match self {
            Unit::Micros(length) => return from_us.checked_add(count.checked_mul(length)?),
            Unit::Months(months) => count.checked_mul(months)?,
        };
        let by = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        let from = DateTime::<Utc>::from_timestamp_micros(from_us)?;
        let moved = match months < 0 {
            true => from.checked_sub_months(by),
            false => from.checked_add_months(by),
        };
        Some(moved?.timestamp_micros())
    }

    /// How many whole units there are from one time to another, both in µs.
    fn between(self, from_us: i64, to_us: i64) -> Option<i64> {
        let each = match self {
            Unit::Micros(length) => return Some(to_us.checked_sub(from_us)? / length),
            Unit::Months(each) => each,
        };
        if to_us < from_us {
            return Some(-self.between(to_us, from_us)?);
        }
        let months = |time: DateTime<Utc>| -> i64 {
            let date = time.date_naive();
            i64::from(chrono::Datelike::year(&date)) * 12
                + i64::from(chrono::Datelike::month0(&date))
        };
        let [from, to] = [from_us, to_us].map(DateTime::<Utc>::from_timestamp_micros);
        let mut between = months(to?) - months(from?);
        if Unit::Months(1).after(from_us, between)? > to_us {
            between -= 1;
        }
        Some(between / each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> i64 {
        parse_time_ms(time).unwrap() * 1_000
    }

    #[test]
    fn units_that_have_passed_are_counted_whole() {
        for (unit, from, to, count) in [
            ("month", "2024-01-31T00:00:00Z", "2024-02-29T00:00:00Z", 1),
            ("month", "2024-01-31T00:00:01Z", "2024-02-29T00:00:00Z", 0),
            ("month", "2024-03-15T12:00:00Z", "2024-01-15T12:00:00Z", -2),
            ("month", "2024-03-15T12:00:00Z", "2024-01-15T12:00:01Z", -1),
            ("quarter", "2023-12-01T00:00:00Z", "2024-06-01T00:00:00Z", 2),
            ("year", "2020-02-29T00:00:00Z", "2021-02-28T00:00:00Z", 1),
            ("year", "2020-02-29T00:00:01Z", "2021-02-28T00:00:00Z", 0),
            ("hour", "2024-01-01T00:00:00Z", "2023-12-31T22:30:00Z", -1),
            ("week", "2024-01-01T00:00:00Z", "2024-01-14T23:59:59Z", 1),
        ] {
            let unit = Unit::named(unit).unwrap();
            assert_eq!(unit.between(at(from), at(to)), Some(count), "{unit:?} {from} {to}");
        }
    }

    #[test]
    fn times_move_by_units() {
        for (unit, from, count, to) in [
            ("month", "2024-01-31T10:00:00Z", 1, "2024-02-29T10:00:00Z"),
            ("quarter", "2024-05-31T10:00:00Z", -1, "2024-02-29T10:00:00Z"),
            ("year", "2024-02-29T10:00:00Z", 1, "2025-02-28T10:00:00Z"),
            ("minute", "2024-01-01T00:00:00Z", -1, "2023-12-31T23:59:00Z"),
        ] {
            let unit = Unit::named(unit).unwrap();
            assert_eq!(unit.after(at(from), count), Some(at(to)), "{unit:?} {from} {count}");
        }
        assert_eq!(Unit::Months(12).after(0, i64::MAX), None);
        assert_eq!(Unit::Micros(2).after(0, i64::MAX), None);
    }
}
