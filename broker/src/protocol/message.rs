//! The form in which messages are declared, and all that is derived from it.
//!
//! A declaration has what Kafka's own JSON schema has, in the same order:
//!
//! ```text
//! messages! {
//!     /// What it is for.
//!     FetchRequest: 4..=18, flexible 12.. {            versions, first flexible version
//!         cluster_id: Option<String>, in 12.., tag 0, ignorable;
//!         replica_id: i32 = -1, in 4..=14;             default, versions of the field
//!         topics: Vec<FetchTopic>;                     in every version
//!         name: Option<String>, nullable in 7..;       null in some versions only
//!     }
//!     FetchTopic { … }                                 a struct within the messages above
//! }
//! ```
//!
//! A field that a version lacks decodes as its default. To encode it with another value is an
//! error, unless the field is `ignorable`: then the value is left out. A tagged field is left out
//! while it has its default.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::error::{DecodeError, DecodeReason, EncodeError, EncodeReason, Fault, Refusal};
use super::types::Wire;
use super::wire::{Form, Reader, Writer};

/// A struct that stands by itself on the wire, in a span of versions.
pub trait Message: Wire + Default {
    const NAME: &'static str;
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE: i16;

    fn form(version: i16) -> Form {
        Form { version, flexible: version >= Self::FLEXIBLE }
    }

    fn decode(input: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            let (min, max) = Self::VERSIONS.into_inner();
            let fault = Fault::new(input.position(), DecodeReason::Version { min, max });
            return Err(fault.of(Self::NAME, version));
        }
        Self::read(input, Self::form(version)).map_err(|fault| fault.of(Self::NAME, version))
    }

    fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            let (min, max) = Self::VERSIONS.into_inner();
            let refusal = Refusal::new(EncodeReason::Version { min, max });
            return Err(refusal.of(Self::NAME, version));
        }
        self.write(out, Self::form(version)).map_err(|refusal| refusal.of(Self::NAME, version))
    }

    /// A message embedded in bytes or stored in a record: its version first, as an `i16`.
    fn decode_versioned(bytes: &Bytes) -> Result<(i16, Self), DecodeError> {
        let mut input = Reader::new(bytes.clone());
        let version = input.i16().map_err(|fault| fault.within("version").of(Self::NAME, 0))?;
        Ok((version, Self::decode(&mut input, version)?))
    }

    fn encode_versioned(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut out = Writer::default();
        out.put(&version.to_be_bytes());
        self.encode(&mut out, version)?;
        Ok(out.into_bytes())
    }
}

/// What may have a field `throttle_time_ms`.
pub trait Throttled {
    /// Sets it, if there is one.
    fn set_throttle_time_ms(&mut self, ms: i32);
}

macro_rules! default_value {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

macro_rules! messages {
    ($(
        $(#[$about:meta])*
        $name:ident $(: $first:literal ..= $last:literal $(, flexible $flexible:literal ..)?)? {
            $(
                $(#[$note:meta])*
                $field:ident : $type:ty $(= $default:expr)?
                $(, in $versions:expr)?
                $(, nullable in $nullable:expr)?
                $(, tag $tag:literal)?
                $(, ignorable $(@ $ignorable:tt)?)?
                ;
            )*
        }
    )+) => { $(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[$note])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $( $field: $crate::protocol::message::default_value!($($default)?), )* }
            }
        }

        $( impl $crate::protocol::message::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: std::ops::RangeInclusive<i16> = $first..=$last;
            const FLEXIBLE: i16 = [$($flexible,)? i16::MAX][0];
        } )?

        impl $crate::protocol::types::Wire for $name {
            #[allow(unused_variables, unused_mut)]
            fn write(
                &self,
                out: &mut $crate::protocol::wire::Writer,
                form: $crate::protocol::wire::Form,
            ) -> Result<(), $crate::protocol::error::Refusal> {
                use $crate::protocol::{error::{EncodeReason, Refusal}, types, wire::Writer};
                let mut tagged: Vec<(u32, Writer)> = Vec::new();
                $({
                    let present = true $(&& ($versions).contains(&form.version))?;
                    let nullable = true $(&& ($nullable).contains(&form.version))?;
                    let ignorable = false $(|| true $($ignorable)?)?;
                    let tag: Option<u32> = None $(.or(Some($tag)))?;
                    let name = stringify!($field);
                    if !present || tag.is_some() {
                        let default: $type =
                            $crate::protocol::message::default_value!($($default)?);
                        let omitted = self.$field == default;
                        if !present && !omitted && !ignorable {
                            return Err(Refusal::new(EncodeReason::NotInVersion).within(name));
                        }
                        if let (true, false, Some(tag)) = (present, omitted, tag) {
                            let mut value = Writer::default();
                            types::write_field(&self.$field, &mut value, form, name, nullable)?;
                            tagged.push((tag, value));
                        }
                    } else {
                        types::write_field(&self.$field, out, form, name, nullable)?;
                    }
                })*
                if form.flexible {
                    out.put_tagged_fields(tagged);
                }
                Ok(())
            }

            #[allow(unused_variables, unused_mut)]
            fn read(
                input: &mut $crate::protocol::wire::Reader,
                form: $crate::protocol::wire::Form,
            ) -> Result<Self, $crate::protocol::error::Fault> {
                use $crate::protocol::types;
                let mut value = Self::default();
                $(
                    let tag: Option<u32> = None $(.or(Some($tag)))?;
                    if tag.is_none() $(&& ($versions).contains(&form.version))? {
                        let nullable = true $(&& ($nullable).contains(&form.version))?;
                        let name = stringify!($field);
                        value.$field = types::read_field(input, form, name, nullable)?;
                    }
                )*
                if form.flexible {
                    input.tagged_fields(&mut |tag, input| {
                        $(
                            let known: Option<u32> = None $(.or(Some($tag)))?;
                            if known == Some(tag) $(&& ($versions).contains(&form.version))? {
                                let nullable = true $(&& ($nullable).contains(&form.version))?;
                                let name = stringify!($field);
                                value.$field = types::read_field(input, form, name, nullable)?;
                                return Ok(true);
                            }
                        )*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }

            fn size_min(form: $crate::protocol::wire::Form) -> usize {
                use $crate::protocol::types::Wire;
                usize::from(form.flexible)
                $(
                    + if None::<u32>$(.or(Some($tag)))?.is_none()
                        $(&& ($versions).contains(&form.version))?
                    {
                        <$type as Wire>::size_min(form)
                    } else {
                        0
                    }
                )*
            }
        }

        impl $crate::protocol::message::Throttled for $name {
            #[allow(unused_variables)]
            fn set_throttle_time_ms(&mut self, ms: i32) {
                // What a field's name is, a macro knows only as text.
                $(
                    let field = &mut self.$field as &mut dyn std::any::Any;
                    if stringify!($field) == "throttle_time_ms"
                        && let Some(field) = field.downcast_mut::<i32>()
                    {
                        *field = ms;
                    }
                )*
            }
        }

        impl $crate::protocol::types::Nullable for $name {
            fn write_nullable(
                value: Option<&Self>,
                out: &mut $crate::protocol::wire::Writer,
                form: $crate::protocol::wire::Form,
            ) -> Result<(), $crate::protocol::error::Refusal> {
                $crate::protocol::types::write_nullable_struct(value, out, form)
            }

            fn read_nullable(
                input: &mut $crate::protocol::wire::Reader,
                form: $crate::protocol::wire::Form,
            ) -> Result<Option<Self>, $crate::protocol::error::Fault> {
                $crate::protocol::types::read_nullable_struct(input, form)
            }
        }

        #[cfg(test)]
        impl $crate::protocol::tests::arbitrary::Arbitrary for $name {
            #[allow(unused_variables, unused_mut)]
            fn arbitrary(
                random: &mut $crate::protocol::tests::arbitrary::Random,
                form: $crate::protocol::wire::Form,
            ) -> Self {
                let mut value = Self::default();
                $(
                    if true $(&& ($versions).contains(&form.version))? {
                        let nullable = true $(&& ($nullable).contains(&form.version))?;
                        value.$field = random.field(form, nullable);
                    }
                )*
                value
            }
        }
    )+ };
}

pub(super) use {default_value, messages};
