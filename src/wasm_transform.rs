//! `Wasm$Value`, `Wasm$Key`: what a function in WebAssembly makes of each record on its way through
//! a connector.
//!
//! ```text
//! value ─► text │ bytes │ else JSON ─► function ─► NULL: the record is dropped
//!                                            └──► the new value, read back alike
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use connectors::config::{self, ConfigKey, KeyType, Presence};
use connectors::convert::json::{DecimalFormat, JsonConverter, JsonOptions};
use connectors::data::{ConnectRecord, DataError, SchemaAndValue, Value};
use connectors::transforms::{Mistake, Outcome, Side, Transform, TransformPlugin};
use engine::plan::user_functions;
use udfs::{Kind, Module, Signature};

pub static PLUGIN: TransformPlugin = TransformPlugin {
    package: "millstream.transforms",
    name: "Wasm",
    has_sides: true,
    doc: "Replaces a key or a value by what a function in WebAssembly makes of it, or drops the \
          record",
    keys: KEYS,
    make,
};

const FILE: &str = "file";
const FUNCTION: &str = "function";
const WIT: &str = "wit";
const MEMORY: &str = "memory";
const TIME: &str = "time";
const STACK: &str = "stack";
const CONFIG: &str = "config.*";
const CLOCK: &str = "grants.clock";
const RANDOM: &str = "grants.random";
const HTTP: &str = "grants.http";
const ENVIRONMENT: &str = "grants.environment.*";
const DIRECTORIES: &str = "grants.directories.*";

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: FILE,
        key_type: KeyType::File,
        presence: Presence::Required,
        doc: "The module or component, .wasm or .wat",
        example: "clean.wasm",
    },
    ConfigKey {
        name: FUNCTION,
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "The function, of one varchar, json or bytea that gives the same; NULL drops the \
              record. The only one that the module has, if it is left out",
        example: "clean",
    },
    ConfigKey {
        name: WIT,
        key_type: KeyType::File,
        presence: Presence::Optional,
        doc: "The types of a core module that does not carry them",
        example: "clean.wit",
    },
    ConfigKey {
        name: MEMORY,
        key_type: KeyType::Text,
        presence: Presence::Default("256MiB"),
        doc: "Memory that the module may use",
        example: "64MB",
    },
    ConfigKey {
        name: TIME,
        key_type: KeyType::Text,
        presence: Presence::Default("1s"),
        doc: "Time that a record may take",
        example: "100ms",
    },
    ConfigKey {
        name: STACK,
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "Stack that its calls may use, from 64KiB to 64MiB",
        example: "512KiB",
    },
    ConfigKey {
        name: CONFIG,
        key_type: KeyType::AnyText,
        presence: Presence::Optional,
        doc: "Values that the module reads by the host's config",
        example: "strict",
    },
    ConfigKey {
        name: CLOCK,
        key_type: KeyType::OneOf(&["true", "false"]),
        presence: Presence::Optional,
        doc: "Whether it may know the time, which stands still otherwise",
        example: "true",
    },
    ConfigKey {
        name: RANDOM,
        key_type: KeyType::OneOf(&["true", "false"]),
        presence: Presence::Optional,
        doc: "Whether it gets random numbers, and not zeros",
        example: "true",
    },
    ConfigKey {
        name: HTTP,
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "The servers that it may ask, separated by commas",
        example: "api.example.com",
    },
    ConfigKey {
        name: ENVIRONMENT,
        key_type: KeyType::AnyText,
        presence: Presence::Optional,
        doc: "Environment variables that it sees",
        example: "C.UTF-8",
    },
    ConfigKey {
        name: DIRECTORIES,
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "Directories that it sees under that name, to read; with `:rw` to write, too",
        example: "data/lists",
    },
];

fn make(side: Side, settings: &config::Settings) -> Result<Box<dyn Transform>, Mistake> {
    let mut properties = Vec::new();
    for ConfigKey { name, .. } in KEYS.iter().filter(|key| key.name != FUNCTION) {
        match name.strip_suffix('*') {
            None => {
                let value = settings.optional_text(name);
                properties.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
            }
            Some(before) => {
                let values = settings.each(name).filter_map(|(part, value)| match value {
                    config::Value::Text(text) => Some((format!("{before}{part}"), text.clone())),
                    _ => None,
                });
                properties.extend(values);
            }
        }
    }
    let module = user_functions::open_by(&properties, settings.base_dir());
    let module = module.map_err(|(key, message)| Mistake::new(key, message))?;
    let (function, takes) = function(&module, settings.optional_text(FUNCTION))?;
    Ok(Box::new(Wasm { side, module: Arc::new(module), function, takes, json: json() }))
}

/// The function of a name, or the only one; it must take what values can be.
fn function(module: &Module, name: Option<&str>) -> Result<(usize, DataType), Mistake> {
    let functions = module.functions();
    let wanted = name.map(|name| name.to_ascii_lowercase().replace('-', "_"));
    let mut found = functions.iter().enumerate().filter(|(_, function)| match &wanted {
        Some(wanted) => function.name == *wanted,
        None => true,
    });
    let names = || functions.iter().map(|of| of.name.as_str()).collect::<Vec<_>>().join(", ");
    let (Some((index, signature)), None) = (found.next(), found.next()) else {
        let message = match name {
            Some(name) => format!("there is no function '{name}', but {}", names()),
            None => format!("say which function: there is {}", names()),
        };
        return Err(Mistake::new(FUNCTION, message));
    };
    match takes(signature) {
        Some(takes) => Ok((index, takes)),
        None => Err(Mistake::new(
            FUNCTION,
            format!("{signature}: a transform takes one varchar, json or bytea and gives the same"),
        )),
    }
}

fn takes(signature: &Signature) -> Option<DataType> {
    let [argument] = signature.arguments.as_slice() else { return None };
    let fits = matches!(argument.data_type, DataType::Utf8 | DataType::Binary)
        && argument.data_type == signature.returns
        && signature.kind == Kind::Scalar;
    fits.then(|| signature.returns.clone())
}

fn json() -> JsonConverter {
    let decimals = DecimalFormat::Numeric;
    JsonConverter::new(JsonOptions { schemas: false, decimals, ..JsonOptions::default() })
}

#[derive(Debug)]
struct Wasm {
    side: Side,
    module: Arc<Module>,
    function: usize,
    takes: DataType,
    json: JsonConverter,
}

impl Wasm {
    /// The new key or value; `None` if the record is dropped.
    fn answer(&mut self, data: &SchemaAndValue) -> Result<Option<SchemaAndValue>, DataError> {
        let bytes = match &data.value {
            Value::String(text) => text.as_str().as_bytes().to_vec(),
            Value::Bytes(bytes) => bytes.to_vec(),
            _ => {
                let mut written = Vec::new();
                self.json.write(data, &mut written)?;
                written
            }
        };
        let argument: ArrayRef = match self.takes {
            DataType::Binary => Arc::new(BinaryArray::from_vec(vec![&bytes])),
            _ => match std::str::from_utf8(&bytes) {
                Ok(text) => Arc::new(StringArray::from(vec![text])),
                Err(_) => return Err(DataError::new("its bytes are no text: take bytea")),
            },
        };
        let given = self.module.evaluate(self.function, &[argument], 1);
        let given = given.map_err(|error| DataError::new(error.to_string()))?;
        if given.is_null(0) {
            return Ok(None);
        }
        let bytes = match self.takes {
            DataType::Binary => given.as_binary::<i32>().value(0),
            _ => given.as_string::<i32>().value(0).as_bytes(),
        };
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::string(text)),
            Err(_) => Err(DataError::new("what the function gave for a text is none")),
        };
        Ok(Some(match &data.value {
            Value::String(_) => SchemaAndValue { value: text(bytes)?, ..data.clone() },
            Value::Bytes(_) => SchemaAndValue {
                value: Value::Bytes(Bytes::copy_from_slice(bytes)),
                ..data.clone()
            },
            _ => self.json.read(Some(&Bytes::copy_from_slice(bytes)))?,
        }))
    }
}

impl Transform for Wasm {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = match self.side {
            Side::Key => record.key.clone(),
            Side::Value => record.value.clone(),
        };
        // A tombstone is for those who keep what it deletes.
        if data.value.is_null() {
            return Ok(Outcome::Keep);
        }
        let Some(answer) = self.answer(&data)? else { return Ok(Outcome::Drop) };
        match self.side {
            Side::Key => record.key = answer,
            Side::Value => record.value = answer,
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(Wasm {
            side: self.side,
            module: self.module.clone(),
            function: self.function,
            takes: self.takes.clone(),
            json: json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use connectors::data::{Schema, Text};
    use udfs::Options;

    use super::*;

    fn transform(function: &str) -> Wasm {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("udfs/tests/modules/text.wasm");
        let host = user_functions::host().unwrap();
        let module = Module::load(&host, &path, Options::default()).unwrap();
        let (function, takes) = super::function(&module, Some(function)).unwrap();
        Wasm { side: Side::Value, module: Arc::new(module), function, takes, json: json() }
    }

    fn record(value: Value) -> ConnectRecord {
        ConnectRecord::new(
            &Text::from("t"),
            SchemaAndValue::NULL,
            SchemaAndValue::schemaless(value),
        )
    }

    #[test]
    fn texts_are_replaced_or_dropped_and_tombstones_pass() {
        let mut transform = transform("email_domain");
        let mut of = record(Value::string("ada@straße.org"));
        of.value.schema = Some(Schema::string());
        assert_eq!(transform.apply(&mut of).unwrap(), Outcome::Keep);
        assert_eq!(of.value, SchemaAndValue::new(&Schema::string(), Value::string("straße.org")));
        assert_eq!(transform.apply(&mut record(Value::string("ada"))).unwrap(), Outcome::Drop);
        assert_eq!(transform.apply(&mut record(Value::Null)).unwrap(), Outcome::Keep);
        // JSON, of which the domain is no JSON.
        let map = [(Value::string("e"), Value::string("a@b"))].into_iter().collect();
        let error = transform.apply(&mut record(Value::map(map))).unwrap_err();
        assert!(!error.to_string().is_empty());
    }

    #[test]
    fn only_functions_of_one_text_fit() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("udfs/tests/modules/text.wasm");
        let host = user_functions::host().unwrap();
        let module = Module::load(&host, &path, Options::default()).unwrap();
        for name in [Some("score"), Some("one"), Some("nobody"), None] {
            super::function(&module, name).unwrap_err();
        }
    }
}
