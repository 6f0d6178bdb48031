//! Which converters there are, and how properties choose one.
//!
//! ```text
//! value.converter = org.apache.kafka.connect.json.JsonConverter
//! value.converter.schemas.enable = false
//! ```
//!
//! A connector that names no converter takes the worker's, with the worker's settings for it.

use std::collections::BTreeMap;

use super::json::{DecimalFormat, JsonConverter, JsonOptions};
use super::{Converter, NumberType};
use crate::config::{ConfigKey, ConfigProblem, KeyType, Presence, Settings, class_name, keys};

/// A part of a record that has a converter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Key,
    Value,
    Header,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Key, Part::Value, Part::Header];

    /// The key that names its converter.
    pub fn key(self) -> &'static str {
        match self {
            Part::Key => "key.converter",
            Part::Value => "value.converter",
            Part::Header => "header.converter",
        }
    }
}

/// The converters of one connector; clone them for each task.
#[derive(Clone, Debug)]
pub struct ConverterSettings {
    pub key: Converter,
    pub value: Converter,
    pub header: Converter,
}

/// A kind of converter.
#[derive(Debug)]
pub struct ConverterPlugin {
    /// Kafka's full name of it.
    pub class: &'static str,
    /// One sentence, without a full stop.
    pub doc: &'static str,
    pub keys: &'static [ConfigKey],
    make: fn(&Settings) -> Converter,
}

/// What writes headers where nothing else is said.
pub(crate) const HEADER_DEFAULT: &str = "org.apache.kafka.connect.storage.SimpleHeaderConverter";
/// The converter of connectors whose records are lines of text or bytes.
pub const STRING: &str = "org.apache.kafka.connect.storage.StringConverter";
/// The converter of connectors whose records have fields.
pub const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";

/// The converter of sinks that take what others write, whichever JSON it is.
pub const ANY_JSON: &str = "io.millstream.connect.AnyJsonConverter";

/// All converters.
pub fn converters() -> &'static [ConverterPlugin] {
    CONVERTERS
}

const CONVERTERS: &[ConverterPlugin] = &[
    ConverterPlugin {
        class: STRING,
        doc: "UTF-8 text; values of other types become text",
        keys: STRING_KEYS,
        make: |_| Converter::String,
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.ByteArrayConverter",
        doc: "Bytes as they are",
        keys: &[],
        make: |_| Converter::ByteArray,
    },
    ConverterPlugin {
        class: JSON,
        doc: "JSON, with the schema beside the value or without",
        keys: JSON_KEYS,
        make: json,
    },
    ConverterPlugin {
        class: ANY_JSON,
        doc: "JSON, each value with the schema beside it if it has one; what is no JSON is text",
        keys: ANY_JSON_KEYS,
        make: any_json,
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.BooleanConverter",
        doc: "One byte, 0 or 1",
        keys: &[],
        make: |_| Converter::Boolean,
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.ShortConverter",
        doc: "Two bytes, big-endian",
        keys: &[],
        make: |_| Converter::Number(NumberType::Short),
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.IntegerConverter",
        doc: "Four bytes, big-endian",
        keys: &[],
        make: |_| Converter::Number(NumberType::Integer),
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.LongConverter",
        doc: "Eight bytes, big-endian",
        keys: &[],
        make: |_| Converter::Number(NumberType::Long),
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.FloatConverter",
        doc: "Four bytes of IEEE 754, big-endian",
        keys: &[],
        make: |_| Converter::Number(NumberType::Float),
    },
    ConverterPlugin {
        class: "org.apache.kafka.connect.converters.DoubleConverter",
        doc: "Eight bytes of IEEE 754, big-endian",
        keys: &[],
        make: |_| Converter::Number(NumberType::Double),
    },
    ConverterPlugin {
        class: HEADER_DEFAULT,
        doc: "Text that stands for a value: a number, a boolean, a time, a list, a map",
        keys: &[],
        make: |_| Converter::Simple,
    },
];

const STRING_KEYS: &[ConfigKey] = &[ConfigKey {
    name: "converter.encoding",
    key_type: KeyType::OneOf(&["UTF-8", "UTF8"]),
    presence: Presence::Default("UTF-8"),
    doc: "The encoding of the text, which is UTF-8",
    example: "UTF-8",
}];

const JSON_KEYS: &[ConfigKey] =
    &[SCHEMAS_ENABLE, SCHEMAS_CACHE_SIZE, DECIMAL_FORMAT, REPLACE_NULL_WITH_DEFAULT];

const ANY_JSON_KEYS: &[ConfigKey] = &[
    ConfigKey {
        presence: Presence::Optional,
        doc: "Whether the schema stands beside each value; if it is not said, each value says it",
        ..SCHEMAS_ENABLE
    },
    SCHEMAS_CACHE_SIZE,
    DECIMAL_FORMAT,
    REPLACE_NULL_WITH_DEFAULT,
];

const SCHEMAS_ENABLE: ConfigKey = ConfigKey {
    name: "schemas.enable",
    key_type: KeyType::Boolean,
    presence: Presence::Default("true"),
    doc: "Whether the schema stands beside each value",
    example: "false",
};

const SCHEMAS_CACHE_SIZE: ConfigKey = ConfigKey {
    name: "schemas.cache.size",
    key_type: KeyType::Integer { min: 0, max: 1_000_000 },
    presence: Presence::Default("1000"),
    doc: "How many schemas are kept ready",
    example: "100",
};

const DECIMAL_FORMAT: ConfigKey = ConfigKey {
    name: "decimal.format",
    key_type: KeyType::OneOf(&["BASE64", "NUMERIC"]),
    presence: Presence::Default("BASE64"),
    doc: "Whether decimals are written as their bytes or as numbers; both are read",
    example: "NUMERIC",
};

const REPLACE_NULL_WITH_DEFAULT: ConfigKey = ConfigKey {
    name: "replace.null.with.default",
    key_type: KeyType::Boolean,
    presence: Presence::Default("true"),
    doc: "Whether a field's default takes the place of a null",
    example: "false",
};

fn json(settings: &Settings) -> Converter {
    json_by(settings, false)
}

fn any_json(settings: &Settings) -> Converter {
    json_by(settings, settings.get("schemas.enable").is_none())
}

fn json_by(settings: &Settings, any: bool) -> Converter {
    let options = JsonOptions {
        schemas: !any && settings.flag("schemas.enable"),
        any,
        schemas_cache_size: settings.integer("schemas.cache.size") as usize,
        decimals: match settings.text("decimal.format") {
            "NUMERIC" => DecimalFormat::Numeric,
            _ => DecimalFormat::Base64,
        },
        replace_null_with_default: settings.flag("replace.null.with.default"),
    };
    Converter::Json(Box::new(JsonConverter::new(options)))
}

/// The names under which Connect knows a class: in full, without its package, and without the
/// word that says what it is.
fn is_called(plugin: &ConverterPlugin, name: &str) -> bool {
    let simple = class_name(plugin.class);
    name == plugin.class || name == simple || simple.strip_suffix("Converter") == Some(name)
}

/// The converter that the properties choose for a part, and the keys that have been looked at
/// but mean nothing to it. `default` is the class where none is named.
pub(crate) fn choose(
    part: Part,
    default: &str,
    properties: &BTreeMap<String, String>,
    ignored: &mut Vec<String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Converter> {
    let key = part.key();
    let class = properties.get(key).map_or(default, |class| class.trim());
    let Some(plugin) = CONVERTERS.iter().find(|plugin| is_called(plugin, class)) else {
        let classes = CONVERTERS.iter().map(|plugin| class_name(plugin.class));
        let near = keys::nearest(class_name(class), classes)
            // Most of each name is the same word.
            .filter(|near| strsim::damerau_levenshtein(near, class_name(class)) <= 2);
        let known = || {
            let all = CONVERTERS.iter().map(|plugin| class_name(plugin.class));
            format!("there are `{}`", all.collect::<Vec<_>>().join("`, `"))
        };
        problems.push(ConfigProblem {
            key: key.to_owned(),
            value: Some(class.to_owned()),
            message: format!("there is no converter class '{class}'"),
            help: Some(near.map_or_else(known, |near| format!("did you mean `{near}`?"))),
        });
        return None;
    };
    let before = problems.len();
    let prefix = format!("{key}.");
    let settings = Settings::check(&prefix, plugin.keys, properties, problems);
    for (name, value) in properties.range(prefix.clone()..) {
        let Some(own) = name.strip_prefix(&prefix) else { break };
        if plugin.keys.iter().any(|key| key.name == own) {
            continue;
        }
        match keys::nearest(own, plugin.keys.iter().map(|key| key.name)) {
            // Most likely a slip of the pen. What other converters know does no harm.
            Some(near) if !is_known_elsewhere(own) => problems.push(ConfigProblem {
                key: name.clone(),
                value: Some(value.clone()),
                message: format!("{} has no key `{own}`", class_name(plugin.class)),
                help: Some(format!("did you mean `{prefix}{near}`?")),
            }),
            _ => ignored.push(name.clone()),
        }
    }
    (problems.len() == before).then(|| (plugin.make)(&settings))
}

fn is_known_elsewhere(key: &str) -> bool {
    CONVERTERS.iter().flat_map(|plugin| plugin.keys).any(|known| known.name == key)
}
