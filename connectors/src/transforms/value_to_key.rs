//! Makes a record's key of fields of its value.

use super::settings::unknown_field;
use super::side::{Fields, SchemaCache, fields, set_struct, value_at};
use super::{Outcome, PACKAGE, REPLACE_NULL, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{ConnectRecord, DataError, Map, SchemaAndValue, SchemaBuilder, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "ValueToKey",
    has_sides: false,
    doc: "Makes the key of fields of the value",
    keys: &[
        ConfigKey {
            name: "fields",
            key_type: KeyType::List,
            presence: Presence::Required,
            doc: "The fields of the value that make the key",
            example: "id",
        },
        REPLACE_NULL,
    ],
    make: |_, settings| {
        Ok(Box::new(ValueToKey {
            fields: settings.list("fields").to_vec(),
            replace_null: settings.flag(REPLACE_NULL.name),
            schemas: SchemaCache::default(),
        }))
    },
};

#[derive(Clone, Debug)]
struct ValueToKey {
    fields: Vec<String>,
    replace_null: bool,
    schemas: SchemaCache,
}

impl Transform for ValueToKey {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        match fields(&mut record.value, "make a key of its fields")? {
            Fields::Map(map) => {
                let names = self.fields.iter().map(|name| Value::string(name.as_str()));
                let key: Map = names
                    .map(|name| {
                        let value = map.get(&name).cloned().unwrap_or_default();
                        (name, value)
                    })
                    .collect();
                record.key = SchemaAndValue::schemaless(Value::map(key));
            }
            Fields::Struct(value) => {
                let of = value.schema();
                let schema = self.schemas.get(of, || {
                    self.fields
                        .iter()
                        .try_fold(SchemaBuilder::structure(), |builder, name| {
                            let field = of.field(name).ok_or_else(|| unknown_field(name, of))?;
                            Ok(builder.field(field.name.clone(), field.schema.clone()))
                        })
                        .map(SchemaBuilder::build)
                })?;
                let named = schema.fields().iter().map(|field| {
                    let index = of.field_index(&field.name).expect("it was found for the schema");
                    value_at(value, index, self.replace_null)
                });
                let values = named.collect();
                set_struct(&mut record.key, schema, values);
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
