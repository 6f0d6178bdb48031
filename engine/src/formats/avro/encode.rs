//! Rows by a schema.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    MapArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Fields, IntervalMonthDayNano};
use arrow::error::ArrowError;

use super::AvroFormat;
use super::schema::{Kind, Logical, NodeId, RecordField, Schema};
use crate::formats::FormatError;
use crate::formats::columns::exact_cast;
use crate::formats::encode::Parts;
use crate::formats::framing::{self, Framing};

/// Writes rows of one schema.
#[derive(Clone, Debug)]
pub struct AvroEncoder {
    schema: Schema,
    /// Of Confluent's framing.
    schema_id: Option<u32>,
}

/// A column ready to be written row by row.
enum Writer {
    Null,
    Boolean(BooleanArray),
    Int(Int32Array),
    Long(Int64Array),
    Float(Float32Array),
    Double(Float64Array),
    Bytes(BinaryArray),
    String(StringArray),
    Fixed(FixedSizeBinaryArray),
    Decimal {
        array: Decimal128Array,
        size: Option<usize>,
    },
    Enum {
        array: StringArray,
        symbols: Arc<[String]>,
    },
    Uuid(StringArray),
    Duration(IntervalMonthDayNanoArray),
    List {
        array: ListArray,
        item: Box<Writer>,
    },
    Map {
        array: MapArray,
        keys: StringArray,
        value: Box<Writer>,
    },
    Struct {
        array: ArrayRef,
        fields: Vec<FieldWriter>,
    },
    /// One of a union's branches, or NULL's.
    Nullable {
        array: ArrayRef,
        null: Option<i64>,
        branch: i64,
        of: Box<Writer>,
    },
    /// A struct of which one field is set, with the branch of each field.
    Union {
        array: ArrayRef,
        null: Option<i64>,
        branches: Vec<(i64, ArrayRef, Writer)>,
    },
}

struct FieldWriter {
    name: String,
    of: FieldFrom,
}

enum FieldFrom {
    Column(Writer),
    /// The default of a field that no column is for, which writes NULL.
    Branch(i64),
}

impl AvroEncoder {
    pub fn new(format: &AvroFormat, fields: &Fields) -> Result<AvroEncoder, FormatError> {
        let Some(schema) = format.declared.clone() else {
            let reason = "rows are written by one schema: declare it, or its 'schema_id'";
            return Err(FormatError::Shape(reason.to_owned()));
        };
        let schema_id = match (format.framing, format.schema_id) {
            (Framing::None, _) => None,
            (Framing::Confluent, Some(id)) => Some(id),
            (Framing::Confluent, None) => {
                let of = format.registered.iter().find(|(_, other)| **other == schema);
                let Some((id, _)) = of else {
                    let reason = "Confluent's framing names the schema: give its 'schema_id'";
                    return Err(FormatError::Shape(reason.to_owned()));
                };
                Some(*id)
            }
        };
        check_names(&schema, fields)?;
        let encoder = AvroEncoder { schema, schema_id };
        // What cannot be written is found out before there are rows.
        let empty = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::new(fields.clone())));
        encoder.encode(&empty).map_err(|error| FormatError::Shape(plain(error)))?;
        Ok(encoder)
    }

    pub fn encode(&self, rows: &RecordBatch) -> Result<Parts, ArrowError> {
        let columns = StructArray::try_new_with_length(
            rows.schema().fields().clone(),
            rows.columns().to_vec(),
            None,
            rows.num_rows(),
        )?;
        let writer = writer(&self.schema, self.schema.root(), &(Arc::new(columns) as ArrayRef))
            .map_err(ArrowError::InvalidArgumentError)?;
        let mut parts = Parts::with_rows(rows.num_rows());
        for row in 0..rows.num_rows() {
            let start = parts.bytes.len();
            if let Some(id) = self.schema_id {
                framing::put_header(&mut parts.bytes, id);
            }
            writer
                .write(row, &mut parts.bytes)
                .map_err(|reason| ArrowError::InvalidArgumentError(format!("Avro: {reason}")))?;
            parts.end_part(start);
        }
        Ok(parts)
    }
}

fn plain(error: ArrowError) -> String {
    match error {
        ArrowError::InvalidArgumentError(reason) => reason,
        other => other.to_string(),
    }
}

/// Nothing that the rows have is to be lost unsaid.
fn check_names(schema: &Schema, fields: &Fields) -> Result<(), FormatError> {
    let own = schema.root_fields()?;
    for field in fields {
        if !own.iter().any(|own| own.name == *field.name()) {
            return Err(FormatError::NoField {
                column: field.name().clone(),
                what: "the Avro schema",
                there: own.iter().map(|own| own.name.clone()).collect(),
            });
        }
    }
    Ok(())
}

/// The writer of a column, or why there is none.
fn writer(schema: &Schema, id: NodeId, array: &ArrayRef) -> Result<Writer, String> {
    let node = schema.node(id);
    let to = |data_type: DataType| {
        exact_cast(array, &data_type).map_err(|reason| {
            let what = node.name.as_deref().unwrap_or(node.kind.name());
            let of = array.data_type();
            format!("a value of type {of} cannot be written as Avro's '{what}': {reason}")
        })
    };
    if let Some(logical) = node.logical {
        return logical_writer(schema, id, logical, array, to);
    }
    Ok(match &node.kind {
        Kind::Null => Writer::Null,
        Kind::Boolean => Writer::Boolean(to(DataType::Boolean)?.as_boolean().clone()),
        Kind::Int => Writer::Int(to(DataType::Int32)?.as_primitive().clone()),
        Kind::Long => Writer::Long(to(DataType::Int64)?.as_primitive().clone()),
        Kind::Float => Writer::Float(to(DataType::Float32)?.as_primitive().clone()),
        Kind::Double => Writer::Double(to(DataType::Float64)?.as_primitive().clone()),
        Kind::Bytes => Writer::Bytes(to(DataType::Binary)?.as_binary().clone()),
        Kind::String => Writer::String(to(DataType::Utf8)?.as_string().clone()),
        Kind::Fixed(size) => {
            let size = DataType::FixedSizeBinary(*size as i32);
            Writer::Fixed(to(size)?.as_fixed_size_binary().clone())
        }
        Kind::Enum { symbols, .. } => Writer::Enum {
            array: to(DataType::Utf8)?.as_string().clone(),
            symbols: Arc::clone(symbols),
        },
        Kind::Array(item) => {
            let of = match array.data_type() {
                DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => of,
                other => return Err(format!("a value of type {other} is no Avro array")),
            };
            let array = to(DataType::List(Arc::clone(of)))?.as_list().clone();
            let item = writer(schema, *item, array.values())?;
            Writer::List { array, item: Box::new(item) }
        }
        Kind::Map(value) => {
            let Some(array) = array.as_any().downcast_ref::<MapArray>() else {
                return Err(format!("a value of type {} is no Avro map", array.data_type()));
            };
            let keys = exact_cast(array.keys(), &DataType::Utf8)?;
            let value = writer(schema, *value, array.values())?;
            let (array, keys) = (array.clone(), keys.as_string().clone());
            Writer::Map { array, keys, value: Box::new(value) }
        }
        Kind::Record(fields) => record_writer(schema, fields, array)?,
        Kind::Union(branches) => union_writer(schema, branches, array)?,
    })
}

fn logical_writer(
    schema: &Schema,
    id: NodeId,
    logical: Logical,
    array: &ArrayRef,
    to: impl Fn(DataType) -> Result<ArrayRef, String>,
) -> Result<Writer, String> {
    let (data_type, _) = schema.arrow_type(id).map_err(|error| error.to_string())?;
    let kind = &schema.node(id).kind;
    Ok(match (logical, kind) {
        (Logical::Decimal { .. }, Kind::Fixed(size)) => {
            Writer::Decimal { array: to(data_type)?.as_primitive().clone(), size: Some(*size) }
        }
        (Logical::Decimal { .. }, _) => {
            Writer::Decimal { array: to(data_type)?.as_primitive().clone(), size: None }
        }
        (Logical::Uuid, Kind::Fixed(_)) if array.data_type().is_binary() => {
            Writer::Fixed(to(DataType::FixedSizeBinary(16))?.as_fixed_size_binary().clone())
        }
        (Logical::Uuid, Kind::Fixed(_)) => Writer::Uuid(to(DataType::Utf8)?.as_string().clone()),
        (Logical::Uuid, _) => Writer::String(to(DataType::Utf8)?.as_string().clone()),
        (Logical::Duration, _) => Writer::Duration(to(data_type)?.as_primitive().clone()),
        (_, kind) => {
            // By the unit, then by the bits alone.
            let bits = if *kind == Kind::Int { DataType::Int32 } else { DataType::Int64 };
            let array =
                if array.data_type().is_temporal() { to(data_type)? } else { to(bits.clone())? };
            let array = exact_cast(&array, &bits)?;
            match kind {
                Kind::Int => Writer::Int(array.as_primitive().clone()),
                _ => Writer::Long(array.as_primitive().clone()),
            }
        }
    })
}

fn record_writer(
    schema: &Schema,
    fields: &[RecordField],
    array: &ArrayRef,
) -> Result<Writer, String> {
    let Some(of) = array.as_struct_opt() else {
        return Err(format!("a value of type {} is no Avro record", array.data_type()));
    };
    let mut writers = Vec::with_capacity(fields.len());
    for field in fields {
        let within = |reason: String| format!("field '{}': {reason}", field.name);
        let of = match of.column_by_name(&field.name) {
            Some(column) => FieldFrom::Column(writer(schema, field.node, column).map_err(within)?),
            None => {
                // A default is for readers; a writer may leave out only what can be NULL.
                let null = match &schema.node(field.node).kind {
                    Kind::Union(branches) => {
                        branches.iter().position(|id| schema.node(*id).kind == Kind::Null)
                    }
                    _ => None,
                };
                match null {
                    Some(branch) => FieldFrom::Branch(branch as i64),
                    None if schema.node(field.node).kind == Kind::Null => {
                        FieldFrom::Column(Writer::Null)
                    }
                    None => {
                        let name = &field.name;
                        return Err(format!("no column is for the Avro schema's field '{name}'"));
                    }
                }
            }
        };
        writers.push(FieldWriter { name: field.name.clone(), of });
    }
    Ok(Writer::Struct { array: Arc::clone(array), fields: writers })
}

fn union_writer(schema: &Schema, branches: &[NodeId], array: &ArrayRef) -> Result<Writer, String> {
    let is_null = |id: &NodeId| schema.node(*id).kind == Kind::Null;
    let null = branches.iter().position(is_null).map(|branch| branch as i64);
    let others: Vec<(i64, NodeId)> = branches
        .iter()
        .enumerate()
        .filter(|(_, id)| !is_null(id))
        .map(|(branch, id)| (branch as i64, *id))
        .collect();
    if let (true, Some(of)) = (others.len() > 1, array.as_struct_opt()) {
        let own = |(branch, id): &(i64, NodeId)| {
            let column = of.column_by_name(&schema.branch_name(*id))?;
            Some(writer(schema, *id, column).map(|writer| (*branch, Arc::clone(column), writer)))
        };
        let found: Vec<_> = others.iter().filter_map(own).collect::<Result<_, _>>()?;
        if found.len() == of.num_columns() && !found.is_empty() {
            return Ok(Writer::Union { array: Arc::clone(array), null, branches: found });
        }
    }
    // The branch of the very type, else the first that takes the values.
    let exact = |(_, id): &&(i64, NodeId)| {
        schema.arrow_type(*id).is_ok_and(|(data_type, _)| data_type == *array.data_type())
    };
    let first = others.iter().find(exact).into_iter();
    let mut reason = "a union of nothing but null".to_owned();
    for (branch, id) in first.chain(&others) {
        match writer(schema, *id, array) {
            Ok(of) => {
                let (array, branch) = (Arc::clone(array), *branch);
                return Ok(Writer::Nullable { array, null, branch, of: Box::new(of) });
            }
            Err(why) => reason = why,
        }
    }
    if others.is_empty() {
        let (array, of) = (Arc::clone(array), Box::new(Writer::Null));
        return Ok(Writer::Nullable { array, null, branch: null.unwrap_or(0), of });
    }
    Err(reason)
}

impl Writer {
    /// Appends the value of one row, or says why it cannot be.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        if self.is_null(row) {
            return Err("NULL, where the schema has no null".to_owned());
        }
        match self {
            Writer::Null => {}
            Writer::Boolean(array) => out.push(array.value(row).into()),
            Writer::Int(array) => put_long(out, array.value(row).into()),
            Writer::Long(array) => put_long(out, array.value(row)),
            Writer::Float(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Writer::Double(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Writer::Bytes(array) => put_sized(out, array.value(row)),
            Writer::String(array) => put_sized(out, array.value(row).as_bytes()),
            Writer::Fixed(array) => out.extend_from_slice(array.value(row)),
            Writer::Decimal { array, size } => put_decimal(out, array.value(row), *size)?,
            Writer::Enum { array, symbols } => put_long(out, symbol(array.value(row), symbols)?),
            Writer::Uuid(array) => out.extend_from_slice(&uuid_bytes(array.value(row))?),
            Writer::Duration(array) => put_duration(out, array.value(row))?,
            Writer::List { array, item } => {
                let items = put_count(array.value_offsets(), row, out);
                for (index, at) in items.enumerate() {
                    item.write(at, out).map_err(|reason| format!("item {index}: {reason}"))?;
                }
                put_long(out, 0);
            }
            Writer::Map { array, keys, value } => {
                for at in put_count(array.value_offsets(), row, out) {
                    let key = keys.value(at);
                    put_sized(out, key.as_bytes());
                    value.write(at, out).map_err(|reason| format!("key {key:?}: {reason}"))?;
                }
                put_long(out, 0);
            }
            Writer::Struct { fields, .. } => {
                for field in fields {
                    match &field.of {
                        FieldFrom::Column(of) => of
                            .write(row, out)
                            .map_err(|reason| format!("field '{}': {reason}", field.name))?,
                        FieldFrom::Branch(branch) => put_long(out, *branch),
                    }
                }
            }
            Writer::Nullable { array, null, branch, of } => match null {
                Some(null) if array.is_null(row) || array.data_type().is_null() => {
                    put_long(out, *null);
                }
                _ => {
                    put_long(out, *branch);
                    of.write(row, out)?;
                }
            },
            Writer::Union { array, null, branches } => {
                let set = branches.iter().find(|(_, column, _)| column.is_valid(row));
                match (set.filter(|_| array.is_valid(row)), null) {
                    (Some((branch, _, of)), _) => {
                        put_long(out, *branch);
                        of.write(row, out)?;
                    }
                    (None, Some(null)) => put_long(out, *null),
                    (None, None) => return Err("none of the union's branches is set".to_owned()),
                }
            }
        }
        Ok(())
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Writer::Null | Writer::Nullable { .. } | Writer::Union { .. } => false,
            Writer::Boolean(array) => array.is_null(row),
            Writer::Int(array) => array.is_null(row),
            Writer::Long(array) => array.is_null(row),
            Writer::Float(array) => array.is_null(row),
            Writer::Double(array) => array.is_null(row),
            Writer::Bytes(array) => array.is_null(row),
            Writer::String(array) | Writer::Enum { array, .. } | Writer::Uuid(array) => {
                array.is_null(row)
            }
            Writer::Fixed(array) => array.is_null(row),
            Writer::Decimal { array, .. } => array.is_null(row),
            Writer::Duration(array) => array.is_null(row),
            Writer::List { array, .. } => array.is_null(row),
            Writer::Map { array, .. } => array.is_null(row),
            Writer::Struct { array, .. } => array.is_null(row),
        }
    }
}

#[inline]
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn symbol(value: &str, symbols: &[String]) -> Result<i64, String> {
    let symbol = symbols.iter().position(|symbol| symbol == value);
    symbol.map(|symbol| symbol as i64).ok_or_else(|| format!("the enum has no symbol {value:?}"))
}

/// Begins the block of a row's items, if there are any, and says which they are.
fn put_count(offsets: &[i32], row: usize, out: &mut Vec<u8>) -> std::ops::Range<usize> {
    let range = offsets[row] as usize..offsets[row + 1] as usize;
    if !range.is_empty() {
        put_long(out, range.len() as i64);
    }
    range
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Big-endian, in as few bytes as keep its sign, or filled up to `size`.
fn put_decimal(out: &mut Vec<u8>, value: i128, size: Option<usize>) -> Result<(), String> {
    let bytes = value.to_be_bytes();
    let filler = if value < 0 { 0xff } else { 0 };
    let needed = |from: usize| (bytes[from] ^ filler) & 0x80 == 0;
    let from = (0..16).take_while(|&at| bytes[at] == filler && at < 15 && needed(at + 1)).count();
    let bytes = &bytes[from..];
    match size {
        None => put_sized(out, bytes),
        Some(size) if size >= bytes.len() => {
            out.resize(out.len() + size - bytes.len(), filler);
            out.extend_from_slice(bytes);
        }
        Some(size) => return Err(format!("the decimal does not fit in {size} bytes")),
    }
    Ok(())
}

fn put_duration(out: &mut Vec<u8>, value: IntervalMonthDayNano) -> Result<(), String> {
    let millis = value.nanoseconds / 1_000_000;
    let parts = [i64::from(value.months), i64::from(value.days), millis];
    for part in parts {
        let part = u32::try_from(part)
            .map_err(|_| "Avro has no negative durations, and none so long".to_owned())?;
        out.extend_from_slice(&part.to_le_bytes());
    }
    Ok(())
}

fn uuid_bytes(text: &str) -> Result<[u8; 16], String> {
    let mut digits = text.chars().filter(|character| *character != '-');
    let mut bytes = [0; 16];
    let mut digit = || digits.next().and_then(|digit| digit.to_digit(16));
    for byte in &mut bytes {
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(format!("{text:?} is no uuid"));
        };
        *byte = (high << 4 | low) as u8;
    }
    match digits.next() {
        None => Ok(bytes),
        Some(_) => Err(format!("{text:?} is no uuid")),
    }
}
