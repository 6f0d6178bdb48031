//! The file source: one record per line, row or file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use broker::client::NewTopic;
use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{Span, warn};

use super::blocking::Blocking;
use super::csv::Dialect;
use super::delimiter;
use super::encoding::Encoding;
use super::input::{Input, Item};
use super::open::{Framing, Piece, ReadOptions, Taken};
use super::pattern::Pattern;
use super::share::{Agreement, Share};
use super::stdin::{self, Stdin};
use super::tail::Filled;
use super::watch::{FileWatch, Watched};
use super::whole::{Which, WholeOptions};
use crate::clock::now_ms;
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::{ConnectRecord, SchemaAndValue, Text};
use crate::records::SourceRecords;
use crate::task::{Polled, SourceContext, SourceRecord, SourceTask, TaskError, Topic};

/// Kafka's default of `max.message.bytes`, which a topic for longer lines must exceed.
const MESSAGE_BYTES_MAX_DEFAULT: usize = 1_048_588;
/// Room for what a batch of one record holds beside the line.
const BATCH_OVERHEAD: usize = 1024;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Csv(Dialect),
    Whole,
}

/// The settings of one task.
#[derive(Clone, Debug)]
struct SourceSettings {
    connector: String,
    topic: NewTopic,
    /// As declared: the key that offsets are stored under must not change with the directory.
    filename: String,
    path: PathBuf,
    format: Format,
    encoding: Encoding,
    batch_records_max: usize,
    record_bytes_max: usize,
    skip_bad: bool,
    start_at_end: bool,
    unpack: bool,
    tick: Duration,
    /// Which task this is, of how many.
    part: (usize, usize),
    agreement: Arc<Agreement>,
}

/// The source of one file's records, or of many files'.
#[derive(Debug)]
pub struct FileSource {
    settings: SourceSettings,
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    topic: Topic,
    input: Blocking<Input>,
    wake: Wake,
    rows: Rows,
    /// It has waited: something may have happened.
    looks_again: bool,
    connector: String,
    /// What is not there, as of the last look.
    missing: Option<String>,
}

/// What says that there may be more.
#[derive(Debug)]
enum Wake {
    Files(FileWatch),
    Stdin(Arc<Notify>),
}

/// Makes records of pieces.
#[derive(Clone, Debug)]
struct Rows {
    format: Format,
    encoding: Encoding,
    topic: Topic,
    topic_name: Text,
    json: JsonConverter,
}

/// One task for a file or standard input; of a pattern as many as are allowed.
pub fn tasks(config: &ConnectorConfig) -> Vec<Box<dyn SourceTask>> {
    let one = config.text("file") == stdin::NAME
        || !matches!(Pattern::new(&config.path("file")), Ok(Some(_)));
    let tasks = if one { 1 } else { config.integer("tasks.max") as usize };
    let task = |task| Box::new(FileSource::new(config, (task, tasks))) as Box<dyn SourceTask>;
    (0..tasks).map(task).collect()
}

/// Finds mistakes that no key has alone.
pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    let mut problem = |key: &str, message: String, help: &str| {
        let value = Some(settings.text(key).to_owned());
        let (key, help) = (key.to_owned(), Some(help.to_owned()));
        problems.push(ConfigProblem { key, value, message, help });
    };
    if delimiter(settings.text("csv.delimiter")).is_none() {
        let message = format!(
            "`csv.delimiter` must be one character of ASCII, not '{}'",
            settings.text("csv.delimiter")
        );
        problem("csv.delimiter", message, "for example `;`, `|` or `tab`; quotes are `\"`");
    }
    let file = settings.text("file");
    if let Err(reason) = Pattern::new(file.as_ref()) {
        problem("file", format!("`file`: {reason}"), "for example `logs/*.log` or `in/**/[a-f]*`");
    }
    if let Err(reason) = Encoding::named(settings.text("encoding")) {
        let help = "UTF-8, or one byte per character, such as windows-1252; others `iconv` makes \
                    UTF-8 of";
        problem("encoding", format!("`encoding`: {reason}"), help);
    }
    if file == stdin::NAME && settings.text("format") == "whole" {
        let message = "`format = whole` needs files, and `file = -` is standard input".to_owned();
        problem("format", message, "name a file, a directory or a pattern");
    }
}

impl FileSource {
    fn new(config: &ConnectorConfig, part: (usize, usize)) -> FileSource {
        let encoding = Encoding::named(config.text("encoding")).unwrap_or(Encoding::UTF_8);
        let format = match config.text("format") {
            "json" => Format::Json,
            "csv" => Format::Csv(Dialect {
                delimiter: delimiter(config.text("csv.delimiter")).unwrap_or(b','),
                header: config.settings().flag("csv.header"),
                encoding,
            }),
            "whole" => Format::Whole,
            _ => Format::Text,
        };
        let bytes_max = match format {
            Format::Whole => "file.bytes.max",
            _ => "line.bytes.max",
        };
        let record_bytes_max = config.integer(bytes_max) as usize;
        let partitions = config.integer("topic.creation.default.partitions") as i32;
        let mut topic = NewTopic::new(config.text("topic"), partitions);
        // What fields are called is written beside each of them; UTF-8 has three bytes for a euro.
        let growth = match format {
            Format::Csv(_) => 4,
            _ if encoding == Encoding::UTF_8 => 1,
            _ => 3,
        };
        let message_bytes = record_bytes_max.saturating_mul(growth) + BATCH_OVERHEAD;
        if record_bytes_max + BATCH_OVERHEAD > MESSAGE_BYTES_MAX_DEFAULT {
            topic = topic.with_config("max.message.bytes", message_bytes.min(i32::MAX as usize));
        }
        let settings = SourceSettings {
            connector: config.name().to_owned(),
            topic,
            filename: config.text("file").to_owned(),
            path: config.path("file"),
            format,
            encoding,
            batch_records_max: config.integer("batch.size") as usize,
            record_bytes_max,
            skip_bad: config.text("errors.tolerance") == "all",
            start_at_end: config.text("start") == "end",
            unpack: config.settings().flag("decompress"),
            tick: Duration::from_millis(config.integer("poll.interval.ms") as u64),
            part,
            agreement: config.common(|| Agreement::new(part.1)),
        };
        FileSource { settings, started: None }
    }

    fn started(&mut self) -> &mut Started {
        self.started.as_mut().expect("the worker starts a task before all else")
    }
}

impl SourceSettings {
    fn open(&self, context: &SourceContext) -> Result<(Input, Wake), TaskError> {
        let until_end = context.until_end();
        let options = ReadOptions {
            line_bytes_max: self.record_bytes_max,
            skip_bad: self.skip_bad,
            until_end,
            start_at_end: self.start_at_end,
            unpack: self.unpack,
            framing: match self.format {
                Format::Csv(dialect) => Framing::Csv(dialect),
                _ => Framing::Lines,
            },
        };
        if self.filename == stdin::NAME {
            let stdin = Stdin::open(options)?;
            let wake = Wake::Stdin(stdin.more());
            return Ok((Input::Stdin(Box::new(stdin)), wake));
        }
        let pattern = Pattern::new(&self.path)?;
        let watched = match &pattern {
            Some(pattern) => {
                Watched::Directory { path: pattern.root().to_owned(), deep: pattern.is_deep() }
            }
            None => Watched::File(self.path.clone()),
        };
        let wake = Wake::Files(FileWatch::new(watched, self.tick));
        let stored = context.offsets();
        let (task, tasks) = self.part;
        let share = match (tasks, context.is_alone()) {
            (1, _) => Share::All,
            (_, true) => Share::Agreed { task, agreement: self.agreement.clone() },
            (_, false) => Share::Hashed { task, tasks },
        };
        let input = match (self.format, pattern) {
            (Format::Whole, pattern) => {
                let options = WholeOptions {
                    bytes_max: self.record_bytes_max,
                    skip_bad: self.skip_bad,
                    until_end,
                    start_at_end: self.start_at_end,
                    unpack: self.unpack,
                };
                let which = pattern.map_or_else(|| Which::One(self.path.clone()), Which::Many);
                Input::whole(which, options, stored, self.part, share)
            }
            (_, Some(pattern)) => Input::directory(pattern, options, stored, self.part, share),
            (_, None) => Input::tail(self.path.clone(), &self.filename, options, stored),
        };
        Ok((input, wake))
    }
}

#[async_trait]
impl SourceTask for FileSource {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let topic = context.topic(&self.settings.topic).await?;
        let (input, wake) = self.settings.open(context)?;
        let json = JsonOptions { schemas: false, ..JsonOptions::default() };
        let rows = Rows {
            format: self.settings.format,
            encoding: self.settings.encoding,
            topic_name: Text::from(&*topic.name),
            topic: topic.clone(),
            json: JsonConverter::new(json),
        };
        let input = Blocking::new(input);
        self.started = Some(Started {
            topic,
            input,
            wake,
            rows,
            looks_again: false,
            connector: self.settings.connector.clone(),
            missing: None,
        });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let batch_records_max = self.settings.batch_records_max;
        let started = self.started();
        let topic = started.topic.clone();
        let mut rows = started.rows.clone();
        let mut records = std::mem::take(out);
        records.set_batch_records_max(batch_records_max);
        let looks_again = std::mem::take(&mut started.looks_again);
        let now_ms = now_ms();
        let span = Span::current();
        let work = move |input: &mut Input| {
            // On a thread of its own, where the task's would not be.
            let _entered = span.enter();
            if looks_again {
                input.look_again();
            }
            let filled = input.fill(|item| {
                let taken = match item {
                    Item::Piece(Piece { bytes, .. }) if rows.format == Format::Text => {
                        let text = rows.encoding.to_utf8(bytes);
                        text.map(|text| records.append_value(&topic, now_ms, &text))
                    }
                    Item::Piece(piece) => rows.append(&mut records, now_ms, piece),
                    Item::File(name, content) => {
                        let (key, value) = (Some(name.as_bytes()), Some(content));
                        let record =
                            SourceRecord { timestamp_ms: now_ms, key, value, ..Default::default() };
                        records.append(&topic, record);
                        Ok(())
                    }
                };
                match taken {
                    Ok(()) if records.is_full() => Taken::Enough,
                    Ok(()) => Taken::More,
                    Err(reason) => Taken::Refused(reason),
                }
            });
            let counts = input.take_counts();
            records.count_input(counts.bytes, counts.skipped);
            for (partition, offset) in input.take_offsets() {
                records.set_offset(partition, offset);
            }
            (records, filled, input.missing())
        };
        let (records, filled, missing) = started.input.run(work).await;
        *out = records;
        if let Some(reason) = &missing
            && started.missing.is_none()
            && filled.is_ok()
        {
            warn!("connector '{}': {reason}", started.connector);
        }
        started.missing = missing;
        Ok(match filled? {
            Filled::More => Polled::More,
            Filled::Drained => Polled::Drained,
            Filled::End => Polled::End,
        })
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        let started = self.started();
        match &mut started.wake {
            Wake::Files(watch) => watch.changed().await,
            Wake::Stdin(more) => more.notified().await,
        }
        started.looks_again = true;
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.started.as_ref()?.missing.clone()
    }

    fn remaining_bytes(&self) -> Option<u64> {
        self.started.as_ref().and_then(|started| started.input.get().remaining_bytes())
    }
}

impl Rows {
    /// Adds the record that a piece holds; of an empty one there is none. An error says what is
    /// wrong with it.
    fn append(
        &mut self,
        records: &mut SourceRecords,
        now_ms: i64,
        piece: Piece<'_>,
    ) -> Result<(), String> {
        if piece.bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let value = match (self.format, piece.columns) {
            (Format::Csv(_), Some(columns)) => columns.row(piece.bytes)?,
            _ if records.passes_bytes() => {
                let text = self.encoding.to_utf8(piece.bytes)?;
                is_json(&text)?;
                records.append_value(&self.topic, now_ms, &text);
                return Ok(());
            }
            _ => {
                let bytes = Bytes::copy_from_slice(&self.encoding.to_utf8(piece.bytes)?);
                self.json.read(Some(&bytes)).map_err(|error| error.to_string())?
            }
        };
        let record = ConnectRecord::new(&self.topic_name, SchemaAndValue::NULL, value);
        records.append_record(ConnectRecord { timestamp_ms: Some(now_ms), ..record });
        Ok(())
    }
}

fn is_json(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
    read.map(drop).map_err(|error| format!("not JSON: {error}"))
}
