//! What becomes of snapshots, told while they go on, as Debezium's notifications.
//!
//! ```text
//!  log    connector 'pg': Initial Snapshot: STARTED {"connector_name":"pg"}
//!  topic  {"id": "…"} → {"id": "…", "type": "STARTED", "aggregate_type": "Initial Snapshot",
//!                        "additional_data": {"connector_name": "pg"}, "timestamp": 1795405280317}
//! ```
//!
//! They are committed with the offset that they tell of, so a crash neither loses nor repeats one.

use serde_json::json;
use tracing::info;
use uuid::Uuid;

use super::snapshot::TableStep;
use crate::clock;
use crate::data::{ConnectRecord, Schema, SchemaAndValue, SchemaBuilder, Struct, Text, Value};
use crate::records::SourceRecords;

/// Where notifications go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationConfig {
    pub log: bool,
    pub topic: Option<String>,
}

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// All rows that are there, at first or, blocking, on request.
    Initial,
    /// A request of that id.
    Incremental(&'a str),
}

/// How a table's part ended, by Debezium's words.
pub const SUCCEEDED: &str = "SUCCEEDED";
pub const EMPTY: &str = "EMPTY";
pub const UNKNOWN: &str = "UNKNOWN_SCHEMA";
pub const NO_KEY: &str = "NO_PRIMARY_KEY";
pub const REFUSED: &str = "SQL_EXCEPTION";

/// Tells what happens to whoever wants to know.
#[derive(Debug)]
pub struct Notifier {
    config: NotificationConfig,
    prefix: Text,
    key: Schema,
    value: Schema,
    /// What is to be written with the offset.
    pending: Vec<ConnectRecord>,
}

impl Notifier {
    pub fn new(config: NotificationConfig, prefix: &Text) -> Notifier {
        let schema = |name: &str| {
            let name = format!("io.debezium.connector.common.{name}");
            SchemaBuilder::structure().name(name).version(1)
        };
        let data = SchemaBuilder::map(Schema::string(), Schema::string()).optional().build();
        Notifier {
            config,
            prefix: prefix.clone(),
            key: schema("NotificationKey").field("id", Schema::string()).build(),
            value: schema("Notification")
                .field("id", Schema::string())
                .field("type", Schema::string())
                .field("aggregate_type", Schema::string())
                .field("additional_data", data)
                .field("timestamp", Schema::int64())
                .build(),
            pending: Vec::new(),
        }
    }

    /// Says that it came to that.
    pub fn tell(&mut self, about: About<'_>, kind: &'static str, data: &[(&'static str, String)]) {
        if !self.config.log && self.config.topic.is_none() {
            return;
        }
        let (aggregate, id) = match about {
            About::Initial => ("Initial Snapshot", Uuid::new_v4().to_string()),
            About::Incremental(id) => ("Incremental Snapshot", id.to_owned()),
        };
        let connector = [("connector_name", self.prefix.to_string())];
        let data = || connector.iter().chain(data);
        if self.config.log {
            let object: serde_json::Map<String, serde_json::Value> =
                data().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
            let object = serde_json::Value::Object(object);
            info!("connector '{}': {aggregate}: {kind} {object}", self.prefix);
        }
        let Some(topic) = &self.config.topic else { return };
        let pairs = data().map(|(name, text)| {
            (Value::String(Text::from_static(name)), Value::string(text.as_str()))
        });
        let key = vec![Value::string(id.as_str())];
        let value = vec![
            Value::string(id.as_str()),
            Value::String(Text::from_static(kind)),
            Value::String(Text::from_static(aggregate)),
            Value::map(pairs.collect()),
            Value::Int64(clock::now_ms()),
        ];
        let of = |schema: &Schema, values| {
            SchemaAndValue::new(schema, Value::structure(Struct::with_values(schema, values)))
        };
        let (key, value) = (of(&self.key, key), of(&self.value, value));
        self.pending.push(ConnectRecord::new(&Text::from(topic.as_str()), key, value));
    }

    /// Says how a table's part of a snapshot, or a request's, ended.
    pub fn scanned(&mut self, about: About<'_>, table: &str, all: &[String], end: (u64, &str)) {
        let data = [
            ("scanned_collection", table.to_owned()),
            ("total_rows_scanned", end.0.to_string()),
            ("data_collections", all.join(",")),
            ("status", end.1.to_owned()),
        ];
        self.tell(about, "TABLE_SCAN_COMPLETED", &data);
    }

    /// Says what a snapshot has come to.
    pub fn steps(&mut self, tables: &[String], steps: impl Iterator<Item = TableStep>) {
        for step in steps {
            match step {
                TableStep::Begun(table) => {
                    let data = [
                        ("current_collection_in_progress", tables[table].clone()),
                        ("data_collections", tables.join(",")),
                    ];
                    self.tell(About::Initial, "IN_PROGRESS", &data);
                }
                TableStep::Done(table, rows) => {
                    self.scanned(About::Initial, &tables[table], tables, (rows, SUCCEEDED));
                }
            }
        }
    }

    /// Hands over what was told since.
    pub fn hand_over(&mut self, out: &mut SourceRecords) {
        for record in self.pending.drain(..) {
            out.append_record(record);
        }
    }
}
