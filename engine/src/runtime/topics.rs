//! Topics that must be there before anything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use broker::client::{Client, ClientError, NewTopic, TopicInfo};

use tokio::time::MissedTickBehavior;

use super::RunError;
use super::planned::Planned;
use super::snapshots::DELETIONS_KEPT_MS;
use crate::pipeline::{LateRows, OnError};

/// How often it is looked whether topics that are read are still as they were.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Partitions of every topic that the queries use.
#[derive(Clone, Debug, Default)]
pub struct Partitions {
    counts: BTreeMap<String, i32>,
    /// Who a topic is, however often one of its name was deleted and made again (KIP-516); none of
    /// clusters that do not tell.
    pub ids: BTreeMap<String, String>,
}

#[cfg(test)]
impl From<BTreeMap<String, i32>> for Partitions {
    fn from(counts: BTreeMap<String, i32>) -> Partitions {
        Partitions { counts, ids: BTreeMap::new() }
    }
}

impl Deref for Partitions {
    type Target = BTreeMap<String, i32>;

    fn deref(&self) -> &BTreeMap<String, i32> {
        &self.counts
    }
}

impl Partitions {
    pub fn insert(&mut self, topic: &TopicInfo) {
        self.counts.insert(topic.name.clone(), topic.partitions);
        if let Some(id) = topic.id {
            self.ids.insert(topic.name.clone(), id.to_string());
        }
    }
}

/// Waits until a topic that is read has more partitions than were known. What cannot be asked is
/// asked again: whoever reads finds out if there is no answer at all.
pub async fn grown(client: &dyn Client, planned: &[Planned], known: &Partitions) -> String {
    let inputs = planned.iter().flat_map(|task| &task.topology.inputs);
    let inputs: BTreeSet<&str> = inputs.map(|input| input.source.topic.as_str()).collect();
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for &topic in &inputs {
            let Ok(Some(info)) = client.topic(topic).await else { continue };
            if known.get(topic).is_some_and(|known| *known < info.partitions) {
                return topic.to_owned();
            }
        }
    }
}

/// A changelog's segments roll early, so that compaction reaches what closed windows left.
const CHANGELOG_SEGMENT_BYTES: usize = 16 << 20;
/// What tasks tell each other is deleted segment by segment.
const EXCHANGE_SEGMENT_BYTES: usize = 16 << 20;
/// What comes to one group between two commits is one record, however much an `array_agg` takes;
/// and so is a row between two tasks.
const INTERNAL_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Creates what is missing: sources as `inputs` says, else with the broker's default of
/// partitions, sinks with as many as they ask for or as the query's first input has, dead letters,
/// late rows and changelogs with one.
pub async fn prepare(
    client: &dyn Client,
    planned: &[Planned],
    inputs: &BTreeMap<String, NewTopic>,
) -> Result<Partitions, RunError> {
    let input = |topic: &str| {
        let unsaid = || NewTopic { partitions: None, ..NewTopic::new(topic, 1) };
        inputs.get(topic).cloned().unwrap_or_else(unsaid)
    };
    let mut known = Partitions::default();
    // Queries come after those whose output they read, so a sink is made before it is a source.
    for query in planned {
        let mut ensure = Ensure { client, pipeline: &query.pipeline, known: &mut known };
        for of in &query.topology.inputs {
            ensure.topic(input(&of.source.topic)).await?;
            if let OnError::DeadLetter { topic } = &of.source.on_error {
                ensure.topic(stamped_by_events(NewTopic::new(topic, 1))).await?;
            }
            if let LateRows::Topic { topic } = &of.source.watermark.late {
                ensure.topic(stamped_by_events(NewTopic::new(topic, 1))).await?;
            }
        }
        for table in &query.topology.tables {
            // A row of a table stays until it is replaced or deleted, not until it is old.
            let mut topic = input(&table.source.topic);
            topic.configs.entry("retention.ms".to_owned()).or_insert_with(|| "-1".to_owned());
            ensure.topic(topic).await?;
        }
        match &query.topology.writes {
            Some(writes) => {
                // Kept until it is read, however long that takes.
                let exchange = NewTopic::new(&*writes.exchange.topic, query.tasks as i32)
                    .with_config("retention.ms", -1)
                    .with_config(AHEAD_MS_MAX, i64::MAX)
                    .with_config("segment.bytes", EXCHANGE_SEGMENT_BYTES)
                    .with_config("max.message.bytes", INTERNAL_MESSAGE_BYTES_MAX);
                ensure.topic(exchange).await?;
            }
            None => ensure.sink(query).await?,
        }
        if !query.topology.nodes.is_empty() {
            let changelog = NewTopic::new(&*query.changelog().topic, query.tasks as i32)
                .with_config("cleanup.policy", "compact")
                .with_config("delete.retention.ms", DELETIONS_KEPT_MS)
                .with_config("segment.bytes", CHANGELOG_SEGMENT_BYTES)
                .with_config("max.message.bytes", INTERNAL_MESSAGE_BYTES_MAX);
            ensure.topic(changelog).await?;
        }
    }
    Ok(known)
}

/// Its records carry event times, which may be years old: retention would delete the answer over a
/// history within minutes (it goes by the records' timestamps, `retention.ms`), so it is left to
/// people to set one.
fn stamped_by_events(topic: NewTopic) -> NewTopic {
    topic.with_config("retention.ms", -1).with_config(AHEAD_MS_MAX, i64::MAX)
}

/// How far a record's timestamp may be ahead of the broker's clock (KIP-937), an hour unless this
/// says otherwise: a window that is told early ends later than that.
const AHEAD_MS_MAX: &str = "message.timestamp.after.max.ms";

struct Ensure<'a> {
    client: &'a dyn Client,
    pipeline: &'a Arc<str>,
    known: &'a mut Partitions,
}

impl Ensure<'_> {
    async fn sink(&mut self, query: &Planned) -> Result<(), RunError> {
        let first_input = query.first_input.as_ref();
        let like_input = first_input.and_then(|topic| self.known.get(topic));
        let partitions = query.sink_partitions.or(like_input.copied()).unwrap_or(1);
        let sink = NewTopic::new(&*query.topology.sink.topic, partitions);
        // An answer that is updated is a table: the last row of each key is what counts.
        let sink = match query.topology.updating {
            true => sink.with_config("cleanup.policy", "compact"),
            false => stamped_by_events(sink),
        };
        let sink = sink.with_config(AHEAD_MS_MAX, i64::MAX);
        self.topic(sink).await
    }

    async fn topic(&mut self, topic: NewTopic) -> Result<(), RunError> {
        if self.known.contains_key(&topic.name) {
            return Ok(());
        }
        let failed = |error| RunError::Topic {
            pipeline: self.pipeline.clone(),
            topic: topic.name.clone(),
            error,
        };
        let info = match self.find_or_create(&topic).await {
            Ok(info) => info,
            Err(error) => return Err(failed(error)),
        };
        let Some(info) = info else {
            return Err(failed(ClientError::UnknownTopic(topic.name.clone())));
        };
        self.known.insert(&info);
        Ok(())
    }

    async fn find_or_create(&self, topic: &NewTopic) -> Result<Option<TopicInfo>, ClientError> {
        if let Some(info) = self.client.topic(&topic.name).await? {
            return Ok(Some(info));
        }
        match self.client.create_topic(topic).await {
            Ok(()) | Err(ClientError::TopicExists(_)) => self.client.topic(&topic.name).await,
            Err(error) => Err(error),
        }
    }
}
