//! Protocol Buffers: proto2, proto3 and editions, bare or in Confluent's framing, by a descriptor
//! set (`protoc --include_imports --descriptor_set_out=FILE`) and the name of a message.
//!
//! - [`descriptor`]: the messages of a set; [`wire`]: tags and varints; [`decode`]: records into
//!   columns; [`encode`]: rows into records.
//!
//! | Protobuf | Arrow | |
//! |---|---|---|
//! | double, float | Float64, Float32 | |
//! | int32, sint32, sfixed32 | Int32 | |
//! | int64, sint64, sfixed64 | Int64 | |
//! | uint32, fixed32; uint64, fixed64 | UInt32; UInt64 | |
//! | bool, string, bytes | Boolean, Utf8, Binary | |
//! | enum | Utf8 | its name, or its number if it has none; into numbers, the number |
//! | message | Struct | |
//! | repeated | List | packed or not |
//! | map | Map | |
//! | oneof | each of its fields, nullable | the last that was set |
//! | Timestamp | Timestamp(ns, UTC) | Timestamp of any unit, rounded down |
//! | Duration | Duration(ns) | whole numbers, in ns |
//! | DoubleValue … BytesValue | what they wrap, nullable | |
//! | Struct, Value, ListValue | Utf8 | as JSON |
//! | Any, FieldMask, Empty | Struct | as the messages that they are |
//!
//! A field that knows whether it was set is nullable; another one that is missing has its default,
//! 0 or nothing. Of a field that stands twice the last counts, messages are merged, fields that no
//! column wants are passed over. Fields are found by the names that the .proto file gives them.
//!
//! Written by hand rather than with a crate: those that there are build a map of boxed values for
//! each message. Columns that the message has no field for are refused, on the way in and out.

pub mod decode;
pub mod descriptor;
pub mod encode;
pub mod wire;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use thiserror::Error;

pub use self::decode::ProtobufDecoder;
use self::descriptor::{FieldKind, Message, MessageField, Pool};
pub use self::encode::ProtobufEncoder;
use super::FormatError;
use super::framing::Framing;
use crate::formats::columns::map_type;

/// Fields of all columns, those of messages within messages counted wherever they stand.
const FIELDS_MAX: usize = 20_000;

/// How records of a topic are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufFormat {
    pool: Pool,
    message: usize,
    framing: Framing,
    schema_id: Option<u32>,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProtobufError {
    #[error("not a descriptor set: {0}")]
    Set(String),
    #[error("the descriptor set has no message '{name}'")]
    NoMessage { name: String, there: Vec<String> },
    #[error("the descriptor set has {count} messages: name one by 'message'")]
    Which { count: usize },
}

impl ProtobufError {
    pub fn is_about_message(&self) -> bool {
        matches!(self, ProtobufError::NoMessage { .. })
    }

    /// What was given, and what there is.
    pub fn candidates(&self) -> Option<(&str, &[String])> {
        match self {
            ProtobufError::NoMessage { name, there } => Some((name, there)),
            _ => None,
        }
    }
}

/// Messages that stand for something that Arrow has itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WellKnown {
    Timestamp,
    Duration,
    /// Of what its only field holds.
    Wrapper,
    /// Struct, Value or ListValue: JSON.
    Struct,
    Value,
    ListValue,
}

pub fn well_known(message: &Message) -> Option<WellKnown> {
    Some(match message.name.strip_prefix("google.protobuf.")? {
        "Timestamp" => WellKnown::Timestamp,
        "Duration" => WellKnown::Duration,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
        | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue"
            if message.fields.len() == 1 =>
        {
            WellKnown::Wrapper
        }
        "Struct" => WellKnown::Struct,
        "Value" => WellKnown::Value,
        "ListValue" => WellKnown::ListValue,
        _ => return None,
    })
}

impl ProtobufFormat {
    /// `message` may be left out where the set has only one that is not within another.
    pub fn new(
        descriptor_set: &[u8],
        message: Option<&str>,
        framing: Framing,
        schema_id: Option<u32>,
    ) -> Result<ProtobufFormat, ProtobufError> {
        let pool = Pool::parse(descriptor_set).map_err(ProtobufError::Set)?;
        let outer = |message: &&Message| {
            message.indexes.len() == 1 && !message.name.starts_with("google.protobuf.")
        };
        let index = match message {
            Some(name) => pool.message(name).ok_or_else(|| ProtobufError::NoMessage {
                name: name.to_owned(),
                there: pool.messages.iter().map(|message| message.name.clone()).collect(),
            })?,
            None => {
                let mut found = pool.messages.iter().filter(outer);
                match (found.next(), found.next()) {
                    (Some(only), None) => pool.message(&only.name).unwrap_or(0),
                    _ => {
                        let count = pool.messages.iter().filter(outer).count();
                        return Err(ProtobufError::Which { count });
                    }
                }
            }
        };
        Ok(ProtobufFormat { pool, message: index, framing, schema_id })
    }

    fn message(&self) -> &Message {
        &self.pool.messages[self.message]
    }

    /// The fields of the message.
    pub fn columns(&self) -> Result<Vec<Field>, FormatError> {
        let mut walk = Walk { open: vec![self.message], fields: 0 };
        let fields = self.message().fields.iter();
        fields.map(|field| self.arrow_field(field, &mut walk)).collect()
    }

    fn arrow_field(&self, field: &MessageField, walk: &mut Walk) -> Result<Field, FormatError> {
        walk.fields += 1;
        if walk.fields > FIELDS_MAX {
            let reason = format!("the message has more than {FIELDS_MAX} fields, all told");
            return Err(FormatError::Shape(reason));
        }
        if let Some(entry) = self.map_entry(field) {
            let [key, value] = &entry.fields[..] else {
                unreachable!("an entry of a map has two fields")
            };
            let (key, value) =
                (self.kind_type(&key.kind, walk)?, self.kind_type(&value.kind, walk)?);
            return Ok(Field::new(&field.name, map_type(key, value), false));
        }
        let data_type = self.kind_type(&field.kind, walk)?;
        if field.repeated {
            let item = FieldRef::new(Field::new("item", data_type, false));
            return Ok(Field::new(&field.name, DataType::List(item), false));
        }
        Ok(Field::new(&field.name, data_type, field.presence && !field.required))
    }

    /// The entry's message, if a field is a map.
    fn map_entry(&self, field: &MessageField) -> Option<&Message> {
        let FieldKind::Message(index) = field.kind else { return None };
        let entry = &self.pool.messages[index];
        (field.repeated && entry.is_map_entry && entry.fields.len() == 2).then_some(entry)
    }

    fn kind_type(&self, kind: &FieldKind, walk: &mut Walk) -> Result<DataType, FormatError> {
        Ok(match kind {
            FieldKind::Double => DataType::Float64,
            FieldKind::Float => DataType::Float32,
            FieldKind::Int32 | FieldKind::Sint32 | FieldKind::Sfixed32 => DataType::Int32,
            FieldKind::Int64 | FieldKind::Sint64 | FieldKind::Sfixed64 => DataType::Int64,
            FieldKind::Uint32 | FieldKind::Fixed32 => DataType::UInt32,
            FieldKind::Uint64 | FieldKind::Fixed64 => DataType::UInt64,
            FieldKind::Bool => DataType::Boolean,
            FieldKind::String | FieldKind::Enum(_) => DataType::Utf8,
            FieldKind::Bytes => DataType::Binary,
            FieldKind::Group => {
                return Err(FormatError::Shape("groups cannot be read".to_owned()));
            }
            FieldKind::Message(index) => {
                let message = &self.pool.messages[*index];
                match well_known(message) {
                    Some(WellKnown::Timestamp) => {
                        DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()))
                    }
                    Some(WellKnown::Duration) => DataType::Duration(TimeUnit::Nanosecond),
                    Some(WellKnown::Wrapper) => self.kind_type(&message.fields[0].kind, walk)?,
                    Some(_) => DataType::Utf8,
                    None => self.message_type(*index, walk)?,
                }
            }
        })
    }

    fn message_type(&self, index: usize, walk: &mut Walk) -> Result<DataType, FormatError> {
        let message = &self.pool.messages[index];
        if walk.open.contains(&index) {
            let name = &message.name;
            let reason = format!("the message '{name}' holds itself, which no column can");
            return Err(FormatError::Shape(reason));
        }
        walk.open.push(index);
        let fields = message.fields.iter().map(|field| self.arrow_field(field, walk));
        let fields: Result<Fields, FormatError> = fields.collect();
        walk.open.pop();
        Ok(DataType::Struct(fields?))
    }
}

/// The way from the root to a message, and how many fields there were.
struct Walk {
    open: Vec<usize>,
    fields: usize,
}

#[cfg(test)]
mod tests;
