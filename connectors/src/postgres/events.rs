//! Events, as Debezium has them: what of a change becomes a record.
//!
//! ```text
//!  { before, after, source { version, connector, name, ts_ms, … lsn, txId, … },
//!    transaction, op, ts_ms, ts_us, ts_ns }
//! ```

use super::catalog::ColumnInfo;
use super::lsn::Lsn;
use super::table::Table;
use super::types::TypeCatalog;
use crate::data::{
    ConnectRecord, Schema, SchemaAndValue, SchemaBuilder, Struct, Text, Type, Value,
};

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Create,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    pub fn code(self) -> char {
        match self {
            Operation::Read => 'r',
            Operation::Create => 'c',
            Operation::Update => 'u',
            Operation::Delete => 'd',
            Operation::Truncate => 't',
        }
    }

    fn text(self) -> Text {
        Text::from_static(match self {
            Operation::Read => "r",
            Operation::Create => "c",
            Operation::Update => "u",
            Operation::Delete => "d",
            Operation::Truncate => "t",
        })
    }
}

/// Where a row of a snapshot is among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMarker {
    /// It is none of a snapshot.
    No,
    First,
    FirstInTable,
    Within,
    LastInTable,
    Last,
    /// It was asked for while changes stream.
    Incremental,
}

impl SnapshotMarker {
    fn text(self) -> Text {
        Text::from_static(match self {
            SnapshotMarker::No => "false",
            SnapshotMarker::First => "first",
            SnapshotMarker::FirstInTable => "first_in_data_collection",
            SnapshotMarker::Within => "true",
            SnapshotMarker::LastInTable => "last_in_data_collection",
            SnapshotMarker::Last => "last",
            SnapshotMarker::Incremental => "incremental",
        })
    }
}

/// Where an event comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When the change was committed, in µs since 1970.
    pub time_us: i64,
    pub marker: SnapshotMarker,
    pub lsn: Lsn,
    /// Where the transaction before it ended.
    pub previous_end: Option<Lsn>,
    pub xid: Option<u32>,
    /// Set where the change was replicated into the database from elsewhere.
    pub replicated_from: Option<(Text, Lsn)>,
}

/// An event's place in its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTransaction {
    pub id: Text,
    pub total_order: i64,
    pub table_order: i64,
}

/// Schemas that all events share, and names that all have.
#[derive(Clone, Debug)]
pub struct EventSchemas {
    source: Schema,
    block: Schema,
    message: Schema,
    message_key: Schema,
    message_value: Schema,
    transaction_key: Schema,
    transaction_value: Schema,
    transaction_table: Schema,
    heartbeat_key: Schema,
    heartbeat_value: Schema,
    tables: TableSchemas,
    version: Text,
    connector: Text,
    prefix: Text,
    database: Text,
}

/// Schemas of what is told of tables themselves; they are ours.
#[derive(Clone, Debug)]
struct TableSchemas {
    key: Schema,
    value: Schema,
    column: Schema,
}

impl TableSchemas {
    fn new() -> TableSchemas {
        let ours = |name: &str| SchemaBuilder::structure().name(format!("millstream.{name}"));
        let column = ours("TableColumn")
            .field("name", Schema::string())
            .field("type", Schema::string())
            .field("optional", Schema::boolean())
            .field("key", Schema::boolean())
            .build();
        TableSchemas {
            key: ours("TableKey")
                .field("schema", Schema::string())
                .field("table", Schema::string())
                .build(),
            value: ours("Table")
                .field("db", Schema::string())
                .field("schema", Schema::string())
                .field("table", Schema::string())
                .field("lsn", Schema::int64())
                .field("ts_ms", Schema::int64())
                .field("columns", SchemaBuilder::array(column.clone()).build())
                .build(),
            column,
        }
    }
}

/// Fields of `source` that have the place in the log.
pub const SEQUENCE: &str = "sequence";
pub const LSN: &str = "lsn";

/// Names of the headers by which a change of a key is told.
const NEW_KEY_HEADER: Text = Text::from_static("__debezium.newkey");
const OLD_KEY_HEADER: Text = Text::from_static("__debezium.oldkey");

impl EventSchemas {
    pub fn new(prefix: &Text, database: &str) -> EventSchemas {
        let source = source_schema();
        let block = SchemaBuilder::structure()
            .name(Text::from_static("event.block"))
            .version(1)
            .optional()
            .field("id", Schema::string())
            .field("total_order", Schema::int64())
            .field("data_collection_order", Schema::int64())
            .build();
        let postgres = |name: &str| {
            let name = format!("io.debezium.connector.postgresql.{name}");
            SchemaBuilder::structure().name(name).version(1)
        };
        let shared = |name: &str| {
            let name = format!("io.debezium.connector.common.{name}");
            SchemaBuilder::structure().name(name).version(1)
        };
        let message = postgres("Message")
            .field("prefix", Schema::optional_string())
            .field("content", Schema::optional_bytes())
            .build();
        let transaction_table = SchemaBuilder::structure()
            .name(Text::from_static("event.collection"))
            .version(1)
            .optional()
            .field("data_collection", Schema::string())
            .field("event_count", Schema::int64())
            .build();
        let tables = SchemaBuilder::array(transaction_table.clone()).optional().build();
        EventSchemas {
            tables: TableSchemas::new(),
            message_key: postgres("MessageKey").field("prefix", Schema::optional_string()).build(),
            message_value: postgres("MessageValue")
                .field("op", Schema::string())
                .field("ts_ms", Schema::optional_int64())
                .field("source", source.clone())
                .field("transaction", block.clone())
                .field("message", message.clone())
                .build(),
            transaction_key: shared("TransactionMetadataKey").field("id", Schema::string()).build(),
            transaction_value: shared("TransactionMetadataValue")
                .field("status", Schema::string())
                .field("id", Schema::string())
                .field("event_count", Schema::optional_int64())
                .field("data_collections", tables)
                .field("ts_ms", Schema::int64())
                .build(),
            heartbeat_key: shared("ServerNameKey").field("serverName", Schema::string()).build(),
            heartbeat_value: shared("Heartbeat").field("ts_ms", Schema::int64()).build(),
            source,
            block,
            message,
            transaction_table,
            version: Text::from_static(env!("CARGO_PKG_VERSION")),
            connector: Text::from_static("postgresql"),
            prefix: prefix.clone(),
            database: Text::from(database),
        }
    }

    /// The envelope around a row of that schema.
    pub fn envelope(&self, row: &Schema, name: String) -> Schema {
        SchemaBuilder::structure()
            .name(name)
            .version(2)
            .field("before", row.clone())
            .field("after", row.clone())
            .field("source", self.source.clone())
            .field("transaction", self.block.clone())
            .field("op", Schema::string())
            .field("ts_ms", Schema::optional_int64())
            .field("ts_us", Schema::optional_int64())
            .field("ts_ns", Schema::optional_int64())
            .build()
    }

    fn source(&self, origin: &Origin, schema: &Text, table: &Text) -> Value {
        Value::structure(self.source_struct(origin, schema, table))
    }

    /// Where an event comes from. [`SEQUENCE`] ends with the place in the log, and [`LSN`] is it.
    pub fn source_struct(&self, origin: &Origin, schema: &Text, table: &Text) -> Struct {
        let optional = |lsn: Option<i64>| lsn.map_or(Value::Null, Value::Int64);
        let mut digits = itoa::Buffer::new();
        let mut sequence = String::with_capacity(48);
        match origin.previous_end {
            Some(end) => {
                sequence.push_str("[\"");
                sequence.push_str(digits.format(end.0));
                sequence.push_str("\",\"");
            }
            None => sequence.push_str("[null,\""),
        }
        sequence.push_str(digits.format(origin.lsn.0));
        sequence.push_str("\"]");
        let replicated = origin.replicated_from.as_ref();
        Struct::with_values(
            &self.source,
            vec![
                Value::String(self.version.clone()),
                Value::String(self.connector.clone()),
                Value::String(self.prefix.clone()),
                Value::Int64(origin.time_us.div_euclid(1_000)),
                Value::String(origin.marker.text()),
                Value::String(self.database.clone()),
                Value::string(sequence),
                Value::Int64(origin.time_us),
                Value::Int64(origin.time_us.saturating_mul(1_000)),
                Value::String(schema.clone()),
                Value::String(table.clone()),
                optional(origin.xid.map(i64::from)),
                Value::Int64(origin.lsn.as_i64()),
                Value::Null,
                replicated.map_or(Value::Null, |(name, _)| Value::String(name.clone())),
                optional(replicated.map(|(_, lsn)| lsn.as_i64())),
            ],
        )
    }

    fn block(&self, place: Option<&InTransaction>) -> Value {
        let Some(place) = place else { return Value::Null };
        Value::structure(Struct::with_values(
            &self.block,
            vec![
                Value::String(place.id.clone()),
                Value::Int64(place.total_order),
                Value::Int64(place.table_order),
            ],
        ))
    }

    /// The envelope of one change.
    #[expect(clippy::too_many_arguments, reason = "an envelope has that many parts")]
    pub fn change(
        &self,
        table: &Table,
        operation: Operation,
        key: SchemaAndValue,
        before: Value,
        after: Value,
        origin: &Origin,
        place: Option<&InTransaction>,
        now_us: i64,
    ) -> ConnectRecord {
        let envelope = Struct::with_values(
            &table.envelope_schema,
            vec![
                before,
                after,
                self.source(origin, &table.schema_name, &table.table_name),
                self.block(place),
                Value::String(operation.text()),
                Value::Int64(now_us.div_euclid(1_000)),
                Value::Int64(now_us),
                Value::Int64(now_us.saturating_mul(1_000)),
            ],
        );
        let value = SchemaAndValue::new(&table.envelope_schema, Value::structure(envelope));
        ConnectRecord::new(&table.topic, key, value)
    }

    /// What a logical message says.
    pub fn message(
        &self,
        prefix: &str,
        content: bytes::Bytes,
        origin: &Origin,
        place: Option<&InTransaction>,
        now_us: i64,
    ) -> ConnectRecord {
        let empty = Text::from_static("");
        let text = Value::string(prefix);
        let message = Struct::with_values(&self.message, vec![text.clone(), Value::Bytes(content)]);
        let value = Struct::with_values(
            &self.message_value,
            vec![
                Value::String(Text::from_static("m")),
                Value::Int64(now_us.div_euclid(1_000)),
                self.source(origin, &empty, &empty),
                self.block(place),
                Value::structure(message),
            ],
        );
        let topic = Text::from(format!("{}.message", self.prefix));
        let key = Struct::with_values(&self.message_key, vec![text]);
        ConnectRecord::new(
            &topic,
            SchemaAndValue::new(&self.message_key, Value::structure(key)),
            SchemaAndValue::new(&self.message_value, Value::structure(value)),
        )
    }

    /// Says that a transaction begins, or with how many events in which tables it ended.
    pub fn transaction(
        &self,
        id: &Text,
        time_us: i64,
        ended: Option<(i64, &[(Text, i64)])>,
    ) -> ConnectRecord {
        let tables = |tables: &[(Text, i64)]| {
            let of_table = |(name, count): &(Text, i64)| {
                let values = vec![Value::String(name.clone()), Value::Int64(*count)];
                Value::structure(Struct::with_values(&self.transaction_table, values))
            };
            Value::array(tables.iter().map(of_table).collect())
        };
        let value = Struct::with_values(
            &self.transaction_value,
            vec![
                Value::String(Text::from_static(if ended.is_some() { "END" } else { "BEGIN" })),
                Value::String(id.clone()),
                ended.map_or(Value::Null, |(count, _)| Value::Int64(count)),
                ended.map_or(Value::Null, |(_, of_tables)| tables(of_tables)),
                Value::Int64(time_us.div_euclid(1_000)),
            ],
        );
        let key = Struct::with_values(&self.transaction_key, vec![Value::String(id.clone())]);
        let topic = Text::from(format!("{}.transaction", self.prefix));
        ConnectRecord::new(
            &topic,
            SchemaAndValue::new(&self.transaction_key, Value::structure(key)),
            SchemaAndValue::new(&self.transaction_value, Value::structure(value)),
        )
    }

    /// Says which columns a table has from there on in the log.
    pub fn table(
        &self,
        table: &Table,
        types: &TypeCatalog,
        lsn: Lsn,
        now_us: i64,
    ) -> ConnectRecord {
        let column = |column: &ColumnInfo| {
            let type_name = types.get(column.type_id).map_or("unknown", |found| &found.name);
            Value::structure(Struct::with_values(
                &self.tables.column,
                vec![
                    Value::string(column.name.as_str()),
                    Value::string(type_name),
                    Value::Boolean(!column.not_null),
                    Value::Boolean(column.key_position.is_some()),
                ],
            ))
        };
        let (schema, name) = (table.schema_name.clone(), table.table_name.clone());
        let key = vec![Value::String(schema.clone()), Value::String(name.clone())];
        let key = Struct::with_values(&self.tables.key, key);
        let value = Struct::with_values(
            &self.tables.value,
            vec![
                Value::String(self.database.clone()),
                Value::String(schema),
                Value::String(name),
                Value::Int64(lsn.as_i64()),
                Value::Int64(now_us.div_euclid(1_000)),
                Value::array(table.info.columns.iter().map(column).collect()),
            ],
        );
        ConnectRecord::new(
            &Text::from(format!("{}.schema-changes", self.prefix)),
            SchemaAndValue::new(&self.tables.key, Value::structure(key)),
            SchemaAndValue::new(&self.tables.value, Value::structure(value)),
        )
    }

    /// Says that the connector is alive.
    pub fn heartbeat(&self, topic_prefix: &str, now_us: i64) -> ConnectRecord {
        let name = vec![Value::String(self.prefix.clone())];
        let time = vec![Value::Int64(now_us.div_euclid(1_000))];
        let key = Struct::with_values(&self.heartbeat_key, name);
        let value = Struct::with_values(&self.heartbeat_value, time);
        let topic = Text::from(format!("{topic_prefix}.{}", self.prefix));
        ConnectRecord::new(
            &topic,
            SchemaAndValue::new(&self.heartbeat_key, Value::structure(key)),
            SchemaAndValue::new(&self.heartbeat_value, Value::structure(value)),
        )
    }
}

/// What follows a deletion, so that compaction forgets the key.
pub fn tombstone(topic: &Text, key: SchemaAndValue) -> ConnectRecord {
    ConnectRecord::new(topic, key, SchemaAndValue::NULL)
}

/// Tells, on a deletion, which key its row has now; and on the creation, which it had before.
pub fn link_keys(deletion: &mut ConnectRecord, creation: &mut ConnectRecord) {
    deletion.add_header(NEW_KEY_HEADER, creation.key.clone());
    creation.add_header(OLD_KEY_HEADER, deletion.key.clone());
}

fn source_schema() -> Schema {
    let allowed =
        "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental";
    let snapshot = SchemaBuilder::of(Type::String)
        .name(Text::from_static("io.debezium.data.Enum"))
        .version(1)
        .parameter("allowed", Text::from_static(allowed))
        .default(Value::String(Text::from_static("false")))
        .optional()
        .build();
    SchemaBuilder::structure()
        .name(Text::from_static("io.debezium.connector.postgresql.Source"))
        .version(1)
        .field("version", Schema::string())
        .field("connector", Schema::string())
        .field("name", Schema::string())
        .field("ts_ms", Schema::int64())
        .field("snapshot", snapshot)
        .field("db", Schema::string())
        .field(SEQUENCE, Schema::optional_string())
        .field("ts_us", Schema::optional_int64())
        .field("ts_ns", Schema::optional_int64())
        .field("schema", Schema::string())
        .field("table", Schema::string())
        .field("txId", Schema::optional_int64())
        .field(LSN, Schema::optional_int64())
        .field("xmin", Schema::optional_int64())
        .field("origin", Schema::optional_string())
        .field("origin_lsn", Schema::optional_int64())
        .build()
}
