//! Records into columns, by a plan of the message.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields as ArrowFields, TimeUnit};
use serde_json::{Map, Number, Value};

use super::descriptor::{Enum, FieldKind, Message, MessageField};
use super::wire::{Broken, Fields, Wire, varint, zigzag};
use super::{ProtobufFormat, WellKnown, well_known};
use crate::formats::builders::{ColumnBuilder, Put, Refused};
use crate::formats::fault::{Fault, Step};
use crate::formats::framing::{self, Framing};
use crate::formats::json::Indexed;
use crate::formats::{DecodeError, FormatError, excerpt};
use crate::type_names::type_text;

/// Values within values of google.protobuf.Value.
const JSON_DEPTH_MAX: usize = 100;

pub struct ProtobufDecoder {
    rows: ColumnBuilder,
    plan: MessagePlan,
    format: Arc<ProtobufFormat>,
}

/// How the fields of a message become those of a struct.
struct MessagePlan {
    fields: Vec<FieldPlan>,
    numbers: HashMap<u32, usize>,
}

struct FieldPlan {
    number: u32,
    column: usize,
    kind: KindPlan,
    shape: Shape,
    presence: bool,
    oneof: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Single,
    List,
    Map,
}

enum KindPlan {
    Scalar(FieldKind),
    Enum(Arc<Enum>),
    Message(MessagePlan),
    Timestamp,
    Duration,
    Wrapper(FieldKind),
    Json(WellKnown),
    Entry { key: FieldKind, value: Box<KindPlan> },
}

type Failure = Box<Fault>;
type Taken = Result<(), Failure>;

impl ProtobufDecoder {
    pub fn new(
        format: Arc<ProtobufFormat>,
        fields: ArrowFields,
    ) -> Result<ProtobufDecoder, FormatError> {
        let plan = plan_message(&format, format.message(), &fields)?;
        let rows = ColumnBuilder::rows(fields, "Protobuf")?;
        Ok(ProtobufDecoder { rows, plan, format })
    }

    pub fn rows(&mut self) -> &mut ColumnBuilder {
        &mut self.rows
    }

    /// Takes one message; nothing of it after an error.
    pub fn append(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let row = self.rows.len();
        let taken = self.take(value);
        if taken.is_err() {
            self.rows.truncate(row);
        }
        taken
    }

    pub fn decode(
        &mut self,
        values: &[Indexed<'_>],
        failed: &mut Vec<(usize, DecodeError)>,
    ) -> Vec<ArrayRef> {
        for (index, value) in values {
            if let Err(error) = self.append(value) {
                failed.push((*index, error));
            }
        }
        self.rows.finish_columns()
    }

    fn take(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let payload = match self.format.framing {
            Framing::None => value,
            Framing::Confluent => self.unframed(value)?,
        };
        let taken = take_message(&self.plan, payload, &mut self.rows);
        taken.map_err(|fault| fault.into_error("Protobuf", value))
    }

    /// What follows the schema id and the message indexes, which must be those of our message.
    fn unframed<'a>(&self, value: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let schema = |reason: String| DecodeError::Schema { reason, excerpt: excerpt(value) };
        let broken = |reason: Broken| schema(format!("the message indexes: {reason}"));
        let (id, mut payload) = framing::split(value)?;
        if let Some(own) = self.format.schema_id.filter(|own| *own != id) {
            return Err(schema(format!("it was written with schema {id}, not {own}")));
        }
        let count = zigzag(varint(&mut payload).map_err(broken)?);
        let own = &self.format.message().indexes;
        let mut indexes = Vec::new();
        // More than our own has are not ours.
        for _ in 0..count.clamp(0, own.len() as i64 + 1) {
            indexes.push(zigzag(varint(&mut payload).map_err(broken)?));
        }
        if count == 0 {
            indexes.push(0);
        }
        if !indexes.iter().copied().eq(own.iter().map(|index| i64::from(*index))) {
            let reason = format!(
                "it is message {indexes:?} of its file, and '{}' is {own:?}",
                self.format.message().name
            );
            return Err(schema(reason));
        }
        Ok(payload)
    }
}

fn plan_message(
    format: &ProtobufFormat,
    message: &Message,
    columns: &ArrowFields,
) -> Result<MessagePlan, FormatError> {
    let mut plan = MessagePlan { fields: Vec::new(), numbers: HashMap::new() };
    for (column, field) in columns.iter().enumerate() {
        let Some(own) = message.fields.iter().find(|own| own.name == *field.name()) else {
            return Err(FormatError::NoField {
                column: field.name().clone(),
                what: "the message",
                there: message.fields.iter().map(|own| own.name.clone()).collect(),
            });
        };
        let (shape, kind) = plan_field(format, own, field)?;
        plan.numbers.insert(own.number, plan.fields.len());
        plan.fields.push(FieldPlan {
            number: own.number,
            column,
            kind,
            shape,
            presence: own.presence,
            oneof: own.oneof,
        });
    }
    Ok(plan)
}

fn plan_field(
    format: &ProtobufFormat,
    own: &MessageField,
    field: &Field,
) -> Result<(Shape, KindPlan), FormatError> {
    if let Some(entry) = format.map_entry(own) {
        let DataType::Map(entries, _) = field.data_type() else { return Err(misfit(own, field)) };
        let DataType::Struct(of) = entries.data_type() else { return Err(misfit(own, field)) };
        let key = entry.fields[0].kind.clone();
        let value = Box::new(plan_kind(format, &entry.fields[1], &of[1])?);
        return Ok((Shape::Map, KindPlan::Entry { key, value }));
    }
    if own.repeated {
        let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
            field.data_type()
        else {
            return Err(misfit(own, field));
        };
        return Ok((Shape::List, plan_kind(format, own, item)?));
    }
    Ok((Shape::Single, plan_kind(format, own, field)?))
}

fn plan_kind(
    format: &ProtobufFormat,
    own: &MessageField,
    field: &Field,
) -> Result<KindPlan, FormatError> {
    let nested = field.data_type().is_nested();
    let scalar = |plan: KindPlan| if nested { Err(misfit(own, field)) } else { Ok(plan) };
    match &own.kind {
        FieldKind::Enum(of) => scalar(KindPlan::Enum(Arc::clone(of))),
        FieldKind::Group => Err(FormatError::Shape("groups cannot be read".to_owned())),
        FieldKind::Message(index) => {
            let message = &format.pool.messages[*index];
            match (well_known(message), field.data_type()) {
                (Some(WellKnown::Timestamp), _) if !nested => Ok(KindPlan::Timestamp),
                (Some(WellKnown::Duration), _) if !nested => Ok(KindPlan::Duration),
                (Some(WellKnown::Wrapper), _) => {
                    scalar(KindPlan::Wrapper(message.fields[0].kind.clone()))
                }
                (Some(json @ (WellKnown::Struct | WellKnown::Value | WellKnown::ListValue)), _) => {
                    scalar(KindPlan::Json(json))
                }
                (_, DataType::Struct(columns)) => {
                    Ok(KindPlan::Message(plan_message(format, message, columns)?))
                }
                _ => Err(misfit(own, field)),
            }
        }
        kind => scalar(KindPlan::Scalar(kind.clone())),
    }
}

fn misfit(own: &MessageField, field: &Field) -> FormatError {
    let what = match (&own.kind, own.repeated) {
        (_, true) => "a repeated field or a map",
        (FieldKind::Message(_), _) => "a message",
        _ => "a single value",
    };
    let (name, data_type) = (field.name(), field.data_type());
    FormatError::Shape(format!(
        "column '{name}' is {}, and the message has {what} there",
        type_text(data_type)
    ))
}

fn take_message(plan: &MessagePlan, bytes: &[u8], column: &mut ColumnBuilder) -> Taken {
    let row = column.len();
    let of = column.as_struct().expect("planned for a struct");
    let mut fields = Fields { rest: bytes };
    while let Some((number, wire)) = fields.next().map_err(broken)? {
        let Some(field) = plan.numbers.get(&number).map(|at| &plan.fields[*at]) else { continue };
        if let Some(oneof) = field.oneof {
            let others = plan.fields.iter().filter(|other| other.oneof == Some(oneof));
            for other in others.filter(|other| other.number != number) {
                of.columns[other.column].truncate(row);
            }
        }
        let below = &mut of.columns[field.column];
        let taken = take_field(field, wire, bytes, row, below);
        taken.map_err(|fault| fault.at(Step::Field(below.name().to_owned())))?;
    }
    for field in &plan.fields {
        let below = &mut of.columns[field.column];
        let ended = match field.shape {
            Shape::List => below.end_list(),
            Shape::Map => below.end_map(),
            Shape::Single if below.len() > row || field.presence => Ok(()),
            Shape::Single => put_default(&field.kind, below),
        };
        put(ended, below, || "of another length".to_owned())
            .map_err(|fault| fault.at(Step::Field(below.name().to_owned())))?;
    }
    column.end_struct().map_err(|missing| {
        let of = column.as_struct().expect("a struct has ended");
        let below = &of.columns[missing];
        let fault = Fault::refused(below, Refused::Null, "missing".to_owned());
        fault.at(Step::Field(below.name().to_owned()))
    })
}

fn take_field(
    field: &FieldPlan,
    wire: Wire<'_>,
    message: &[u8],
    row: usize,
    column: &mut ColumnBuilder,
) -> Taken {
    match (field.shape, &field.kind) {
        (Shape::Map, KindPlan::Entry { key, value }) => take_entry(key, value, wire, column),
        (Shape::List, kind) => {
            let items = column.items().expect("planned for a list");
            match (kind, wire) {
                (KindPlan::Scalar(kind), Wire::Bytes(packed)) if is_packable(kind) => {
                    take_packed(kind, packed, |wire, items| take_scalar(kind, wire, items), items)
                }
                (KindPlan::Enum(of), Wire::Bytes(packed)) => {
                    let kind = FieldKind::Int32;
                    take_packed(&kind, packed, |wire, items| take_enum(of, wire, items), items)
                }
                _ => take_kind(kind, wire, items),
            }
        }
        (_, kind) if column.len() > row => {
            column.truncate(row);
            match kind {
                // Messages that stand twice are merged, which is what reading both as one does.
                KindPlan::Message(_) | KindPlan::Json(_) => {
                    let merged = merged(message, field.number).map_err(broken)?;
                    take_kind(kind, Wire::Bytes(&merged), column)
                }
                kind => take_kind(kind, wire, column),
            }
        }
        (_, kind) => take_kind(kind, wire, column),
    }
}

#[cold]
fn merged(message: &[u8], number: u32) -> Result<Vec<u8>, Broken> {
    let mut merged = Vec::new();
    let mut fields = Fields { rest: message };
    while let Some((found, wire)) = fields.next()? {
        if let (true, Wire::Bytes(part)) = (found == number, wire) {
            merged.extend_from_slice(part);
        }
    }
    Ok(merged)
}

fn take_entry(
    key: &FieldKind,
    value: &KindPlan,
    wire: Wire<'_>,
    column: &mut ColumnBuilder,
) -> Taken {
    let Wire::Bytes(entry) = wire else { return Err(wrong_wire()) };
    let (keys, values) = column.entries().expect("planned for a map");
    let row = keys.len();
    let mut fields = Fields { rest: entry };
    while let Some((number, wire)) = fields.next().map_err(broken)? {
        match number {
            1 => {
                keys.truncate(row);
                take_scalar(key, wire, keys)?;
            }
            2 => {
                values.truncate(row);
                take_kind(value, wire, values)?;
            }
            _ => {}
        }
    }
    if keys.len() == row {
        let put_key = put_default(&KindPlan::Scalar(key.clone()), keys);
        put(put_key, keys, || "missing".to_owned())?;
    }
    if values.len() == row {
        match value {
            KindPlan::Message(plan) => take_message(plan, &[], values)?,
            other => put(put_default(other, values), values, || "missing".to_owned())?,
        }
    }
    Ok(())
}

fn is_packable(kind: &FieldKind) -> bool {
    !matches!(kind, FieldKind::String | FieldKind::Bytes)
}

fn take_packed(
    kind: &FieldKind,
    packed: &[u8],
    take: impl Fn(Wire<'_>, &mut ColumnBuilder) -> Taken,
    items: &mut ColumnBuilder,
) -> Taken {
    let mut rest = packed;
    while !rest.is_empty() {
        let wire = match kind {
            FieldKind::Double | FieldKind::Fixed64 | FieldKind::Sfixed64 => {
                let (eight, after) = rest.split_first_chunk().ok_or_else(|| broken(ENDS))?;
                rest = after;
                Wire::Fixed64(u64::from_le_bytes(*eight))
            }
            FieldKind::Float | FieldKind::Fixed32 | FieldKind::Sfixed32 => {
                let (four, after) = rest.split_first_chunk().ok_or_else(|| broken(ENDS))?;
                rest = after;
                Wire::Fixed32(u32::from_le_bytes(*four))
            }
            _ => Wire::Varint(varint(&mut rest).map_err(broken)?),
        };
        take(wire, items)?;
    }
    Ok(())
}

const ENDS: Broken = "it ends in the middle of a field";

fn take_kind(kind: &KindPlan, wire: Wire<'_>, column: &mut ColumnBuilder) -> Taken {
    let bytes = match (kind, wire) {
        (KindPlan::Scalar(kind), wire) => return take_scalar(kind, wire, column),
        (KindPlan::Enum(of), wire) => return take_enum(of, wire, column),
        (_, Wire::Bytes(bytes)) => bytes,
        _ => return Err(wrong_wire()),
    };
    match kind {
        KindPlan::Message(plan) => take_message(plan, bytes, column),
        KindPlan::Timestamp | KindPlan::Duration => {
            let (seconds, nanos) = seconds_and_nanos(bytes).map_err(broken)?;
            let found = || format!("{seconds} s and {nanos} ns");
            let total = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanos));
            let taken = match (kind, total) {
                // Beyond the years 1677 to 2262 in nanoseconds, but perhaps not in the column's.
                (KindPlan::Timestamp, None) => column.instant(seconds, TimeUnit::Second),
                (KindPlan::Timestamp, Some(ns)) => column.instant(ns, TimeUnit::Nanosecond),
                (_, Some(ns)) => column.duration(ns, TimeUnit::Nanosecond),
                (_, None) => Err(Refused::Type),
            };
            put(taken, column, found)
        }
        KindPlan::Wrapper(kind) => {
            let mut inner = None;
            let mut fields = Fields { rest: bytes };
            while let Some((number, wire)) = fields.next().map_err(broken)? {
                if number == 1 {
                    inner = Some(wire);
                }
            }
            match inner {
                Some(wire) => take_scalar(kind, wire, column),
                None => {
                    let default = put_default(&KindPlan::Scalar(kind.clone()), column);
                    put(default, column, || "missing".to_owned())
                }
            }
        }
        KindPlan::Json(of) => {
            let value = json_value(*of, bytes, 0).map_err(broken)?.to_string();
            put(column.text(&value), column, || excerpt(value.as_bytes()))
        }
        KindPlan::Scalar(_) | KindPlan::Enum(_) | KindPlan::Entry { .. } => Err(wrong_wire()),
    }
}

fn take_scalar(kind: &FieldKind, wire: Wire<'_>, column: &mut ColumnBuilder) -> Taken {
    let integer = |column: &mut ColumnBuilder, value: i64| {
        put(column.integer(value), column, || value.to_string())
    };
    let unsigned = |column: &mut ColumnBuilder, value: u64| {
        put(column.unsigned(value), column, || value.to_string())
    };
    match (kind, wire) {
        (FieldKind::Double, Wire::Fixed64(bits)) => {
            let value = f64::from_bits(bits);
            put(column.float(value), column, || value.to_string())
        }
        (FieldKind::Float, Wire::Fixed32(bits)) => {
            let value = f32::from_bits(bits);
            let taken = match column.is_text() {
                true => column.text(&value.to_string()),
                false => column.float(f64::from(value)),
            };
            put(taken, column, || value.to_string())
        }
        (FieldKind::Int32, Wire::Varint(value)) => integer(column, i64::from(value as i32)),
        (FieldKind::Int64, Wire::Varint(value)) => integer(column, value as i64),
        (FieldKind::Uint32, Wire::Varint(value)) => integer(column, i64::from(value as u32)),
        (FieldKind::Uint64, Wire::Varint(value)) => unsigned(column, value),
        (FieldKind::Sint32 | FieldKind::Sint64, Wire::Varint(value)) => {
            integer(column, zigzag(value))
        }
        (FieldKind::Fixed32, Wire::Fixed32(value)) => integer(column, i64::from(value)),
        (FieldKind::Sfixed32, Wire::Fixed32(value)) => integer(column, i64::from(value as i32)),
        (FieldKind::Fixed64, Wire::Fixed64(value)) => unsigned(column, value),
        (FieldKind::Sfixed64, Wire::Fixed64(value)) => integer(column, value as i64),
        (FieldKind::Bool, Wire::Varint(value)) => {
            put(column.boolean(value != 0), column, || (value != 0).to_string())
        }
        (FieldKind::String, Wire::Bytes(bytes)) => match str::from_utf8(bytes) {
            Ok(text) => put(column.text(text), column, || excerpt(bytes)),
            Err(_) => Err(broken("a string is not UTF-8")),
        },
        (FieldKind::Bytes, Wire::Bytes(bytes)) => {
            put(column.bytes(bytes), column, || excerpt(bytes))
        }
        _ => Err(wrong_wire()),
    }
}

fn take_enum(of: &Enum, wire: Wire<'_>, column: &mut ColumnBuilder) -> Taken {
    let Wire::Varint(value) = wire else { return Err(wrong_wire()) };
    let value = value as i32;
    let taken = match of.name(value).filter(|_| column.is_text()) {
        Some(name) => column.text(name),
        None => column.integer(i64::from(value)),
    };
    put(taken, column, || format!("the enum's value {value}"))
}

/// What a field that is missing stands for.
fn put_default(kind: &KindPlan, column: &mut ColumnBuilder) -> Put {
    match kind {
        KindPlan::Scalar(FieldKind::Bool) => column.boolean(false),
        KindPlan::Scalar(FieldKind::String) => column.text(""),
        KindPlan::Scalar(FieldKind::Bytes) => column.bytes(b""),
        KindPlan::Scalar(FieldKind::Double | FieldKind::Float) => column.float(0.0),
        KindPlan::Scalar(_) => column.integer(0),
        KindPlan::Enum(of) => match of.name(0).filter(|_| column.is_text()) {
            Some(name) => column.text(name),
            None => column.integer(0),
        },
        KindPlan::Wrapper(kind) => put_default(&KindPlan::Scalar(kind.clone()), column),
        KindPlan::Timestamp => column.instant(0, TimeUnit::Second),
        KindPlan::Duration => column.duration(0, TimeUnit::Second),
        KindPlan::Json(_) => column.text("{}"),
        KindPlan::Message(_) | KindPlan::Entry { .. } => column.null(),
    }
}

fn seconds_and_nanos(bytes: &[u8]) -> Result<(i64, i64), Broken> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields { rest: bytes };
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value as i64,
            (2, Wire::Varint(value)) => nanos = i64::from(value as i32),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// google.protobuf.Struct, Value and ListValue as the JSON that they stand for.
fn json_value(of: WellKnown, bytes: &[u8], depth: usize) -> Result<Value, Broken> {
    if depth > JSON_DEPTH_MAX {
        return Err("it is nested too deeply");
    }
    let mut fields = Fields { rest: bytes };
    match of {
        WellKnown::Struct => {
            let mut object = Map::new();
            while let Some((number, wire)) = fields.next()? {
                let (1, Wire::Bytes(entry)) = (number, wire) else { continue };
                let (mut key, mut value) = (String::new(), Value::Null);
                let mut entry = Fields { rest: entry };
                while let Some((number, wire)) = entry.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(name)) => key = String::from_utf8_lossy(name).into_owned(),
                        (2, Wire::Bytes(of)) => {
                            value = json_value(WellKnown::Value, of, depth + 1)?
                        }
                        _ => {}
                    }
                }
                object.insert(key, value);
            }
            Ok(Value::Object(object))
        }
        WellKnown::ListValue => {
            let mut list = Vec::new();
            while let Some((number, wire)) = fields.next()? {
                if let (1, Wire::Bytes(of)) = (number, wire) {
                    list.push(json_value(WellKnown::Value, of, depth + 1)?);
                }
            }
            Ok(Value::Array(list))
        }
        _ => {
            let mut value = Value::Null;
            while let Some((number, wire)) = fields.next()? {
                value = match (number, wire) {
                    (2, Wire::Fixed64(bits)) => {
                        Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
                    }
                    (3, Wire::Bytes(text)) => String::from_utf8_lossy(text).into_owned().into(),
                    (4, Wire::Varint(flag)) => Value::Bool(flag != 0),
                    (5, Wire::Bytes(of)) => json_value(WellKnown::Struct, of, depth + 1)?,
                    (6, Wire::Bytes(of)) => json_value(WellKnown::ListValue, of, depth + 1)?,
                    (1, _) => Value::Null,
                    _ => value,
                };
            }
            Ok(value)
        }
    }
}

fn put(taken: Put, column: &ColumnBuilder, found: impl FnOnce() -> String) -> Taken {
    taken.map_err(|refused| Fault::refused(column, refused, found()))
}

#[cold]
fn broken(reason: Broken) -> Failure {
    Fault::new(format!("broken ({reason})"), "a whole message".to_owned())
}

#[cold]
fn wrong_wire() -> Failure {
    broken("it has another wire type than its field")
}
