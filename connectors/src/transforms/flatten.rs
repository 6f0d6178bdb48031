//! Brings fields within fields to the top, under joined names.

use super::side::{Fields, SchemaCache, fields, set_struct};
use super::{Outcome, PACKAGE, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{
    ConnectRecord, DataError, Map, Schema, SchemaBuilder, Struct, Text, Type, Value,
};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "Flatten",
    has_sides: true,
    doc: "Brings fields within fields to the top, under names joined by a delimiter",
    keys: &[ConfigKey {
        name: "delimiter",
        key_type: KeyType::AnyText,
        presence: Presence::Default("."),
        doc: "What stands between the names",
        example: "_",
    }],
    make: |side, settings| {
        let delimiter = settings.text("delimiter").to_owned();
        Ok(Box::new(Flatten { side, delimiter, schemas: SchemaCache::default() }))
    },
};

#[derive(Clone, Debug)]
struct Flatten {
    side: Side,
    delimiter: String,
    schemas: SchemaCache,
}

/// Nesting deeper than this is refused; no converter reads it either.
const DEPTH_MAX: usize = 1000;

impl Flatten {
    fn name(&self, prefix: &str, name: &str) -> Text {
        match prefix {
            "" => name.into(),
            prefix => format!("{prefix}{}{name}", self.delimiter).into(),
        }
    }

    fn flatten_map(
        &self,
        map: &Map,
        prefix: &str,
        depth: usize,
        flat: &mut Map,
    ) -> Result<(), DataError> {
        for (key, value) in map {
            let Value::String(name) = key else {
                return Err(DataError(format!("cannot flatten {} as a name", key.kind())));
            };
            let name = self.name(prefix, name);
            match value {
                Value::Map(inner) if depth < DEPTH_MAX => {
                    self.flatten_map(inner, &name, depth + 1, flat)?;
                }
                Value::Map(_) => return Err(DataError::new("cannot flatten: nested too deeply")),
                Value::Struct(_) | Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => {
                    let kind = value.kind();
                    let message = format!("cannot flatten {kind} without a schema");
                    return Err(DataError(message).within(format_args!("field '{name}'")));
                }
                _ => drop(flat.insert(Value::String(name), value.clone())),
            }
        }
        Ok(())
    }

    /// Adds the fields of a struct schema; `optional` if a struct above may be missing.
    fn add_fields(
        &self,
        schema: &Schema,
        prefix: &str,
        mut builder: SchemaBuilder,
        optional: bool,
        default: Option<&Struct>,
    ) -> Result<SchemaBuilder, DataError> {
        for field in schema.fields() {
            let name = self.name(prefix, &field.name);
            let optional = optional || field.schema.is_optional();
            let default = field
                .schema
                .default()
                .or_else(|| default.and_then(|default| default.get(&field.name)))
                .filter(|value| !value.is_null());
            match (field.schema.type_(), default) {
                (Type::Struct, default) => {
                    let default = match default {
                        Some(Value::Struct(default)) => Some(&**default),
                        _ => None,
                    };
                    builder = self.add_fields(&field.schema, &name, builder, optional, default)?;
                }
                (Type::Map, _) => {
                    let message = "cannot flatten a map that has a schema";
                    return Err(DataError::new(message).within(format_args!("field '{name}'")));
                }
                (_, default) => {
                    let mut plain = field.schema.to_builder().required();
                    if optional {
                        plain = plain.optional();
                    }
                    if let Some(default) = default {
                        plain = plain.default(default.clone());
                    }
                    builder = builder.field(name, plain.build());
                }
            }
        }
        Ok(builder)
    }

    fn flatten_struct(&self, value: &Struct, prefix: &str, flat: &mut Struct) {
        for (index, field) in value.schema().fields().iter().enumerate() {
            let name = self.name(prefix, &field.name);
            match (field.schema.type_(), value.at(index)) {
                (Type::Struct, Value::Struct(inner)) => self.flatten_struct(inner, &name, flat),
                (Type::Struct, _) => {}
                (_, value) => {
                    let to = flat.schema().field_index(&name).expect("the schema has them all");
                    flat.set(to, value.clone());
                }
            }
        }
    }
}

impl Transform for Flatten {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        if data.value.is_null() {
            return Ok(Outcome::Keep);
        }
        match fields(data, "flatten")? {
            Fields::Map(map) => {
                let mut flat = Map::new();
                self.flatten_map(map, "", 0, &mut flat)?;
                data.value = Value::map(flat);
            }
            Fields::Struct(value) => {
                let of = value.schema();
                let mut schemas = std::mem::take(&mut self.schemas);
                let schema = schemas.get(of, || {
                    let default = match of.default() {
                        Some(Value::Struct(default)) => Some(&**default),
                        _ => None,
                    };
                    let (basics, optional) = (of.struct_basics(), of.is_optional());
                    Ok(self.add_fields(of, "", basics, optional, default)?.build())
                });
                self.schemas = schemas;
                let mut flat = Struct::new(&schema?);
                self.flatten_struct(value, "", &mut flat);
                let schema = flat.schema().clone();
                set_struct(data, schema, flat.into_values());
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
