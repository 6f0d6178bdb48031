//! Arrays of any type with any items, by a seed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BooleanArray, Float32Array, Float64Array, ListArray, StringArray,
    StructArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};

/// Xorshift: the items are many, and none of them is worth shrinking.
pub fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    }
}

/// What numbers, dates and times there are.
#[allow(dead_code, reason = "not each test takes both")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// All that the bits of their types can be.
    Any,
    /// Those that each language has a value for: no NaN but one, no year 292,000.
    Plain,
}

/// Arrays of a type; every fifth item is NULL, at each depth.
pub fn any(
    data_type: &DataType,
    length: usize,
    values: Values,
    random: &mut impl FnMut() -> u64,
) -> ArrayRef {
    let nulls: NullBuffer = (0..length).map(|_| !random().is_multiple_of(5)).collect();
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new(
            (0..length).map(|_| random().is_multiple_of(2)).collect(),
            Some(nulls),
        )),
        DataType::Utf8 | DataType::Binary => {
            let items = (0..length).map(|_| "xé漢@🦀 ".repeat(random() as usize % 4));
            let text = StringArray::from_iter_values(items);
            let data = text.into_data().into_builder().data_type(data_type.clone());
            make_array(data.nulls(Some(nulls)).build().unwrap())
        }
        DataType::List(item) => {
            let lengths: Vec<usize> = (0..length).map(|_| random() as usize % 4).collect();
            let items = any(item.data_type(), lengths.iter().sum(), values, random);
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(item.clone(), offsets, items, Some(nulls)))
        }
        DataType::Struct(fields) => {
            let column = |field: &Arc<Field>| any(field.data_type(), length, values, random);
            let columns = fields.iter().map(column).collect();
            Arc::new(StructArray::new(fields.clone(), columns, Some(nulls)))
        }
        DataType::Decimal128(..) => {
            // Up to twenty digits.
            let digits = (0..length).map(|_| (i128::from(random()) - (1 << 52)) * 10_007);
            of_numbers(data_type, length, digits.collect(), nulls)
        }
        other => match values {
            Values::Any => bits(other, length, nulls, random),
            Values::Plain => plain(other, length, nulls, random),
        },
    }
}

/// Numbers of any bits.
fn bits(
    data_type: &DataType,
    length: usize,
    nulls: NullBuffer,
    random: &mut impl FnMut() -> u64,
) -> ArrayRef {
    let width = data_type.primitive_width().unwrap();
    let bytes: Vec<u8> = (0..length * width).map(|_| random() as u8).collect();
    of_numbers(data_type, length, Buffer::from_vec(bytes), nulls)
}

fn plain(
    data_type: &DataType,
    length: usize,
    nulls: NullBuffer,
    random: &mut impl FnMut() -> u64,
) -> ArrayRef {
    const DAY_MICROS: i64 = 86_400_000_000;
    // From the year 1 to 9999.
    let day = |random: u64| -719_162 + random as i64 % 3_652_059;
    let fraction = |random: u64| (random as f64 - 1e15) / 1024.0;
    match data_type {
        DataType::Date32 => {
            let days = (0..length).map(|_| day(random()) as i32);
            of_numbers(data_type, length, days.collect(), nulls)
        }
        DataType::Time64(_) => {
            let times = (0..length).map(|_| random() as i64 % DAY_MICROS);
            of_numbers(data_type, length, times.collect(), nulls)
        }
        DataType::Timestamp(..) => {
            let times =
                (0..length).map(|_| day(random()) * DAY_MICROS + random() as i64 % DAY_MICROS);
            of_numbers(data_type, length, times.collect(), nulls)
        }
        DataType::Float32 => {
            let numbers = (0..length).map(|_| fraction(random()) as f32);
            Arc::new(Float32Array::new(numbers.collect(), Some(nulls)))
        }
        DataType::Float64 => {
            let numbers = (0..length).map(|_| fraction(random()));
            Arc::new(Float64Array::new(numbers.collect(), Some(nulls)))
        }
        other => bits(other, length, nulls, random),
    }
}

fn of_numbers(data_type: &DataType, length: usize, values: Buffer, nulls: NullBuffer) -> ArrayRef {
    let data = ArrayData::builder(data_type.clone()).len(length).nulls(Some(nulls));
    make_array(data.add_buffer(values).align_buffers(true).build().unwrap())
}
