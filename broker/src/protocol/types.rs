//! How each type that a field can have looks on the wire.

use bytes::Bytes;
use uuid::Uuid;

use super::error::{DecodeReason, EncodeReason, Fault, Refusal};
use super::error_code::ErrorCode;
use super::wire::{Form, Reader, Writer};

/// A value with a wire form: the types below, and every struct that `messages!` declares.
pub trait Wire: Sized {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal>;

    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault>;

    /// What a value takes at least, by which an array's count is checked before it is believed.
    fn size_min(form: Form) -> usize;

    fn is_null(&self) -> bool {
        false
    }
}

/// A value that has a form for null.
pub trait Nullable: Wire {
    fn write_nullable(value: Option<&Self>, out: &mut Writer, form: Form) -> Result<(), Refusal>;

    fn read_nullable(input: &mut Reader, form: Form) -> Result<Option<Self>, Fault>;
}

fn not_null<T: Nullable>(input: &mut Reader, form: Form) -> Result<T, Fault> {
    let start = input.position();
    match T::read_nullable(input, form)? {
        Some(value) => Ok(value),
        None => Err(Fault::new(start, DecodeReason::Null)),
    }
}

impl<T: Nullable> Wire for Option<T> {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        T::write_nullable(self.as_ref(), out, form)
    }

    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault> {
        T::read_nullable(input, form)
    }

    /// Null takes no more than an empty string, bytes or array; a struct's null takes one byte.
    fn size_min(form: Form) -> usize {
        T::size_min(form).min(1)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

macro_rules! fixed_width {
    ($($type:ty)+) => { $(
        impl Wire for $type {
            fn write(&self, out: &mut Writer, _: Form) -> Result<(), Refusal> {
                out.put(&self.to_be_bytes());
                Ok(())
            }

            fn read(input: &mut Reader, _: Form) -> Result<Self, Fault> {
                Ok(<$type>::from_be_bytes(input.fixed()?))
            }

            fn size_min(_: Form) -> usize {
                size_of::<$type>()
            }
        }
    )+ };
}

fixed_width! { i8 i16 i32 i64 u16 f64 }

impl Wire for bool {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        i8::from(*self).write(out, form)
    }

    /// Kafka takes any byte but 0 as true.
    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault> {
        Ok(i8::read(input, form)? != 0)
    }

    fn size_min(_: Form) -> usize {
        1
    }
}

impl Wire for ErrorCode {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        self.0.write(out, form)
    }

    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault> {
        Ok(ErrorCode(i16::read(input, form)?))
    }

    fn size_min(_: Form) -> usize {
        2
    }
}

impl Wire for Uuid {
    fn write(&self, out: &mut Writer, _: Form) -> Result<(), Refusal> {
        out.put(self.as_bytes());
        Ok(())
    }

    fn read(input: &mut Reader, _: Form) -> Result<Self, Fault> {
        Ok(Uuid::from_bytes(input.fixed()?))
    }

    fn size_min(_: Form) -> usize {
        16
    }
}

impl Wire for String {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        Self::write_nullable(Some(self), out, form)
    }

    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault> {
        not_null(input, form)
    }

    fn size_min(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }
}

impl Nullable for String {
    fn write_nullable(value: Option<&Self>, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        out.put_string_length(value.map(String::len), form)?;
        if let Some(value) = value {
            out.put(value.as_bytes());
        }
        Ok(())
    }

    fn read_nullable(input: &mut Reader, form: Form) -> Result<Option<Self>, Fault> {
        let Some(length) = input.string_length(form)? else { return Ok(None) };
        Ok(Some(input.text(length)?))
    }
}

impl Wire for Bytes {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        Self::write_nullable(Some(self), out, form)
    }

    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault> {
        not_null(input, form)
    }

    fn size_min(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }
}

impl Nullable for Bytes {
    fn write_nullable(value: Option<&Self>, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        out.put_length(value.map(Bytes::len), form)?;
        if let Some(value) = value {
            out.put_bytes(value);
        }
        Ok(())
    }

    fn read_nullable(input: &mut Reader, form: Form) -> Result<Option<Self>, Fault> {
        let Some(length) = input.length(form)? else { return Ok(None) };
        Ok(Some(input.bytes(length)?))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        Self::write_nullable(Some(self), out, form)
    }

    fn read(input: &mut Reader, form: Form) -> Result<Self, Fault> {
        not_null(input, form)
    }

    fn size_min(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn write_nullable(value: Option<&Self>, out: &mut Writer, form: Form) -> Result<(), Refusal> {
        out.put_length(value.map(Vec::len), form)?;
        for (index, element) in value.into_iter().flatten().enumerate() {
            element.write(out, form).map_err(|refusal| refusal.at(index))?;
        }
        Ok(())
    }

    fn read_nullable(input: &mut Reader, form: Form) -> Result<Option<Self>, Fault> {
        let Some(count) = input.length(form)? else { return Ok(None) };
        input.array(count, T::size_min(form), |input| T::read(input, form)).map(Some)
    }
}

/// A struct that may be null has a byte before it: 1 when it follows, -1 when it is null.
pub(super) fn write_nullable_struct<T: Wire>(
    value: Option<&T>,
    out: &mut Writer,
    form: Form,
) -> Result<(), Refusal> {
    let presence: i8 = if value.is_some() { 1 } else { -1 };
    presence.write(out, form)?;
    value.map_or(Ok(()), |value| value.write(out, form))
}

pub(super) fn read_nullable_struct<T: Wire>(
    input: &mut Reader,
    form: Form,
) -> Result<Option<T>, Fault> {
    let start = input.position();
    match i8::read(input, form)? {
        -1 => Ok(None),
        1 => T::read(input, form).map(Some),
        value => Err(Fault::new(start, DecodeReason::Presence { value })),
    }
}

/// The field's own part of a message's decode: null where the version has none is refused, and
/// faults learn the field's name.
pub(super) fn read_field<T: Wire>(
    input: &mut Reader,
    form: Form,
    name: &'static str,
    nullable: bool,
) -> Result<T, Fault> {
    let start = input.position();
    match T::read(input, form) {
        Ok(value) if value.is_null() && !nullable => {
            Err(Fault::new(start, DecodeReason::Null).within(name))
        }
        Ok(value) => Ok(value),
        Err(fault) => Err(fault.within(name)),
    }
}

pub(super) fn write_field<T: Wire>(
    value: &T,
    out: &mut Writer,
    form: Form,
    name: &'static str,
    nullable: bool,
) -> Result<(), Refusal> {
    if value.is_null() && !nullable {
        return Err(Refusal::new(EncodeReason::Null).within(name));
    }
    value.write(out, form).map_err(|refusal| refusal.within(name))
}
