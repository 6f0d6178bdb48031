//! Text into typed columns, for formats whose fields are text.
//!
//! Fields other than text are trimmed of ASCII blanks. Times may be written in the common ISO
//! 8601 forms (`2013-01-01T10:00:00Z`, `2013-01-01 10:00:00.123+01:00`, `2013-01-01`), or as a
//! whole number of the column's own unit since 1970. A time without zone is in the column's zone,
//! or UTC.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryBuilder, BinaryViewBuilder, BooleanBuilder,
    Decimal128Builder, LargeBinaryBuilder, LargeStringBuilder, PrimitiveBuilder, StringBuilder,
    StringViewBuilder,
};
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Date32Type, Date64Type, Field, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use super::decimal::decimal_of_text;

/// Digits from which on a number in a time column is a count of units, not a date such as
/// `20130101`.
const EPOCH_DIGITS_MIN: usize = 9;

/// What a count of units since 1970 must be at least, whatever its sign, unless it is 0: in fine
/// units a smaller one is a time before 1973, and rather a count of milliseconds or seconds.
pub fn least_count(unit: TimeUnit) -> u64 {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => 0,
        TimeUnit::Microsecond => 100_000_000_000_000,
        TimeUnit::Nanosecond => 100_000_000_000_000_000,
    }
}

/// Collects fields of one column.
pub trait TextColumn: Send {
    /// Takes one field; false, and nothing taken, if it is not of the column's type.
    fn append(&mut self, text: &str) -> bool;
    fn append_null(&mut self);
    /// The column so far; starts anew.
    fn finish(&mut self) -> ArrayRef;
    /// Whether an empty field is a value of its own rather than no value.
    fn is_text(&self) -> bool {
        false
    }
}

/// A builder for `data_type`, or `None` if text cannot become that.
pub fn text_column(data_type: &DataType) -> Option<Box<dyn TextColumn>> {
    fn parsed<T: Parser>(data_type: &DataType) -> Option<Box<dyn TextColumn>> {
        let builder = PrimitiveBuilder::<T>::new().with_data_type(data_type.clone());
        Some(Box::new(Parsed(builder)))
    }
    match data_type {
        DataType::Boolean => Some(Box::new(Booleans(BooleanBuilder::new()))),
        DataType::Int8 => parsed::<Int8Type>(data_type),
        DataType::Int16 => parsed::<Int16Type>(data_type),
        DataType::Int32 => parsed::<Int32Type>(data_type),
        DataType::Int64 => parsed::<Int64Type>(data_type),
        DataType::UInt8 => parsed::<UInt8Type>(data_type),
        DataType::UInt16 => parsed::<UInt16Type>(data_type),
        DataType::UInt32 => parsed::<UInt32Type>(data_type),
        DataType::UInt64 => parsed::<UInt64Type>(data_type),
        DataType::Float32 => parsed::<Float32Type>(data_type),
        DataType::Float64 => parsed::<Float64Type>(data_type),
        DataType::Date32 => parsed::<Date32Type>(data_type),
        DataType::Date64 => parsed::<Date64Type>(data_type),
        DataType::Time32(TimeUnit::Second) => parsed::<Time32SecondType>(data_type),
        DataType::Time32(TimeUnit::Millisecond) => parsed::<Time32MillisecondType>(data_type),
        DataType::Time64(TimeUnit::Microsecond) => parsed::<Time64MicrosecondType>(data_type),
        DataType::Time64(TimeUnit::Nanosecond) => parsed::<Time64NanosecondType>(data_type),
        DataType::Decimal128(precision, scale) => Some(Box::new(Decimals {
            builder: Decimal128Builder::new().with_data_type(data_type.clone()),
            precision: *precision,
            scale: *scale,
        })),
        DataType::Timestamp(unit, zone) => timestamps(data_type, *unit, zone.as_deref()),
        DataType::Utf8 => Some(Box::new(Strings(StringBuilder::new()))),
        DataType::LargeUtf8 => Some(Box::new(Strings(LargeStringBuilder::new()))),
        DataType::Utf8View => Some(Box::new(StringViews(StringViewBuilder::new()))),
        DataType::Binary => Some(Box::new(Binaries(BinaryBuilder::new()))),
        DataType::LargeBinary => Some(Box::new(Binaries(LargeBinaryBuilder::new()))),
        DataType::BinaryView => Some(Box::new(BinaryViews(BinaryViewBuilder::new()))),
        _ => None,
    }
}

fn timestamps(
    data_type: &DataType,
    unit: TimeUnit,
    zone: Option<&str>,
) -> Option<Box<dyn TextColumn>> {
    fn column<T: ArrowTimestampType>(
        data_type: &DataType,
        zone: Tz,
    ) -> Option<Box<dyn TextColumn>> {
        let builder = PrimitiveBuilder::<T>::new().with_data_type(data_type.clone());
        Some(Box::new(Timestamps { builder, zone }))
    }
    let zone: Tz = zone.unwrap_or("+00:00").parse().ok()?;
    match unit {
        TimeUnit::Second => column::<TimestampSecondType>(data_type, zone),
        TimeUnit::Millisecond => column::<TimestampMillisecondType>(data_type, zone),
        TimeUnit::Microsecond => column::<TimestampMicrosecondType>(data_type, zone),
        TimeUnit::Nanosecond => column::<TimestampNanosecondType>(data_type, zone),
    }
}

/// What a field of `data_type` looks like, for messages: "a number", "a time such as …".
pub fn expectation(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "a boolean (true or false)".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            format!("a whole number of {} bits", data_type.primitive_width().unwrap_or(8) * 8)
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            let bits = data_type.primitive_width().unwrap_or(8) * 8;
            format!("a whole number from 0 of {bits} bits")
        }
        DataType::Float32 | DataType::Float64 => "a number".to_owned(),
        DataType::Decimal128(precision, scale) => {
            format!("a decimal number of {precision} digits, {scale} after the point")
        }
        DataType::Date32 | DataType::Date64 => "a date such as 2013-01-31".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "a time of day such as 09:30:00".to_owned(),
        DataType::Timestamp(_, _) => "a time such as 2013-01-31T09:30:00Z".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            "bytes (in text: as base64)".to_owned()
        }
        DataType::FixedSizeBinary(width) => format!("{width} bytes (in text: as base64)"),
        DataType::List(_) | DataType::LargeList(_) => "an array".to_owned(),
        DataType::FixedSizeList(_, len) => format!("an array of {len}"),
        DataType::Map(..) => "an object of names and values".to_owned(),
        DataType::Struct(_) => "an object".to_owned(),
        other => format!("of type {other}"),
    }
}

/// The values as another type, all of them: what does not fit is an error, never NULL.
pub(super) fn exact_cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options).map_err(|error| match error {
        ArrowError::CastError(reason) | ArrowError::ComputeError(reason) => reason,
        other => other.to_string(),
    })
}

struct Parsed<T: Parser + ArrowPrimitiveType>(PrimitiveBuilder<T>);

impl<T: Parser> TextColumn for Parsed<T> {
    fn append(&mut self, text: &str) -> bool {
        match T::parse(text.trim_ascii()) {
            Some(value) => {
                self.0.append_value(value);
                true
            }
            None => false,
        }
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Booleans(BooleanBuilder);

impl TextColumn for Booleans {
    fn append(&mut self, text: &str) -> bool {
        let text = text.trim_ascii();
        let is = |names: [&str; 5]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
        if is(["true", "t", "1", "yes", "y"]) {
            self.0.append_value(true);
        } else if is(["false", "f", "0", "no", "n"]) {
            self.0.append_value(false);
        } else {
            return false;
        }
        true
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Decimals {
    builder: Decimal128Builder,
    precision: u8,
    scale: i8,
}

impl TextColumn for Decimals {
    fn append(&mut self, text: &str) -> bool {
        match decimal_of_text(text.trim_ascii(), self.precision, self.scale) {
            Some(value) => {
                self.builder.append_value(value);
                true
            }
            None => false,
        }
    }

    fn append_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

struct Timestamps<T: ArrowTimestampType> {
    builder: PrimitiveBuilder<T>,
    zone: Tz,
}

impl<T: ArrowTimestampType> TextColumn for Timestamps<T> {
    fn append(&mut self, text: &str) -> bool {
        match timestamp(text.trim_ascii(), T::UNIT, &self.zone) {
            Some(value) => {
                self.builder.append_value(value);
                true
            }
            None => false,
        }
    }

    fn append_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

/// The time that `text` says, in `unit`s since 1970.
pub(super) fn timestamp(text: &str, unit: TimeUnit, zone: &Tz) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() >= EPOCH_DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_likely = |count: &i64| *count == 0 || count.unsigned_abs() >= least_count(unit);
        return text.parse().ok().filter(is_likely);
    }
    let time = string_to_datetime(zone, text).ok()?;
    match unit {
        TimeUnit::Second => Some(time.timestamp()),
        TimeUnit::Millisecond => Some(time.timestamp_millis()),
        TimeUnit::Microsecond => Some(time.timestamp_micros()),
        TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
    }
}

struct Strings<O: arrow::array::OffsetSizeTrait>(
    arrow::array::GenericByteBuilder<arrow::datatypes::GenericStringType<O>>,
);

impl<O: arrow::array::OffsetSizeTrait> TextColumn for Strings<O> {
    fn append(&mut self, text: &str) -> bool {
        self.0.append_value(text);
        true
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }

    fn is_text(&self) -> bool {
        true
    }
}

struct StringViews(StringViewBuilder);

impl TextColumn for StringViews {
    fn append(&mut self, text: &str) -> bool {
        self.0.append_value(text);
        true
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }

    fn is_text(&self) -> bool {
        true
    }
}

struct Binaries<O: arrow::array::OffsetSizeTrait>(
    arrow::array::GenericByteBuilder<arrow::datatypes::GenericBinaryType<O>>,
);

impl<O: arrow::array::OffsetSizeTrait> TextColumn for Binaries<O> {
    fn append(&mut self, text: &str) -> bool {
        self.0.append_value(text.as_bytes());
        true
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }

    fn is_text(&self) -> bool {
        true
    }
}

struct BinaryViews(BinaryViewBuilder);

impl TextColumn for BinaryViews {
    fn append(&mut self, text: &str) -> bool {
        self.0.append_value(text.as_bytes());
        true
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }

    fn is_text(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;

    fn parse(data_type: DataType, text: &str) -> Option<String> {
        let mut column = text_column(&data_type).expect("a type that text can become");
        column.append(text).then(|| array_value_to_string(&column.finish(), 0).unwrap())
    }

    #[test]
    fn numbers_are_trimmed_and_checked() {
        assert_eq!(parse(DataType::Int64, " 42 ").as_deref(), Some("42"));
        assert_eq!(parse(DataType::Int64, "42x"), None);
        assert_eq!(parse(DataType::Int8, "128"), None);
        assert_eq!(parse(DataType::UInt16, "-1"), None);
        assert_eq!(parse(DataType::Float64, "1e3").as_deref(), Some("1000.0"));
        assert_eq!(parse(DataType::Float64, "1,5"), None);
        assert_eq!(parse(DataType::Decimal128(10, 2), "12.34").as_deref(), Some("12.34"));
        assert_eq!(parse(DataType::Decimal128(4, 2), "1234.5"), None);
        assert_eq!(parse(DataType::Boolean, "YES").as_deref(), Some("true"));
        assert_eq!(parse(DataType::Boolean, "maybe"), None);
    }

    #[test]
    fn times_are_iso_or_counts_of_the_unit() {
        let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        for text in [
            "2013-01-01T10:00:00Z",
            "2013-01-01 10:00:00",
            "2013-01-01T11:00:00+01:00",
            "2013-01-01T10:00:00.000",
            "1357034400000",
        ] {
            assert_eq!(parse(ms.clone(), text).as_deref(), Some("2013-01-01T10:00:00"), "{text}");
        }
        assert_eq!(parse(ms.clone(), "2013-01-01").as_deref(), Some("2013-01-01T00:00:00"));
        assert_eq!(parse(ms.clone(), "yesterday"), None);
        assert_eq!(parse(ms, "2013-13-01"), None);
        let zoned = DataType::Timestamp(TimeUnit::Second, Some("+02:00".into()));
        assert_eq!(
            parse(zoned, "2013-01-01T10:00:00").as_deref(),
            Some("2013-01-01T10:00:00+02:00")
        );
        assert_eq!(parse(DataType::Date32, "2013-01-31").as_deref(), Some("2013-01-31"));
    }
}

/// A map as functions of maps take and give it.
pub fn map_type(key: DataType, value: DataType) -> DataType {
    let fields = vec![Field::new("key", key, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields.into()), false)), false)
}
