//! Schemas as JSON, both ways, as Connect's JsonConverter has them.

use super::parse::Json;
use super::read::Reader;
use super::write::{Writer, write_string};
use crate::data::{DataError, Schema, SchemaBuilder, Text, Type};

/// As JSON calls a type.
fn type_name(plain: Type) -> &'static str {
    match plain {
        Type::Float32 => "float",
        Type::Float64 => "double",
        other => other.name(),
    }
}

/// Appends a schema; as a struct's field under that name.
pub(super) fn write_schema(
    writer: &Writer,
    schema: &Schema,
    field: Option<&Text>,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    out.extend_from_slice(b"{\"type\":");
    write_string(type_name(schema.type_()), out);
    match schema.type_() {
        Type::Array => part(writer, "items", schema.value_schema(), out)?,
        Type::Map => {
            part(writer, "keys", schema.key_schema(), out)?;
            part(writer, "values", schema.value_schema(), out)?;
        }
        Type::Struct => {
            out.extend_from_slice(b",\"fields\":[");
            for (index, field) in schema.fields().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_schema(writer, &field.schema, Some(&field.name), out)?;
            }
            out.push(b']');
        }
        _ => {}
    }
    out.extend_from_slice(if schema.is_optional() {
        b",\"optional\":true"
    } else {
        b",\"optional\":false"
    });
    if let Some(name) = schema.name() {
        text("name", name, out);
    }
    if let Some(version) = schema.version() {
        out.extend_from_slice(format!(",\"version\":{version}").as_bytes());
    }
    if let Some(doc) = schema.doc() {
        text("doc", doc, out);
    }
    if let Some(parameters) = schema.parameters() {
        out.extend_from_slice(b",\"parameters\":{");
        for (index, (name, value)) in parameters.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(name, out);
            out.push(b':');
            write_string(value, out);
        }
        out.push(b'}');
    }
    if let Some(default) = schema.default() {
        out.extend_from_slice(b",\"default\":");
        writer
            .value(Some(schema), default, out)
            .map_err(|error| error.within(format_args!("default of {schema:?}")))?;
    }
    if let Some(name) = field {
        text("field", name, out);
    }
    out.push(b'}');
    Ok(())
}

fn part(
    writer: &Writer,
    name: &str,
    schema: Option<&Schema>,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    out.push(b',');
    write_string(name, out);
    out.push(b':');
    write_schema(writer, schema.expect("its type has this part"), None, out)
}

fn text(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    write_string(name, out);
    out.push(b':');
    write_string(value, out);
}

/// The schema that JSON describes; `None` for null.
pub(super) fn read_schema(reader: &Reader, json: &Json) -> Result<Option<Schema>, DataError> {
    match json {
        Json::Null => Ok(None),
        json => required_schema(reader, json).map(Some),
    }
}

fn required_schema(reader: &Reader, json: &Json) -> Result<Schema, DataError> {
    let type_name = json.get("type").and_then(Json::text);
    let type_name = type_name
        .ok_or_else(|| DataError::new("schema: the field \"type\", a string, is missing"))?;
    let mut builder = match type_name.as_str() {
        "boolean" => SchemaBuilder::of(Type::Boolean),
        "int8" => SchemaBuilder::of(Type::Int8),
        "int16" => SchemaBuilder::of(Type::Int16),
        "int32" => SchemaBuilder::of(Type::Int32),
        "int64" => SchemaBuilder::of(Type::Int64),
        "float" => SchemaBuilder::of(Type::Float32),
        "double" => SchemaBuilder::of(Type::Float64),
        "bytes" => SchemaBuilder::of(Type::Bytes),
        "string" => SchemaBuilder::of(Type::String),
        "array" => SchemaBuilder::array(read_part(reader, json, "items")?),
        "map" => {
            let keys = read_part(reader, json, "keys")?;
            SchemaBuilder::map(keys, read_part(reader, json, "values")?)
        }
        "struct" => read_fields(reader, json)?,
        other => return Err(DataError(format!("schema: there is no type '{other}'"))),
    };
    if json.get("optional") == Some(&Json::Boolean(true)) {
        builder = builder.optional();
    }
    if let Some(name) = json.get("name").and_then(Json::text) {
        builder = builder.name(name.clone());
    }
    if let Some(Json::Number(version)) = json.get("version")
        && let Ok(version) = version.parse()
    {
        builder = builder.version(version);
    }
    if let Some(doc) = json.get("doc").and_then(Json::text) {
        builder = builder.doc(doc.clone());
    }
    if let Some(Json::Object(parameters)) = json.get("parameters") {
        for (name, value) in parameters {
            let wrong = || DataError(format!("schema: parameter '{name}' is not a string"));
            builder = builder.parameter(name.clone(), value.text().ok_or_else(wrong)?.clone());
        }
    }
    match json.get("default") {
        None | Some(Json::Null) => Ok(builder.build()),
        Some(default) => {
            let schema = builder.clone().build();
            let value = reader.value(Some(&schema), default);
            let value = value.map_err(|error| error.within(format_args!("schema: default")))?;
            Ok(builder.default(value).build())
        }
    }
}

fn read_part(reader: &Reader, json: &Json, name: &str) -> Result<Schema, DataError> {
    match json.get(name) {
        None | Some(Json::Null) => {
            Err(DataError(format!("schema: the field \"{name}\" is missing beside \"type\"")))
        }
        Some(part) => required_schema(reader, part),
    }
}

fn read_fields(reader: &Reader, json: &Json) -> Result<SchemaBuilder, DataError> {
    let Some(Json::Array(fields)) = json.get("fields") else {
        return Err(DataError::new("schema: a struct's \"fields\" are not an array"));
    };
    let mut builder = SchemaBuilder::structure();
    for field in fields {
        let name = field.get("field").and_then(Json::text);
        let name = name.ok_or_else(|| {
            DataError::new("schema: a struct's field has no name: \"field\", a string, is missing")
        })?;
        let schema = required_schema(reader, field)
            .map_err(|error| error.within(format_args!("field '{name}'")))?;
        builder = builder.field(name.clone(), schema);
    }
    Ok(builder)
}
