//! Single message transforms: what becomes of a record between a connector and its topic.
//!
//! ```text
//! transforms = unwrap,route                      in this order
//! transforms.unwrap.type = …ExtractField$Value   the class, $Key or $Value saying which part
//! transforms.unwrap.field = after                a setting of its own
//! transforms.unwrap.predicate = old              only where that holds; `negate = true`: does not
//! predicates = old
//! predicates.old.type = …RecordIsTombstone
//! ```
//!
//! One file for each transform, [`predicates`] for all predicates; [`settings`] reads the
//! properties; [`side`] is what transforms of a key or a value share, [`path`] names a field
//! within fields, [`rewrite`] makes names by a pattern, and [`date_format`] writes and reads times
//! by one.
//!
//! They do what Kafka's transforms of the same names do, with the same settings and defaults; the
//! test that runs both side by side is in `tests/against_kafka`. Debezium's are there too.

mod cast;
mod date_format;
mod drop_headers;
mod event_router;
mod extract_field;
mod extract_new_record_state;
mod filter;
mod flatten;
mod header_from;
mod hoist_field;
mod insert_field;
mod insert_header;
mod logical_router;
mod mask_field;
mod path;
pub mod predicates;
mod regex_router;
mod replace_field;
mod rewrite;
mod set_schema_metadata;
pub mod settings;
mod side;
mod timestamp_converter;
mod timestamp_router;
mod value_to_key;

use std::fmt::Debug;
use std::sync::{PoisonError, RwLock};

use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError};
pub use settings::Step;
pub use side::Side;

/// Changes records, one at a time.
pub trait Transform: Send + Sync + Debug {
    /// Changes a record where it is. After an error the record is of no use.
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError>;

    /// Another one with the same settings, for another task.
    fn fresh(&self) -> Box<dyn Transform>;
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Keep,
    Drop,
}

/// A kind of transform.
#[derive(Debug)]
pub struct TransformPlugin {
    /// Its class up to the last point.
    pub package: &'static str,
    /// Its class without the package, and without `$Key` or `$Value`.
    pub name: &'static str,
    /// Whether it is of a key or a value, as the class says behind a `$`.
    pub has_sides: bool,
    /// One sentence, without a full stop.
    pub doc: &'static str,
    pub keys: &'static [ConfigKey],
    pub make: fn(Side, &Settings) -> Result<Box<dyn Transform>, Mistake>,
}

impl TransformPlugin {
    /// As `connector-plugins` and dead letters name it.
    pub fn class(&self) -> String {
        format!("{}.{}", self.package, self.name)
    }
}

/// A setting that is wrong by itself or beside others.
#[derive(Clone, Debug)]
pub struct Mistake {
    key: String,
    message: String,
}

impl Mistake {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Mistake {
        Mistake { key: key.into(), message: message.into() }
    }
}

/// Where Kafka's own transforms are.
pub const PACKAGE: &str = "org.apache.kafka.connect.transforms";

/// Those that come with this crate.
const TRANSFORMS: &[TransformPlugin] = &[
    cast::PLUGIN,
    drop_headers::PLUGIN,
    event_router::PLUGIN,
    extract_field::PLUGIN,
    extract_new_record_state::PLUGIN,
    filter::PLUGIN,
    flatten::PLUGIN,
    header_from::PLUGIN,
    hoist_field::PLUGIN,
    insert_field::PLUGIN,
    insert_header::PLUGIN,
    logical_router::BY_TABLE,
    logical_router::TO_TOPIC,
    mask_field::PLUGIN,
    regex_router::PLUGIN,
    replace_field::PLUGIN,
    set_schema_metadata::PLUGIN,
    timestamp_converter::PLUGIN,
    timestamp_router::PLUGIN,
    value_to_key::PLUGIN,
];

/// Those that a program has added to them.
static REGISTERED: RwLock<Vec<&'static TransformPlugin>> = RwLock::new(Vec::new());

/// All transforms: those that come with this crate, then those that were registered.
pub fn transforms() -> Vec<&'static TransformPlugin> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    TRANSFORMS.iter().chain(registered.iter().copied()).collect()
}

/// Adds a transform of one's own, for connectors that are checked from now on. One that shares a
/// name with another is left out.
pub fn register(plugin: &'static TransformPlugin) {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if !TRANSFORMS.iter().chain(registered.iter().copied()).any(|known| known.name == plugin.name) {
        registered.push(plugin);
    }
}

const REPLACE_NULL: ConfigKey = ConfigKey {
    name: "replace.null.with.default",
    key_type: KeyType::Boolean,
    presence: Presence::Default("true"),
    doc: "Whether a field's default takes the place of a null",
    example: "false",
};

#[cfg(test)]
mod tests;
