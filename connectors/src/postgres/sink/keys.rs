//! The sink's properties, each declared once: the JDBC sink's names, and Debezium's for the same.

use crate::config::{ConfigKey, KeyType, Presence, key};

use KeyType::{AnyList, AnyText, Boolean, Integer, OneOf, Text};
use Presence::{Default, Optional, Required};

#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = &[
    key("connection.url", Text, Required, "Where the database is; parameters are those of libpq, such as sslmode", "jdbc:postgresql://localhost:5432/shop"),
    key("connection.user", Text, Optional, "A role that may write the tables", "writer"),
    key("connection.username", Text, Optional, "Debezium's name for connection.user", "writer"),
    key("connection.password", Text, Optional, "Its password; better by a config provider than here", "${env:PGPASSWORD}"),
    key("connection.timeout.ms", Integer { min: 1, max: 3_600_000 }, Default("30000"), "How long connecting may take", "10000"),
    key("insert.mode", OneOf(&["insert", "upsert", "update"]), Default("insert"), "Whether a row whose key is there already is an error or takes its place; with `update`, rows that are not there stay so", "upsert"),
    key("pk.mode", OneOf(&["none", "kafka", "record_key", "record_value"]), Default("none"), "Where the primary key comes from; `kafka` is topic, partition and offset", "record_key"),
    key("primary.key.mode", OneOf(&["none", "kafka", "record_key", "record_value"]), Optional, "Debezium's name for pk.mode", "record_key"),
    key("pk.fields", AnyList, Default(""), "The fields of the primary key; all of the record's key where none are named", "id"),
    key("primary.key.fields", AnyList, Optional, "Debezium's name for pk.fields", "id"),
    key("delete.enabled", Boolean, Default("false"), "Whether a record without a value deletes the row of its key, and a change event of a deletion does", "true"),
    key("truncate.enabled", Boolean, Default("false"), "Whether a change event of all rows gone empties the table", "true"),
    key("table.name.format", Text, Optional, "The table, with its schema if it is not public; `${topic}` stands for the topic, and `${source.table}` and alike for what a change event says", "shop.${topic}"),
    key("collection.name.format", Text, Optional, "Debezium's name for table.name.format", "${topic}"),
    key("field.include.list", Text, Optional, "Patterns of the fields that become columns, as topic:field; those of the key always do", "orders:(id|name)"),
    key("field.exclude.list", Text, Optional, "Patterns of the fields that do not", ".*:password"),
    key("fields.whitelist", AnyList, Default(""), "The fields that become columns; all where none are named", "id, name"),
    key("auto.create", Boolean, Default("false"), "Whether a table that does not exist is created as the first record asks for", "true"),
    key("auto.evolve", Boolean, Default("false"), "Whether columns that do not exist are added", "true"),
    key("schema.evolution", OneOf(&["none", "basic"]), Optional, "Debezium's name for both: `basic` creates tables and adds columns", "basic"),
    key("unavailable.value.placeholder", AnyText, Default("__debezium_unavailable_value"), "What stands for a large value that was not changed: its column stays as it is; empty: none does", "?"),
    key("batch.size", Integer { min: 1, max: 100_000 }, Default("3000"), "The most records in one transaction", "500"),
    key("offsets.table", AnyText, Default("millstream_offsets"), "The table that says which records are in the database; without one, some may come twice after a crash", "connect.offsets"),
];
