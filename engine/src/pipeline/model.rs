//! A pipeline as the rest of the engine sees it: the same whether it came from TOML or SQL.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion_expr::{Expr, LogicalPlan};

use super::cases::Case;
use super::diagnostic::Span;
use crate::formats::avro::AvroFormat;
use crate::formats::protobuf::ProtobufFormat;

/// A checked pipeline: every name in it resolves, every expression has a type, every query can
/// run as a stream.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Names its consumer groups, transactional ids and changelog topics: state is found by it.
    pub name: String,
    /// The file it came from.
    pub path: PathBuf,
    pub connectors: Vec<Connector>,
    pub sources: Vec<Arc<Source>>,
    /// In an order in which each query comes after those whose output it reads.
    pub queries: Vec<Query>,
    pub settings: Settings,
    /// Its tests.
    pub cases: Vec<Case>,
    /// Conditions of its views and queries, and where they stand.
    pub predicates: Vec<Predicate>,
}

/// A condition in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    pub sql: String,
    pub span: Span,
}

/// A connector as declared: properties in Kafka Connect's keys, for `connectors` to check.
#[derive(Clone, Debug)]
pub struct Connector {
    pub name: String,
    pub properties: BTreeMap<String, String>,
    /// Where the declaration stands, and where each property's value does.
    pub span: Span,
    pub property_spans: BTreeMap<String, Span>,
    /// Functions that the file declares, by name, each as a `CREATE FUNCTION` by itself: for SQL
    /// in the properties.
    pub functions: Arc<BTreeMap<String, String>>,
}

/// A topic read as rows.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that queries use.
    pub name: String,
    pub topic: String,
    pub kind: SourceKind,
    pub format: Format,
    /// How columns of the key are read: [`Format::Raw`] takes the whole key for each, the others
    /// take the key's fields by the names of the columns.
    pub key_format: Format,
    /// In declared order; `schema` has one field per column, in the same order.
    pub columns: Vec<Column>,
    pub schema: SchemaRef,
    pub event_time: EventTime,
    pub watermark: Watermark,
    /// Where a query begins that has read nothing of it yet.
    pub start: Start,
    pub on_error: OnError,
    pub span: Span,
}

impl Source {
    /// The column that holds the event time, if any does: windows are made from it.
    pub fn event_time_column(&self) -> Option<usize> {
        match self.event_time {
            EventTime::Column(index) => Some(index),
            EventTime::Record => {
                self.columns.iter().position(|column| column.from == ColumnFrom::Timestamp)
            }
        }
    }
}

/// Whether a record adds a row or replaces the one with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Stream,
    /// The latest record per key; a null value deletes. The key columns are indices into the
    /// columns.
    Table {
        key: Vec<usize>,
    },
}

/// One column of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub from: ColumnFrom,
}

/// Where a column's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnFrom {
    /// A field of the record's value: by position in CSV, the whole in raw, else by name.
    Value,
    /// The record's key: all of it in raw, else the field of the column's name.
    Key,
    /// The record's timestamp.
    Timestamp,
    /// The topic: Utf8.
    Topic,
    /// The partition: Int32.
    Partition,
    /// The offset in the partition: Int64.
    Offset,
    /// All headers in their order: a map from Utf8 to Binary or Utf8.
    Headers,
    /// The last header of this name: Utf8 or Binary; NULL if there is none.
    Header(Arc<str>),
    /// What a change event of Debezium's says beside its rows.
    Change(ChangeField),
    /// No part of the record: an expression over columns that are, by their names.
    Computed(Arc<Expr>),
}

/// What a change event says beside its rows, NULL where it does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeField {
    /// When the change was committed in the database (`source.ts_ms`): a timestamp of any unit.
    SourceTimestamp,
    /// When the connector took it up (`ts_ms`): a timestamp of any unit.
    IngestionTimestamp,
    /// `source.db`: Utf8.
    SourceDatabase,
    /// `source.schema`: Utf8.
    SourceSchema,
    /// `source.table`: Utf8.
    SourceTable,
    /// All of `source`: a map from Utf8 to Utf8.
    SourceProperties,
}

impl ChangeField {
    /// With their names, which are Flink's.
    pub const ALL: [(&str, ChangeField); 6] = [
        ("source.timestamp", ChangeField::SourceTimestamp),
        ("ingestion-timestamp", ChangeField::IngestionTimestamp),
        ("source.database", ChangeField::SourceDatabase),
        ("source.schema", ChangeField::SourceSchema),
        ("source.table", ChangeField::SourceTable),
        ("source.properties", ChangeField::SourceProperties),
    ];

    pub fn is_time(self) -> bool {
        matches!(self, ChangeField::SourceTimestamp | ChangeField::IngestionTimestamp)
    }
}

impl fmt::Display for ChangeField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = ChangeField::ALL.iter();
        f.write_str(all.find(|(_, field)| field == self).map_or("", |(name, _)| name))
    }
}

/// How a record's value becomes columns, and rows become values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per record.
    Json,
    /// One RFC 4180 row per record.
    Csv(CsvOptions),
    /// The value as it is, in a single column: text, bytes, or what text can become.
    Raw,
    /// Avro's binary form, bare or in Confluent's framing.
    Avro(Arc<AvroFormat>),
    /// Protocol Buffers, bare or in Confluent's framing.
    Protobuf(Arc<ProtobufFormat>),
    /// Debezium's change events in JSON, with or without their schema: a changelog.
    DebeziumJson,
}

impl Format {
    pub fn name(&self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv(_) => "csv",
            Format::Raw => "raw",
            Format::Avro(_) => "avro",
            Format::Protobuf(_) => "protobuf",
            Format::DebeziumJson => "debezium-json",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    pub delimiter: u8,
    pub quote: u8,
    /// A record whose fields are the names of the columns is a header: skipped on reading. Never
    /// written: a topic has no first record for long.
    pub header: bool,
    /// An unquoted field with this text is NULL, beside the empty one where the column is not
    /// text.
    pub null: Option<String>,
    /// Within quotes, takes the next character as it is, beside the doubled quote.
    pub escape: Option<u8>,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { delimiter: b',', quote: b'"', header: false, null: None, escape: None }
    }
}

/// What time a row happened at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// The record's timestamp.
    Record,
    /// A timestamp column, by index.
    Column(usize),
}

/// Where a query begins to read that has not read the topic before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is there.
    #[default]
    Earliest,
    /// At the first record that comes after it has begun.
    Latest,
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Time(i64),
}

/// How far event time is known to have come (one per partition; a task takes the least).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// How far the watermark stays behind the latest event time seen: rows out of order by no
    /// more than this are never late.
    pub delay: Duration,
    /// A partition without records for this long, all of it read, holds no window open any more.
    /// [`Watermark::NEVER_IDLE`]: each holds them open for ever.
    pub idle_timeout: Duration,
    /// An event time further ahead of the wall clock than this does not move the watermark.
    pub future_bound: Duration,
    /// What happens to rows behind the watermark whose window has closed.
    pub late: LateRows,
}

impl Watermark {
    /// Written as 0.
    pub const NEVER_IDLE: Duration = Duration::from_secs(10_000 * 366 * 86_400);
}

impl Default for Watermark {
    fn default() -> Watermark {
        Watermark {
            delay: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(5),
            // Less than what a clock set to another time zone is wrong by.
            future_bound: Duration::from_secs(3600),
            late: LateRows::Drop,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LateRows {
    /// Left out and counted.
    #[default]
    Drop,
    /// For this long (the allowed lateness, or grace) after a window's end, its answer is kept and
    /// corrected by rows that come for it; later ones are left out and counted.
    Update { lateness: Duration },
    /// Written to this topic, and counted.
    Topic { topic: String },
}

/// What to do with a record that cannot be decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Stop with topic, partition, offset and reason.
    #[default]
    Fail,
    /// Leave it out and count it.
    Skip,
    /// Write it, with the reason in its headers, to this topic and count it.
    DeadLetter { topic: String },
}

/// A query from sources to a sink.
#[derive(Clone, Debug)]
pub struct Query {
    pub name: String,
    /// Optimised. Its leaves are scans of sources by their names.
    pub plan: LogicalPlan,
    pub emit: Emit,
    /// How long a key is kept that is left alone, if not for ever.
    pub state_ttl: Option<Duration>,
    pub sink: Sink,
    pub span: Span,
}

impl Query {
    /// Names of the sources that it reads, each once, in the order of the plan.
    pub fn inputs(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut below = vec![&self.plan];
        while let Some(plan) = below.pop() {
            if let LogicalPlan::TableScan(scan) = plan {
                let name = scan.table_name.table().to_owned();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            below.extend(plan.inputs().into_iter().rev());
        }
        names
    }
}

/// When a query writes what its windows answer. What has no window is told whenever it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// Once, when the watermark passes the window's end (EMIT ON WINDOW CLOSE).
    #[default]
    Final,
    /// Whenever it changes (EMIT CHANGES).
    Changes,
}

/// Where a query's rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    pub topic: String,
    /// Partitions if the topic must be created; `None` takes as many as the first input has.
    pub partitions: Option<i32>,
    pub format: Format,
    /// Columns that make the record key, in the plan's output. Rows with equal keys go to the
    /// same partition.
    pub key: Vec<usize>,
    /// How the key is written: in [`Format::Raw`], one column as its plain text, several as a
    /// JSON object.
    pub key_format: Format,
    /// The key's columns are left out of the value.
    pub value_without_key: bool,
    /// Names of headers and the columns that become them, which are left out of the value; a
    /// column of maps becomes as many headers as it has entries.
    pub headers: Vec<(String, usize)>,
    /// The column whose time becomes the record's timestamp. `None`: the end of the row's window
    /// less 1 ms if it has one, else the event time of the row it was made from.
    pub timestamp: Option<usize>,
    /// That column is left out of the value.
    pub value_without_timestamp: bool,
    /// Columns that are declared NOT NULL: a row without one of them cannot be written.
    pub not_null: Vec<usize>,
    /// Also show the rows to the person who runs the pipeline.
    pub print: bool,
}

impl Sink {
    /// Columns that are no part of the value.
    pub fn left_out(&self) -> Vec<usize> {
        let key = self.key.iter().filter(|_| self.value_without_key);
        let timestamp = self.timestamp.iter().filter(|_| self.value_without_timestamp);
        let headers = self.headers.iter().map(|(_, column)| column);
        headers.chain(key).chain(timestamp).copied().collect()
    }

    /// Where a column is that the value leaves out.
    pub(crate) fn holds_elsewhere(&self, column: usize) -> ColumnFrom {
        let header = self.headers.iter().find(|(_, of)| *of == column);
        match header {
            Some((name, _)) => ColumnFrom::Header(name.as_str().into()),
            None if self.timestamp == Some(column) => ColumnFrom::Timestamp,
            None => ColumnFrom::Key,
        }
    }
}

/// What a crash may do to the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Nothing. Rows are visible once the transaction that they are part of is committed.
    #[default]
    ExactlyOnce,
    /// Rows since the last commit come a second time. They are visible as soon as they are
    /// written. What queries remember is right all the same: it is committed with their place in
    /// the input, as ever.
    AtLeastOnce,
}

impl Guarantee {
    /// `exactly-once` or `at-least-once`, perhaps with underscores.
    pub fn parse(text: &str) -> Option<Guarantee> {
        match text.replace('_', "-").as_str() {
            "exactly-once" => Some(Guarantee::ExactlyOnce),
            "at-least-once" => Some(Guarantee::AtLeastOnce),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often inputs, state and outputs commit together.
    pub commit_interval: Duration,
    pub guarantee: Guarantee,
    /// Rows that operators take at a time, at most.
    pub batch_rows_max: usize,
    /// Tasks that share each query, each with a thread of its own.
    pub tasks: usize,
    /// Where processes share tasks: how many others keep a copy of each task's state, so that it is
    /// there at once when its process is gone.
    pub standby_replicas: usize,
    /// Memory that the state of all queries may take, in bytes; what is more goes to disk.
    pub state_memory: usize,
    /// How long keys are kept that are left alone, of queries that do not say it themselves; `None`
    /// for ever.
    pub state_ttl: Option<Duration>,
}

/// A transaction is open for as long, and brokers bear no more than 15 minutes by default
/// (`transaction.max.timeout.ms`).
pub const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(5 * 60);

/// Event times are in milliseconds: nothing shorter can pass between them.
pub const STATE_TTL_MIN: Duration = Duration::from_millis(1);

/// Each copy costs as much memory and disk as the state itself.
pub const STANDBY_REPLICAS_MAX: usize = 8;

/// More tasks than this would have more to say to each other than to do.
pub const TASKS_LIMIT: usize = 64;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            commit_interval: Duration::from_millis(100),
            guarantee: Guarantee::default(),
            batch_rows_max: 8192,
            tasks: 1,
            standby_replicas: 0,
            state_memory: 512 << 20,
            state_ttl: None,
        }
    }
}
