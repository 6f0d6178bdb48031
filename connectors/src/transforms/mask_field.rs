//! Hides what is in fields.

use std::collections::HashSet;
use std::sync::Arc;

use super::side::{Fields, all_values, fields, set_struct};
use super::{Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{ConnectRecord, DataError, Decimal, Map, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "MaskField",
    has_sides: true,
    doc: "Replaces what is in fields by 0, false or nothing, or by a text or number of choice",
    keys: KEYS,
    make: |side, settings| {
        Ok(Box::new(MaskField {
            side,
            masked: settings.list("fields").iter().cloned().collect(),
            replacement: settings.optional_text("replacement").map(str::to_owned),
            replace_null: settings.flag(REPLACE_NULL.name),
        }))
    },
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "fields",
        key_type: KeyType::List,
        presence: Presence::Required,
        doc: "The fields to hide",
        example: "card_number,email",
    },
    ConfigKey {
        name: "replacement",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "What stands there instead, of text and of numbers",
        example: "***",
    },
    REPLACE_NULL,
];

#[derive(Clone, Debug)]
struct MaskField {
    side: Side,
    masked: HashSet<String>,
    replacement: Option<String>,
    replace_null: bool,
}

impl MaskField {
    fn mask(&self, name: &str, value: &Value) -> Result<Value, DataError> {
        let masked = match &self.replacement {
            _ if value.is_null() => Ok(Value::Null),
            None => nothing(value),
            Some(replacement) => replaced(value, replacement),
        };
        masked.map_err(|error| error.within(format_args!("field '{name}'")))
    }
}

impl Transform for MaskField {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        match fields(data, "mask its fields")? {
            Fields::Map(map) => {
                let map = Arc::make_mut(map);
                for name in &self.masked {
                    let key = Value::string(name.as_str());
                    let value = map.get(&key).cloned().unwrap_or_default();
                    map.insert(key, self.mask(name, &value)?);
                }
            }
            Fields::Struct(value) => {
                let schema = value.schema().clone();
                let mut values = all_values(value, self.replace_null);
                for (field, value) in schema.fields().iter().zip(&mut values) {
                    if self.masked.contains(field.name.as_str()) {
                        *value = self.mask(&field.name, value)?;
                    }
                }
                set_struct(data, schema, values);
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

/// What tells nothing, of the same type.
fn nothing(value: &Value) -> Result<Value, DataError> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Boolean(_) => Value::Boolean(false),
        Value::Int8(_) => Value::Int8(0),
        Value::Int16(_) => Value::Int16(0),
        Value::Int32(_) => Value::Int32(0),
        Value::Int64(_) => Value::Int64(0),
        Value::Float32(_) => Value::Float32(0.0),
        Value::Float64(_) => Value::Float64(0.0),
        Value::String(_) => Value::string(""),
        // Kafka makes it one of scale 0, which its own converter then refuses.
        Value::Decimal(decimal) => Value::Decimal(Arc::new(Decimal::new(0, decimal.scale))),
        Value::Date(_) => Value::Date(0),
        Value::Time(_) => Value::Time(0),
        Value::Timestamp(_) => Value::Timestamp(0),
        Value::Array(_) => Value::array(Vec::new()),
        Value::Map(_) => Value::map(Map::new()),
        Value::Bytes(_) | Value::Struct(_) => {
            return Err(DataError(format!("cannot mask {}", value.kind())));
        }
    })
}

fn replaced(value: &Value, replacement: &str) -> Result<Value, DataError> {
    let number = || {
        let wrong = |_| DataError(format!("cannot mask {} by '{replacement}'", value.kind()));
        replacement.parse::<Decimal>().map_err(wrong)
    };
    let whole = || Ok(number()?.to_low_i64());
    Ok(match value {
        Value::Int8(_) => Value::Int8(whole()? as i8),
        Value::Int16(_) => Value::Int16(whole()? as i16),
        Value::Int32(_) => Value::Int32(whole()? as i32),
        Value::Int64(_) => Value::Int64(whole()?),
        Value::Float32(_) => Value::Float32(number()?.to_f64() as f32),
        Value::Float64(_) => Value::Float64(number()?.to_f64()),
        Value::Decimal(old) => {
            let number = number()?;
            Value::Decimal(Arc::new(number.rescaled(old.scale).unwrap_or(number)))
        }
        Value::String(_) => Value::string(replacement),
        other => {
            let kind = other.kind();
            return Err(DataError(format!("cannot mask {kind} by a replacement; leave it out")));
        }
    })
}
