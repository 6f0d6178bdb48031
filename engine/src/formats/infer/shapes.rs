//! What values have in common.

use std::collections::BTreeSet;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, TimeUnit};
use serde_json::Value;

use crate::formats::columns::timestamp;

/// The least type that all values of a column fit in.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// No value at all.
    Nothing,
    Boolean,
    Integer,
    /// Beyond 64 bits.
    Long,
    Float,
    Date,
    /// With a zone, or without.
    Time {
        zoned: bool,
    },
    Text,
    Bytes,
    List(Box<Shape>),
    Row(Vec<(String, Shape)>),
    /// As a schema says.
    Type(DataType),
}

/// Fields of one object: beyond that it is a map that nobody declared.
const FIELDS_MAX: usize = 1_000;
const NULL_TOKENS: [&str; 6] = ["NA", "N/A", "NULL", "null", "\\N", "None"];

impl Shape {
    pub fn text() -> Shape {
        Shape::Text
    }

    pub fn of_type(data_type: &DataType) -> Shape {
        Shape::Type(data_type.clone())
    }

    pub fn of_json(value: &Value) -> Shape {
        match value {
            Value::Null => Shape::Nothing,
            Value::Bool(_) => Shape::Boolean,
            Value::Number(number) if number.is_i64() => Shape::Integer,
            Value::Number(number) if number.is_u64() => Shape::Long,
            Value::Number(_) => Shape::Float,
            Value::String(text) => Shape::of_text(text),
            Value::Array(items) => {
                let item = items.iter().map(Shape::of_json).reduce(Shape::merged);
                Shape::List(Box::new(item.unwrap_or(Shape::Nothing)))
            }
            Value::Object(fields) => {
                let fields = fields.iter().take(FIELDS_MAX);
                Shape::Row(fields.map(|(name, of)| (name.clone(), Shape::of_json(of))).collect())
            }
        }
    }

    /// A date or a time, if it is written as one.
    fn of_text(text: &str) -> Shape {
        let bytes = text.as_bytes();
        let begins = bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-';
        let utc: Option<Tz> = "+00:00".parse().ok();
        let is_time = utc.is_some_and(|utc| timestamp(text, TimeUnit::Millisecond, &utc).is_some());
        match begins && is_time {
            false => Shape::Text,
            true if bytes.len() == 10 => Shape::Date,
            true => {
                let zoned = text.ends_with('Z') || text[10..].contains(['+', '-']);
                Shape::Time { zoned }
            }
        }
    }

    fn of_field(text: &str) -> Shape {
        match text.trim() {
            "" => Shape::Nothing,
            "true" | "false" | "TRUE" | "FALSE" | "True" | "False" => Shape::Boolean,
            // A number with zeros before it is more likely a code.
            number if number.len() > 1 && number.starts_with('0') && !number.contains('.') => {
                Shape::of_text(number)
            }
            number if number.parse::<i64>().is_ok() => Shape::Integer,
            number
                if number.parse::<f64>().is_ok()
                    && number.contains(|c: char| c.is_ascii_digit()) =>
            {
                Shape::Float
            }
            other => Shape::of_text(other),
        }
    }

    pub fn merged(self, other: Shape) -> Shape {
        match (self, other) {
            (Shape::Nothing, other) | (other, Shape::Nothing) => other,
            (Shape::List(item), Shape::List(other)) => Shape::List(Box::new(item.merged(*other))),
            (Shape::Row(mut fields), Shape::Row(others)) => {
                for (name, shape) in others {
                    let has_room = fields.len() < FIELDS_MAX;
                    match fields.iter_mut().find(|(own, _)| *own == name) {
                        Some((_, own)) => {
                            *own = std::mem::replace(own, Shape::Nothing).merged(shape);
                        }
                        None if has_room => fields.push((name, shape)),
                        None => {}
                    }
                }
                Shape::Row(fields)
            }
            (own, other) if own == other => own,
            (Shape::Integer, Shape::Long) | (Shape::Long, Shape::Integer) => Shape::Long,
            (Shape::Integer | Shape::Long | Shape::Float, Shape::Float)
            | (Shape::Float, Shape::Integer | Shape::Long) => Shape::Float,
            // A time without zone is read as UTC where others have one.
            (Shape::Time { .. } | Shape::Date, Shape::Time { .. } | Shape::Date) => {
                Shape::Time { zoned: true }
            }
            _ => Shape::Text,
        }
    }

    /// As SQL and TOML both write it.
    pub fn type_name(&self) -> String {
        match self {
            Shape::Nothing | Shape::Text => "text".to_owned(),
            Shape::Boolean => "boolean".to_owned(),
            Shape::Integer => "bigint".to_owned(),
            Shape::Long => "decimal(20, 0)".to_owned(),
            Shape::Float => "double".to_owned(),
            Shape::Date => "date".to_owned(),
            Shape::Time { zoned: true } => "timestamptz".to_owned(),
            Shape::Time { zoned: false } => "timestamp".to_owned(),
            Shape::Bytes => "bytea".to_owned(),
            Shape::List(item) => format!("array<{}>", item.type_name()),
            // An object without fields can only be shown.
            Shape::Row(fields) if fields.is_empty() => "text".to_owned(),
            Shape::Row(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, of)| format!("{} {}", identifier(name), of.type_name()))
                    .collect();
                format!("row<{}>", fields.join(", "))
            }
            Shape::Type(data_type) => arrow_type_name(data_type),
        }
    }

    pub fn is_time(&self) -> bool {
        matches!(self, Shape::Time { .. } | Shape::Type(DataType::Timestamp(..)))
    }
}

/// A name in SQL, quoted where it must be.
pub fn identifier(name: &str) -> String {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let plain = name.bytes().all(word) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    // Words that columns are often called by and SQL has another use for.
    const RESERVED: [&str; 24] = [
        "timestamp",
        "order",
        "group",
        "table",
        "user",
        "from",
        "to",
        "end",
        "start",
        "date",
        "time",
        "key",
        "value",
        "offset",
        "partition",
        "limit",
        "select",
        "where",
        "primary",
        "row",
        "watermark",
        "default",
        "check",
        "index",
    ];
    match plain && !RESERVED.contains(&name) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

fn arrow_type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::UInt32 => "int unsigned",
        DataType::UInt64 => "bigint unsigned",
        DataType::Float32 => "real",
        DataType::Float64 => "double",
        DataType::Binary | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            let zone = if zone.is_some() { " with time zone" } else { "" };
            return format!("timestamp({digits}){zone}");
        }
        DataType::Decimal128(precision, scale) => return format!("decimal({precision}, {scale})"),
        DataType::List(item) => return format!("array<{}>", arrow_type_name(item.data_type())),
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return "text".to_owned() };
            let value = fields.get(1).map(|field| arrow_type_name(field.data_type()));
            return format!("map<text, {}>", value.unwrap_or_default());
        }
        DataType::Struct(fields) => {
            let field = |field: &arrow::datatypes::FieldRef| {
                format!("{} {}", identifier(field.name()), arrow_type_name(field.data_type()))
            };
            let fields: Vec<String> = fields.iter().map(field).collect();
            return format!("row<{}>", fields.join(", "));
        }
        _ => "text",
    };
    name.to_owned()
}

pub struct Csv {
    pub delimiter: char,
    pub header: bool,
    pub null: Option<String>,
    pub columns: Vec<(String, Shape)>,
}

/// The delimiter that cuts all lines into equally many fields, most of them.
pub fn csv_shapes(lines: &[&str], first: &[&str]) -> Option<Csv> {
    let cut = |delimiter: char| {
        let rows: Option<Vec<Vec<String>>> =
            lines.iter().map(|line| fields(line, delimiter)).collect();
        let rows = rows?;
        let width = rows.first()?.len();
        (width > 1 && rows.iter().all(|row| row.len() == width)).then_some((delimiter, rows))
    };
    let found = [',', '\t', ';', '|'].into_iter().filter_map(cut);
    let (delimiter, mut rows) = found.max_by_key(|(_, rows)| rows[0].len())?;
    let header = first
        .iter()
        .filter_map(|line| fields(line, delimiter))
        .find(|header| header.len() == rows[0].len() && is_header(header, &rows));
    if let Some(header) = &header {
        rows.retain(|row| row != header);
    }
    let null = null_token(&rows);
    let names: Vec<String> = match &header {
        Some(header) => header.clone(),
        None => (1..=rows.first()?.len()).map(|at| format!("c{at}")).collect(),
    };
    let shape = |column: usize| {
        let values = rows.iter().map(|row| row[column].as_str());
        let values = values.filter(|value| Some(*value) != null.as_deref());
        values.map(Shape::of_field).reduce(Shape::merged).unwrap_or(Shape::Nothing)
    };
    let columns = names.into_iter().enumerate().map(|(at, name)| (name, shape(at))).collect();
    Some(Csv { delimiter, header: header.is_some(), null, columns })
}

/// Names, all different, over something that is no name.
fn is_header(header: &[String], rows: &[Vec<String>]) -> bool {
    let names: BTreeSet<&String> = header.iter().collect();
    let is_name = |name: &String| !name.is_empty() && Shape::of_field(name) == Shape::Text;
    let is_typed =
        |row: &Vec<String>| row.iter().any(|field| Shape::of_field(field) != Shape::Text);
    names.len() == header.len() && header.iter().all(is_name) && rows.iter().any(is_typed)
}

/// The token that stands among numbers and times, if one does.
fn null_token(rows: &[Vec<String>]) -> Option<String> {
    let width = rows.first()?.len();
    let typed = |column: usize, token: &str| {
        let values = rows.iter().map(|row| row[column].as_str());
        let shape = values
            .filter(|value| *value != token)
            .map(Shape::of_field)
            .reduce(Shape::merged)
            .unwrap_or(Shape::Nothing);
        rows.iter().any(|row| row[column] == token)
            && !matches!(shape, Shape::Text | Shape::Nothing)
    };
    let token = NULL_TOKENS.iter().find(|token| (0..width).any(|column| typed(column, token)))?;
    Some((*token).to_owned())
}

/// A line's fields, by RFC 4180; `None` if its quotes are wrong.
fn fields(line: &str, delimiter: char) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut rest = line.trim_end_matches(['\n', '\r']).chars().peekable();
    loop {
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next()? {
                    '"' if rest.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    other => field.push(other),
                }
            }
        } else {
            while let Some(other) = rest.next_if(|next| *next != delimiter) {
                field.push(other);
            }
        }
        fields.push(std::mem::take(&mut field));
        match rest.next() {
            None => return Some(fields),
            Some(next) if next == delimiter => {}
            Some(_) => return None,
        }
    }
}
