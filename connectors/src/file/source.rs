//! The file source: one record per line.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use broker::client::NewTopic;

use super::blocking::Blocking;
use super::position::Position;
use super::tail::{Filled, Tail, TailError, TailOptions};
use super::watch::FileWatch;
use crate::config::ConnectorConfig;
use crate::offsets::{SourceOffset, SourcePartition};
use crate::records::SourceRecords;
use crate::task::{Polled, SourceContext, SourceTask, TaskError, Topic};

/// Kafka's default of `max.message.bytes`, which a topic for longer lines must exceed.
const MESSAGE_BYTES_MAX_DEFAULT: usize = 1_048_588;
/// Room for what a batch of one record holds beside the line.
const BATCH_OVERHEAD: usize = 1024;

/// The settings of one file source.
#[derive(Clone, Debug)]
struct Settings {
    topic: NewTopic,
    /// As declared: the key that offsets are stored under must not change with the directory.
    filename: String,
    path: PathBuf,
    batch_records_max: usize,
    line_bytes_max: usize,
    skip_long_lines: bool,
    tick: Duration,
}

/// The source of one file's lines.
#[derive(Debug)]
pub struct FileSource {
    settings: Settings,
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    topic: Topic,
    tail: Blocking<Tail>,
    watch: FileWatch,
    /// As stored last, so that only changes are stored.
    stored: Option<Position>,
}

impl FileSource {
    pub fn new(config: &ConnectorConfig) -> FileSource {
        let line_bytes_max = config.integer("line.bytes.max") as usize;
        let partitions = config.integer("topic.creation.default.partitions") as i32;
        let mut topic = NewTopic::new(config.text("topic"), partitions);
        if line_bytes_max + BATCH_OVERHEAD > MESSAGE_BYTES_MAX_DEFAULT {
            topic = topic.with_config("max.message.bytes", line_bytes_max + BATCH_OVERHEAD);
        }
        let settings = Settings {
            topic,
            filename: config.text("file").to_owned(),
            path: config.path("file"),
            batch_records_max: config.integer("batch.size") as usize,
            line_bytes_max,
            skip_long_lines: config.text("errors.tolerance") == "all",
            tick: Duration::from_millis(config.integer("poll.interval.ms") as u64),
        };
        FileSource { settings, started: None }
    }

    fn partition(&self) -> SourcePartition {
        SourcePartition::new(&[("filename", &self.settings.filename)])
    }

    fn started(&mut self) -> &mut Started {
        self.started.as_mut().expect("the worker starts a task before all else")
    }
}

#[async_trait]
impl SourceTask for FileSource {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let Settings { path, line_bytes_max, skip_long_lines, tick, .. } = self.settings.clone();
        let stored = context.offset(&self.partition()).and_then(|at| Position::from_json(&at.0));
        let options =
            TailOptions { line_bytes_max, skip_long_lines, until_end: context.until_end() };
        let topic = context.topic(&self.settings.topic).await?;
        let watch = FileWatch::new(path.clone(), tick);
        let tail = Blocking::new(Tail::new(path, options, stored.clone()));
        self.started = Some(Started { topic, tail, watch, stored });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let partition = self.partition();
        let batch_records_max = self.settings.batch_records_max;
        let started = self.started();
        let topic = started.topic.clone();
        let mut records = std::mem::take(out);
        records.set_batch_records_max(batch_records_max);
        let now_ms = now_ms();
        let work = move |tail: &mut Tail| {
            let filled = tail.fill(|line| {
                records.append_value(&topic, now_ms, line);
                !records.is_full()
            });
            let counts = tail.take_counts();
            records.count_input(counts.bytes, counts.skipped_lines);
            (records, filled, tail.position())
        };
        let (records, filled, position): (_, Result<Filled, TailError>, _) =
            started.tail.run(work).await;
        *out = records;
        if position != started.stored
            && let Some(position) = position
        {
            out.set_offset(partition, SourceOffset(position.to_json()));
            started.stored = Some(position);
        }
        Ok(match filled? {
            Filled::More => Polled::More,
            Filled::Drained => Polled::Drained,
            Filled::End => Polled::End,
        })
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        self.started().watch.changed().await;
        Ok(())
    }

    fn remaining_bytes(&self) -> Option<u64> {
        self.started.as_ref().map(|started| started.tail.get().remaining_bytes())
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |since| since.as_millis() as i64)
}
