//! Columns of records that have no schema: of what has come until now.
//!
//! ```text
//! null ─► any;  int8 ─► … ─► int64 ─► float64, if no digit is lost ─► text;  all else ─► text
//! an object ─► a struct of all fields that were seen;  an array ─► a list of what its items are
//! ```

use super::{Column, Columns, Kind, each_field, has_fields, integer, is_double};
use crate::data::{SchemaAndValue, Text, Value};

/// What is nested deeper is text: its JSON.
const DEPTH_MAX: usize = 32;

impl Columns {
    /// These, so that a record with these fields fits too.
    pub fn widened(&self, value: &Value) -> Columns {
        let mut wider = self.clone();
        wider.widen(value, 0);
        wider
    }

    fn widen(&mut self, value: &Value, depth: usize) {
        let widen = |_, name: &Text, value: &Value| {
            let unknown = || Column::new(Kind::Unknown, true);
            let column = self.0.entry(name.clone()).or_insert_with(unknown);
            column.widen(value, depth + 1);
            Ok(())
        };
        each_field(value, widen).expect("nothing is refused");
    }

    /// These, as a file can have them. What was nothing but null is left out, so that it is free to
    /// be anything in a later file; where there is nothing else, it is text.
    pub fn settled(&self) -> Columns {
        let known = self.0.iter().filter(|(_, column)| column.kind != Kind::Unknown);
        let settle = |(name, column): (&_, &Column)| (Clone::clone(name), column.settled());
        match known.clone().next() {
            Some(_) => Columns(known.map(settle).collect()),
            None => Columns(self.0.iter().map(settle).collect()),
        }
    }

    /// Adds a column for a value, of its schema or, if it has none, of the value itself.
    pub fn add(&mut self, name: Text, data: &SchemaAndValue) -> Result<(), String> {
        let column = match &data.schema {
            Some(schema) => Column::of_schema(schema)?,
            None => {
                let mut column = Column::new(Kind::Unknown, true);
                column.widen(&data.value, 0);
                column
            }
        };
        self.0.insert(name, column);
        Ok(())
    }

    /// Sees to it that there is a column of that name, within others if there is more than one
    /// name. One that was not there holds nothing but null.
    pub fn ensure(&mut self, path: &[String]) {
        let Some((name, within)) = path.split_first() else { return };
        let missing = || Column::new(Kind::Unknown, true);
        let column = self.0.entry(name.as_str().into()).or_insert_with(missing);
        if column.kind == Kind::Unknown && !within.is_empty() {
            column.kind = Kind::Struct(Columns::default());
        }
        if let Kind::Struct(columns) = &mut column.kind {
            columns.ensure(within);
        }
    }
}

impl Column {
    fn widen(&mut self, value: &Value, depth: usize) {
        if self.fit(value).is_ok() {
            return;
        }
        let kind = std::mem::replace(&mut self.kind, Kind::Unknown);
        self.kind = kind.and(Kind::of(value, depth));
        match (&mut self.kind, value) {
            (Kind::Struct(columns), value) => columns.widen(value, depth),
            (Kind::List(item), Value::Array(items)) => {
                items.iter().for_each(|value| item.widen(value, depth + 1));
            }
            _ => {}
        }
    }

    fn settled(&self) -> Column {
        let kind = match &self.kind {
            Kind::Unknown => Kind::Text,
            // Parquet has no group of no columns: `{}` is its JSON.
            Kind::Struct(columns) if columns.is_empty() => Kind::Text,
            Kind::Struct(columns) => Kind::Struct(columns.settled()),
            Kind::List(item) => Kind::List(Box::new(item.settled())),
            Kind::Int64 { .. } => Kind::Int64 { wide: true },
            other => other.clone(),
        };
        Column::new(kind, self.nullable)
    }
}

impl Kind {
    /// The least that a value needs, what is within it not looked at.
    fn of(value: &Value, depth: usize) -> Kind {
        match value {
            Value::Null => Kind::Unknown,
            Value::Boolean(_) => Kind::Boolean,
            Value::Int8(_) => Kind::Int8,
            Value::Int16(_) => Kind::Int16,
            Value::Int32(_) => Kind::Int32,
            Value::Int64(number) => Kind::Int64 { wide: !is_double(*number) },
            Value::Float32(_) => Kind::Float32,
            Value::Float64(_) => Kind::Float64,
            Value::Bytes(_) => Kind::Bytes,
            Value::Date(_) => Kind::Date,
            Value::Time(_) => Kind::Time(arrow::datatypes::TimeUnit::Millisecond),
            Value::Timestamp(_) => {
                Kind::Timestamp { unit: arrow::datatypes::TimeUnit::Millisecond, utc: true }
            }
            Value::Array(_) if depth < DEPTH_MAX => {
                Kind::List(Box::new(Column::new(Kind::Unknown, true)))
            }
            value if depth < DEPTH_MAX && has_fields(value) => Kind::Struct(Columns::default()),
            // JSON's integers beyond 64 bits are decimals here; how many digits will come, none
            // can say.
            Value::String(_) | Value::Decimal(_) => Kind::Text,
            Value::Array(_) | Value::Map(_) | Value::Struct(_) => Kind::Text,
        }
    }

    /// What both can be written as.
    fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Unknown, kind) | (kind, Kind::Unknown) => kind,
            (kind @ Kind::List(_), Kind::List(_)) => kind,
            (kind @ Kind::Struct(_), Kind::Struct(_)) => kind,
            (one, other) if one == other => one,
            (one, other) => match (one.number(), other.number()) {
                (Some(a), Some(b)) if a <= INT64 && b <= INT64 => {
                    let wide = [&one, &other].iter().any(|kind| kind.is_wide());
                    match (a.max(b), a >= b) {
                        (INT64, _) => Kind::Int64 { wide },
                        (_, true) => one,
                        (_, false) => other,
                    }
                }
                (Some(_), Some(_)) if !one.is_wide() && !other.is_wide() => Kind::Float64,
                _ => Kind::Text,
            },
        }
    }

    /// The order in which a number's type holds the ones before it.
    fn number(&self) -> Option<u8> {
        Some(match self {
            Kind::Int8 => 0,
            Kind::Int16 => 1,
            Kind::Int32 => 2,
            Kind::Int64 { .. } => INT64,
            Kind::Float32 => 4,
            Kind::Float64 => 5,
            _ => return None,
        })
    }

    fn is_wide(&self) -> bool {
        *self == Kind::Int64 { wide: true }
    }
}

const INT64: u8 = 3;

/// About what values take in memory, and how many bytes of data that is.
pub fn weigh(value: &Value) -> (usize, usize) {
    const NODE: usize = size_of::<Value>();
    let sum = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
    match value {
        Value::Array(items) => items.iter().map(weigh).fold((NODE, 0), sum),
        // A map has its hashes and its keys' names too.
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| sum(weigh(value), (weigh(key).0 + 2 * size_of::<u64>(), 0)))
            .fold((NODE, 0), sum),
        Value::Struct(value) => value.values().iter().map(weigh).fold((NODE, 0), sum),
        Value::String(text) => (NODE + text.len(), text.len()),
        Value::Bytes(bytes) => (NODE + bytes.len(), bytes.len()),
        Value::Null => (NODE, 0),
        Value::Boolean(_) | Value::Int8(_) => (NODE, 1),
        value if integer(value).is_some() => (NODE, 8),
        _ => (NODE + 8, 8),
    }
}
