//! Columns of any type, nested ones included, built value by value from what a format holds.
//!
//! A value goes where it can go without loss: whole numbers into every kind of number, times
//! into times of another unit if nothing is cut off, numbers and times out of text, any scalar
//! into text. What a column cannot take is refused, and the row that it belongs to is taken back
//! by [`ColumnBuilder::truncate`]: nothing of a bad record stays.
//!
//! | Arrow type | takes |
//! |---|---|
//! | Boolean | booleans, the texts `true` and `false` |
//! | Int8 … Int64, UInt8 … UInt64 | whole numbers in range, also as text or as `1.0` |
//! | Float32, Float64 | numbers, also as text |
//! | Decimal128 | numbers of no more digits, also as text |
//! | Utf8, LargeUtf8, Utf8View | text; numbers and booleans as they are written |
//! | Binary, LargeBinary, BinaryView, FixedSizeBinary | bytes; text as its format encodes bytes |
//! | Date32, Date64, Time32, Time64, Timestamp | ISO 8601 text, or a count of the unit |
//! | Duration, Interval | counts; Avro's duration |
//! | List, LargeList, FixedSizeList, Map, Struct | arrays, maps, objects |

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, MapArray, NullArray, StringArray, StructArray,
    Time32MillisecondArray, Time32SecondArray, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Field, FieldRef, Fields, IntervalMonthDayNano, IntervalUnit,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
};

use super::FormatError;
use super::columns::{least_count, timestamp};
use super::decimal::decimal_of_text;
use crate::type_names::type_text;

/// A value that the column cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// NULL, where the column must not be.
    Null,
    /// Of another type, or out of range.
    Type,
    /// More bytes or items than one column can hold.
    Room,
    /// A count of units that is hardly one of the column's (see [`least_count`]).
    Unit,
}

pub type Put = Result<(), Refused>;

/// What a format says of a scalar beside its own types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A whole number is so many of these since 1970.
    Instant(TimeUnit),
    /// A whole number is so many days since 1970.
    Days,
    /// A whole number is so many of these since midnight.
    TimeOfDay(TimeUnit),
    /// Bytes are a number in two's complement, with so many digits after the point.
    Decimal(i8),
}

/// One column, and the columns below it.
pub struct ColumnBuilder {
    field: FieldRef,
    nulls: NullBufferBuilder,
    values: Values,
    /// Set from outside; NULL for what a type says itself.
    pub meaning: Option<Meaning>,
    least_count: u64,
}

enum Values {
    Null,
    Boolean(Vec<bool>),
    /// Int32, Date32, Time32.
    I32(Vec<i32>),
    /// Int64, Time64, Date64, Timestamp, Duration.
    I64(Vec<i64>),
    /// Whole numbers of other widths.
    Narrow {
        values: Vec<i64>,
        least: i64,
        most: i64,
    },
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Interval(Vec<IntervalMonthDayNano>),
    Bytes {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
        text: bool,
    },
    Fixed {
        bytes: Vec<u8>,
        width: usize,
    },
    List {
        offsets: Vec<i32>,
        item: Box<ColumnBuilder>,
        fixed: Option<usize>,
    },
    Map {
        offsets: Vec<i32>,
        key: Box<ColumnBuilder>,
        value: Box<ColumnBuilder>,
    },
    Struct(StructBuilder),
}

/// The columns of a struct, found by name.
pub struct StructBuilder {
    pub columns: Vec<ColumnBuilder>,
    /// Names in the order in which the last struct had them, and their columns.
    seen: Vec<(Box<str>, Option<usize>)>,
}

/// Names that a struct's order is remembered for, and the longest of them.
const SEEN_NAMES_MAX: usize = 256;
const SEEN_NAME_LEN_MAX: usize = 128;

impl StructBuilder {
    /// The column of this name. `position` says how many names stood before it.
    pub fn find(&mut self, position: usize, name: &str) -> Option<usize> {
        if let Some((seen, column)) = self.seen.get(position)
            && **seen == *name
        {
            return *column;
        }
        let column = self.columns.iter().position(|column| column.name() == name);
        if name.len() <= SEEN_NAME_LEN_MAX {
            if position < self.seen.len() {
                self.seen[position] = (name.into(), column);
            } else if position == self.seen.len() && position < SEEN_NAMES_MAX {
                self.seen.push((name.into(), column));
            }
        }
        column
    }
}

impl ColumnBuilder {
    /// `format` is named in the error for types that no record of any format becomes.
    pub fn new(field: &FieldRef, format: &'static str) -> Result<ColumnBuilder, FormatError> {
        let build = |field: &FieldRef| ColumnBuilder::new(field, format).map(Box::new);
        let values = match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) => {
                Values::List { offsets: vec![0], item: build(item)?, fixed: None }
            }
            DataType::FixedSizeList(item, len) => {
                let fixed = usize::try_from(*len).ok();
                Values::List { offsets: vec![0], item: build(item)?, fixed }
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Values::Map {
                    offsets: vec![0],
                    key: build(&fields[0])?,
                    value: build(&fields[1])?,
                },
                _ => return Err(unsupported(field, format)),
            },
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| ColumnBuilder::new(field, format));
                let columns = columns.collect::<Result<_, _>>()?;
                Values::Struct(StructBuilder { columns, seen: Vec::new() })
            }
            other => scalar_values(other).ok_or_else(|| unsupported(field, format))?,
        };
        let nulls = NullBufferBuilder::new(0);
        let least_count = match field.data_type() {
            DataType::Timestamp(unit, _) => least_count(*unit),
            _ => 0,
        };
        Ok(ColumnBuilder { field: Arc::clone(field), nulls, values, meaning: None, least_count })
    }

    /// A column that holds a row's fields.
    pub fn rows(fields: Fields, format: &'static str) -> Result<ColumnBuilder, FormatError> {
        let field = Field::new("row", DataType::Struct(fields), false);
        ColumnBuilder::new(&Arc::new(field), format)
    }

    pub fn name(&self) -> &str {
        self.field.name()
    }

    pub fn field(&self) -> &FieldRef {
        &self.field
    }

    pub fn data_type(&self) -> &DataType {
        self.field.data_type()
    }

    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_nullable(&self) -> bool {
        self.field.is_nullable()
    }

    /// Text and bytes both are stored as bytes; this is which of them it is.
    pub fn is_binary(&self) -> bool {
        matches!(self.values, Values::Bytes { text: false, .. } | Values::Fixed { .. })
    }

    pub fn is_text(&self) -> bool {
        matches!(self.values, Values::Bytes { text: true, .. })
    }

    pub fn null(&mut self) -> Put {
        if !self.field.is_nullable() && !self.field.data_type().is_null() {
            return Err(Refused::Null);
        }
        self.filler();
        Ok(())
    }

    /// A value that nobody sees, because something above it is NULL.
    fn filler(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(values) => values.push(false),
            Values::I32(values) => values.push(0),
            Values::I64(values) | Values::Narrow { values, .. } => values.push(0),
            Values::U64(values) => values.push(0),
            Values::F32(values) => values.push(0.0),
            Values::F64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Values::Bytes { offsets, .. } | Values::Map { offsets, .. } => {
                offsets.push(offsets[offsets.len() - 1]);
            }
            Values::Fixed { bytes, width } => bytes.resize(bytes.len() + *width, 0),
            Values::List { offsets, item, fixed } => {
                (0..fixed.unwrap_or(0)).for_each(|_| item.filler());
                offsets.push(item.len() as i32);
            }
            Values::Struct(of) => of.columns.iter_mut().for_each(ColumnBuilder::filler),
        }
    }

    /// Takes back all values but the first `len`, and what an open list, map or struct has below
    /// it. There must be that many.
    pub fn truncate(&mut self, len: usize) {
        self.nulls.truncate(len);
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(values) => values.truncate(len),
            Values::I32(values) => values.truncate(len),
            Values::I64(values) | Values::Narrow { values, .. } => values.truncate(len),
            Values::U64(values) => values.truncate(len),
            Values::F32(values) => values.truncate(len),
            Values::F64(values) => values.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::Interval(values) => values.truncate(len),
            Values::Bytes { offsets, bytes, .. } => {
                offsets.truncate(len + 1);
                bytes.truncate(offsets[len] as usize);
            }
            Values::Fixed { bytes, width } => bytes.truncate(len * *width),
            Values::List { offsets, item, .. } => {
                offsets.truncate(len + 1);
                item.truncate(offsets[len] as usize);
            }
            Values::Map { offsets, key, value } => {
                offsets.truncate(len + 1);
                key.truncate(offsets[len] as usize);
                value.truncate(offsets[len] as usize);
            }
            Values::Struct(of) => of.columns.iter_mut().for_each(|column| column.truncate(len)),
        }
    }

    pub fn boolean(&mut self, value: bool) -> Put {
        match &mut self.values {
            Values::Boolean(values) => values.push(value),
            Values::Bytes { text: true, .. } => {
                return self.text(if value { "true" } else { "false" });
            }
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    #[inline]
    pub fn integer(&mut self, value: i64) -> Put {
        match &mut self.values {
            Values::I64(values) => values.push(value),
            Values::I32(values) => values.push(value.try_into().map_err(|_| Refused::Type)?),
            Values::Narrow { values, least, most } if (*least..=*most).contains(&value) => {
                values.push(value);
            }
            Values::U64(values) => values.push(value.try_into().map_err(|_| Refused::Type)?),
            Values::F32(values) => values.push(value as f32),
            Values::F64(values) => values.push(value as f64),
            Values::Decimal { .. } => return self.decimal(i128::from(value), 0),
            Values::Bytes { text: true, .. } => return self.shown(value),
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A whole number that, in a column of times, is a count of its units since 1970.
    #[inline]
    pub fn count(&mut self, value: i64) -> Put {
        if value.unsigned_abs() < self.least_count && value != 0 {
            return Err(Refused::Unit);
        }
        self.integer(value)
    }

    pub fn unsigned(&mut self, value: u64) -> Put {
        match &mut self.values {
            Values::U64(values) => values.push(value),
            Values::Decimal { .. } => return self.decimal(i128::from(value), 0),
            Values::F64(values) => values.push(value as f64),
            Values::F32(values) => values.push(value as f32),
            Values::Bytes { text: true, .. } => return self.shown(value),
            _ => return self.integer(value.try_into().map_err(|_| Refused::Type)?),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    pub fn float(&mut self, value: f64) -> Put {
        match &mut self.values {
            Values::F64(values) => values.push(value),
            Values::F32(_) if value.is_finite() && !(value as f32).is_finite() => {
                return Err(Refused::Type);
            }
            Values::F32(values) => values.push(value as f32),
            Values::Bytes { text: true, .. } => return self.shown(value),
            Values::Decimal { .. } if value.is_finite() => return self.text(&value.to_string()),
            // Beyond 2^53 a float no longer says which whole number it is.
            _ if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
                return self.integer(value as i64);
            }
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Takes the number as it would be written.
    fn shown(&mut self, value: impl std::fmt::Display) -> Put {
        let Values::Bytes { offsets, bytes, .. } = &mut self.values else {
            return Err(Refused::Type);
        };
        let mut text = TextInto(bytes);
        write!(text, "{value}").map_err(|_| Refused::Type)?;
        offsets.push(i32::try_from(bytes.len()).map_err(|_| Refused::Room)?);
        self.nulls.append_non_null();
        Ok(())
    }

    /// A number as it is written, with a point or an exponent, or too long for 64 bits.
    pub fn number(&mut self, text: &str) -> Put {
        match &mut self.values {
            Values::Bytes { text: true, .. } | Values::Decimal { .. } | Values::U64(_) => {
                self.text(text)
            }
            _ => self.float(text.parse().map_err(|_| Refused::Type)?),
        }
    }

    /// Text, read as what the column is; bytes are those of the text.
    pub fn text(&mut self, text: &str) -> Put {
        if let Values::Bytes { .. } | Values::Fixed { .. } = self.values {
            return self.raw(text.as_bytes());
        }
        let data_type = self.field.data_type().clone();
        let text = text.trim_ascii();
        match &mut self.values {
            Values::Boolean(values) => values.push(text.parse().map_err(|_| Refused::Type)?),
            Values::I32(values) => values.push(small_text(&data_type, text).ok_or(Refused::Type)?),
            Values::I64(values) => values.push(wide_text(&data_type, text).ok_or(Refused::Type)?),
            Values::Narrow { .. } => {
                return self.integer(text.parse().map_err(|_| Refused::Type)?);
            }
            Values::U64(values) => values.push(text.parse().map_err(|_| Refused::Type)?),
            Values::F32(_) => return self.float(text.parse().map_err(|_| Refused::Type)?),
            Values::F64(values) => values.push(text.parse().map_err(|_| Refused::Type)?),
            Values::Decimal { values, precision, scale } => {
                let value = decimal_of_text(text, *precision, *scale);
                values.push(value.ok_or(Refused::Type)?);
            }
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    pub fn bytes(&mut self, value: &[u8]) -> Put {
        if self.is_text() {
            str::from_utf8(value).map_err(|_| Refused::Type)?;
        }
        self.raw(value)
    }

    /// Bytes that are known to be UTF-8 if the column is text.
    fn raw(&mut self, value: &[u8]) -> Put {
        match &mut self.values {
            Values::Bytes { offsets, bytes, .. } => {
                let end = bytes.len() + value.len();
                let end = i32::try_from(end).map_err(|_| Refused::Room)?;
                bytes.extend_from_slice(value);
                offsets.push(end);
            }
            Values::Fixed { bytes, width } if *width == value.len() => {
                bytes.extend_from_slice(value);
            }
            _ => return Err(Refused::Type),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A time, so many units since 1970.
    pub fn instant(&mut self, value: i64, unit: TimeUnit) -> Put {
        let value = match self.field.data_type() {
            DataType::Timestamp(own, _) => rescaled(value, unit, *own).ok_or(Refused::Type)?,
            DataType::Date32 => value.div_euclid(per_second(unit) * 86_400),
            DataType::Date64 => {
                rescaled(value, unit, TimeUnit::Millisecond).ok_or(Refused::Type)?
            }
            _ => value,
        };
        self.integer(value)
    }

    pub fn days(&mut self, days: i64) -> Put {
        match self.field.data_type() {
            DataType::Timestamp(unit, _) => {
                let units = days.checked_mul(86_400 * per_second(*unit));
                self.integer(units.ok_or(Refused::Type)?)
            }
            DataType::Date64 => self.integer(days.checked_mul(86_400_000).ok_or(Refused::Type)?),
            _ => self.integer(days),
        }
    }

    pub fn time_of_day(&mut self, value: i64, unit: TimeUnit) -> Put {
        match self.field.data_type() {
            DataType::Time32(own) | DataType::Time64(own) => {
                self.integer(rescaled(value, unit, *own).ok_or(Refused::Type)?)
            }
            _ => self.integer(value),
        }
    }

    pub fn duration(&mut self, value: i64, unit: TimeUnit) -> Put {
        match self.field.data_type() {
            DataType::Duration(own) => {
                self.integer(rescaled(value, unit, *own).ok_or(Refused::Type)?)
            }
            _ => self.integer(value),
        }
    }

    pub fn interval(&mut self, value: IntervalMonthDayNano) -> Put {
        let Values::Interval(values) = &mut self.values else { return Err(Refused::Type) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    /// A number whose last `digits` digits stand after the point.
    pub fn decimal(&mut self, value: i128, digits: i8) -> Put {
        match &mut self.values {
            Values::Decimal { values, precision, scale } => {
                let scaled = rescaled_decimal(value, digits, *scale).ok_or(Refused::Type)?;
                let most = 10i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
                if scaled.unsigned_abs() >= most.unsigned_abs() {
                    return Err(Refused::Type);
                }
                values.push(scaled);
                self.nulls.append_non_null();
                Ok(())
            }
            Values::Bytes { text: true, .. } => self.text(&decimal_text(value, digits)),
            Values::F32(_) | Values::F64(_) => {
                let number = decimal_text(value, digits).parse();
                self.float(number.map_err(|_| Refused::Type)?)
            }
            _ => {
                let whole = rescaled_decimal(value, digits, 0).ok_or(Refused::Type)?;
                match i64::try_from(whole) {
                    Ok(whole) => self.integer(whole),
                    Err(_) => self.unsigned(whole.try_into().map_err(|_| Refused::Type)?),
                }
            }
        }
    }

    /// Where the items of a list go, until [`ColumnBuilder::end_list`].
    pub fn items(&mut self) -> Option<&mut ColumnBuilder> {
        match &mut self.values {
            Values::List { item, .. } => Some(item),
            _ => None,
        }
    }

    pub fn end_list(&mut self) -> Put {
        let Values::List { offsets, item, fixed } = &mut self.values else {
            return Err(Refused::Type);
        };
        let start = offsets[offsets.len() - 1] as usize;
        if fixed.is_some_and(|len| item.len() - start != len) {
            return Err(Refused::Type);
        }
        offsets.push(i32::try_from(item.len()).map_err(|_| Refused::Room)?);
        self.nulls.append_non_null();
        Ok(())
    }

    /// Where keys and values of a map go, until [`ColumnBuilder::end_map`].
    pub fn entries(&mut self) -> Option<(&mut ColumnBuilder, &mut ColumnBuilder)> {
        match &mut self.values {
            Values::Map { key, value, .. } => Some((key, value)),
            _ => None,
        }
    }

    pub fn end_map(&mut self) -> Put {
        let Values::Map { offsets, key, value } = &mut self.values else {
            return Err(Refused::Type);
        };
        debug_assert_eq!(key.len(), value.len(), "each key has its value");
        offsets.push(i32::try_from(key.len()).map_err(|_| Refused::Room)?);
        self.nulls.append_non_null();
        Ok(())
    }

    pub fn as_struct(&mut self) -> Option<&mut StructBuilder> {
        match &mut self.values {
            Values::Struct(of) => Some(of),
            _ => None,
        }
    }

    /// Ends a struct. Columns that got nothing are NULL; the first that must not be is returned.
    pub fn end_struct(&mut self) -> Result<(), usize> {
        let row = self.nulls.len();
        let Values::Struct(of) = &mut self.values else { return Ok(()) };
        for (index, column) in of.columns.iter_mut().enumerate() {
            if column.len() == row {
                column.null().map_err(|_| index)?;
            }
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A struct of nothing; the name of a column that must not be NULL, and nothing taken, if
    /// there is one.
    pub fn null_row(&mut self) -> Option<String> {
        let row = self.len();
        let missing = self.end_struct().err()?;
        let name = self.as_struct().map(|of| of.columns[missing].name().to_owned());
        self.truncate(row);
        name
    }

    /// The column so far; starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        let len = self.len();
        let nulls = self.nulls.finish();
        let data_type = self.field.data_type();
        let array: ArrayRef = match &mut self.values {
            Values::Null => Arc::new(NullArray::new(len)),
            Values::Boolean(values) => {
                let values = BooleanBuffer::from(std::mem::take(values));
                Arc::new(BooleanArray::new(values, nulls))
            }
            Values::I32(values) => small_array(data_type, std::mem::take(values), nulls),
            Values::I64(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                return retyped(Arc::new(Int64Array::new(values, nulls)), data_type);
            }
            Values::Narrow { values, .. } => {
                Arc::new(Int64Array::new(std::mem::take(values).into(), nulls))
            }
            Values::U64(values) => Arc::new(UInt64Array::new(std::mem::take(values).into(), nulls)),
            Values::F32(values) => {
                Arc::new(Float32Array::new(std::mem::take(values).into(), nulls))
            }
            Values::F64(values) => {
                Arc::new(Float64Array::new(std::mem::take(values).into(), nulls))
            }
            Values::Decimal { values, .. } => {
                let array = Decimal128Array::new(std::mem::take(values).into(), nulls);
                Arc::new(array.with_data_type(data_type.clone()))
            }
            Values::Interval(values) => {
                Arc::new(IntervalMonthDayNanoArray::new(std::mem::take(values).into(), nulls))
            }
            Values::Bytes { offsets, bytes, text } => {
                let offsets = offsets_of(offsets);
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                if *text {
                    Arc::new(StringArray::new(offsets, bytes, nulls))
                } else {
                    Arc::new(BinaryArray::new(offsets, bytes, nulls))
                }
            }
            Values::Fixed { bytes, width } => {
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                Arc::new(FixedSizeBinaryArray::new(*width as i32, bytes, nulls))
            }
            Values::List { offsets, item, fixed } => list_array(offsets, item, *fixed, nulls, len),
            Values::Map { offsets, key, value } => map_array(data_type, offsets, key, value, nulls),
            Values::Struct(of) => struct_array(data_type, of, nulls, len),
        };
        if array.data_type() == data_type {
            return array;
        }
        cast(&array, data_type).expect("stored in a form that becomes the column's type")
    }

    /// The columns of a struct so far; starts anew.
    pub fn finish_columns(&mut self) -> Vec<ArrayRef> {
        self.nulls = NullBufferBuilder::new(0);
        match &mut self.values {
            Values::Struct(of) => of.columns.iter_mut().map(ColumnBuilder::finish).collect(),
            _ => Vec::new(),
        }
    }
}

struct TextInto<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for TextInto<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn unsupported(field: &Field, format: &'static str) -> FormatError {
    FormatError::Type {
        column: field.name().clone(),
        format,
        data_type: type_text(field.data_type()),
    }
}

fn scalar_values(data_type: &DataType) -> Option<Values> {
    let narrow = |least: i64, most: i64| Values::Narrow { values: Vec::new(), least, most };
    let bytes = |text| Values::Bytes { offsets: vec![0], bytes: Vec::new(), text };
    Some(match data_type {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Boolean(Vec::new()),
        DataType::Int8 => narrow(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => narrow(i16::MIN.into(), i16::MAX.into()),
        DataType::UInt8 => narrow(0, u8::MAX.into()),
        DataType::UInt16 => narrow(0, u16::MAX.into()),
        DataType::UInt32 => narrow(0, u32::MAX.into()),
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Values::I32(Vec::new()),
        DataType::Int64
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_) => Values::I64(Vec::new()),
        DataType::UInt64 => Values::U64(Vec::new()),
        DataType::Float32 => Values::F32(Vec::new()),
        DataType::Float64 => Values::F64(Vec::new()),
        DataType::Decimal128(precision, scale) => {
            Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(Vec::new()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => bytes(true),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => bytes(false),
        DataType::FixedSizeBinary(width) => {
            Values::Fixed { bytes: Vec::new(), width: usize::try_from(*width).ok()? }
        }
        _ => return None,
    })
}

/// Int32, or a date or time of day in 32 bits.
fn small_text(data_type: &DataType, text: &str) -> Option<i32> {
    match data_type {
        DataType::Date32 => Date32Type::parse(text),
        DataType::Time32(TimeUnit::Second) => Time32SecondType::parse(text),
        DataType::Time32(_) => Time32MillisecondType::parse(text),
        _ => text.parse().ok(),
    }
}

fn wide_text(data_type: &DataType, text: &str) -> Option<i64> {
    match data_type {
        DataType::Date64 => Date64Type::parse(text),
        DataType::Time64(TimeUnit::Microsecond) => Time64MicrosecondType::parse(text),
        DataType::Time64(_) => Time64NanosecondType::parse(text),
        DataType::Timestamp(unit, zone) => {
            let zone: Tz = zone.as_deref().unwrap_or("+00:00").parse().ok()?;
            timestamp(text, *unit, &zone)
        }
        _ => text.parse().ok(),
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Rounded down where the unit is coarser, as all times are.
fn rescaled(value: i64, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    let (from, to) = (per_second(from), per_second(to));
    if to >= from { value.checked_mul(to / from) } else { Some(value.div_euclid(from / to)) }
}

fn rescaled_decimal(value: i128, from: i8, to: i8) -> Option<i128> {
    let by = i32::from(to) - i32::from(from);
    let factor = 10i128.checked_pow(by.unsigned_abs());
    if by >= 0 {
        return if value == 0 { Some(0) } else { value.checked_mul(factor?) };
    }
    let Some(factor) = factor else { return (value == 0).then_some(0) };
    (value % factor == 0).then_some(value / factor)
}

fn decimal_text(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    let Ok(scale) = usize::try_from(scale) else {
        return format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{part}")
}

fn offsets_of(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into())
}

fn small_array(data_type: &DataType, values: Vec<i32>, nulls: Option<NullBuffer>) -> ArrayRef {
    let values = ScalarBuffer::from(values);
    match data_type {
        DataType::Date32 => Arc::new(Date32Array::new(values, nulls)),
        DataType::Time32(TimeUnit::Second) => Arc::new(Time32SecondArray::new(values, nulls)),
        DataType::Time32(_) => Arc::new(Time32MillisecondArray::new(values, nulls)),
        _ => Arc::new(Int32Array::new(values, nulls)),
    }
}

/// The same 64 bits under another type.
fn retyped(array: ArrayRef, data_type: &DataType) -> ArrayRef {
    if array.data_type() == data_type {
        return array;
    }
    let data = array.to_data().into_builder().data_type(data_type.clone());
    arrow::array::make_array(data.build().expect("types of 64 bits share their layout"))
}

fn list_array(
    offsets: &mut Vec<i32>,
    item: &mut ColumnBuilder,
    fixed: Option<usize>,
    nulls: Option<NullBuffer>,
    len: usize,
) -> ArrayRef {
    let field = Arc::clone(item.field());
    let offsets = offsets_of(offsets);
    let items = item.finish();
    match fixed {
        Some(width) => {
            let list =
                FixedSizeListArray::try_new_with_length(field, width as i32, items, nulls, len);
            Arc::new(list.expect("each list has its length"))
        }
        None => Arc::new(ListArray::new(field, offsets, items, nulls)),
    }
}

fn map_array(
    data_type: &DataType,
    offsets: &mut Vec<i32>,
    key: &mut ColumnBuilder,
    value: &mut ColumnBuilder,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let DataType::Map(entries, sorted) = data_type else {
        unreachable!("maps are built for map types only")
    };
    let fields = Fields::from(vec![Arc::clone(key.field()), Arc::clone(value.field())]);
    let columns = StructArray::new(fields, vec![key.finish(), value.finish()], None);
    Arc::new(MapArray::new(Arc::clone(entries), offsets_of(offsets), columns, nulls, *sorted))
}

fn struct_array(
    data_type: &DataType,
    of: &mut StructBuilder,
    nulls: Option<NullBuffer>,
    len: usize,
) -> ArrayRef {
    let DataType::Struct(fields) = data_type else {
        unreachable!("structs are built for struct types only")
    };
    if fields.is_empty() {
        return Arc::new(StructArray::new_empty_fields(len, nulls));
    }
    let columns = of.columns.iter_mut().map(ColumnBuilder::finish).collect();
    Arc::new(StructArray::new(fields.clone(), columns, nulls))
}
