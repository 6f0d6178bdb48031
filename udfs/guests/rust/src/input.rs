//! Columns as the host gives them, and their items.

use crate::abi::Batch;
use crate::types::{Bytea, Date, Decimal, Json, Sql, Time, Timestamp, TimestampTz};

/// What an argument can be.
pub trait Input<'a>: Sql + Sized {
    /// Whether NULL is a value of it.
    const IS_OPTION: bool = false;
    type Column;

    fn column(inputs: &mut Inputs<'a>) -> Self::Column;

    /// The item of a row; none, if it is NULL and that is no value.
    fn get(column: &Self::Column, row: usize) -> Option<Self>;

    /// Whether there is an item for each row, so that nobody has to ask: [`Input::item`] has them.
    fn has_all(_column: &Self::Column) -> bool {
        Self::IS_OPTION
    }

    /// Leaves what so many rows need, so that there is one look at the length for all of them.
    fn cut(_column: &mut Self::Column, _rows: usize) {}

    /// The item of a row, where [`Input::has_all`].
    #[inline]
    fn item(column: &Self::Column, row: usize) -> Self {
        Self::get(column, row).expect("there is an item for each row")
    }
}

/// The columns that nobody has taken yet.
pub struct Inputs<'a> {
    buffers: std::slice::Iter<'a, Vec<u8>>,
}

impl<'a> Inputs<'a> {
    pub fn new(batch: &'a Batch) -> Inputs<'a> {
        Inputs { buffers: batch.buffers.iter() }
    }

    fn buffer(&mut self) -> &'a [u8] {
        self.buffers.next().expect("the host gives the columns that the function described")
    }

    pub fn present(&mut self) -> Present<'a> {
        Present(Some(self.buffer()).filter(|bits| !bits.is_empty()))
    }

    fn chunks<const WIDTH: usize>(&mut self) -> &'a [[u8; WIDTH]] {
        self.buffer().as_chunks().0
    }
}

/// Which items are not NULL: a bit for each, unless that is all of them.
#[derive(Clone, Copy)]
pub struct Present<'a>(Option<&'a [u8]>);

impl Present<'_> {
    fn has_all(self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub fn has(self, row: usize) -> bool {
        self.0.is_none_or(|bits| bit(bits, row))
    }
}

#[inline]
fn bit(bits: &[u8], at: usize) -> bool {
    bits[at / 8] >> (at % 8) & 1 == 1
}

impl<'a> Input<'a> for bool {
    type Column = (Present<'a>, &'a [u8]);

    fn column(inputs: &mut Inputs<'a>) -> Self::Column {
        (inputs.present(), inputs.buffer())
    }

    #[inline]
    fn get(column: &Self::Column, row: usize) -> Option<bool> {
        column.0.has(row).then(|| bit(column.1, row))
    }

    fn has_all(column: &Self::Column) -> bool {
        column.0.has_all()
    }
}

macro_rules! numbers {
    ($($type:ty, $native:ty, $wrap:expr;)*) => {
        $(impl<'a> Input<'a> for $type {
            type Column = (Present<'a>, &'a [[u8; size_of::<$native>()]]);

            fn column(inputs: &mut Inputs<'a>) -> Self::Column {
                (inputs.present(), inputs.chunks())
            }

            #[inline]
            fn get(column: &Self::Column, row: usize) -> Option<$type> {
                column.0.has(row).then(|| $wrap(<$native>::from_le_bytes(column.1[row])))
            }

            fn has_all(column: &Self::Column) -> bool {
                column.0.has_all()
            }

            #[inline]
            fn cut(column: &mut Self::Column, rows: usize) {
                column.1 = &column.1[..rows];
            }

            #[inline]
            fn item(column: &Self::Column, row: usize) -> $type {
                $wrap(<$native>::from_le_bytes(column.1[row]))
            }
        })*
    };
}

numbers! {
    i8, i8, |n| n;
    i16, i16, |n| n;
    i32, i32, |n| n;
    i64, i64, |n| n;
    u8, u8, |n| n;
    u16, u16, |n| n;
    u32, u32, |n| n;
    u64, u64, |n| n;
    f32, f32, |n| n;
    f64, f64, |n| n;
    Date, i32, Date;
    Time, i64, Time;
    Timestamp, i64, Timestamp;
    TimestampTz, i64, TimestampTz;
}

impl<'a, const P: u8, const S: u8> Input<'a> for Decimal<P, S> {
    type Column = (Present<'a>, &'a [[u8; 16]]);

    fn column(inputs: &mut Inputs<'a>) -> Self::Column {
        (inputs.present(), inputs.chunks())
    }

    #[inline]
    fn get(column: &Self::Column, row: usize) -> Option<Self> {
        column.0.has(row).then(|| Decimal(i128::from_le_bytes(column.1[row])))
    }

    fn has_all(column: &Self::Column) -> bool {
        column.0.has_all()
    }
}

/// Where each item begins and ends.
pub struct Spans<'a, T> {
    present: Present<'a>,
    offsets: &'a [[u8; 4]],
    items: T,
}

impl<T> Spans<'_, T> {
    #[inline]
    fn span(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let offset = |at: usize| u32::from_le_bytes(self.offsets[at]) as usize;
        self.present.has(row).then(|| offset(row)..offset(row + 1))
    }
}

impl<'a> Input<'a> for &'a [u8] {
    type Column = Spans<'a, &'a [u8]>;

    fn column(inputs: &mut Inputs<'a>) -> Self::Column {
        let (present, offsets) = (inputs.present(), inputs.chunks());
        Spans { present, offsets, items: inputs.buffer() }
    }

    #[inline]
    fn get(column: &Self::Column, row: usize) -> Option<&'a [u8]> {
        column.span(row).map(|span| &column.items[span])
    }

    #[inline]
    fn cut(column: &mut Self::Column, rows: usize) {
        column.offsets = &column.offsets[..=rows];
    }

    #[inline]
    fn item(column: &Self::Column, row: usize) -> &'a [u8] {
        let offset = |at: usize| u32::from_le_bytes(column.offsets[at]) as usize;
        // SAFETY: the host's offsets ascend, and the last is where the items end.
        unsafe { column.items.get_unchecked(offset(row)..offset(row + 1)) }
    }

    fn has_all(column: &Self::Column) -> bool {
        column.present.has_all()
    }
}

impl<'a> Input<'a> for &'a str {
    type Column = Spans<'a, &'a [u8]>;

    fn column(inputs: &mut Inputs<'a>) -> Self::Column {
        <&[u8]>::column(inputs)
    }

    #[inline]
    fn get(column: &Self::Column, row: usize) -> Option<&'a str> {
        // SAFETY: a varchar or json column of the host has nothing but UTF-8 in each item.
        <&[u8]>::get(column, row).map(|bytes| unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    #[inline]
    fn cut(column: &mut Self::Column, rows: usize) {
        <&[u8]>::cut(column, rows);
    }

    #[inline]
    fn item(column: &Self::Column, row: usize) -> &'a str {
        // SAFETY: as above.
        unsafe { std::str::from_utf8_unchecked(<&[u8]>::item(column, row)) }
    }

    fn has_all(column: &Self::Column) -> bool {
        column.present.has_all()
    }
}

/// Types that are made of those of another.
macro_rules! made_of {
    ($($type:ty, $of:ty, $make:expr;)*) => {
        $(impl<'a> Input<'a> for $type {
            type Column = <$of as Input<'a>>::Column;

            fn column(inputs: &mut Inputs<'a>) -> Self::Column {
                <$of>::column(inputs)
            }

            #[inline]
            fn get(column: &Self::Column, row: usize) -> Option<Self> {
                <$of>::get(column, row).map($make)
            }

            fn has_all(column: &Self::Column) -> bool {
                <$of>::has_all(column)
            }

            #[inline]
            fn cut(column: &mut Self::Column, rows: usize) {
                <$of>::cut(column, rows);
            }

            #[inline]
            fn item(column: &Self::Column, row: usize) -> Self {
                $make(<$of>::item(column, row))
            }
        })*
    };
}

made_of! {
    String, &'a str, str::to_owned;
    Bytea, &'a [u8], |bytes: &[u8]| Bytea(bytes.to_vec());
    Json<&'a str>, &'a str, Json;
    Json<String>, &'a str, |text: &str| Json(text.to_owned());
}

impl<'a, T: Input<'a>> Input<'a> for Vec<T> {
    type Column = Spans<'a, T::Column>;

    fn column(inputs: &mut Inputs<'a>) -> Self::Column {
        let (present, offsets) = (inputs.present(), inputs.chunks());
        Spans { present, offsets, items: T::column(inputs) }
    }

    fn get(column: &Self::Column, row: usize) -> Option<Vec<T>> {
        column.span(row)?.map(|item| T::get(&column.items, item)).collect()
    }

    fn has_all(column: &Self::Column) -> bool {
        column.present.has_all() && T::has_all(&column.items)
    }
}

impl<'a, T: Input<'a>> Input<'a> for Option<T> {
    const IS_OPTION: bool = true;
    type Column = T::Column;

    fn column(inputs: &mut Inputs<'a>) -> Self::Column {
        T::column(inputs)
    }

    #[inline]
    fn get(column: &Self::Column, row: usize) -> Option<Option<T>> {
        Some(T::get(column, row))
    }
}
