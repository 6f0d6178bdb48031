//! Records into columns, by plans.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields, IntervalMonthDayNano, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::AvroFormat;
use super::schema::{Kind, Logical, NodeId, RecordField, Schema};
use crate::formats::builders::{ColumnBuilder, Meaning, Put, Refused};
use crate::formats::fault::{Fault, Step};
use crate::formats::framing::{self, Framing};
use crate::formats::json::{Indexed, put_json, twos_complement};
use crate::formats::{DecodeError, FormatError, excerpt};
use crate::type_names::type_text;

/// Types within types that are passed over; those that are wanted are as deep as their column.
const SKIP_DEPTH_MAX: usize = 256;
/// Items of a record that take no bytes, such as NULLs in an array: a count of them costs the
/// writer nothing, and us memory.
const EMPTY_ITEMS_MAX: usize = 65_536;

pub struct AvroDecoder {
    format: Arc<AvroFormat>,
    rows: ColumnBuilder,
    fields: Fields,
    /// By schema id; 0 without framing. Why there is none, where there is none.
    plans: HashMap<u32, Result<Plan, String>>,
}

/// How a value of the writer's schema becomes one of a column.
#[derive(Debug)]
enum Plan {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    /// Texts of symbols; `None` for one that the reader does not know.
    Enum(Vec<Option<String>>),
    /// Bytes, or so many of them.
    Decimal {
        scale: i8,
        size: Option<usize>,
    },
    UuidBytes,
    Date,
    /// Written as an int or a long: both are read alike.
    Time(TimeUnit),
    Instant(TimeUnit),
    Duration,
    List(Box<Plan>),
    Map(Box<Plan>),
    Struct(StructPlan),
    /// Every branch goes into the column itself.
    Union(Vec<Plan>),
    /// A branch goes into its field of the struct, if it has one.
    UnionStruct(Vec<(Option<usize>, Plan)>),
    Skip(NodeId),
    /// The column has no room for what stands here.
    Misfit(&'static str),
}

#[derive(Debug)]
struct StructPlan {
    /// In the writer's order, each with its column if one wants it.
    fields: Vec<(Option<usize>, Plan)>,
    /// Columns that the writer does not know, as JSON.
    defaults: Vec<(usize, Option<Meaning>, String)>,
}

#[derive(Debug)]
enum Failure {
    Binary { at: usize, reason: String },
    Fault(Box<Fault>),
}

/// A type, and the reader's own where there is one.
#[derive(Clone, Copy)]
struct Pair<'s> {
    writer: (&'s Schema, NodeId),
    reader: Option<(&'s Schema, NodeId)>,
}

impl AvroDecoder {
    pub fn new(format: Arc<AvroFormat>, fields: Fields) -> Result<AvroDecoder, FormatError> {
        let rows = ColumnBuilder::rows(fields.clone(), "Avro")?;
        let known = format.declared.iter().chain(format.registered.values());
        let mut names = Vec::new();
        for schema in known {
            names.extend(
                schema.root_fields()?.iter().flat_map(|field| {
                    field.aliases.iter().chain([&field.name]).map(String::as_str)
                }),
            );
        }
        if let Some(missing) = fields.iter().find(|field| !names.contains(&field.name().as_str())) {
            names.sort_unstable();
            names.dedup();
            return Err(FormatError::NoField {
                column: missing.name().clone(),
                what: "the Avro schema",
                there: names.into_iter().map(str::to_owned).collect(),
            });
        }
        if let Some(declared) = &format.declared {
            plan_rows(declared, None, &fields).map_err(FormatError::Shape)?;
        }
        Ok(AvroDecoder { format, rows, fields, plans: HashMap::new() })
    }

    pub fn rows(&mut self) -> &mut ColumnBuilder {
        &mut self.rows
    }

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
        let (id, payload) = match self.format.framing {
            Framing::None => (0, value),
            Framing::Confluent => framing::split(value)?,
        };
        let format = &self.format;
        let plan = self.plans.entry(id).or_insert_with(|| plan_of_id(format, id, &self.fields));
        let plan = plan.as_ref().map_err(|reason| DecodeError::Schema {
            reason: reason.clone(),
            excerpt: excerpt(value),
        })?;
        let Some(schema) = writer_schema(format, id) else { return Ok(()) };
        let mut input = Input { schema, bytes: payload, at: 0, empty_items: 0 };
        let taken = input.take(plan, &mut self.rows).and_then(|()| match input.at {
            at if at < payload.len() => Err(input.broken("bytes follow the record")),
            _ => Ok(()),
        });
        taken.map_err(|failure| match failure {
            Failure::Fault(fault) => fault.into_error("Avro", value),
            Failure::Binary { at, reason } => DecodeError::Binary {
                format: "Avro",
                reason,
                at: at + (value.len() - payload.len()),
                length: value.len(),
                excerpt: excerpt(value),
            },
        })
    }
}

fn writer_schema(format: &AvroFormat, id: u32) -> Option<&Schema> {
    match format.framing {
        Framing::None => format.declared.as_ref(),
        Framing::Confluent => format.written_with(id),
    }
}

fn plan_of_id(format: &AvroFormat, id: u32, fields: &Fields) -> Result<Plan, String> {
    let Some(writer) = writer_schema(format, id) else {
        return Err(format!("there is no schema {id}; there is {}", format.known_ids()));
    };
    let reader = format.reader().filter(|reader| *reader != writer);
    let plan = plan_rows(writer, reader, fields);
    plan.map_err(|reason| match format.framing {
        Framing::None => reason,
        Framing::Confluent => format!("schema {id}: {reason}"),
    })
}

fn plan_rows(writer: &Schema, reader: Option<&Schema>, fields: &Fields) -> Result<Plan, String> {
    let Kind::Record(_) = writer.node(writer.root()).kind else {
        return Err("the Avro schema is not a record".to_owned());
    };
    let pair = Pair {
        writer: (writer, writer.root()),
        reader: reader.map(|reader| (reader, reader.root())),
    };
    plan_struct(pair, fields)
}

/// The plan of a value for a column, or why there is none.
fn plan(pair: Pair<'_>, field: &Field) -> Result<Plan, String> {
    let (schema, id) = pair.writer;
    let node = schema.node(id);
    if let Kind::Union(branches) = &node.kind {
        return plan_union(pair, branches, field);
    }
    let pair =
        Pair { reader: pair.reader.map(|reader| matching_branch(reader, &node.kind)), ..pair };
    let misfit = || {
        let what = node.name.as_deref().unwrap_or(node.kind.name());
        let (name, data_type) = (field.name(), field.data_type());
        Err(format!(
            "column '{name}' is {}, and the Avro schema has '{what}' there",
            type_text(data_type)
        ))
    };
    let below = |writer: NodeId, reader: Option<NodeId>, field: &Field| {
        let reader = pair.reader.zip(reader).map(|((schema, _), id)| (schema, id));
        plan(Pair { writer: (schema, writer), reader }, field).map(Box::new)
    };
    let reader_kind = pair.reader.map(|(schema, id)| &schema.node(id).kind);
    match (&node.kind, field.data_type()) {
        (Kind::Record(_), DataType::Struct(fields)) => plan_struct(pair, fields),
        (
            Kind::Array(item),
            DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _),
        ) => {
            let reader = match reader_kind {
                Some(Kind::Array(item)) => Some(*item),
                _ => None,
            };
            Ok(Plan::List(below(*item, reader, of)?))
        }
        (Kind::Map(value), DataType::Map(entries, _)) => {
            let DataType::Struct(of) = entries.data_type() else { return misfit() };
            let reader = match reader_kind {
                Some(Kind::Map(value)) => Some(*value),
                _ => None,
            };
            Ok(Plan::Map(below(*value, reader, &of[1])?))
        }
        (Kind::Record(_) | Kind::Array(_) | Kind::Map(_), _) => misfit(),
        (_, data_type) if !node_fits(&node.kind, node.logical, data_type) => misfit(),
        (kind, _) => Ok(plan_scalar(kind, node.logical, reader_kind)),
    }
}

/// Of a reader's union the branch that a writer's type goes into: one of its own kind, else one
/// that it can be promoted to.
fn matching_branch<'s>((schema, id): (&'s Schema, NodeId), kind: &Kind) -> (&'s Schema, NodeId) {
    let Kind::Union(branches) = &schema.node(id).kind else { return (schema, id) };
    let found = branches.iter().find(|branch| schema.node(**branch).kind.name() == kind.name());
    (schema, *found.unwrap_or(&branches[0]))
}

fn plan_scalar(kind: &Kind, logical: Option<Logical>, reader: Option<&Kind>) -> Plan {
    match (kind, logical) {
        (Kind::Fixed(size), Some(Logical::Decimal { scale, .. })) => {
            Plan::Decimal { scale, size: Some(*size) }
        }
        (_, Some(Logical::Decimal { scale, .. })) => Plan::Decimal { scale, size: None },
        (Kind::Fixed(_), Some(Logical::Uuid)) => Plan::UuidBytes,
        (_, Some(Logical::Date)) => Plan::Date,
        (_, Some(Logical::Time(unit))) => Plan::Time(unit),
        (_, Some(Logical::Timestamp(unit) | Logical::LocalTimestamp(unit))) => Plan::Instant(unit),
        (_, Some(Logical::Duration)) => Plan::Duration,
        (Kind::Null, _) => Plan::Null,
        (Kind::Boolean, _) => Plan::Boolean,
        (Kind::Int, _) => Plan::Int,
        (Kind::Long, _) => Plan::Long,
        (Kind::Float, _) => Plan::Float,
        (Kind::Double, _) => Plan::Double,
        (Kind::Bytes, _) => Plan::Bytes,
        (Kind::Fixed(size), _) => Plan::Fixed(*size),
        (Kind::Enum { symbols, .. }, _) => {
            let known = |symbol: &String| match reader {
                Some(Kind::Enum { symbols, default }) if !symbols.contains(symbol) => {
                    default.clone()
                }
                _ => Some(symbol.clone()),
            };
            Plan::Enum(symbols.iter().map(known).collect())
        }
        _ => Plan::String,
    }
}

/// Whether a column can take such values at all.
fn node_fits(kind: &Kind, logical: Option<Logical>, data_type: &DataType) -> bool {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bytes = matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    );
    let number = data_type.is_numeric();
    let time = data_type.is_temporal() && !matches!(data_type, DataType::Interval(_));
    match (logical, kind) {
        (Some(Logical::Decimal { .. }), _) => number || text,
        (Some(Logical::Uuid), _) => text || bytes,
        (Some(Logical::Duration), _) => matches!(data_type, DataType::Interval(_)),
        (Some(_), _) => time || data_type.is_integer(),
        (None, Kind::Null) => true,
        (None, Kind::Boolean) => text || *data_type == DataType::Boolean,
        (None, Kind::Int | Kind::Long) => number || text || time,
        (None, Kind::Float | Kind::Double) => number || text,
        (None, Kind::Bytes | Kind::Fixed(_)) => bytes || text,
        (None, Kind::String | Kind::Enum { .. }) => {
            text || bytes || number || time || *data_type == DataType::Boolean
        }
        (None, _) => false,
    }
}

fn plan_union(pair: Pair<'_>, branches: &[NodeId], field: &Field) -> Result<Plan, String> {
    let (schema, _) = pair.writer;
    let is_null = |id: NodeId| schema.node(id).kind == Kind::Null;
    let others = branches.iter().filter(|id| !is_null(**id)).count();
    let of_branch = |id: NodeId, field: &Field| plan(Pair { writer: (schema, id), ..pair }, field);
    if let DataType::Struct(fields) = field.data_type()
        && others > 1
    {
        let branch = |id: &NodeId| {
            if is_null(*id) {
                return Ok((None, Plan::Null));
            }
            let name = schema.branch_name(*id);
            match fields.find(&name) {
                Some((column, field)) => Ok((Some(column), of_branch(*id, field)?)),
                None => Ok((None, Plan::Skip(*id))),
            }
        };
        return Ok(Plan::UnionStruct(branches.iter().map(branch).collect::<Result<_, String>>()?));
    }
    let mut plans = Vec::with_capacity(branches.len());
    let mut reason = None;
    for id in branches {
        plans.push(match of_branch(*id, field) {
            Ok(plan) => plan,
            // Another branch may fit, and this one never be met.
            Err(why) => {
                reason = Some(why);
                Plan::Misfit(schema.node(*id).kind.name())
            }
        });
    }
    let fits = |plan: &Plan| !matches!(plan, Plan::Misfit(_) | Plan::Null);
    match reason {
        Some(reason) if !plans.iter().any(fits) => Err(reason),
        _ => Ok(Plan::Union(plans)),
    }
}

fn plan_struct(pair: Pair<'_>, columns: &Fields) -> Result<Plan, String> {
    let (schema, id) = pair.writer;
    let Kind::Record(written) = &schema.node(id).kind else {
        return Err("the Avro schema has no record there".to_owned());
    };
    let reader = pair.reader.and_then(|(schema, id)| match &schema.node(id).kind {
        Kind::Record(fields) => Some((schema, fields.as_slice())),
        _ => None,
    });
    let mut fields = Vec::with_capacity(written.len());
    for field in written {
        let own = reader.and_then(|(schema, fields)| {
            fields.iter().find(|own| is_field(own, &field.name)).map(|own| (schema, own))
        });
        let name = own.map_or(&field.name, |(_, own)| &own.name);
        // Without a reader's schema a column may also have one of the writer's aliases.
        let found = columns.find(name).or_else(|| {
            field.aliases.iter().find_map(|alias| columns.find(alias)).filter(|_| own.is_none())
        });
        let Some((column, of)) = found else {
            fields.push((None, Plan::Skip(field.node)));
            continue;
        };
        let reader = own.map(|(schema, own)| (schema, own.node));
        fields.push((Some(column), plan(Pair { writer: (schema, field.node), reader }, of)?));
    }
    let mut defaults = Vec::new();
    if let Some((schema, own)) = reader {
        for field in own {
            let unknown = !written.iter().any(|written| is_field(field, &written.name));
            if let (true, Some(default), Some((column, _))) =
                (unknown, &field.default, columns.find(&field.name))
            {
                let meaning = default_meaning(schema, field.node);
                let json = default_json(schema, field.node, default).to_string();
                defaults.push((column, meaning, json));
            }
        }
    }
    Ok(Plan::Struct(StructPlan { fields, defaults }))
}

fn is_field(own: &RecordField, written: &str) -> bool {
    own.name == written || own.aliases.iter().any(|alias| alias == written)
}

fn default_meaning(schema: &Schema, id: NodeId) -> Option<Meaning> {
    let node = schema.node(id);
    match (&node.kind, node.logical) {
        (Kind::Union(branches), _) => default_meaning(schema, branches[0]),
        (_, Some(Logical::Timestamp(unit) | Logical::LocalTimestamp(unit))) => {
            Some(Meaning::Instant(unit))
        }
        (_, Some(Logical::Time(unit))) => Some(Meaning::TimeOfDay(unit)),
        (_, Some(Logical::Date)) => Some(Meaning::Days),
        (_, Some(Logical::Decimal { scale, .. })) => Some(Meaning::Decimal(scale)),
        _ => None,
    }
}

/// A default as our JSON has it: bytes, whose characters Avro's JSON counts, in base64.
fn default_json(schema: &Schema, id: NodeId, default: &Value) -> Value {
    match (&schema.node(id).kind, default) {
        (Kind::Bytes | Kind::Fixed(_), Value::String(text)) => {
            let bytes: Vec<u8> = text.chars().map(|character| character as u8).collect();
            Value::String(STANDARD.encode(bytes))
        }
        (Kind::Union(_), Value::Null) => Value::Null,
        (Kind::Union(branches), value) => {
            let other = branches.iter().find(|id| schema.node(**id).kind != Kind::Null);
            other.map_or_else(|| value.clone(), |id| default_json(schema, *id, value))
        }
        (Kind::Array(item), Value::Array(values)) => {
            values.iter().map(|value| default_json(schema, *item, value)).collect()
        }
        (Kind::Map(of), Value::Object(values)) => {
            let values = values.iter();
            values.map(|(key, value)| (key.clone(), default_json(schema, *of, value))).collect()
        }
        (Kind::Record(fields), Value::Object(values)) => {
            let value = |field: &RecordField| {
                let value = values.get(&field.name).or(field.default.as_ref())?;
                Some((field.name.clone(), default_json(schema, field.node, value)))
            };
            fields.iter().filter_map(value).collect()
        }
        (_, value) => value.clone(),
    }
}

/// One record, from left to right.
struct Input<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
    empty_items: usize,
}

type Taken = Result<(), Failure>;

impl<'a> Input<'a> {
    fn broken(&self, reason: impl Into<String>) -> Failure {
        Failure::Binary { at: self.at, reason: reason.into() }
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Failure> {
        let mut value: u64 = 0;
        for (index, &byte) in self.bytes[self.at..].iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                if index == 9 && byte > 1 {
                    return Err(self.broken("a number has more than 64 bits"));
                }
                self.at += index + 1;
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(self.broken("a number does not end"))
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], Failure> {
        let rest = &self.bytes[self.at..];
        let Some(slice) = rest.get(..len) else {
            let reason = format!("{len} bytes are expected, and {} are left", rest.len());
            return Err(self.broken(reason));
        };
        self.at += len;
        Ok(slice)
    }

    fn sized(&mut self) -> Result<&'a [u8], Failure> {
        let len = self.long()?;
        match usize::try_from(len) {
            Ok(len) => self.slice(len),
            Err(_) => Err(self.broken(format!("a length of {len}"))),
        }
    }

    fn branch(&mut self, count: usize) -> Result<usize, Failure> {
        let branch = self.long()?;
        match usize::try_from(branch).ok().filter(|branch| *branch < count) {
            Some(branch) => Ok(branch),
            None => Err(self.broken(format!("branch {branch} of a union of {count}"))),
        }
    }

    fn text(&mut self) -> Result<&'a str, Failure> {
        let bytes = self.sized()?;
        str::from_utf8(bytes).map_err(|_| self.broken("a string is not UTF-8"))
    }

    fn boolean(&mut self) -> Result<bool, Failure> {
        match self.slice(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.broken("a boolean is neither 0 nor 1")),
        }
    }

    fn float(&mut self) -> Result<f32, Failure> {
        let bytes = self.slice(4)?.first_chunk().expect("a slice of 4 bytes");
        Ok(f32::from_le_bytes(*bytes))
    }

    fn double(&mut self) -> Result<f64, Failure> {
        let bytes = self.slice(8)?.first_chunk().expect("a slice of 8 bytes");
        Ok(f64::from_le_bytes(*bytes))
    }

    fn take(&mut self, plan: &Plan, column: &mut ColumnBuilder) -> Taken {
        match plan {
            Plan::Null => put(column.null(), column, || "null".to_owned()),
            Plan::Boolean => {
                let value = self.boolean()?;
                put(column.boolean(value), column, || value.to_string())
            }
            Plan::Int | Plan::Long => {
                let value = self.long()?;
                put(column.integer(value), column, || value.to_string())
            }
            Plan::Float => {
                // The text of a float is shorter than that of the double it becomes.
                let value = self.float()?;
                let taken = match column.is_text() {
                    true => column.text(&value.to_string()),
                    false => column.float(f64::from(value)),
                };
                put(taken, column, || value.to_string())
            }
            Plan::Double => {
                let value = self.double()?;
                put(column.float(value), column, || value.to_string())
            }
            Plan::Bytes => {
                let value = self.sized()?;
                put(column.bytes(value), column, || excerpt(value))
            }
            Plan::Fixed(size) => {
                let value = self.slice(*size)?;
                put(column.bytes(value), column, || excerpt(value))
            }
            Plan::String => {
                let value = self.text()?;
                put(column.text(value), column, || excerpt(value.as_bytes()))
            }
            Plan::Struct(plan) => self.take_struct(plan, column),
            Plan::List(item) => self.take_list(item, column),
            Plan::Map(value) => self.take_map(value, column),
            Plan::Union(branches) => {
                let branch = self.branch(branches.len())?;
                self.take(&branches[branch], column)
            }
            Plan::UnionStruct(branches) => self.take_union(branches, column),
            Plan::Skip(id) => self.skip(*id, 0),
            Plan::Misfit(what) => put(Err(Refused::Type), column, || format!("a {what}")),
            logical => self.take_logical(logical, column),
        }
    }

    fn take_logical(&mut self, plan: &Plan, column: &mut ColumnBuilder) -> Taken {
        match plan {
            Plan::Enum(symbols) => {
                let symbol = self.branch(symbols.len())?;
                match &symbols[symbol] {
                    Some(text) => put(column.text(text), column, || format!("{text:?}")),
                    None => put(Err(Refused::Type), column, || format!("symbol {symbol}")),
                }
            }
            Plan::Decimal { scale, size } => {
                let bytes = match size {
                    Some(size) => self.slice(*size)?,
                    None => self.sized()?,
                };
                let taken = twos_complement(bytes).ok_or(Refused::Type);
                let taken = taken.and_then(|value| column.decimal(value, *scale));
                put(taken, column, || format!("a decimal of {} bytes", bytes.len()))
            }
            Plan::UuidBytes => {
                let bytes: [u8; 16] = *self.slice(16)?.first_chunk().expect("a slice of 16");
                if column.is_binary() {
                    return put(column.bytes(&bytes), column, || "a uuid".to_owned());
                }
                let mut hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                [20, 16, 12, 8].iter().for_each(|at| hex.insert(*at, '-'));
                put(column.text(&hex), column, || hex.clone())
            }
            Plan::Duration => {
                let bytes = self.slice(12)?;
                let part = |at: usize| {
                    u32::from_le_bytes(*bytes[at..].first_chunk().expect("12 bytes have three"))
                };
                let value = interval(part(0), part(4), part(8)).ok_or(Refused::Type);
                let taken = value.and_then(|value| column.interval(value));
                put(taken, column, || "a duration".to_owned())
            }
            time => {
                let value = self.long()?;
                let taken = match time {
                    Plan::Date => column.days(value),
                    Plan::Time(unit) => column.time_of_day(value, *unit),
                    Plan::Instant(unit) => column.instant(value, *unit),
                    _ => Err(Refused::Type),
                };
                put(taken, column, || value.to_string())
            }
        }
    }

    fn take_struct(&mut self, plan: &StructPlan, column: &mut ColumnBuilder) -> Taken {
        let of = column.as_struct().expect("planned for a struct");
        for (place, plan) in &plan.fields {
            match (place, plan) {
                (Some(place), plan) => {
                    let below = &mut of.columns[*place];
                    self.take(plan, below).map_err(|failure| failure.within(below))?;
                }
                (None, Plan::Skip(id)) => self.skip(*id, 0)?,
                (None, _) => unreachable!("what no column wants is skipped"),
            }
        }
        for (place, meaning, json) in &plan.defaults {
            let below = &mut of.columns[*place];
            below.meaning = *meaning;
            let taken = put_json(json, below);
            below.meaning = None;
            taken.map_err(|fault| Failure::Fault(fault).within(below))?;
        }
        end_struct(column)
    }

    fn take_union(
        &mut self,
        branches: &[(Option<usize>, Plan)],
        column: &mut ColumnBuilder,
    ) -> Taken {
        let branch = self.branch(branches.len())?;
        match &branches[branch] {
            (None, Plan::Null) => put(column.null(), column, || "null".to_owned()),
            (None, Plan::Skip(id)) => {
                self.skip(*id, 0)?;
                end_struct(column)
            }
            (place, plan) => {
                let of = column.as_struct().expect("planned for a struct");
                let below = &mut of.columns[place.unwrap_or(0)];
                self.take(plan, below).map_err(|failure| failure.within(below))?;
                end_struct(column)
            }
        }
    }

    fn take_list(&mut self, plan: &Plan, column: &mut ColumnBuilder) -> Taken {
        let items = column.items().expect("planned for a list");
        let first = items.len();
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let before = self.at;
                let taken = self.take(plan, items);
                taken.map_err(|failure| failure.at(|| Step::Index(items.len() - first)))?;
                self.count_empty(before)?;
            }
        }
        put(column.end_list(), column, || "an array of another length".to_owned())
    }

    fn take_map(&mut self, plan: &Plan, column: &mut ColumnBuilder) -> Taken {
        let (keys, values) = column.entries().expect("planned for a map");
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let key = self.text()?;
                put(keys.text(key), keys, || excerpt(key.as_bytes()))?;
                let taken = self.take(plan, values);
                taken.map_err(|failure| failure.at(|| Step::Key(excerpt(key.as_bytes()))))?;
            }
        }
        put(column.end_map(), column, || "a map".to_owned())
    }

    /// How many items follow; `None` at the end of them all.
    fn block(&mut self) -> Result<Option<u64>, Failure> {
        let count = self.long()?;
        if count < 0 {
            // Its size in bytes, for those who skip.
            self.long()?;
        }
        Ok((count != 0).then_some(count.unsigned_abs()))
    }

    fn count_empty(&mut self, before: usize) -> Taken {
        if self.at == before {
            self.empty_items += 1;
            if self.empty_items > EMPTY_ITEMS_MAX {
                let reason = format!("more than {EMPTY_ITEMS_MAX} items that take no bytes");
                return Err(self.broken(reason));
            }
        }
        Ok(())
    }

    fn skip(&mut self, id: NodeId, depth: usize) -> Taken {
        if depth > SKIP_DEPTH_MAX {
            return Err(self.broken("it is nested too deeply"));
        }
        let schema = self.schema;
        match &schema.node(id).kind {
            Kind::Null => Ok(()),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Int | Kind::Long => self.long().map(drop),
            Kind::Float => self.slice(4).map(drop),
            Kind::Double => self.slice(8).map(drop),
            Kind::Bytes | Kind::String => self.sized().map(drop),
            Kind::Fixed(size) => self.slice(*size).map(drop),
            Kind::Enum { symbols, .. } => self.branch(symbols.len()).map(drop),
            Kind::Union(branches) => {
                let branch = self.branch(branches.len())?;
                self.skip(branches[branch], depth + 1)
            }
            Kind::Record(fields) => {
                fields.iter().try_for_each(|field| self.skip(field.node, depth + 1))
            }
            Kind::Array(item) => self.skip_blocks(*item, false, depth + 1),
            Kind::Map(value) => self.skip_blocks(*value, true, depth + 1),
        }
    }

    fn skip_blocks(&mut self, item: NodeId, keyed: bool, depth: usize) -> Taken {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.sized()?;
                continue;
            }
            for _ in 0..count {
                let before = self.at;
                if keyed {
                    self.sized()?;
                }
                self.skip(item, depth)?;
                self.count_empty(before)?;
            }
        }
    }
}

fn put(taken: Put, column: &ColumnBuilder, found: impl FnOnce() -> String) -> Taken {
    taken.map_err(|refused| Failure::Fault(Fault::refused(column, refused, found())))
}

fn end_struct(column: &mut ColumnBuilder) -> Taken {
    column.end_struct().map_err(|missing| {
        let of = column.as_struct().expect("a struct has ended");
        let below = &of.columns[missing];
        let fault = Fault::refused(below, Refused::Null, "missing".to_owned());
        Failure::Fault(fault).within(below)
    })
}

fn interval(months: u32, days: u32, millis: u32) -> Option<IntervalMonthDayNano> {
    let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
    Some(IntervalMonthDayNano::new(months, days, i64::from(millis) * 1_000_000))
}

impl Failure {
    fn within(self, column: &ColumnBuilder) -> Failure {
        self.at(|| Step::Field(column.name().to_owned()))
    }

    fn at(mut self, step: impl FnOnce() -> Step) -> Failure {
        if let Failure::Fault(fault) = &mut self {
            fault.push(step());
        }
        self
    }
}
