//! Wraps a key or a value into a struct, or a map, with one field.

use super::side::{SchemaCache, set_struct};
use super::{Outcome, PACKAGE, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{ConnectRecord, DataError, SchemaBuilder, Text, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "HoistField",
    has_sides: true,
    doc: "Wraps a key or a value into a struct or a map with one field",
    keys: &[ConfigKey {
        name: "field",
        key_type: KeyType::Text,
        presence: Presence::Required,
        doc: "The name of the field",
        example: "line",
    }],
    make: |side, settings| {
        let field = settings.text("field").into();
        Ok(Box::new(HoistField { side, field, schemas: SchemaCache::default() }))
    },
};

#[derive(Clone, Debug)]
struct HoistField {
    side: Side,
    field: Text,
    schemas: SchemaCache,
}

impl Transform for HoistField {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        let value = std::mem::take(&mut data.value);
        match &data.schema {
            None => {
                let entry = (Value::String(self.field.clone()), value);
                data.value = Value::map([entry].into_iter().collect());
            }
            Some(schema) => {
                let hoisted = self.schemas.get(schema, || {
                    let builder = SchemaBuilder::structure();
                    Ok(builder.field(self.field.clone(), schema.clone()).build())
                })?;
                set_struct(data, hoisted, vec![value]);
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
