//! The task that makes records, at a rate, from a number on.

use std::time::Duration;

use async_trait::async_trait;
use broker::client::NewTopic;
use serde_json::json;
use tokio::time::Instant;

use super::fields::Fields;
use super::nexmark::{Events, Stream};
use crate::clock;
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::json_records::JsonRecords;
use crate::offsets::{SourceOffset, SourcePartition};
use crate::records::SourceRecords;
use crate::task::{Polled, SourceContext, SourceRecord, SourceTask, TaskError, Topic};

/// How quickly times go on where there is no rate.
const RATE_OF_TIME: u64 = 10_000;
/// The longest time for which records are made up that could not be made in time.
const BURST: Duration = Duration::from_secs(1);
/// How long to wait at least: timers are no finer.
const TICK: Duration = Duration::from_millis(1);

pub struct GeneratorSource {
    config: ConnectorConfig,
    running: Option<Running>,
}

struct Running {
    kind: Kind,
    writer: JsonRecords,
    seed: u64,
    /// `None`: as many as there can be.
    rate: Option<u64>,
    /// `None`: no end.
    count: Option<u64>,
    next: u64,
    start_ms: i64,
    /// What the pace is measured from: a moment, and the next record then.
    since: (Instant, u64),
    value: Vec<u8>,
    key: Vec<u8>,
}

enum Kind {
    Fields { fields: Fields, topic: Topic },
    Nexmark { events: Box<Events>, topics: Vec<Topic> },
}

impl GeneratorSource {
    pub fn new(config: &ConnectorConfig) -> GeneratorSource {
        GeneratorSource { config: config.clone(), running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the worker starts a task before all else")
    }
}

fn partition() -> SourcePartition {
    SourcePartition::new(&[("source", "generator")])
}

fn fields(settings: &Settings) -> Result<Fields, String> {
    let key = settings.optional_text("generator.key");
    Fields::parse(settings.list("generator.fields"), key)
}

pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    let is_nexmark = settings.text("generator.kind") == "nexmark";
    let has_fields = !settings.list("generator.fields").is_empty();
    let mistake = match (is_nexmark, has_fields) {
        (true, true) => Some("Nexmark's events have fields of their own".to_owned()),
        (true, false) => None,
        (false, _) => fields(settings).err(),
    };
    if let Some(mistake) = mistake {
        problems.push(ConfigProblem {
            key: "generator.fields".to_owned(),
            value: None,
            message: format!("`generator.fields`: {mistake}"),
            help: None,
        });
    }
}

#[async_trait]
impl SourceTask for GeneratorSource {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let settings = self.config.settings();
        let number = |key| settings.integer(key) as u64;
        let count = Some(number("count")).filter(|count| *count > 0);
        if context.until_end() && count.is_none() {
            return Err("there is no end to its records: set `count`".into());
        }
        let stored = context.offset(&partition()).map(|offset| &offset.0);
        let next = stored.and_then(|stored| stored["next"].as_u64()).unwrap_or_default();
        let given = settings.get("start.time.ms").map(|_| settings.integer("start.time.ms"));
        let known = stored.and_then(|stored| stored["start_ms"].as_i64());
        let start_ms = known.or(given).unwrap_or_else(clock::now_ms);
        let rate = Some(number("rate")).filter(|rate| *rate > 0);
        let partitions = self.config.integer("topic.creation.default.partitions") as i32;
        let name = self.config.text("topic");
        let kind = match settings.text("generator.kind") {
            "nexmark" => {
                let mut topics = Vec::new();
                for stream in Stream::ALL {
                    let name = format!("{name}-{}", stream.name());
                    topics.push(context.topic(&NewTopic::new(name.as_str(), partitions)).await?);
                }
                let events = Box::new(Events::new(next, rate.unwrap_or(RATE_OF_TIME)));
                Kind::Nexmark { events, topics }
            }
            _ => {
                let topic = context.topic(&NewTopic::new(name, partitions)).await?;
                Kind::Fields { fields: fields(settings)?, topic }
            }
        };
        self.running = Some(Running {
            kind,
            writer: JsonRecords::new(&self.config),
            seed: number("seed"),
            rate,
            count,
            next,
            start_ms,
            since: (Instant::now(), next),
            value: Vec::new(),
            key: Vec::new(),
        });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let running = self.running();
        let due = running.due(Instant::now());
        let before = running.next;
        while running.next < due && !out.is_full() {
            running.append(out)?;
        }
        if running.next > before {
            let offset = json!({ "next": running.next, "start_ms": running.start_ms });
            out.set_offset(partition(), SourceOffset(offset));
        }
        Ok(match running.count {
            Some(count) if running.next >= count => Polled::End,
            _ if running.next < due => Polled::More,
            _ => Polled::Drained,
        })
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        let running = self.running();
        let (since, first) = running.since;
        let wanted = (running.next + 1).saturating_sub(first);
        let rate = running.rate.unwrap_or(u64::MAX);
        let at = since + Duration::from_secs_f64(wanted as f64 / rate as f64);
        tokio::time::sleep_until(at.max(Instant::now() + TICK)).await;
        Ok(())
    }
}

impl Running {
    /// The number that records are to come up to by now.
    fn due(&mut self, now: Instant) -> u64 {
        let end = self.count.unwrap_or(u64::MAX);
        let Some(rate) = self.rate else { return end };
        let (since, first) = self.since;
        let due = first + (now.duration_since(since).as_secs_f64() * rate as f64) as u64;
        let burst = (BURST.as_secs_f64() * rate as f64) as u64;
        if due.saturating_sub(self.next) > burst {
            // What could not be made in time is not made up for.
            self.since = (now, self.next);
            return (self.next + burst).min(end);
        }
        due.min(end)
    }

    fn append(&mut self, out: &mut SourceRecords) -> Result<(), TaskError> {
        let rate = u128::from(self.rate.unwrap_or(RATE_OF_TIME));
        let since_start = u128::from(self.next) * 1000 / rate;
        let timestamp_ms = self.start_ms + since_start as i64;
        self.value.clear();
        self.key.clear();
        let (topic, has_key) = match &mut self.kind {
            Kind::Fields { fields, topic } => {
                let (value, key) = (&mut self.value, &mut self.key);
                fields.write(self.next, self.seed, timestamp_ms, value, key);
                (&*topic, fields.has_key())
            }
            Kind::Nexmark { events, topics } => {
                let (stream, key, value) = events.next(timestamp_ms);
                self.value.extend_from_slice(value.as_bytes());
                self.key.extend_from_slice(key.to_string().as_bytes());
                (&topics[stream as usize], true)
            }
        };
        let record = SourceRecord {
            timestamp_ms,
            key: has_key.then_some(&self.key),
            value: Some(&self.value),
            ..SourceRecord::default()
        };
        self.next += 1;
        out.count_input(self.value.len() as u64, 0);
        Ok(self.writer.append(out, topic, record)?)
    }
}
