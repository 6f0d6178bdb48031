//! The connector's properties, each declared once.

use crate::config::{ConfigKey, KeyType, Presence, key};

/// Keys of which there may be several; the star stands for what differs.
pub(super) const MASK_LENGTH: &str = "column.mask.with.*.chars";
pub(super) const MASK_HASH: &str = "column.mask.hash.*";
pub(super) const TRUNCATE: &str = "column.truncate.to.*.chars";
pub(super) const SELECT_TABLES: &str = "snapshot.select.statement.overrides";
pub(super) const SELECT: &str = "snapshot.select.statement.overrides.*";

const FLAG: KeyType = KeyType::OneOf(&["true", "false"]);
const MILLIS: KeyType = KeyType::Integer { min: 0, max: 86_400_000 };
use KeyType::{AnyList, AnyText, Input, Integer, OneOf, Text};
use Presence::{Default, Optional, Required};

#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = &[
    key("topic.prefix", Text, Required, "What topics are named after: prefix.schema.table", "inventory"),
    key("database.hostname", Text, Required, "The server's name or address, or the directory of its Unix socket", "localhost"),
    key("database.port", Integer { min: 1, max: 65_535 }, Default("5432"), "The server's port", "5432"),
    key("database.dbname", Text, Required, "The database whose changes are read", "inventory"),
    key("database.user", Text, Required, "A role that may log in and has REPLICATION", "replicator"),
    key("database.password", Text, Optional, "Its password; better by a config provider than here", "${env:PGPASSWORD}"),
    key("database.sslmode", OneOf(super::wire::SslMode::WORDS), Default("prefer"), "Whether TLS is used, and what of the server's certificate is checked", "verify-full"),
    key("database.sslrootcert", Input, Optional, "The authorities to trust, as PEM, instead of the system's", "root.crt"),
    key("database.sslcert", Input, Optional, "Our own certificate, as PEM", "client.crt"),
    key("database.sslkey", Input, Optional, "The key of our certificate, as PEM or PKCS 8", "client.key"),
    key("connection.timeout.ms", Integer { min: 1, max: 3_600_000 }, Default("30000"), "How long connecting may take", "30000"),
    key("profile", OneOf(&["millstream", "debezium"]), Optional, "Whose defaults count; Debezium's with Debezium's class", "debezium"),
    key("plugin.name", OneOf(&["pgoutput"]), Default("pgoutput"), "How changes are decoded by the server", "pgoutput"),
    key("slot.name", Text, Default("millstream"), "The replication slot, created if it does not exist; `debezium` with Debezium's class", "inventory"),
    key("slot.drop.on.stop", OneOf(&["false"]), Default("false"), "A slot stays when the connector stops: dropping it would lose the changes after it", "false"),
    key("publication.name", Text, Default("millstream_publication"), "The publication, created if it does not exist; `dbz_publication` with Debezium's class", "inventory"),
    key("publication.autocreate.mode", OneOf(&["filtered", "all_tables", "disabled", "no_tables"]), Default("filtered"), "Which tables a publication that is created has", "filtered"),
    key("publish.via.partition.root", FLAG, Default("false"), "Whether changes of partitions show as changes of their partitioned table", "true"),
    key("snapshot.mode", OneOf(&["initial", "initial_only", "no_data", "never", "schema_only", "when_needed", "always", "exported"]), Default("initial"), "Whether the rows that are there are read before the changes; `never` and `schema_only` are former names of `no_data`, and `exported` is `initial`", "initial"),
    key("snapshot.max.threads", Integer { min: 1, max: 64 }, Default("1"), "Connections that read tables at the same time", "4"),
    key(SELECT_TABLES, AnyList, Default(""), "Tables of which the snapshot reads what a SELECT gives, as schema.table", "public.orders"),
    key(SELECT, Text, Optional, "The SELECT of one of these tables, which gives all columns that are read", "select * from public.orders where not deleted"),
    key("schema.include.list", Text, Optional, "Patterns of the schemas to read, separated by commas", "public"),
    key("schema.exclude.list", Text, Optional, "Patterns of the schemas not to read", "audit"),
    key("table.include.list", Text, Optional, "Patterns of the tables to read, as schema.table", r"public\.orders"),
    key("table.exclude.list", Text, Optional, "Patterns of the tables not to read", r"public\.log_.*"),
    key("column.include.list", Text, Optional, "Patterns of the columns to read, as schema.table.column", r"public\.orders\..*"),
    key("column.exclude.list", Text, Optional, "Patterns of the columns not to read", r".*\.password"),
    key(MASK_LENGTH, Text, Optional, "Patterns of the columns of texts that are written as so many stars, as schema.table.column", r"public\.users\.name"),
    key(MASK_HASH, Text, Optional, "Patterns of the columns of texts that are written as a salted hash: `column.mask.hash.v2.SHA-256.with.salt.SALT`, or without `v2.` as Debezium's first form has it", r".*\.email"),
    key(TRUNCATE, Text, Optional, "Patterns of the columns of texts that are cut after so many characters", r"public\.posts\.body"),
    key("message.key.columns", Text, Optional, "Columns that make the key, by patterns of tables", "public.orders:region,number"),
    key("decimal.handling.mode", OneOf(&["precise", "string", "double"]), Optional, "How numerics are written; `string`, or `precise` with Debezium's class", "string"),
    key("time.precision.mode", OneOf(&["adaptive", "adaptive_time_microseconds", "connect", "microseconds", "nanoseconds"]), Default("adaptive"), "How dates and times are written", "connect"),
    key("interval.handling.mode", OneOf(&["numeric", "string"]), Default("numeric"), "How intervals are written: in µs, or by their parts", "string"),
    key("hstore.handling.mode", OneOf(&["json", "map"]), Default("json"), "How hstores are written", "map"),
    key("binary.handling.mode", OneOf(&["bytes", "base64", "base64-url-safe", "hex"]), Default("bytes"), "How byteas are written", "base64"),
    key("money.fraction.digits", Integer { min: 0, max: 10 }, Default("2"), "Digits after the point of money, as the database's lc_monetary has them", "2"),
    key("include.unknown.datatypes", FLAG, Optional, "Whether types without a mapping are read as bytes or left out; as text where nothing is said", "true"),
    key("tombstones.on.delete", FLAG, Default("true"), "Whether a deletion is followed by a record without a value", "false"),
    key("skipped.operations", Text, Default("t"), "Operations left out, of c, u, d and t, or none", "none"),
    key("unavailable.value.placeholder", Text, Default("__debezium_unavailable_value"), "What stands for a large value that was not changed and is not in the log", "?"),
    key("provide.transaction.metadata", FLAG, Default("false"), "Whether events name their transaction, and begin and end have a topic", "true"),
    key("include.schema.changes", FLAG, Default("false"), "Whether prefix.schema-changes tells the columns of tables, at first and when they change", "true"),
    key("heartbeat.interval.ms", MILLIS, Default("0"), "How often a record says that the connector is alive; 0 for never", "10000"),
    key("topic.heartbeat.prefix", Text, Default("__debezium-heartbeat"), "What the heartbeat's topic is named after", "__heartbeat"),
    key("heartbeat.action.query", Text, Optional, "A statement to run at each heartbeat", "update heartbeat set at = now()"),
    key("signal.enabled.channels", Text, Default("source,kafka"), "How a running connector may be asked for something: by rows of a table, by records of a topic", "source"),
    key("signal.data.collection", Text, Optional, "The table that signals are inserted into, as schema.table: id, type and data", "public.signals"),
    key("signal.kafka.topic", Text, Optional, "The topic that signals come by, with `topic.prefix` as their key; prefix-signal where nothing is said", "inventory-signal"),
    key("notification.enabled.channels", AnyText, Default(""), "Where it is told what becomes of snapshots: in the log, in a topic", "log,sink"),
    key("notification.sink.topic.name", Text, Optional, "The topic that notifications go to", "inventory-notifications"),
    key("incremental.snapshot.chunk.size", Integer { min: 1, max: 1_000_000 }, Default("1024"), "Rows that are read at a time when a table is read again on request", "8192"),
    key("read.only", FLAG, Default("false"), "Whether nothing at all may be written to the database: a chunk waits a second on an idle one", "true"),
    key("status.update.interval.ms", Integer { min: 100, max: 60_000 }, Default("10000"), "How often at least the server is told how far we are", "10000"),
    key("errors.max.retries", Integer { min: -1, max: 1_000_000 }, Default("-1"), "How often a lost connection is tried again; -1 for ever", "10"),
    key("errors.retry.delay.initial.ms", MILLIS, Default("300"), "How long to wait before the first of them", "300"),
    key("timeline.change", OneOf(&["refuse", "accept"]), Default("refuse"), "Whether a server that was promoted is taken for the one before", "accept"),
];
