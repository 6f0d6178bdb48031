//! How the tasks of a group stand: a compacted topic, by default `connect-status`.
//!
//! ```text
//! key                          value
//! status-task-NAME-N           {"state", "trace", "worker_id", "generation", "version", …}
//! status-topic-TOPIC:connector-NAME   {"topic": {"name", "connector", "task", "discoverTimestamp"}}
//! ```
//!
//! These are Kafka Connect's own records; ours also tell how many records a task has moved. Who
//! runs a task writes them: see [`super::publisher`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::client::{Client, ClientError, NewTopic, Producer, ProducerOptions, partition_for_key};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::TaskId;
use super::followed::{Apply, Followed, Seen};
use crate::clock;
use crate::herder::{HerderError, TaskState};
use crate::topics;

/// What is known of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub state: TaskState,
    pub trace: Option<String>,
    /// Empty where nobody runs it any more.
    pub worker_id: Arc<str>,
    pub generation: i64,
    pub records: u64,
    pub skipped: u64,
}

/// All that the topic says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statuses {
    tasks: BTreeMap<TaskId, (Offset, Status)>,
    topics: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Statuses {
    pub fn get(&self, task: &TaskId) -> Option<&Status> {
        self.tasks.get(task).map(|(_, status)| status)
    }

    /// Where that is said: each word has another place.
    pub fn place(&self, task: &TaskId) -> Option<Offset> {
        self.tasks.get(task).map(|(at, _)| *at)
    }

    /// All tasks of a connector that something is said of.
    pub fn of(&self, connector: &str) -> impl Iterator<Item = &TaskId> {
        self.tasks.keys().filter(move |task| *task.connector == *connector)
    }

    /// The topics that a connector has used.
    pub fn topics(&self, connector: &str) -> BTreeSet<Arc<str>> {
        self.topics.get(connector).cloned().unwrap_or_default()
    }
}

impl Apply for Statuses {
    fn apply(&mut self, offset: Offset, key: &str, value: Option<&[u8]>) {
        let value = value.and_then(|value| serde_json::from_slice::<Value>(value).ok());
        if let Some((connector, number)) =
            key.strip_prefix("status-task-").and_then(|rest| rest.rsplit_once('-'))
        {
            let Ok(number) = number.parse() else { return };
            let task = TaskId { connector: connector.into(), number };
            match value.and_then(|value| status(&value)) {
                Some(status) => drop(self.tasks.insert(task, (offset, status))),
                None => drop(self.tasks.remove(&task)),
            }
        } else if let Some((topic, connector)) =
            key.strip_prefix("status-topic-").and_then(|rest| rest.split_once(":connector-"))
        {
            let topics = self.topics.entry(connector.to_owned()).or_default();
            match value {
                Some(_) => drop(topics.insert(topic.into())),
                None => drop(topics.remove(topic)),
            }
        }
    }
}

fn status(value: &Value) -> Option<Status> {
    let count = |key: &str| value[key].as_u64().unwrap_or_default();
    Some(Status {
        state: TaskState::named(value["state"].as_str()?)?,
        trace: value["trace"].as_str().map(str::to_owned),
        worker_id: value["worker_id"].as_str()?.into(),
        generation: value["generation"].as_i64()?,
        records: count("records"),
        skipped: count("skipped"),
    })
}

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub String, pub Option<Value>);

impl Entry {
    pub fn task(task: &TaskId, status: Option<&Status>) -> Entry {
        let value = status.map(|status| {
            json!({
                "state": status.state.name(),
                "trace": status.trace,
                "worker_id": &*status.worker_id,
                "generation": status.generation,
                "version": env!("CARGO_PKG_VERSION"),
                "records": status.records,
                "skipped": status.skipped,
            })
        });
        Entry(format!("status-task-{}-{}", task.connector, task.number), value)
    }

    /// Who has found that a connector uses a topic.
    pub fn topic(topic: &str, task: &TaskId) -> Entry {
        let value = json!({ "topic": {
            "name": topic,
            "connector": &*task.connector,
            "task": task.number,
            "discoverTimestamp": clock::now_ms(),
        }});
        Entry(topic_key(topic, &task.connector), Some(value))
    }

    pub fn unused(topic: &str, connector: &str) -> Entry {
        Entry(topic_key(topic, connector), None)
    }
}

fn topic_key(topic: &str, connector: &str) -> String {
    format!("status-topic-{topic}:connector-{connector}")
}

/// The topic, followed.
#[derive(Debug)]
pub(super) struct StatusTopic {
    client: Arc<dyn Client>,
    name: Arc<str>,
    partitions: i32,
    followed: Followed<Statuses>,
}

impl StatusTopic {
    /// Reads all that is there.
    pub async fn open(
        client: Arc<dyn Client>,
        wanted: &NewTopic,
    ) -> Result<StatusTopic, HerderError> {
        let name: Arc<str> = wanted.name.as_str().into();
        let failed = |error: ClientError| HerderError::Failed(format!("topic '{name}': {error}"));
        let info = topics::ensure(&*client, wanted).await.map_err(failed)?;
        let all = (0..info.partitions)
            .map(|partition| TopicPartition { topic: name.clone(), partition })
            .collect();
        let followed = Followed::start(client.clone(), all);
        followed.read_to_end().await.map_err(failed)?;
        Ok(StatusTopic { client, name, partitions: info.partitions, followed })
    }

    pub fn now(&self) -> watch::Ref<'_, Seen<Statuses>> {
        self.followed.now()
    }

    pub fn watch(&self) -> watch::Receiver<Seen<Statuses>> {
        self.followed.watch()
    }

    /// Waits until all is read that was written before this was called.
    pub async fn read_to_end(&self) -> Result<(), ClientError> {
        self.followed.read_to_end().await
    }

    pub async fn writer(&self) -> Result<StatusWriter, ClientError> {
        let producer = self.client.producer(ProducerOptions::default()).await?;
        Ok(StatusWriter { producer, name: self.name.clone(), partitions: self.partitions })
    }
}

/// Writes to the topic.
pub(super) struct StatusWriter {
    producer: Box<dyn Producer>,
    name: Arc<str>,
    partitions: i32,
}

impl StatusWriter {
    /// Writes entries, durably.
    pub async fn write(&mut self, entries: &[Entry]) -> Result<(), ClientError> {
        let mut batches: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
        for Entry(key, value) in entries {
            let partition = partition_for_key(key.as_bytes(), self.partitions);
            let value = value.as_ref().map(Value::to_string);
            let value = value.as_deref().map(str::as_bytes);
            let batch = batches.entry(partition).or_default();
            batch.append(clock::now_ms(), Some(key.as_bytes()), value);
        }
        for (partition, batch) in batches {
            let to = TopicPartition { topic: self.name.clone(), partition };
            self.producer.send(&to, batch).await?;
        }
        self.producer.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(statuses: &mut Statuses, Entry(key, value): Entry) {
        let value = value.map(|value| value.to_string());
        statuses.apply(Offset::ZERO, &key, value.as_deref().map(str::as_bytes));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let task = TaskId { connector: "a-b".into(), number: 1 };
        let status = Status {
            state: TaskState::Failed,
            trace: Some("why".to_owned()),
            worker_id: "w".into(),
            generation: 4,
            records: 7,
            skipped: 1,
        };
        let mut statuses = Statuses::default();
        apply(&mut statuses, Entry::task(&task, Some(&status)));
        assert_eq!(statuses.get(&task), Some(&status));
        assert_eq!(statuses.of("a-b").collect::<Vec<_>>(), [&task]);
        apply(&mut statuses, Entry::task(&task, None));
        assert_eq!(statuses.get(&task), None);
    }

    #[test]
    fn what_kafka_connect_has_written_is_understood() {
        let mut statuses = Statuses::default();
        let value = br#"{"state":"RUNNING","trace":null,"worker_id":"h:8083","generation":3}"#;
        statuses.apply(Offset::ZERO, "status-task-x-0", Some(value));
        statuses.apply(Offset::ZERO, "status-connector-x", Some(value));
        let task = TaskId { connector: "x".into(), number: 0 };
        assert_eq!(&*statuses.get(&task).unwrap().worker_id, "h:8083");
        let value = br#"{"topic":{"name":"t","connector":"x","task":0,"discoverTimestamp":1}}"#;
        statuses.apply(Offset::ZERO, "status-topic-t:connector-x", Some(value));
        assert_eq!(statuses.topics("x"), BTreeSet::from(["t".into()]));
        apply(&mut statuses, Entry::unused("t", "x"));
        assert_eq!(statuses.topics("x"), BTreeSet::new());
    }
}
