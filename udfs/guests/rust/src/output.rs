//! Columns that a function writes.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Display;

use crate::abi::{Buffer, Node};
use crate::types::{Bytea, Date, Decimal, Json, Sql, Time, Timestamp, TimestampTz};

/// What a result can be.
pub trait Output: Sql {
    type Column: Column;

    /// # Errors
    ///
    /// The message with which its row fails.
    fn put(self, column: &mut Self::Column) -> Result<(), String>;

    /// A value for each row.
    ///
    /// # Errors
    ///
    /// The row that fails, and its message.
    #[inline]
    fn put_all(
        mut values: impl ExactSizeIterator<Item = Self>,
        column: &mut Self::Column,
    ) -> Result<(), (usize, String)>
    where
        Self: Sized,
    {
        // A column of its own is in registers while it is written.
        let mut own = std::mem::take(column);
        own.reserve(values.len());
        let mut row = 0;
        let put = values.try_for_each(|value| {
            value.put(&mut own).map_err(|message| (row, message))?;
            row += 1;
            Ok(())
        });
        *column = own;
        put
    }
}

/// A column that is being written.
pub trait Column: Default {
    fn put_null(&mut self);
    fn finish(self, outputs: &mut Outputs);

    /// Makes room for so many more items.
    fn reserve(&mut self, _items: usize) {}
}

/// Columns that are written, flattened for the host.
#[derive(Default)]
pub struct Outputs {
    pub(crate) nodes: Vec<Node>,
    pub(crate) buffers: Vec<Buffer>,
    /// What the buffers are of.
    pub(crate) kept: Vec<Box<dyn Any>>,
}

impl Outputs {
    pub fn of(columns: impl Column) -> Outputs {
        let mut outputs = Outputs::default();
        columns.finish(&mut outputs);
        outputs
    }

    pub fn push(&mut self, column: impl Column) {
        column.finish(self);
    }

    /// `T` is a number, whose bytes are all of it.
    fn buffer<T: Copy + 'static>(&mut self, items: Vec<T>) {
        self.buffers.push(Buffer { data: items.as_ptr().cast(), length: size_of_val(&*items) });
        self.kept.push(Box::new(items));
    }
}

/// Which items are not NULL. The bits are there from the first NULL on.
#[derive(Default)]
pub struct Validity {
    bits: Vec<u8>,
    length: usize,
    nulls: usize,
}

impl Validity {
    #[inline]
    pub fn put(&mut self, is_valid: bool) {
        if self.nulls > 0 || !is_valid {
            self.put_bit(is_valid);
        }
        self.length += 1;
    }

    /// So many items, none of which is NULL.
    pub fn put_valid(&mut self, items: usize) {
        match self.nulls {
            0 => self.length += items,
            _ => (0..items).for_each(|_| self.put(true)),
        }
    }

    fn put_bit(&mut self, is_valid: bool) {
        if self.nulls == 0 {
            self.bits = vec![0xff; self.length / 8];
            self.bits.push((1 << (self.length % 8)) - 1);
        } else if self.length.is_multiple_of(8) {
            self.bits.push(0);
        }
        self.bits[self.length / 8] |= u8::from(is_valid) << (self.length % 8);
        self.nulls += usize::from(!is_valid);
    }

    pub fn finish(self, outputs: &mut Outputs) {
        outputs.nodes.push(Node { length: self.length as u32, nulls: self.nulls as u32 });
        outputs.buffer(self.bits);
    }
}

/// One bit for each item.
#[derive(Default)]
pub struct Bits {
    validity: Validity,
    bits: Vec<u8>,
}

impl Bits {
    fn put(&mut self, value: bool, is_valid: bool) {
        let at = self.validity.length % 8;
        if at == 0 {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u8::from(value) << at;
        }
        self.validity.put(is_valid);
    }
}

impl Column for Bits {
    fn put_null(&mut self) {
        self.put(false, false);
    }

    fn finish(self, outputs: &mut Outputs) {
        self.validity.finish(outputs);
        outputs.buffer(self.bits);
    }
}

impl Output for bool {
    type Column = Bits;

    fn put(self, column: &mut Bits) -> Result<(), String> {
        column.put(self, true);
        Ok(())
    }
}

/// Items of one width.
#[derive(Default)]
pub struct Numbers<T> {
    validity: Validity,
    values: Vec<T>,
}

impl<T: Copy + Default + 'static> Column for Numbers<T> {
    fn put_null(&mut self) {
        self.validity.put(false);
        self.values.push(T::default());
    }

    fn finish(self, outputs: &mut Outputs) {
        self.validity.finish(outputs);
        outputs.buffer(self.values);
    }

    fn reserve(&mut self, items: usize) {
        self.values.reserve(items);
    }
}

macro_rules! numbers {
    ($($type:ty, $native:ty, $number:expr;)*) => {
        $(impl Output for $type {
            type Column = Numbers<$native>;

            #[inline]
            fn put(self, column: &mut Self::Column) -> Result<(), String> {
                column.validity.put(true);
                column.values.push($number(self));
                Ok(())
            }

            #[inline]
            fn put_all(
                values: impl ExactSizeIterator<Item = $type>,
                column: &mut Self::Column,
            ) -> Result<(), (usize, String)> {
                let before = column.values.len();
                column.values.extend(values.map($number));
                column.validity.put_valid(column.values.len() - before);
                Ok(())
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
    Date, i32, |date: Date| date.0;
    Time, i64, |time: Time| time.0;
    Timestamp, i64, |timestamp: Timestamp| timestamp.0;
    TimestampTz, i64, |timestamp: TimestampTz| timestamp.0;
}

impl<const P: u8, const S: u8> Output for Decimal<P, S> {
    type Column = Numbers<i128>;

    fn put(self, column: &mut Self::Column) -> Result<(), String> {
        column.validity.put(true);
        column.values.push(self.0);
        Ok(())
    }
}

/// The places where items end, from 0.
struct Offsets(Vec<u32>);

impl Default for Offsets {
    fn default() -> Offsets {
        Offsets(vec![0])
    }
}

impl Offsets {
    fn put(&mut self, end: usize) -> Result<(), String> {
        // The host reads them as signed.
        let end = i32::try_from(end).map_err(|_| "its results are longer than 2 GB".to_owned())?;
        self.0.push(end as u32);
        Ok(())
    }

    fn put_same(&mut self) {
        self.0.push(self.0[self.0.len() - 1]);
    }
}

#[derive(Default)]
pub struct Texts {
    validity: Validity,
    offsets: Offsets,
    bytes: Vec<u8>,
}

impl Column for Texts {
    fn put_null(&mut self) {
        self.validity.put(false);
        self.offsets.put_same();
    }

    fn finish(self, outputs: &mut Outputs) {
        self.validity.finish(outputs);
        outputs.buffer(self.offsets.0);
        outputs.buffer(self.bytes);
    }

    fn reserve(&mut self, items: usize) {
        self.offsets.0.reserve(items);
    }
}

/// The longest text that is copied by moves.
const SHORT_MAX: usize = 64;

/// Appends a text. A copy of memory is a call in many engines, which costs more than the moves of a
/// short text do.
#[inline]
fn append(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if length > SHORT_MAX {
        return bytes.extend_from_slice(text);
    }
    bytes.reserve(SHORT_MAX);
    let (from, end) = (text.as_ptr(), bytes.len());
    // SAFETY: there is room for all of the text; each move is within it, since those from its end
    // overlap those from its beginning. A loop would become a copy of memory again.
    unsafe {
        let to = bytes.as_mut_ptr().add(end);
        match length {
            33.. => {
                copy::<32>(from, to, 0);
                copy::<32>(from, to, length - 32);
            }
            17.. => {
                copy::<16>(from, to, 0);
                copy::<16>(from, to, length - 16);
            }
            8.. => {
                copy::<8>(from, to, 0);
                copy::<8>(from, to, length - 8);
            }
            4.. => {
                copy::<4>(from, to, 0);
                copy::<4>(from, to, length - 4);
            }
            2.. => {
                copy::<2>(from, to, 0);
                copy::<2>(from, to, length - 2);
            }
            1 => copy::<1>(from, to, 0),
            _ => {}
        }
        bytes.set_len(end + length);
    }
}

/// # Safety
///
/// Both have as many bytes from there on.
#[inline]
unsafe fn copy<const WIDTH: usize>(from: *const u8, to: *mut u8, at: usize) {
    // SAFETY: as the caller says; bytes have no alignment.
    unsafe { to.add(at).cast::<[u8; WIDTH]>().write(from.add(at).cast::<[u8; WIDTH]>().read()) }
}

impl Output for &[u8] {
    type Column = Texts;

    #[inline]
    fn put(self, column: &mut Texts) -> Result<(), String> {
        append(&mut column.bytes, self);
        column.offsets.put(column.bytes.len())?;
        column.validity.put(true);
        Ok(())
    }
}

macro_rules! texts {
    ($($type:ty, $value:ident => $bytes:expr;)*) => {
        $(impl Output for $type {
            type Column = Texts;

            #[inline]
            fn put(self, column: &mut Texts) -> Result<(), String> {
                let $value = self;
                <&[u8]>::put($bytes, column)
            }
        })*
    };
}

texts! {
    &str, text => text.as_bytes();
    String, text => text.as_bytes();
    Cow<'_, str>, text => text.as_bytes();
    Bytea, bytes => &bytes.0;
    Json<&str>, json => json.0.as_bytes();
    Json<String>, json => json.0.as_bytes();
}

impl Sql for Cow<'_, str> {
    fn name() -> String {
        <&str>::name()
    }
}

#[derive(Default)]
pub struct Lists<C> {
    validity: Validity,
    offsets: Offsets,
    length: usize,
    items: C,
}

impl<C: Column> Column for Lists<C> {
    fn put_null(&mut self) {
        self.validity.put(false);
        self.offsets.put_same();
    }

    fn finish(self, outputs: &mut Outputs) {
        self.validity.finish(outputs);
        outputs.buffer(self.offsets.0);
        self.items.finish(outputs);
    }
}

impl<T: Output> Output for Vec<T> {
    type Column = Lists<T::Column>;

    fn put(self, column: &mut Self::Column) -> Result<(), String> {
        column.length += self.len();
        self.into_iter().try_for_each(|item| item.put(&mut column.items))?;
        column.offsets.put(column.length)?;
        column.validity.put(true);
        Ok(())
    }
}

impl<T: Output> Output for Option<T> {
    type Column = T::Column;

    #[inline]
    fn put(self, column: &mut Self::Column) -> Result<(), String> {
        match self {
            Some(value) => value.put(column),
            None => {
                column.put_null();
                Ok(())
            }
        }
    }
}

impl<T: Output, E: Display> Output for Result<T, E> {
    type Column = T::Column;

    #[inline]
    fn put(self, column: &mut Self::Column) -> Result<(), String> {
        match self {
            Ok(value) => value.put(column),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_appended() {
        let text: Vec<u8> = (0..=200).collect();
        let (mut expected, mut bytes) = (Vec::new(), Vec::new());
        for length in 0..text.len() {
            expected.extend_from_slice(&text[200 - length..]);
            append(&mut bytes, &text[200 - length..]);
        }
        assert_eq!(bytes, expected);
    }
}
