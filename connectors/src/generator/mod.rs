//! Records out of nothing, for demonstrations and load.
//!
//! ```text
//! number of the record, seed ─► fields by their types, or an event of Nexmark ─► topic
//!          ▲
//!          └─ stored with the records: after a restart the same ones go on
//! ```
//!
//! - [`source`]: the task; [`fields`]: what random records are made of; [`nexmark`]: the events of
//!   the benchmark; [`random`]: numbers.
//!
//! Invariant: a record is determined by its number, the seed and the time of the first one alone.

pub mod fields;
pub mod nexmark;
pub mod random;
pub mod source;

use crate::config::{ConfigKey, KeyType, Presence};
use crate::convert;
use crate::plugin::{self, Plugin, Tasks};

pub(crate) const SOURCE_PLUGIN: Plugin = Plugin {
    name: "generator-source",
    classes: &[],
    doc: "Random records, or the events of the benchmark Nexmark",
    tasks: Tasks::Source(|config| vec![Box::new(source::GeneratorSource::new(config))]),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: source::check,
    alter_offsets: None,
    check_offset: None,
    own_keys: KEYS,
    family: None,
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "topic",
        key_type: KeyType::Topic,
        presence: Presence::Required,
        doc: "The topic to write to; of Nexmark what its topics -person, -auction and -bid begin \
              with",
        example: "orders",
    },
    ConfigKey {
        name: "generator.kind",
        key_type: KeyType::OneOf(&["fields", "nexmark"]),
        presence: Presence::Default("fields"),
        doc: "What records are: made of generator.fields, or the events of Nexmark",
        example: "nexmark",
    },
    ConfigKey {
        name: "generator.fields",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "Fields as name:type, the types being sequence, integer(1..9), decimal(0.00..99.99), \
              choice(a|b*3), text(8), boolean(0.5), uuid, time and time-ms",
        example: "id:sequence, amount:decimal(1.00..500.00), status:choice(new|paid*8|void)",
    },
    ConfigKey {
        name: "generator.key",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "The field that is the key; without one records have none",
        example: "id",
    },
    ConfigKey {
        name: "rate",
        key_type: KeyType::Integer { min: 0, max: 100_000_000 },
        presence: Presence::Default("1000"),
        doc: "Records per second; 0 is as many as there can be, whose times go on as at 10,000",
        example: "50000",
    },
    ConfigKey {
        name: "count",
        key_type: KeyType::Integer { min: 0, max: i64::MAX / 2 },
        presence: Presence::Default("0"),
        doc: "How many records there are in all; 0 is no end",
        example: "1000000",
    },
    ConfigKey {
        name: "seed",
        key_type: KeyType::Integer { min: 0, max: i64::MAX },
        presence: Presence::Default("0"),
        doc: "Another seed, other records; Nexmark has but one",
        example: "42",
    },
    ConfigKey {
        name: "start.time.ms",
        key_type: KeyType::Integer { min: 0, max: 253_402_300_799_999 },
        presence: Presence::Optional,
        doc: "The first record's time, in ms since 1970; without it the time at which it is made",
        example: "1700000000000",
    },
];
