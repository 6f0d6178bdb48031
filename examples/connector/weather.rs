//! A source and a sink of one's own, and a program that runs them beside an embedded broker.
//!
//! `cargo run -p millstream-connectors --example weather`
//!
//! The source reads made-up thermometers; a real one would ask a device. The sink prints alarms;
//! a real one would call somebody.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic};
use broker::ids::{Offset, TopicPartition};
use connectors::config::{ConfigKey, KeyType, Presence};
use connectors::convert::settings::STRING;
use connectors::offsets::{SourceOffset, SourcePartition};
use connectors::plugin::{self, Tasks};
use connectors::records::SourceRecords;
use connectors::task::{
    Polled, Put, Refused, SinkPartition, SinkRecords, SinkTask, SourceContext, SourceRecord,
    SourceTask, TaskError, Topic,
};
use connectors::{ConnectorConfig, Plugin, Worker, WorkerOptions, validate};
use serde_json::json;

/// What `connector.class = thermometers` stands for: its properties are checked, and explained,
/// by what is declared here.
pub static SOURCE: Plugin = Plugin {
    name: "thermometers",
    classes: &[],
    doc: "Readings of thermometers",
    tasks: Tasks::Source(|config| vec![Box::new(Thermometers::new(config))]),
    converter: STRING,
    defaults: plugin::no_defaults,
    check: plugin::no_check,
    alter_offsets: None,
    check_offset: None,
    own_keys: &[
        ConfigKey {
            name: "topic",
            key_type: KeyType::Topic,
            presence: Presence::Required,
            doc: "The topic to write to, created if it does not exist",
            example: "weather",
        },
        ConfigKey {
            name: "places",
            key_type: KeyType::List,
            presence: Presence::Required,
            doc: "Where the thermometers are",
            example: "attic, cellar",
        },
        ConfigKey {
            name: "readings",
            key_type: KeyType::Integer { min: 1, max: 1_000_000 },
            presence: Presence::Default("100"),
            doc: "How many readings there are of each",
            example: "10",
        },
    ],
    family: None,
};

/// And `connector.class = alarms`.
pub static SINK: Plugin = Plugin {
    name: "alarms",
    classes: &[],
    doc: "An alarm for each reading above a limit",
    tasks: Tasks::Sink(|config| vec![Box::new(Alarms::new(config))]),
    converter: STRING,
    defaults: plugin::no_defaults,
    check: plugin::no_check,
    alter_offsets: None,
    check_offset: None,
    own_keys: &[ConfigKey {
        name: "limit",
        key_type: KeyType::Integer { min: -50, max: 100 },
        presence: Presence::Default("25"),
        doc: "The warmest, in degrees, that is no alarm",
        example: "30",
    }],
    family: None,
};

/// The source's task: one, for all thermometers.
struct Thermometers {
    config: ConnectorConfig,
    topic: Option<Topic>,
    /// The next reading of each place.
    next: BTreeMap<String, i64>,
}

impl Thermometers {
    fn new(config: &ConnectorConfig) -> Thermometers {
        Thermometers { config: config.clone(), topic: None, next: BTreeMap::new() }
    }
}

/// Each thermometer is a part of the input, with an offset of its own.
fn part(place: &str) -> SourcePartition {
    SourcePartition::new(&[("place", place)])
}

#[async_trait]
impl SourceTask for Thermometers {
    /// Finds its topic, and where each thermometer was left.
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        self.topic = Some(context.topic(&NewTopic::new(self.config.text("topic"), 1)).await?);
        for place in self.config.list("places") {
            let stored = context.offset(&part(place)).and_then(|at| at.0["next"].as_i64());
            self.next.insert(place.clone(), stored.unwrap_or(0));
        }
        Ok(())
    }

    /// Hands over what is at hand, and where to go on after it. Both become durable together.
    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let topic = self.topic.as_ref().ok_or("it was not started")?;
        let readings = self.config.integer("readings");
        let mut more = false;
        for (place, next) in &mut self.next {
            if *next == readings {
                continue;
            }
            let value = json!({ "place": place, "number": *next, "degrees": 15 + *next % 16 });
            let value = value.to_string();
            let record = SourceRecord {
                timestamp_ms: 1_700_000_000_000 + *next * 60_000,
                key: Some(place.as_bytes()),
                value: Some(value.as_bytes()),
                ..SourceRecord::default()
            };
            out.append(topic, record);
            *next += 1;
            more |= *next < readings;
            out.set_offset(part(place), SourceOffset(json!({ "next": *next })));
        }
        Ok(if more { Polled::More } else { Polled::End })
    }

    /// Nothing will come: it ends where its input does.
    async fn wait(&mut self) -> Result<(), TaskError> {
        std::future::pending().await
    }
}

/// The sink's task.
struct Alarms {
    limit: i64,
    /// What was put and is not safe yet.
    waiting: VecDeque<String>,
    done: BTreeMap<TopicPartition, Offset>,
}

impl Alarms {
    fn new(config: &ConnectorConfig) -> Alarms {
        Alarms { limit: config.integer("limit"), waiting: VecDeque::new(), done: BTreeMap::new() }
    }
}

#[async_trait]
impl SinkTask for Alarms {
    /// A sink that keeps offsets with its output would say here how far each partition is.
    async fn open(
        &mut self,
        _partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(Vec::new())
    }

    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        let mut put = Put::default();
        records.for_each(|record| {
            let value = record.value.unwrap_or_default();
            match serde_json::from_slice::<serde_json::Value>(value) {
                Ok(json) if json["degrees"].as_i64() > Some(self.limit) => {
                    self.waiting.push_back(json.to_string());
                    put.records += 1;
                }
                Ok(_) => put.skipped += 1,
                // Dead letters, or the end of the task: as errors.tolerance says.
                Err(error) => {
                    put.refused.push(Refused { offset: record.offset, reason: error.to_string() });
                }
            }
            Ok::<(), TaskError>(())
        })?;
        self.done.insert(records.partition().clone(), records.next_offset());
        Ok(put)
    }

    /// What is returned here gets committed: it must be safe by then.
    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        for alarm in self.waiting.drain(..) {
            println!("alarm {alarm}");
        }
        Ok(self.done.iter().map(|(partition, offset)| (partition.clone(), *offset)).collect())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        for partition in partitions {
            self.done.remove(partition);
        }
        Ok(())
    }
}

/// Runs both until all readings have been looked at; gives how many alarms there were.
pub async fn run(dir: &Path, readings: u32) -> Result<u64, TaskError> {
    plugin::register(&SOURCE);
    plugin::register(&SINK);
    let broker = Broker::open(BrokerConfig::new(dir.join("data"))).await?;
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    let readings = readings.to_string();
    let connectors = [
        (
            "readings",
            vec![
                ("connector.class", "thermometers"),
                ("topic", "weather"),
                ("places", "attic, cellar"),
                ("readings", &readings),
            ],
        ),
        ("warm", vec![("connector.class", "alarms"), ("topics", "weather"), ("limit", "28")]),
    ];
    let mut checked = Vec::new();
    for (name, properties) in connectors {
        let properties: BTreeMap<String, String> =
            properties.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let config = validate(name, &properties, dir);
        checked.push(config.map_err(|problems| {
            let words: Vec<String> = problems.iter().map(|problem| problem.in_words()).collect();
            words.join("\n")
        })?);
    }
    let options = WorkerOptions { until_end: true, ..WorkerOptions::default() };
    let worker = Worker::start(client, checked, options);
    worker.sources_finished().await?;
    worker.finish_sinks_at_end().await?;
    let done = worker.shutdown().await?;
    broker.shutdown().await?;
    Ok(done.connectors[1].records)
}

#[tokio::main]
#[allow(dead_code, reason = "the test that runs this has a main of its own")]
async fn main() -> Result<(), TaskError> {
    let dir = tempfile::tempdir()?;
    let alarms = run(dir.path(), 100).await?;
    println!("{alarms} alarms");
    Ok(())
}
