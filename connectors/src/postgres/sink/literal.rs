//! Values as PostgreSQL reads them, and the types that columns for them have.

use std::fmt::Write as _;

use super::change::Cell;
use super::semantic;
use crate::convert::json::{DecimalFormat, JsonConverter, JsonOptions};
use crate::convert::value_to_string;
use crate::data::schema::Logical;
use crate::data::text_form::iso;
use crate::data::{Schema, SchemaAndValue, Type, Value};

/// Appends the value of a cell as a literal for a column of that type. An error says why there is
/// none.
pub fn append(cell: &Cell, column_type: &str, out: &mut String) -> Result<(), String> {
    if cell.value.is_null() {
        out.push_str("NULL");
        return Ok(());
    }
    let text = text(&cell.value, cell.schema.as_ref(), column_type)
        .map_err(|error| format!("field '{}': {error}", cell.column))?;
    if text.contains('\0') {
        let column = &cell.column;
        return Err(format!("field '{column}' has a zero byte, which PostgreSQL has no text for"));
    }
    quote(&text, out);
    Ok(())
}

fn quote(text: &str, out: &mut String) {
    out.push('\'');
    match text.contains('\'') {
        true => out.push_str(&text.replace('\'', "''")),
        false => out.push_str(text),
    }
    out.push('\'');
}

/// A name, whatever is in it.
pub fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text between quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    quote(text, &mut out);
    out
}

fn text(value: &Value, schema: Option<&Schema>, column_type: &str) -> Result<String, String> {
    if let Some(text) = semantic::text(value, schema, column_type) {
        return Ok(text);
    }
    Ok(match value {
        Value::String(text) if column_type == "json" || column_type == "jsonb" => {
            // Text that is JSON already is taken as such.
            match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => text.to_string(),
                Err(_) => serde_json::Value::from(text.as_str()).to_string(),
            }
        }
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Decimal(decimal) => decimal.to_plain_string(),
        Value::Float32(number) if number.is_infinite() => infinity(f64::from(*number)),
        Value::Float64(number) if number.is_infinite() => infinity(*number),
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => iso(value),
        Value::Array(items) if column_type.ends_with("[]") => array(items, schema, column_type)?,
        Value::Array(_) | Value::Map(_) | Value::Struct(_) => json(value, schema)?,
        plain => value_to_string(plain),
    })
}

fn infinity(number: f64) -> String {
    if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn json(value: &Value, schema: Option<&Schema>) -> Result<String, String> {
    let options =
        JsonOptions { schemas: false, decimals: DecimalFormat::Numeric, ..JsonOptions::default() };
    let data = SchemaAndValue { schema: schema.cloned(), value: value.clone() };
    let mut out = Vec::new();
    JsonConverter::new(options).write(&data, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `{"a","b",NULL}`
fn array(items: &[Value], schema: Option<&Schema>, column_type: &str) -> Result<String, String> {
    let of = schema.and_then(Schema::value_schema);
    let mut out = String::from("{");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match item {
            Value::Null => out.push_str("NULL"),
            Value::Array(inner) => out.push_str(&array(inner, of, column_type)?),
            item => {
                let text = text(item, of, column_type.trim_end_matches("[]"))?;
                out.push('"');
                out.push_str(&text.replace('\\', "\\\\").replace('"', "\\\""));
                out.push('"');
            }
        }
    }
    out.push('}');
    Ok(out)
}

/// The type of a column that is made for a value. `None`: a null says nothing.
pub fn column_type(cell: &Cell) -> Option<String> {
    match &cell.schema {
        Some(schema) => Some(type_of_schema(schema)),
        None => type_of_value(&cell.value).map(str::to_owned),
    }
}

fn type_of_schema(schema: &Schema) -> String {
    let named = semantic::column_type(schema);
    let logical = schema.logical().map(|logical| match logical {
        Logical::Decimal => "numeric".to_owned(),
        Logical::Date => "date".to_owned(),
        Logical::Time => "time".to_owned(),
        Logical::Timestamp => "timestamp".to_owned(),
    });
    if let Some(known) = named.or(logical) {
        return known;
    }
    match schema.type_() {
        Type::Boolean => "boolean",
        Type::Int8 | Type::Int16 => "smallint",
        Type::Int32 => "integer",
        Type::Int64 => "bigint",
        Type::Float32 => "real",
        Type::Float64 => "double precision",
        Type::String => "text",
        Type::Bytes => "bytea",
        Type::Array => match schema.value_schema() {
            Some(of) if of.type_().is_primitive() || semantic::is_number(of) => {
                return format!("{}[]", type_of_schema(of));
            }
            _ => "jsonb",
        },
        Type::Map | Type::Struct => "jsonb",
    }
    .to_owned()
}

fn type_of_value(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::Null => return None,
        Value::Boolean(_) => "boolean",
        Value::Int8(_) | Value::Int16(_) | Value::Int32(_) | Value::Int64(_) => "bigint",
        Value::Float32(_) | Value::Float64(_) => "double precision",
        Value::String(_) => "text",
        Value::Bytes(_) => "bytea",
        Value::Decimal(_) => "numeric",
        Value::Date(_) => "date",
        Value::Time(_) => "time",
        Value::Timestamp(_) => "timestamp",
        Value::Array(_) | Value::Map(_) | Value::Struct(_) => "jsonb",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SchemaBuilder, Text};

    fn literal(value: Value, schema: Option<Schema>, column_type: &str) -> String {
        let cell =
            Cell { column: Text::from("c"), value, schema, in_key: false, unavailable: false };
        let mut out = String::new();
        append(&cell, column_type, &mut out).unwrap_or_else(|error| out = error);
        out
    }

    #[test]
    fn values_are_written_so_that_the_server_reads_them() {
        let named = |name: &str| Some(SchemaBuilder::of(Type::Int64).name(name).build());
        assert_eq!(literal(Value::string("it's"), None, "text"), "'it''s'");
        assert_eq!(literal(Value::Null, None, "text"), "NULL");
        assert_eq!(literal(Value::Bytes(vec![0, 255].into()), None, "bytea"), "'\\x00ff'");
        assert_eq!(literal(Value::Float64(f64::NEG_INFINITY), None, "real"), "'-Infinity'");
        assert_eq!(literal(Value::string("a"), None, "jsonb"), "'\"a\"'");
        assert_eq!(literal(Value::string("[1]"), None, "jsonb"), "'[1]'");
        let array = Value::array(vec![Value::string("a\"\\"), Value::Null]);
        assert_eq!(literal(array.clone(), None, "text[]"), "'{\"a\\\"\\\\\",NULL}'");
        assert_eq!(literal(array, None, "jsonb"), "'[\"a\\\"\\\\\",null]'");
        let at =
            |us| literal(Value::Int64(us), named("io.debezium.time.MicroTimestamp"), "timestamp");
        assert_eq!(at(-1), "'1969-12-31 23:59:59.999999'");
        assert_eq!(at(-62_135_596_800_000_001), "'0001-12-31 23:59:59.999999 BC'");
        let zero = literal(Value::string("a\0"), None, "text");
        assert_eq!(zero, "field 'c' has a zero byte, which PostgreSQL has no text for");
    }

    #[test]
    fn columns_have_the_types_of_their_schemas() {
        let of = |schema: &Schema| type_of_schema(schema);
        assert_eq!(of(&SchemaBuilder::array(Schema::string()).build()), "text[]");
        assert_eq!(of(&SchemaBuilder::decimal(2).build()), "numeric");
        assert_eq!(of(&SchemaBuilder::map(Schema::string(), Schema::int32()).build()), "jsonb");
        assert_eq!(of(&Schema::optional_int8()), "smallint");
    }
}
