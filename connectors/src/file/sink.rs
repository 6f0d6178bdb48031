//! The file sink: one line per record, or one row of columns.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use broker::ids::{Offset, TopicPartition};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use tokio::time::Instant;
use tracing::warn;

use super::blocking::Blocking;
use super::layout::{Layout, TimeStep};
use super::output::{self, Output, OutputError, io_error};
use super::parquet::HELD_MAX;
use super::part::Packing;
use super::parts::{self, PartOptions, Parts};
use super::rows::{RowFormat, Rows};
use super::{delimiter, stdin};
use crate::config::{ConfigProblem, ConnectorConfig, Settings, class_name};
use crate::task::{Put, SinkPartition, SinkRecords, SinkTask, TaskError};

/// The sink into one file, a directory of rolled files, or standard output.
#[derive(Debug)]
pub struct FileSink {
    target: Target,
    wants_values: bool,
    opened: Option<Opened>,
}

#[derive(Clone, Debug)]
enum Target {
    File(PathBuf, Rows),
    Directory(PartOptions, Rows),
    Stdout(Rows),
}

#[derive(Debug)]
enum Opened {
    File(Blocking<Output>),
    Directory(Blocking<Parts>),
    Stdout(Blocking<Stdout>),
}

/// The format that has columns instead of lines.
const PARQUET: &str = "parquet";

/// Finds mistakes that no key has alone.
pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    let mut problem = |key: &str, message: &str, help: &str| {
        problems.push(ConfigProblem {
            key: key.to_owned(),
            value: settings.optional_text(key).map(str::to_owned),
            message: message.to_owned(),
            help: Some(help.to_owned()),
        });
    };
    let directory = settings.optional_text("directory").is_some();
    match (settings.optional_text("file").is_some(), directory) {
        (true, true) => problem(
            "directory",
            "`file` and `directory` are both there",
            "take one of them: one file that grows, or a directory of files that are complete",
        ),
        (false, false) => problem(
            "file",
            "`file` is missing: the file to append to",
            "for example `file = out/delays.jsonl`, `file = -` for standard output, or \
             `directory = out` for many files",
        ),
        _ => {}
    }
    let by_fields = !settings.list("partition.by").is_empty();
    let columns = settings.text("format") == PARQUET;
    let rolled = [
        ("partition.by", by_fields),
        ("partition.time", settings.text("partition.time") != "none"),
        ("compression", settings.text("compression") != "none" && !columns),
    ];
    for (key, is_set) in rolled {
        if is_set && !directory {
            let message = format!("`{key}` is for files that are complete one day");
            problem(key, &message, "name a `directory` instead of a `file`");
        }
    }
    check_columns(settings, directory, &mut problem);
    if delimiter(settings.text("csv.delimiter")).is_none() {
        problem(
            "csv.delimiter",
            "`csv.delimiter` must be one character of ASCII",
            "for example `;`, `|` or `tab`; quotes are `\"`",
        );
    }
}

/// What a format of columns asks for, and what is for it alone.
fn check_columns(settings: &Settings, directory: bool, problem: &mut impl FnMut(&str, &str, &str)) {
    let packed = settings.text("compression");
    match settings.text("format") == PARQUET {
        true if !directory => problem(
            "format",
            "`format = parquet` is for files that are complete one day: Parquet cannot be appended to",
            "name a `directory` instead of a `file`",
        ),
        false if ["snappy", "lz4"].contains(&packed) => problem(
            "compression",
            &format!("`compression = {packed}` is for `format = parquet`"),
            "files of lines are compressed by `gzip` or `zstd`",
        ),
        _ => {}
    }
    let converter = settings.optional_text("value.converter").map(class_name);
    let plain = converter.filter(|class| {
        ["String", "ByteArray"].contains(&class.strip_suffix("Converter").unwrap_or(class))
    });
    if let Some(plain) = plain
        && settings.text("format") == PARQUET
        && settings.list("transforms").is_empty()
    {
        problem(
            "value.converter",
            &format!("{plain} gives no fields, of which Parquet's columns are made"),
            "name org.apache.kafka.connect.json.JsonConverter (for JSON without schemas with \
             `value.converter.schemas.enable = false`), or make a field by the transform \
             HoistField$Value",
        );
    }
}

impl FileSink {
    pub fn new(config: &ConnectorConfig) -> FileSink {
        let format = match config.text("format") {
            "json" => RowFormat::Json,
            "csv" => RowFormat::Csv {
                delimiter: delimiter(config.text("csv.delimiter")).unwrap_or(b','),
            },
            _ => RowFormat::Text,
        };
        let rows = Rows::new(format);
        let by_fields = !config.list("partition.by").is_empty();
        let target = match config.settings().optional_text("directory") {
            Some(_) => Target::Directory(part_options(config, format), rows),
            None if config.text("file") == stdin::NAME => Target::Stdout(rows),
            None => Target::File(config.path("file"), rows),
        };
        let columns = config.text("format") == PARQUET;
        let wants_values = columns || format != RowFormat::Text || by_fields;
        FileSink { target, wants_values, opened: None }
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("the worker opens partitions before all else")
    }
}

fn part_options(config: &ConnectorConfig, format: RowFormat) -> PartOptions {
    let (packing, settings) = (packing(config), config.settings());
    let fields = config.list("partition.by").to_vec();
    PartOptions {
        root: config.path("directory"),
        left_out: if settings.flag("partition.keep") { Vec::new() } else { fields.clone() },
        layout: Layout {
            fields,
            time: match config.text("partition.time") {
                "year" => Some(TimeStep::Year),
                "month" => Some(TimeStep::Month),
                "day" => Some(TimeStep::Day),
                "hour" => Some(TimeStep::Hour),
                _ => None,
            },
        },
        packing,
        roll_bytes: config.integer("roll.bytes") as u64,
        roll_records: settings.optional_integer("roll.records").map_or(u64::MAX, |at| at as u64),
        roll_after: Duration::from_millis(config.integer("roll.ms") as u64),
        open_max: config.integer("files.open.max") as usize,
        held_max: HELD_MAX,
        ending: match (packing, format) {
            (Packing::Parquet(_), _) => ".parquet",
            (_, RowFormat::Text) => ".txt",
            (_, RowFormat::Json) => ".jsonl",
            (_, RowFormat::Csv { .. }) => ".csv",
        },
    }
}

/// How the files in a directory are written.
fn packing(config: &ConnectorConfig) -> Packing {
    match (config.text("format") == PARQUET, config.text("compression")) {
        (true, "none") => Packing::Parquet(Compression::UNCOMPRESSED),
        (true, "gzip") => Packing::Parquet(Compression::GZIP(GzipLevel::default())),
        (true, "zstd") => Packing::Parquet(Compression::ZSTD(ZstdLevel::default())),
        (true, "lz4") => Packing::Parquet(Compression::LZ4_RAW),
        (true, _) => Packing::Parquet(Compression::SNAPPY),
        (false, "gzip") => Packing::Gzip,
        (false, "zstd") => Packing::Zstd,
        (false, _) => Packing::None,
    }
}

/// Changes which records the output is taken to hold; what is in it stays.
pub fn alter_offsets(
    config: &ConnectorConfig,
    offsets: &[(TopicPartition, Option<Offset>)],
) -> Result<(), TaskError> {
    match config.settings().optional_text("directory") {
        Some(_) => Ok(parts::alter_offsets(&config.path("directory"), offsets)?),
        None if config.text("file") == stdin::NAME => Ok(()),
        None => output::alter_offsets(config, offsets),
    }
}

#[async_trait]
impl SinkTask for FileSink {
    fn wants_values(&self) -> bool {
        self.wants_values
    }

    async fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        if self.opened.is_none() {
            self.opened = Some(match self.target.clone() {
                Target::File(path, rows) => {
                    let opened = Blocking::new(path).run(|path| Output::open(path, rows)).await?;
                    Opened::File(Blocking::new(opened))
                }
                Target::Directory(options, rows) => {
                    Opened::Directory(Blocking::new(Parts::new(options, rows)))
                }
                Target::Stdout(rows) => Opened::Stdout(Blocking::new(Stdout::new(rows))),
            });
        }
        let partitions = partitions.to_vec();
        Ok(match self.opened() {
            Opened::File(output) => output.run(move |output| output.offsets(&partitions)).await,
            Opened::Directory(parts) => parts.run(move |parts| parts.open(&partitions)).await?,
            Opened::Stdout(_) => Vec::new(),
        })
    }

    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        let records = records.clone();
        Ok(match self.opened() {
            Opened::File(output) => output.run(move |output| output.put(&records)).await?,
            Opened::Directory(parts) => parts.run(move |parts| parts.put(&records)).await?,
            Opened::Stdout(stdout) => stdout.run(move |stdout| stdout.put(&records)).await?,
        })
    }

    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(match self.opened() {
            Opened::File(output) => output.run(Output::flush).await?,
            Opened::Directory(parts) => parts.run(Parts::flush).await?,
            Opened::Stdout(stdout) => stdout.run(|stdout| stdout.written.clone()).await,
        })
    }

    fn flush_at(&self) -> Option<Instant> {
        match &self.opened {
            Some(Opened::Directory(parts)) => parts.get().flush_at(),
            _ => None,
        }
    }

    async fn finish(&mut self) -> Result<(), TaskError> {
        match self.opened() {
            Opened::Directory(parts) => Ok(parts.run(Parts::finish).await?),
            _ => Ok(()),
        }
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        if let Opened::Directory(parts) = self.opened() {
            let partitions = partitions.to_vec();
            parts.run(move |parts| parts.close(&partitions)).await;
        }
        Ok(())
    }

    /// What was put is to be seen once the worker is gone. The group's offsets lag behind then,
    /// which does no harm: the directory knows its own.
    async fn stop(&mut self) {
        if let Some(Opened::Directory(parts)) = &mut self.opened
            && let Err(error) = parts.run(Parts::finish).await
        {
            warn!("files are not complete, their records will be written again: {error}");
        }
    }
}

/// Standard output: what was written cannot be taken back, so that after a crash records may come
/// twice.
#[derive(Debug)]
struct Stdout {
    rows: Rows,
    columns: Option<Vec<crate::data::Text>>,
    written: Vec<(TopicPartition, Offset)>,
}

impl Stdout {
    fn new(rows: Rows) -> Stdout {
        Stdout { rows, columns: None, written: Vec::new() }
    }

    fn put(&mut self, records: &SinkRecords) -> Result<Put, OutputError> {
        let mut out = std::io::stdout().lock();
        let put = output::put_lines(records, &mut self.rows, &mut self.columns, |lines| {
            out.write_all(lines).map_err(io_error(stdin::NAME.as_ref(), "write to standard output"))
        })?;
        out.flush().map_err(io_error(stdin::NAME.as_ref(), "write to standard output"))?;
        let next = (records.partition().clone(), records.next_offset());
        self.written.retain(|(partition, _)| partition != records.partition());
        self.written.push(next);
        Ok(put)
    }
}
