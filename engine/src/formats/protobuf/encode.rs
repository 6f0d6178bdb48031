//! Rows as messages.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array,
    ListArray, MapArray, RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Fields, Schema, TimeUnit};
use arrow::error::ArrowError;
use serde_json::Value;

use super::descriptor::{Enum, FieldKind, Message, MessageField};
use super::wire::{put_bytes, put_length_before, put_tag, put_varint};
use super::{ProtobufFormat, WellKnown, well_known};
use crate::formats::FormatError;
use crate::formats::columns::exact_cast;
use crate::formats::encode::Parts;
use crate::formats::framing::{self, Framing};

/// Messages within messages: those of one that holds itself are as many as the columns are.
const DEPTH_MAX: usize = 100;
/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;

/// Writes rows of one schema.
#[derive(Clone, Debug)]
pub struct ProtobufEncoder {
    format: ProtobufFormat,
}

struct FieldWriter {
    name: String,
    number: u32,
    /// A default is written only by fields that know whether they were set.
    presence: bool,
    of: Shape,
}

enum Shape {
    Single(Writer),
    List { array: ListArray, item: Writer, packed: bool },
    Map { array: MapArray, key: Writer, value: Writer },
}

/// Values of a column, ready to be written row by row.
enum Writer {
    Double(Float64Array),
    Float(Float32Array),
    Signed(Int64Array),
    Zigzag(Int64Array),
    Unsigned(UInt64Array),
    Fixed32(Int64Array),
    Fixed64(UInt64Array),
    Sfixed64(Int64Array),
    Bool(BooleanArray),
    Bytes(BinaryArray),
    Enum(StringArray, Arc<Enum>),
    Message(ArrayRef, Vec<FieldWriter>),
    /// Seconds and nanoseconds.
    Time(Int64Array),
    /// The same of a length, of which both have the same sign.
    Length(Int64Array),
    Wrapper(Box<Writer>),
    Json(StringArray, WellKnown),
}

impl ProtobufEncoder {
    pub fn new(format: &ProtobufFormat, fields: &Fields) -> Result<ProtobufEncoder, FormatError> {
        if format.framing == Framing::Confluent && format.schema_id.is_none() {
            let reason = "Confluent's framing names the schema: give its 'schema_id'";
            return Err(FormatError::Shape(reason.to_owned()));
        }
        let own = &format.message().fields;
        for field in fields {
            if !own.iter().any(|own| own.name == *field.name()) {
                return Err(FormatError::NoField {
                    column: field.name().clone(),
                    what: "the message",
                    there: own.iter().map(|own| own.name.clone()).collect(),
                });
            }
        }
        let encoder = ProtobufEncoder { format: format.clone() };
        let empty = RecordBatch::new_empty(Arc::new(Schema::new(fields.clone())));
        encoder.encode(&empty).map_err(|error| match error {
            ArrowError::InvalidArgumentError(reason) => FormatError::Shape(reason),
            other => FormatError::Shape(other.to_string()),
        })?;
        Ok(encoder)
    }

    pub fn encode(&self, rows: &RecordBatch) -> Result<Parts, ArrowError> {
        let columns = StructArray::try_new_with_length(
            rows.schema().fields().clone(),
            rows.columns().to_vec(),
            None,
            rows.num_rows(),
        )?;
        let message = self.format.message();
        let writers = message_writers(&self.format, message, &columns, 0)
            .map_err(ArrowError::InvalidArgumentError)?;
        let mut parts = Parts::with_rows(rows.num_rows());
        for row in 0..rows.num_rows() {
            let start = parts.bytes.len();
            self.put_framing(&mut parts.bytes);
            write_fields(&writers, row, &mut parts.bytes).map_err(|reason| {
                ArrowError::InvalidArgumentError(format!("Protobuf: {reason}"))
            })?;
            parts.end_part(start);
        }
        Ok(parts)
    }

    fn put_framing(&self, out: &mut Vec<u8>) {
        let (Framing::Confluent, Some(id)) = (self.format.framing, self.format.schema_id) else {
            return;
        };
        framing::put_header(out, id);
        let zigzag = |value: i32| ((value << 1) ^ (value >> 31)) as u32;
        match self.format.message().indexes[..] {
            [0] => out.push(0),
            ref indexes => {
                put_varint(out, zigzag(indexes.len() as i32).into());
                indexes.iter().for_each(|index| put_varint(out, zigzag(*index).into()));
            }
        }
    }
}

fn message_writers(
    format: &ProtobufFormat,
    message: &Message,
    array: &StructArray,
    depth: usize,
) -> Result<Vec<FieldWriter>, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deeply".to_owned());
    }
    let mut writers = Vec::with_capacity(array.num_columns());
    for (field, column) in array.fields().iter().zip(array.columns()) {
        let own = message.fields.iter().find(|own| own.name == *field.name());
        let Some(own) = own else {
            return Err(format!("message '{}' has no field '{}'", message.name, field.name()));
        };
        let of = shape(format, own, column, depth)
            .map_err(|reason| format!("field '{}': {reason}", own.name))?;
        writers.push(FieldWriter {
            name: own.name.clone(),
            number: own.number,
            presence: own.presence || own.required,
            of,
        });
    }
    Ok(writers)
}

fn shape(
    format: &ProtobufFormat,
    own: &MessageField,
    array: &ArrayRef,
    depth: usize,
) -> Result<Shape, String> {
    if let Some(entry) = format.map_entry(own) {
        let Some(maps) = array.as_any().downcast_ref::<MapArray>() else {
            return Err(format!("a value of type {} is no map", array.data_type()));
        };
        let key = writer(format, &entry.fields[0], maps.keys(), depth)?;
        let value = writer(format, &entry.fields[1], maps.values(), depth)?;
        return Ok(Shape::Map { array: maps.clone(), key, value });
    }
    if !own.repeated {
        return Ok(Shape::Single(writer(format, own, array, depth)?));
    }
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
        array.data_type()
    else {
        return Err(format!("a value of type {} is no list", array.data_type()));
    };
    let lists = exact_cast(array, &DataType::List(Arc::clone(item)))?;
    let lists = lists.as_list::<i32>().clone();
    let item = writer(format, own, lists.values(), depth)?;
    Ok(Shape::List { array: lists, item, packed: own.packed })
}

fn writer(
    format: &ProtobufFormat,
    own: &MessageField,
    array: &ArrayRef,
    depth: usize,
) -> Result<Writer, String> {
    let to = |data_type: DataType| exact_cast(array, &data_type);
    // Checked against the narrower type first, then widened for writing.
    let signed = |narrow: DataType| -> Result<Int64Array, String> {
        let array = exact_cast(&to(narrow)?, &DataType::Int64)?;
        Ok(array.as_primitive().clone())
    };
    Ok(match &own.kind {
        FieldKind::Double => Writer::Double(to(DataType::Float64)?.as_primitive().clone()),
        FieldKind::Float => Writer::Float(to(DataType::Float32)?.as_primitive().clone()),
        FieldKind::Int32 => Writer::Signed(signed(DataType::Int32)?),
        FieldKind::Int64 => Writer::Signed(signed(DataType::Int64)?),
        FieldKind::Sint32 => Writer::Zigzag(signed(DataType::Int32)?),
        FieldKind::Sint64 => Writer::Zigzag(signed(DataType::Int64)?),
        FieldKind::Uint32 => {
            let narrow = to(DataType::UInt32)?;
            let wide = exact_cast(&narrow, &DataType::UInt64)?;
            Writer::Unsigned(wide.as_primitive().clone())
        }
        FieldKind::Uint64 => Writer::Unsigned(to(DataType::UInt64)?.as_primitive().clone()),
        FieldKind::Fixed32 => Writer::Fixed32(signed(DataType::UInt32)?),
        FieldKind::Sfixed32 => Writer::Fixed32(signed(DataType::Int32)?),
        FieldKind::Fixed64 => Writer::Fixed64(to(DataType::UInt64)?.as_primitive().clone()),
        FieldKind::Sfixed64 => Writer::Sfixed64(signed(DataType::Int64)?),
        FieldKind::Bool => Writer::Bool(to(DataType::Boolean)?.as_boolean().clone()),
        FieldKind::String => {
            let text = to(DataType::Utf8)?;
            Writer::Bytes(exact_cast(&text, &DataType::Binary)?.as_binary().clone())
        }
        FieldKind::Bytes => Writer::Bytes(to(DataType::Binary)?.as_binary().clone()),
        FieldKind::Enum(of) => {
            Writer::Enum(to(DataType::Utf8)?.as_string().clone(), Arc::clone(of))
        }
        FieldKind::Group => return Err("groups cannot be written".to_owned()),
        FieldKind::Message(index) => {
            return message_writer(format, &format.pool.messages[*index], array, depth);
        }
    })
}

fn put_seconds(out: &mut Vec<u8>, seconds: i64, nanos: i64) {
    let start = out.len();
    for (number, value) in [(1, seconds), (2, nanos)] {
        if value != 0 {
            put_tag(out, number, 0);
            put_varint(out, value as u64);
        }
    }
    put_length_before(out, start);
}

fn message_writer(
    format: &ProtobufFormat,
    message: &Message,
    array: &ArrayRef,
    depth: usize,
) -> Result<Writer, String> {
    let to = |data_type: DataType| exact_cast(array, &data_type);
    let nanos = |ns: ArrayRef| -> Result<Int64Array, String> {
        Ok(exact_cast(&ns, &DataType::Int64)?.as_primitive().clone())
    };
    match well_known(message) {
        Some(WellKnown::Timestamp) => {
            let zone = match array.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            Ok(Writer::Time(nanos(to(DataType::Timestamp(TimeUnit::Nanosecond, zone))?)?))
        }
        Some(WellKnown::Duration) => Ok(Writer::Length(match array.data_type() {
            DataType::Duration(_) => nanos(to(DataType::Duration(TimeUnit::Nanosecond))?)?,
            _ => nanos(Arc::clone(array))?,
        })),
        Some(WellKnown::Wrapper) => {
            let of = writer(format, &message.fields[0], array, depth)?;
            Ok(Writer::Wrapper(Box::new(of)))
        }
        Some(json) => Ok(Writer::Json(to(DataType::Utf8)?.as_string().clone(), json)),
        None => {
            let Some(of) = array.as_struct_opt() else {
                return Err(format!("a value of type {} is no message", array.data_type()));
            };
            let fields = message_writers(format, message, of, depth + 1)?;
            Ok(Writer::Message(Arc::clone(array), fields))
        }
    }
}

fn write_fields(fields: &[FieldWriter], row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    for field in fields {
        let written = write_field(field, row, out);
        written.map_err(|reason| format!("field '{}': {reason}", field.name))?;
    }
    Ok(())
}

fn write_field(field: &FieldWriter, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match &field.of {
        Shape::Single(writer) => {
            if !writer.is_null(row) && (field.presence || !writer.is_default(row)) {
                put_tag(out, field.number, writer.wire_type());
                writer.write(row, out)?;
            }
            Ok(())
        }
        Shape::List { array, item, packed } => {
            let offsets = array.value_offsets();
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            if array.is_null(row) || range.is_empty() {
                return Ok(());
            }
            if let Some(at) = range.clone().find(|at| item.is_null(*at)) {
                return Err(format!("item {} is NULL, which no item can be", at - range.start));
            }
            if *packed {
                put_tag(out, field.number, 2);
                let start = out.len();
                range.into_iter().try_for_each(|at| item.write(at, out))?;
                put_length_before(out, start);
                return Ok(());
            }
            for at in range {
                put_tag(out, field.number, item.wire_type());
                item.write(at, out)?;
            }
            Ok(())
        }
        Shape::Map { array, key, value } => {
            let offsets = array.value_offsets();
            if array.is_null(row) {
                return Ok(());
            }
            for at in offsets[row] as usize..offsets[row + 1] as usize {
                if value.is_null(at) {
                    return Err("a value of a map is NULL, which none can be".to_owned());
                }
                put_tag(out, field.number, 2);
                let start = out.len();
                put_tag(out, 1, key.wire_type());
                key.write(at, out)?;
                put_tag(out, 2, value.wire_type());
                value.write(at, out)?;
                put_length_before(out, start);
            }
            Ok(())
        }
    }
}

impl Writer {
    fn wire_type(&self) -> u8 {
        match self {
            Writer::Signed(_) | Writer::Zigzag(_) | Writer::Unsigned(_) | Writer::Bool(_) => 0,
            Writer::Enum(..) => 0,
            Writer::Double(_) | Writer::Fixed64(_) | Writer::Sfixed64(_) => 1,
            Writer::Float(_) | Writer::Fixed32(_) => 5,
            Writer::Bytes(_) | Writer::Message(..) | Writer::Time(_) | Writer::Length(_) => 2,
            Writer::Wrapper(_) | Writer::Json(..) => 2,
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Writer::Double(array) => array,
            Writer::Float(array) => array,
            Writer::Signed(array)
            | Writer::Zigzag(array)
            | Writer::Fixed32(array)
            | Writer::Sfixed64(array)
            | Writer::Time(array)
            | Writer::Length(array) => array,
            Writer::Unsigned(array) | Writer::Fixed64(array) => array,
            Writer::Bool(array) => array,
            Writer::Bytes(array) => array,
            Writer::Enum(array, _) | Writer::Json(array, _) => array,
            Writer::Message(array, _) => array,
            Writer::Wrapper(of) => of.array(),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.array().is_null(row)
    }

    /// Whether the value is what a missing field stands for.
    fn is_default(&self, row: usize) -> bool {
        match self {
            Writer::Double(array) => array.value(row).to_bits() == 0,
            Writer::Float(array) => array.value(row).to_bits() == 0,
            Writer::Signed(array) | Writer::Zigzag(array) | Writer::Fixed32(array) => {
                array.value(row) == 0
            }
            Writer::Sfixed64(array) => array.value(row) == 0,
            Writer::Unsigned(array) | Writer::Fixed64(array) => array.value(row) == 0,
            Writer::Bool(array) => !array.value(row),
            Writer::Bytes(array) => array.value(row).is_empty(),
            Writer::Enum(array, of) => of.number(array.value(row)) == Some(0),
            _ => false,
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Writer::Double(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Writer::Float(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Writer::Signed(array) => put_varint(out, array.value(row) as u64),
            Writer::Zigzag(array) => {
                let value = array.value(row);
                put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
            }
            Writer::Unsigned(array) => put_varint(out, array.value(row)),
            Writer::Fixed32(array) => {
                out.extend_from_slice(&(array.value(row) as u32).to_le_bytes());
            }
            Writer::Fixed64(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Writer::Sfixed64(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Writer::Bool(array) => out.push(array.value(row).into()),
            Writer::Bytes(array) => put_bytes(out, array.value(row)),
            Writer::Enum(array, of) => {
                let name = array.value(row);
                let number = of.number(name).or_else(|| name.parse().ok());
                let number = number.ok_or_else(|| format!("the enum has no value {name:?}"))?;
                put_varint(out, i64::from(number) as u64);
            }
            Writer::Message(_, fields) => {
                let start = out.len();
                write_fields(fields, row, out)?;
                put_length_before(out, start);
            }
            Writer::Time(array) => {
                let ns = array.value(row);
                put_seconds(out, ns.div_euclid(NANOS), ns.rem_euclid(NANOS));
            }
            Writer::Length(array) => {
                let ns = array.value(row);
                put_seconds(out, ns / NANOS, ns % NANOS);
            }
            Writer::Wrapper(of) => {
                let start = out.len();
                if !of.is_default(row) {
                    put_tag(out, 1, of.wire_type());
                    of.write(row, out)?;
                }
                put_length_before(out, start);
            }
            Writer::Json(array, of) => {
                let text = array.value(row);
                let value: Value =
                    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
                put_json(*of, &value, out)?;
            }
        }
        Ok(())
    }
}

/// JSON as google.protobuf.Struct, Value or ListValue, with its length before it.
fn put_json(of: WellKnown, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    match (of, value) {
        (WellKnown::Struct, Value::Object(object)) => {
            for (key, value) in object {
                put_tag(out, 1, 2);
                let entry = out.len();
                put_tag(out, 1, 2);
                put_bytes(out, key.as_bytes());
                put_tag(out, 2, 2);
                put_json(WellKnown::Value, value, out)?;
                put_length_before(out, entry);
            }
        }
        (WellKnown::ListValue, Value::Array(list)) => {
            for value in list {
                put_tag(out, 1, 2);
                put_json(WellKnown::Value, value, out)?;
            }
        }
        (WellKnown::Struct, _) => return Err("a JSON object is needed".to_owned()),
        (WellKnown::ListValue, _) => return Err("a JSON array is needed".to_owned()),
        (_, Value::Null) => {
            put_tag(out, 1, 0);
            out.push(0);
        }
        (_, Value::Number(number)) => {
            put_tag(out, 2, 1);
            out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
        }
        (_, Value::String(text)) => {
            put_tag(out, 3, 2);
            put_bytes(out, text.as_bytes());
        }
        (_, Value::Bool(flag)) => {
            put_tag(out, 4, 0);
            out.push(u8::from(*flag));
        }
        (_, Value::Object(_)) => {
            put_tag(out, 5, 2);
            put_json(WellKnown::Struct, value, out)?;
        }
        (_, Value::Array(_)) => {
            put_tag(out, 6, 2);
            put_json(WellKnown::ListValue, value, out)?;
        }
    }
    put_length_before(out, start);
    Ok(())
}
