//! Avro schemas (specification 1.12): from their JSON, and to and from Arrow fields.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::formats::FormatError;
use crate::formats::columns::map_type;
use crate::type_names::type_text;

/// Schemas within schemas: what is deeper is no schema of anybody's records.
const DEPTH_MAX: usize = 64;
/// Types in one schema.
const NODES_MAX: usize = 100_000;

/// Fields of all columns, those of records within records counted wherever they stand.
const FIELDS_MAX: usize = 20_000;

/// The way from the root to a type, and how many there were.
struct Walk {
    open: Vec<NodeId>,
    fields: usize,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not an Avro schema: {path}: {reason}")]
pub struct SchemaError {
    path: String,
    reason: String,
}

/// A type of a schema, by its place among all types of that schema.
pub type NodeId = usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    nodes: Vec<Node>,
    root: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub logical: Option<Logical>,
    /// Of a record, enum or fixed: its full name.
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum { symbols: Arc<[String]>, default: Option<String> },
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<RecordField>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordField {
    pub name: String,
    pub aliases: Vec<String>,
    pub node: NodeId,
    pub default: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    Decimal {
        precision: u8,
        scale: i8,
    },
    Uuid,
    Date,
    Time(TimeUnit),
    /// An instant.
    Timestamp(TimeUnit),
    /// A time without zone.
    LocalTimestamp(TimeUnit),
    Duration,
}

impl Schema {
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        // A lone name of a primitive type may stand without its quotes.
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) if primitive(text.trim()).is_some() => Value::String(text.trim().to_owned()),
            Err(error) => {
                let reason = error.to_string();
                return Err(SchemaError { path: "the schema".to_owned(), reason });
            }
        };
        let mut parser = Parser { nodes: Vec::new(), names: HashMap::new(), path: Vec::new() };
        let root = parser.node(&value, "")?;
        Ok(Schema { nodes: parser.nodes, root })
    }

    pub fn root(&self) -> NodeId {
        self.root
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The fields of the root, which must be a record to be a row.
    pub fn root_fields(&self) -> Result<&[RecordField], FormatError> {
        match &self.node(self.root).kind {
            Kind::Record(fields) => Ok(fields),
            _ => Err(FormatError::Shape("the Avro schema is not a record".to_owned())),
        }
    }

    /// Arrow fields of the root's own.
    pub fn columns(&self) -> Result<Vec<Field>, FormatError> {
        let mut walk = Walk { open: vec![self.root], fields: 0 };
        let fields = self.root_fields()?.iter();
        fields.map(|field| self.arrow_field(&field.name, field.node, &mut walk)).collect()
    }

    /// The Arrow type of one type of the schema, and whether NULL is among its values.
    pub fn arrow_type(&self, id: NodeId) -> Result<(DataType, bool), FormatError> {
        self.walked_type(id, &mut Walk { open: Vec::new(), fields: 0 })
    }

    fn arrow_field(&self, name: &str, id: NodeId, walk: &mut Walk) -> Result<Field, FormatError> {
        let (data_type, nullable) = self.walked_type(id, walk)?;
        Ok(Field::new(name, data_type, nullable))
    }

    fn walked_type(&self, id: NodeId, walk: &mut Walk) -> Result<(DataType, bool), FormatError> {
        let node = self.node(id);
        let name = node.name.as_deref().unwrap_or(node.kind.name());
        walk.fields += 1;
        if walk.open.contains(&id) {
            let reason = format!("the Avro schema's '{name}' holds itself, which no column can");
            return Err(FormatError::Shape(reason));
        }
        if walk.fields > FIELDS_MAX {
            let reason = format!("the Avro schema has more than {FIELDS_MAX} fields, all told");
            return Err(FormatError::Shape(reason));
        }
        walk.open.push(id);
        let found = self.open_type(id, walk);
        walk.open.pop();
        found
    }

    fn open_type(&self, id: NodeId, walk: &mut Walk) -> Result<(DataType, bool), FormatError> {
        let node = self.node(id);
        if let Some(data_type) = node.logical.and_then(|logical| logical.data_type(&node.kind)) {
            return Ok((data_type, false));
        }
        let mut below =
            |name: &str, id: NodeId| self.arrow_field(name, id, walk).map(FieldRef::new);
        let data_type = match &node.kind {
            Kind::Null => return Ok((DataType::Null, true)),
            Kind::Boolean => DataType::Boolean,
            Kind::Int => DataType::Int32,
            Kind::Long => DataType::Int64,
            Kind::Float => DataType::Float32,
            Kind::Double => DataType::Float64,
            Kind::Bytes => DataType::Binary,
            Kind::String | Kind::Enum { .. } => DataType::Utf8,
            Kind::Fixed(size) => DataType::FixedSizeBinary(*size as i32),
            Kind::Array(item) => DataType::List(below("item", *item)?),
            Kind::Map(value) => {
                map_type(DataType::Utf8, below("value", *value)?.data_type().clone())
            }
            Kind::Record(fields) => {
                let fields = fields.iter().map(|field| below(&field.name, field.node));
                DataType::Struct(fields.collect::<Result<_, _>>()?)
            }
            Kind::Union(branches) => return self.union_type(branches, walk),
        };
        Ok((data_type, false))
    }

    /// With NULL a nullable type; of several others a struct in which one field is set.
    fn union_type(
        &self,
        branches: &[NodeId],
        walk: &mut Walk,
    ) -> Result<(DataType, bool), FormatError> {
        let is_null = |id: &NodeId| self.node(*id).kind == Kind::Null;
        let others: Vec<NodeId> = branches.iter().copied().filter(|id| !is_null(id)).collect();
        let nullable = others.len() < branches.len();
        match others[..] {
            [] => Ok((DataType::Null, true)),
            [one] => Ok((self.walked_type(one, walk)?.0, nullable)),
            _ => {
                let fields = others.iter().map(|id| {
                    let field = self.arrow_field(&self.branch_name(*id), *id, walk)?;
                    Ok(FieldRef::new(field.with_nullable(true)))
                });
                Ok((DataType::Struct(fields.collect::<Result<_, FormatError>>()?), nullable))
            }
        }
    }

    /// What a branch of a union is called: its type, or the last part of its own name.
    pub fn branch_name(&self, id: NodeId) -> String {
        let node = self.node(id);
        match &node.name {
            Some(name) => name.rsplit('.').next().unwrap_or(name).to_owned(),
            None => node.kind.name().to_owned(),
        }
    }

    /// A schema of rows with these fields, for sinks that declare none.
    pub fn of_fields(fields: &Fields) -> Result<(Schema, String), FormatError> {
        let mut records = 0;
        let json = record_json("Row", fields, &mut records)?;
        let text = json.to_string();
        let schema = Schema::parse(&text).map_err(|error| FormatError::Shape(error.to_string()))?;
        Ok((schema, text))
    }
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Fixed(_) => "fixed",
            Kind::Enum { .. } => "enum",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Record(_) => "record",
        }
    }
}

impl Logical {
    fn data_type(self, kind: &Kind) -> Option<DataType> {
        let utc = || Some(Arc::from("+00:00"));
        Some(match self {
            Logical::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Logical::Uuid => DataType::Utf8,
            Logical::Date => DataType::Date32,
            Logical::Time(unit) if *kind == Kind::Int => DataType::Time32(unit),
            Logical::Time(unit) => DataType::Time64(unit),
            Logical::Timestamp(unit) => DataType::Timestamp(unit, utc()),
            Logical::LocalTimestamp(unit) => DataType::Timestamp(unit, None),
            Logical::Duration => DataType::Interval(IntervalUnit::MonthDayNano),
        })
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

struct Parser {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
    path: Vec<String>,
}

impl Parser {
    fn error<T>(&self, reason: impl Into<String>) -> Result<T, SchemaError> {
        let path = match self.path.is_empty() {
            true => "the schema".to_owned(),
            false => format!("'{}'", self.path.join(".")),
        };
        Err(SchemaError { path, reason: reason.into() })
    }

    fn push(&mut self, kind: Kind) -> Result<NodeId, SchemaError> {
        if self.nodes.len() == NODES_MAX {
            return self.error(format!("there are more than {NODES_MAX} types in it"));
        }
        self.nodes.push(Node { kind, logical: None, name: None });
        Ok(self.nodes.len() - 1)
    }

    fn node(&mut self, value: &Value, namespace: &str) -> Result<NodeId, SchemaError> {
        if self.path.len() > DEPTH_MAX {
            return self.error("it is nested too deeply");
        }
        match value {
            Value::String(name) => self.reference(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            other => self.error(format!("a type is expected, not {other}")),
        }
    }

    fn reference(&mut self, name: &str, namespace: &str) -> Result<NodeId, SchemaError> {
        if let Some(kind) = primitive(name) {
            return self.push(kind);
        }
        let within = full_name(name, namespace);
        match self.names.get(&within).or_else(|| self.names.get(name)) {
            Some(id) => Ok(*id),
            None => self.error(format!("there is no type '{name}'")),
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Result<NodeId, SchemaError> {
        let mut ids = Vec::with_capacity(branches.len());
        for branch in branches {
            let id = self.node(branch, namespace)?;
            if let Kind::Union(_) = self.nodes[id].kind {
                return self.error("a union directly within a union");
            }
            ids.push(id);
        }
        if ids.is_empty() {
            return self.error("a union of nothing");
        }
        self.push(Kind::Union(ids))
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<NodeId, SchemaError> {
        let id = match object.get("type") {
            Some(Value::String(name)) => match name.as_str() {
                "record" | "error" => self.record(object, namespace)?,
                "enum" => self.enumeration(object, namespace)?,
                "fixed" => self.fixed(object, namespace)?,
                "array" => {
                    let item = self.required(object, "items", namespace)?;
                    self.push(Kind::Array(item))?
                }
                "map" => {
                    let value = self.required(object, "values", namespace)?;
                    self.push(Kind::Map(value))?
                }
                name => self.reference(name, namespace)?,
            },
            Some(nested) => self.node(nested, namespace)?,
            None => return self.error("it has no 'type'"),
        };
        if let Some(Value::String(logical)) = object.get("logicalType") {
            // Of a type that is referred to by name, everybody else has it, too: the
            // specification puts it beside the definition. One that does not fit is none.
            self.nodes[id].logical = logical_type(logical, &self.nodes[id].kind, object);
        }
        Ok(id)
    }

    fn required(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        namespace: &str,
    ) -> Result<NodeId, SchemaError> {
        let Some(value) = object.get(key) else { return self.error(format!("it has no '{key}'")) };
        self.path.push(key.to_owned());
        let id = self.node(value, namespace)?;
        self.path.pop();
        Ok(id)
    }

    /// A named type, known from here on; its namespace is that of what stands within it.
    fn named(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        kind: Kind,
    ) -> Result<(NodeId, String), SchemaError> {
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            return self.error("it has no 'name'");
        };
        let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(name, own);
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let id = self.push(kind)?;
        self.nodes[id].name = Some(full.clone());
        if self.names.insert(full, id).is_some() {
            return self.error(format!("'{name}' is defined twice"));
        }
        Ok((id, namespace))
    }

    fn record(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<NodeId, SchemaError> {
        let (id, namespace) = self.named(object, namespace, Kind::Record(Vec::new()))?;
        let Some(Value::Array(fields)) = object.get("fields") else {
            return self.error("a record has no 'fields'");
        };
        let mut read: Vec<RecordField> = Vec::with_capacity(fields.len());
        let mut names = HashSet::new();
        for field in fields {
            let Some(name) = field.get("name").and_then(Value::as_str) else {
                return self.error("a field has no 'name'");
            };
            if !names.insert(name) {
                return self.error(format!("field '{name}' is there twice"));
            }
            self.path.push(name.to_owned());
            let Some(of) = field.get("type") else { return self.error("it has no 'type'") };
            let node = self.node(of, &namespace)?;
            self.path.pop();
            let aliases = field.get("aliases").and_then(Value::as_array).into_iter().flatten();
            let aliases = aliases.filter_map(Value::as_str).map(str::to_owned).collect();
            let default = field.get("default").cloned();
            read.push(RecordField { name: name.to_owned(), aliases, node, default });
        }
        self.nodes[id].kind = Kind::Record(read);
        Ok(id)
    }

    fn enumeration(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<NodeId, SchemaError> {
        let Some(Value::Array(symbols)) = object.get("symbols") else {
            return self.error("an enum has no 'symbols'");
        };
        let symbols: Option<Vec<String>> =
            symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned)).collect();
        let Some(symbols) = symbols else { return self.error("a symbol is no text") };
        let default = object.get("default").and_then(Value::as_str).map(str::to_owned);
        let kind = Kind::Enum { symbols: symbols.into(), default };
        Ok(self.named(object, namespace, kind)?.0)
    }

    fn fixed(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<NodeId, SchemaError> {
        let size = object.get("size").and_then(Value::as_u64).filter(|size| *size <= 1 << 20);
        let Some(size) = size else { return self.error("a fixed has no 'size' up to 1 MiB") };
        Ok(self.named(object, namespace, Kind::Fixed(size as usize))?.0)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn logical_type(name: &str, kind: &Kind, object: &Map<String, Value>) -> Option<Logical> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    match (name, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = u8::try_from(object.get("precision")?.as_u64()?).ok()?;
            let scale = object.get("scale").map_or(Some(0), Value::as_u64)?;
            let scale = i8::try_from(scale).ok()?;
            let fits = (1..=38).contains(&precision) && scale <= precision as i8;
            fits.then_some(Logical::Decimal { precision, scale })
        }
        ("uuid", Kind::String | Kind::Fixed(16)) => Some(Logical::Uuid),
        ("date", Kind::Int) => Some(Logical::Date),
        ("time-millis", Kind::Int) => Some(Logical::Time(Millisecond)),
        ("time-micros", Kind::Long) => Some(Logical::Time(Microsecond)),
        ("timestamp-millis", Kind::Long) => Some(Logical::Timestamp(Millisecond)),
        ("timestamp-micros", Kind::Long) => Some(Logical::Timestamp(Microsecond)),
        ("timestamp-nanos", Kind::Long) => Some(Logical::Timestamp(Nanosecond)),
        ("local-timestamp-millis", Kind::Long) => Some(Logical::LocalTimestamp(Millisecond)),
        ("local-timestamp-micros", Kind::Long) => Some(Logical::LocalTimestamp(Microsecond)),
        ("local-timestamp-nanos", Kind::Long) => Some(Logical::LocalTimestamp(Nanosecond)),
        ("duration", Kind::Fixed(12)) => Some(Logical::Duration),
        _ => None,
    }
}

fn record_json(name: &str, fields: &Fields, records: &mut usize) -> Result<Value, FormatError> {
    let mut list = Vec::with_capacity(fields.len());
    for field in fields {
        if !is_avro_name(field.name()) {
            let reason = format!(
                "column '{}' cannot be an Avro field: names are of letters, digits and '_'",
                field.name()
            );
            return Err(FormatError::Shape(reason));
        }
        let of = field_json(field, records)?;
        list.push(match field.is_nullable() && !field.data_type().is_null() {
            true => json!({ "name": field.name(), "type": ["null", of], "default": null }),
            false => json!({ "name": field.name(), "type": of }),
        });
    }
    Ok(json!({ "type": "record", "name": name, "fields": list }))
}

fn is_avro_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn nullable_json(field: &Field, records: &mut usize) -> Result<Value, FormatError> {
    let of = field_json(field, records)?;
    Ok(if field.is_nullable() && of != "null" { json!(["null", of]) } else { of })
}

fn field_json(field: &Field, records: &mut usize) -> Result<Value, FormatError> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let logical = |of: &str, logical: &str| json!({ "type": of, "logicalType": logical });
    Ok(match field.data_type() {
        DataType::Null => json!("null"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => json!("int"),
        DataType::UInt8 | DataType::UInt16 => json!("int"),
        DataType::Int64 | DataType::UInt32 | DataType::Duration(_) => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => json!("bytes"),
        DataType::FixedSizeBinary(size) => {
            *records += 1;
            json!({ "type": "fixed", "name": format!("Fixed{records}"), "size": size })
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision,
                    "scale": scale })
        }
        DataType::UInt64 => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0 })
        }
        DataType::Date32 | DataType::Date64 => logical("int", "date"),
        DataType::Time32(_) => logical("int", "time-millis"),
        DataType::Time64(_) => logical("long", "time-micros"),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                Second | Millisecond => "millis",
                Microsecond => "micros",
                Nanosecond => "nanos",
            };
            let local = if zone.is_some() { "" } else { "local-" };
            logical("long", &format!("{local}timestamp-{unit}"))
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            json!({ "type": "array", "items": nullable_json(item, records)? })
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                json!({ "type": "map", "values": nullable_json(&fields[1], records)? })
            }
            _ => return Err(unsupported(field)),
        },
        DataType::Struct(fields) => {
            *records += 1;
            record_json(&format!("Record{records}"), fields, records)?
        }
        _ => return Err(unsupported(field)),
    })
}

fn unsupported(field: &Field) -> FormatError {
    FormatError::Type {
        column: field.name().clone(),
        format: "Avro",
        data_type: type_text(field.data_type()),
    }
}
