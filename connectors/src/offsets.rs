//! Where sources keep how far they are: a compacted topic, by default `connect-offsets`.
//!
//! ```text
//! key    ["connector name", {"filename": "flights.csv"}]    a part of the connector's input
//! value  {"position": 4711, …}                              where to go on in it; null: forget it
//! ```
//!
//! It is Kafka Connect's own form (JSON without schemas). The last value of a key counts. Offsets
//! are written in the transaction that holds the records they stand for, so both are there or
//! neither.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use broker::client::partition_for_key;
use broker::client::{
    Client, ClientError, Isolation, NewTopic, OffsetSpec, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use broker::record::batch::BatchError;
use serde_json::Value;
use thiserror::Error;

use crate::task::OutgoingBatch;
use crate::topics;

/// The topic's name, as Kafka Connect's documentation has it.
pub const OFFSETS_TOPIC: &str = "connect-offsets";

/// A part of a connector's input, such as a file or a table: a JSON object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePartition(String);

/// How far a source is in a part of its input: a JSON object of the connector's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOffset(pub Value);

impl SourcePartition {
    /// `{"filename": "a.log"}` by `("filename", "a.log")`.
    pub fn new(fields: &[(&str, &str)]) -> SourcePartition {
        let object: serde_json::Map<String, Value> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        SourcePartition(Value::Object(object).to_string())
    }

    /// From its JSON object; `None` if it is none.
    pub(crate) fn from_json(json: &Value) -> Option<SourcePartition> {
        json.is_object().then(|| SourcePartition(json.to_string()))
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::from_str(&self.0).expect("it is made of JSON alone")
    }
}

impl fmt::Debug for SourcePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one connector had committed when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredOffsets(BTreeMap<SourcePartition, SourceOffset>);

impl StoredOffsets {
    pub fn get(&self, partition: &SourcePartition) -> Option<&SourceOffset> {
        self.0.get(partition)
    }

    pub(crate) fn all(&self) -> &BTreeMap<SourcePartition, SourceOffset> {
        &self.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SourcePartition, &SourceOffset)> {
        self.0.iter()
    }

    /// Takes in one record of the topic; records of other connectors and records that are not
    /// of this form are passed over.
    fn apply(&mut self, connector: &str, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(Ok((name, partition))) = key.map(serde_json::from_slice::<(String, Value)>) else {
            return;
        };
        if name != connector {
            return;
        }
        let partition = SourcePartition(partition.to_string());
        match value.map(serde_json::from_slice::<Value>) {
            Some(Ok(offset @ Value::Object(_))) => {
                self.0.insert(partition, SourceOffset(offset));
            }
            Some(Ok(Value::Null)) | None => drop(self.0.remove(&partition)),
            Some(_) => {}
        }
    }
}

/// Why stored offsets could not be read.
#[derive(Debug, Error)]
pub enum OffsetsError {
    #[error("topic '{topic}': {error}")]
    Client { topic: Arc<str>, error: ClientError },
    #[error("partition {partition}: {error}")]
    Unreadable { partition: TopicPartition, error: BatchError },
}

/// The topic of offsets, as seen by one connector.
#[derive(Clone, Debug)]
pub(crate) struct OffsetsTopic {
    topic: Arc<str>,
    connector: String,
    partitions: i32,
}

/// The topic where nobody names another.
pub(crate) fn default_topic() -> NewTopic {
    NewTopic::new(OFFSETS_TOPIC, 1).with_config("cleanup.policy", "compact")
}

impl OffsetsTopic {
    /// Finds the topic, or creates it.
    pub(crate) async fn open(
        client: &dyn Client,
        wanted: &NewTopic,
        connector: &str,
    ) -> Result<OffsetsTopic, OffsetsError> {
        let topic = Arc::from(wanted.name.as_str());
        let failed = |error| OffsetsError::Client { topic: Arc::clone(&topic), error };
        let info = topics::ensure(client, wanted).await.map_err(failed)?;
        Ok(OffsetsTopic { topic, connector: connector.to_owned(), partitions: info.partitions })
    }

    fn failed(&self, error: ClientError) -> OffsetsError {
        OffsetsError::Client { topic: self.topic.clone(), error }
    }

    fn partition(&self, index: i32) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: index }
    }

    /// Reads all that was committed before now. It waits for transactions under way in other
    /// tasks: an offset of ours may lie beyond the last stable offset that they hold back.
    pub(crate) async fn load(&self, client: &dyn Client) -> Result<StoredOffsets, OffsetsError> {
        let all: Vec<TopicPartition> =
            (0..self.partitions).map(|index| self.partition(index)).collect();
        let latest = OffsetSpec::Latest(Isolation::ReadUncommitted);
        let (starts, ends) = futures::try_join!(
            client.list_offsets(&all, OffsetSpec::Earliest),
            client.list_offsets(&all, latest),
        )
        .map_err(|error| self.failed(error))?;
        let mut ends_to_reach = BTreeMap::new();
        let mut from = Vec::new();
        for ((partition, start), end) in all.into_iter().zip(starts).zip(ends) {
            let (start, end) = (start.unwrap_or(Offset::ZERO), end.unwrap_or(Offset::ZERO));
            if start < end {
                ends_to_reach.insert(partition.clone(), end);
                from.push((partition, start));
            }
        }
        let mut stored = StoredOffsets::default();
        if from.is_empty() {
            return Ok(stored);
        }
        let reader = client.reader(ReaderOptions::partitions(from)).await;
        let mut reader = reader.map_err(|error| self.failed(error))?;
        while !ends_to_reach.is_empty() {
            let event = reader.next().await.map_err(|error| self.failed(error))?;
            let ReaderEvent::Batches(fetched) = event else { continue };
            let unreadable =
                |error| OffsetsError::Unreadable { partition: fetched.partition.clone(), error };
            for batch in &fetched.batches {
                for record in batch.records().map_err(unreadable)?.iter() {
                    let record = record.map_err(unreadable)?;
                    stored.apply(&self.connector, record.key, record.value);
                }
            }
            if ends_to_reach.get(&fetched.partition).is_some_and(|end| fetched.next_offset >= *end)
            {
                ends_to_reach.remove(&fetched.partition);
            }
        }
        Ok(stored)
    }

    /// The records that store these offsets.
    pub(crate) fn batches(
        &self,
        offsets: &[(SourcePartition, SourceOffset)],
        now_ms: i64,
    ) -> Vec<OutgoingBatch> {
        let mut batches: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
        for (partition, offset) in offsets {
            let name = Value::from(self.connector.as_str());
            let key = format!("[{name},{}]", partition.0);
            let to = partition_for_key(key.as_bytes(), self.partitions);
            // Null forgets the part.
            let value = (!offset.0.is_null()).then(|| offset.0.to_string());
            let batch = batches.entry(to).or_default();
            batch.append(now_ms, Some(key.as_bytes()), value.as_deref().map(str::as_bytes));
        }
        let batches = batches.into_iter();
        batches.map(|(to, batch)| (self.partition(to), batch)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::record::ProducerStamp;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back_and_the_last_value_counts() {
        let of = |connector: &str| OffsetsTopic {
            topic: OFFSETS_TOPIC.into(),
            connector: connector.to_owned(),
            partitions: 1,
        };
        let (topic, other) = (of("a \"b\""), of("other"));
        let part = |name| SourcePartition::new(&[("filename", name)]);
        let mut stored = StoredOffsets::default();
        for (topic, position) in [(&topic, 1), (&other, 2), (&topic, 3)] {
            let offset = SourceOffset(json!({ "position": position }));
            for (_, batch) in topic.batches(&[(part("x"), offset)], 0) {
                for record in batch.build(ProducerStamp::NONE).records().unwrap().iter() {
                    let record = record.unwrap();
                    stored.apply("a \"b\"", record.key, record.value);
                }
            }
        }
        assert_eq!(stored.get(&part("x")), Some(&SourceOffset(json!({ "position": 3 }))));
        assert_eq!(stored.get(&part("y")), None);
    }

    #[test]
    fn connects_own_records_are_understood_and_tombstones_forget() {
        let mut stored = StoredOffsets::default();
        let key = br#"["local-file-source", {"filename": "test.txt"}]"#;
        stored.apply("local-file-source", Some(key), Some(br#"{"position":42}"#));
        let part = SourcePartition::new(&[("filename", "test.txt")]);
        assert_eq!(stored.get(&part), Some(&SourceOffset(json!({ "position": 42 }))));
        stored.apply("local-file-source", Some(b"garbage"), Some(b"{}"));
        stored.apply("local-file-source", Some(key), None);
        assert_eq!(stored, StoredOffsets::default());
    }
}
