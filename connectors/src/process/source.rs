//! The process source: what a program writes to its stdout.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use broker::client::NewTopic;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::child::{Child, Next};
use super::command::Call;
use super::message::{self, FromSource, Record};
use super::restarts::Restarts;
use crate::clock;
use crate::config::ConnectorConfig;
use crate::json_records::JsonRecords;
use crate::offsets::{SourceOffset, SourcePartition};
use crate::records::SourceRecords;
use crate::task::{Polled, SourceContext, SourceRecord, SourceTask, TaskError, Topic};

/// The most that may come before a commit.
pub const PENDING_BYTES_MAX: usize = 64 << 20;
/// How many messages may wait for a program that does not read them; it can do without those
/// between the first and the last.
const OUTBOX_MAX: usize = 16;
/// Room for what a batch of one record holds beside the line, and Kafka's default bound of it.
const BATCH_OVERHEAD: usize = 1024;
const MESSAGE_BYTES_MAX_DEFAULT: usize = 1_048_588;

pub struct ProcessSource {
    config: ConnectorConfig,
    running: Option<Running>,
}

struct Running {
    name: String,
    call: Call,
    line_bytes_max: usize,
    is_lines: bool,
    interval: Option<Duration>,
    stop_timeout: Duration,
    topic: Topic,
    writer: JsonRecords,
    restarts: Restarts,
    /// Why it failed last.
    trouble: Option<String>,
    phase: Phase,
    /// Lines since the last commit.
    pending: Vec<Bytes>,
    pending_bytes: usize,
    outbox: VecDeque<Bytes>,
    /// As of the last commit that was handed over.
    position: Option<Value>,
    until_end: bool,
}

enum Phase {
    Running(Box<Child>),
    Waiting { until: Instant },
    Over,
}

impl ProcessSource {
    pub fn new(config: &ConnectorConfig) -> ProcessSource {
        ProcessSource { config: config.clone(), running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the worker starts a task before all else")
    }
}

fn partition() -> SourcePartition {
    SourcePartition::new(&[("source", "process")])
}

#[async_trait]
impl SourceTask for ProcessSource {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let settings = self.config.settings();
        let ms = |key| Duration::from_millis(settings.integer(key) as u64);
        let line_bytes_max = settings.integer("process.line.bytes.max") as usize;
        let partitions = self.config.integer("topic.creation.default.partitions") as i32;
        let mut topic = NewTopic::new(self.config.text("topic"), partitions);
        if line_bytes_max + BATCH_OVERHEAD > MESSAGE_BYTES_MAX_DEFAULT {
            topic = topic.with_config("max.message.bytes", line_bytes_max + BATCH_OVERHEAD);
        }
        let interval = settings.get("process.interval.ms").map(|_| ms("process.interval.ms"));
        self.running = Some(Running {
            name: self.config.name().to_owned(),
            call: Call::new(&self.config)?,
            line_bytes_max,
            is_lines: settings.text("process.format") == "lines",
            interval,
            stop_timeout: ms("process.stop.timeout.ms"),
            topic: context.topic(&topic).await?,
            writer: JsonRecords::new(&self.config),
            restarts: Restarts::new(settings),
            trouble: None,
            phase: Phase::Waiting { until: Instant::now() },
            pending: Vec::new(),
            pending_bytes: 0,
            outbox: VecDeque::new(),
            position: context.offset(&partition()).map(|offset| offset.0.clone()),
            until_end: context.until_end(),
        });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let running = self.running();
        match running.turn(out).await {
            Ok(polled) => Ok(polled),
            Err(Failure { reason, is_fatal }) => {
                running.failed(reason, is_fatal)?;
                Ok(Polled::Drained)
            }
        }
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        let running = self.running();
        match &mut running.phase {
            Phase::Running(child) => {
                let has_mail = !running.outbox.is_empty();
                // What is wrong shows at the next poll.
                let _ = tokio::select! {
                    it = child.readable() => it,
                    it = child.writable(), if has_mail => it,
                };
            }
            Phase::Waiting { until } => tokio::time::sleep_until(*until).await,
            Phase::Over => std::future::pending().await,
        }
        Ok(())
    }

    async fn committed(
        &mut self,
        offsets: &[(SourcePartition, SourceOffset)],
    ) -> Result<(), TaskError> {
        let running = self.running();
        if let Some((_, offset)) = offsets.first() {
            running.tell(&json!({ "type": "committed", "offset": offset.0 }));
        }
        Ok(())
    }

    async fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if let Phase::Running(child) = running.phase {
            child.stop(running.stop_timeout).await;
        }
    }

    fn out_of_reach(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.restarts.is_failing())
    }

    fn trouble(&self) -> Option<String> {
        let running = self.running.as_ref().filter(|running| running.restarts.is_failing())?;
        running.trouble.clone()
    }
}

/// Why a program cannot go on.
struct Failure {
    reason: String,
    /// Another start would not help.
    is_fatal: bool,
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure { reason, is_fatal: false }
    }
}

impl Running {
    async fn turn(&mut self, out: &mut SourceRecords) -> Result<Polled, Failure> {
        if let Phase::Waiting { until } = self.phase
            && until <= Instant::now()
        {
            self.begin()?;
        }
        self.deliver()?;
        loop {
            let Phase::Running(child) = &mut self.phase else {
                let is_over = matches!(self.phase, Phase::Over);
                return Ok(if is_over && self.until_end { Polled::End } else { Polled::Drained });
            };
            match child.try_line()? {
                Next::Nothing => return Ok(Polled::Drained),
                Next::Line(line) => self.take(line, out)?,
                Next::End => {
                    let ended = tokio::time::timeout(self.stop_timeout, child.ended()).await;
                    let goes_on = |_| "it has closed its stdout, and goes on".to_owned();
                    let status = ended.map_err(goes_on)??;
                    if !status.success() {
                        return Err(child.in_words(status).into());
                    }
                    // It has said all that it had to say.
                    self.hand_over(None, out)?;
                    self.phase = match self.interval.filter(|_| !self.until_end) {
                        Some(pause) => Phase::Waiting { until: Instant::now() + pause },
                        None => Phase::Over,
                    };
                }
            }
            if out.is_full() {
                return Ok(Polled::More);
            }
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let child = Child::start(&self.call, &self.name, self.line_bytes_max)?;
        self.phase = Phase::Running(Box::new(child));
        self.outbox.clear();
        if !self.is_lines {
            self.tell(&json!({
                "type": "start",
                "connector": self.name,
                "offset": self.position,
                "until_end": self.until_end,
            }));
        }
        Ok(())
    }

    /// Puts a message where the program will find it.
    fn tell(&mut self, message: &Value) {
        if self.is_lines || !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        if self.outbox.len() >= OUTBOX_MAX {
            // The first may have been read in part.
            self.outbox.truncate(1);
        }
        self.outbox.push_back(Bytes::from(format!("{message}\n")));
    }

    /// Hands messages over as far as the program takes them.
    fn deliver(&mut self) -> Result<(), Failure> {
        let Phase::Running(child) = &mut self.phase else { return Ok(()) };
        while let Some(first) = self.outbox.front_mut() {
            if let Err(reason) = child.try_write(first) {
                // One that reads no messages may go on writing some.
                warn!("connector '{}': {reason}", self.name);
                self.outbox.clear();
                return Ok(());
            }
            if !first.is_empty() {
                return Ok(());
            }
            self.outbox.pop_front();
        }
        Ok(())
    }

    fn take(&mut self, line: Bytes, out: &mut SourceRecords) -> Result<(), Failure> {
        if self.is_lines {
            let value = Some(&line[..]);
            let timestamp_ms = clock::now_ms();
            out.count_input(line.len() as u64 + 1, 0);
            out.append(&self.topic, SourceRecord { timestamp_ms, value, ..Default::default() });
            self.restarts.progressed();
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let wrong = |reason| Failure::from(format!("what it wrote is no message: {reason}"));
        match message::from_source(&line).map_err(wrong)? {
            FromSource::Record(record) => {
                let offset = record.offset.clone();
                self.pending_bytes += line.len();
                if self.pending_bytes > PENDING_BYTES_MAX {
                    let mib = PENDING_BYTES_MAX >> 20;
                    let reason =
                        format!("it wrote more than {mib} MiB of records without a commit");
                    return Err(Failure { reason, is_fatal: true });
                }
                self.pending.push(line.clone());
                match offset {
                    Some(offset) => self.hand_over(Some(offset), out),
                    None => Ok(()),
                }
            }
            FromSource::Commit(offset) => self.hand_over(offset, out),
            FromSource::Error { message, fatal } => {
                Err(Failure { reason: format!("it says: {message}"), is_fatal: fatal })
            }
        }
    }

    /// What came since the last commit is to be written, with where to go on.
    fn hand_over(&mut self, offset: Option<Value>, out: &mut SourceRecords) -> Result<(), Failure> {
        for line in std::mem::take(&mut self.pending) {
            let message = message::from_source(&line)?;
            if let FromSource::Record(record) = message {
                out.count_input(line.len() as u64 + 1, 0);
                self.append(record, out)?;
            }
        }
        self.pending_bytes = 0;
        self.restarts.progressed();
        if let Some(offset) = offset {
            out.set_offset(partition(), SourceOffset(offset.clone()));
            self.position = Some(offset);
        }
        Ok(())
    }

    fn append(&mut self, record: Record<'_>, out: &mut SourceRecords) -> Result<(), Failure> {
        let Record { topic, partition, timestamp_ms, key, value, headers, .. } = record;
        let key = key.map(message::bytes_of);
        let value = value.map(|piece| match self.writer.parses() {
            true => piece.as_bytes().to_vec(),
            false => message::bytes_of(piece),
        });
        let headers = headers.into_iter().map(|(name, piece)| (name, piece.map(message::bytes_of)));
        let headers: Vec<(String, Option<Vec<u8>>)> = headers.collect();
        let headers: Vec<(&str, Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let record = SourceRecord {
            timestamp_ms: timestamp_ms.unwrap_or_else(clock::now_ms),
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
            partition,
        };
        match topic.filter(|topic| *topic != *self.topic.name) {
            None => self.writer.append(out, &self.topic, record)?,
            Some(topic) => self.writer.append_named(out, &topic, record)?,
        }
        Ok(())
    }

    /// Starts it again after a pause, or gives up.
    fn failed(&mut self, reason: String, is_fatal: bool) -> Result<(), TaskError> {
        // What was not committed comes again.
        self.pending.clear();
        self.pending_bytes = 0;
        self.phase = Phase::Over;
        let program = self.call.program();
        match self.restarts.failed().filter(|_| !is_fatal) {
            None => Err(format!("'{program}': {reason}").into()),
            Some(pause) => {
                let name = &self.name;
                warn!("connector '{name}': '{program}': {reason}; starts again in {pause:.1?}");
                self.trouble = Some(format!("'{program}': {reason}"));
                self.phase = Phase::Waiting { until: Instant::now() + pause };
                Ok(())
            }
        }
    }
}
