//! How far connectors are, and changing that while they are stopped (KIP-875).

use std::sync::Arc;

use broker::client::{Client, CommittedOffset, OffsetSpec, ProducerOptions, TransactionOffsets};
use broker::ids::{Offset, TopicPartition};
use serde_json::{Value, json};

use super::{Herder, HerderError};
use crate::clock;
use crate::config::ConnectorConfig;
use crate::offsets::{OffsetsTopic, SourceOffset, SourcePartition, StoredOffsets};
use crate::plugin::{ConnectorKind, Tasks};
use crate::topics;

/// A part of a connector's input, and where to go on in it; `None`: at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOffset {
    pub partition: Value,
    pub offset: Option<Value>,
}

/// A stopped connector, which stays stopped for as long as this is there.
#[derive(Debug)]
pub struct Held<'a> {
    config: Arc<ConnectorConfig>,
    _changing: tokio::sync::MutexGuard<'a, ()>,
}

impl<'a> Held<'a> {
    pub(super) fn new(
        config: Arc<ConnectorConfig>,
        changing: tokio::sync::MutexGuard<'a, ()>,
    ) -> Held<'a> {
        Held { config, _changing: changing }
    }
}

/// How far a connector is in each part of its input.
pub async fn read(herder: &dyn Herder, name: &str) -> Result<Vec<PartOffset>, HerderError> {
    let config = herder.view(name)?.config;
    let config = config.ok_or_else(|| failed(format!("connector '{name}' is not right here")))?;
    match config.plugin().kind() {
        ConnectorKind::Source => source_offsets(herder, name).await,
        ConnectorKind::Sink => sink_offsets(&**herder.client(), &config).await,
    }
}

async fn stored(
    herder: &dyn Herder,
    name: &str,
) -> Result<(OffsetsTopic, StoredOffsets), HerderError> {
    let (client, wanted) = (&**herder.client(), &herder.options().options.offsets_topic);
    let topic = OffsetsTopic::open(client, wanted, name).await.map_err(failed)?;
    let stored = topic.load(client).await.map_err(failed)?;
    Ok((topic, stored))
}

async fn source_offsets(herder: &dyn Herder, name: &str) -> Result<Vec<PartOffset>, HerderError> {
    let (_, stored) = stored(herder, name).await?;
    let parts = stored.iter().map(|(partition, offset)| PartOffset {
        partition: partition.to_json(),
        offset: Some(offset.0.clone()),
    });
    Ok(parts.collect())
}

async fn sink_offsets(
    client: &dyn Client,
    config: &ConnectorConfig,
) -> Result<Vec<PartOffset>, HerderError> {
    let partitions = partitions(client, config).await?;
    let committed = client.committed_offsets(&group(config.name()), &partitions).await;
    let committed = committed.map_err(failed)?;
    let parts = partitions.iter().zip(committed).filter_map(|(partition, committed)| {
        let offset = committed?.offset.0;
        Some(PartOffset {
            partition: json!({
                "kafka_topic": &*partition.topic,
                "kafka_partition": partition.partition,
            }),
            offset: Some(json!({ "kafka_offset": offset })),
        })
    });
    Ok(parts.collect())
}

/// Changes where a stopped connector goes on. Parts that are not named stay as they are.
pub async fn alter(
    herder: &dyn Herder,
    name: &str,
    parts: Vec<PartOffset>,
) -> Result<(), HerderError> {
    let held = herder.hold(name).await?;
    match held.config.plugin().kind() {
        ConnectorKind::Source => {
            let parts = parts.into_iter().map(|part| {
                let partition = SourcePartition::from_json(&part.partition);
                let partition = partition.ok_or_else(|| not_an_object(&part.partition))?;
                Ok((partition, SourceOffset(part.offset.unwrap_or(Value::Null))))
            });
            let (topic, _) = stored(herder, name).await?;
            let parts: Vec<_> = parts.collect::<Result<_, HerderError>>()?;
            write_source(&**herder.client(), &topic, &parts).await
        }
        ConnectorKind::Sink => {
            let known = partitions(&**herder.client(), &held.config).await?;
            let wanted = parts.iter().map(|part| sink_part(part, &known));
            write_sink(&**herder.client(), &held, wanted.collect::<Result<_, _>>()?).await
        }
    }
}

/// Lets a stopped connector begin anew.
pub async fn reset(herder: &dyn Herder, name: &str) -> Result<(), HerderError> {
    let held = herder.hold(name).await?;
    match held.config.plugin().kind() {
        ConnectorKind::Source => {
            let (topic, stored) = stored(herder, name).await?;
            let parts = stored.iter();
            let parts = parts.map(|(part, _)| (part.clone(), SourceOffset(Value::Null)));
            write_source(&**herder.client(), &topic, &parts.collect::<Vec<_>>()).await
        }
        ConnectorKind::Sink => {
            let known = partitions(&**herder.client(), &held.config).await?;
            let all = known.into_iter().map(|partition| (partition, None)).collect();
            write_sink(&**herder.client(), &held, all).await
        }
    }
}

async fn write_source(
    client: &dyn Client,
    topic: &OffsetsTopic,
    parts: &[(SourcePartition, SourceOffset)],
) -> Result<(), HerderError> {
    let mut producer = client.producer(ProducerOptions::default()).await.map_err(failed)?;
    for (to, batch) in topic.batches(parts, clock::now_ms()) {
        producer.send(&to, batch).await.map_err(failed)?;
    }
    producer.flush().await.map_err(failed)
}

/// Commits as the sink's group, which has no member while the sink is stopped.
async fn write_sink(
    client: &dyn Client,
    held: &Held<'_>,
    parts: Vec<(TopicPartition, Option<Offset>)>,
) -> Result<(), HerderError> {
    let config = &held.config;
    if let Tasks::Sink(_) = config.plugin().tasks
        && let Some(alter) = config.plugin().alter_offsets
    {
        let (config, parts) = (config.clone(), parts.clone());
        let altered = tokio::task::spawn_blocking(move || alter(&config, &parts)).await;
        altered.map_err(failed)?.map_err(failed)?;
    }
    let partitions: Vec<_> = parts.iter().map(|(partition, _)| partition.clone()).collect();
    let starts = client.list_offsets(&partitions, OffsetSpec::Earliest).await;
    let starts = starts.map_err(failed)?;
    let offsets = parts.into_iter().zip(starts).map(|((partition, offset), start)| {
        let offset = offset.or(start).unwrap_or(Offset::ZERO);
        (partition, CommittedOffset { offset, metadata: String::new() })
    });
    let group = group(config.name());
    let transactional_id = Some(format!("{group}-offsets"));
    let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
    let mut producer = client.producer(options).await.map_err(failed)?;
    producer.begin().await.map_err(failed)?;
    let offsets = TransactionOffsets { group, membership: None, offsets: offsets.collect() };
    producer.commit(Some(&offsets)).await.map_err(failed)
}

/// The group that a sink reads as.
fn group(name: &str) -> String {
    format!("connect-{name}")
}

fn failed(error: impl std::fmt::Display) -> HerderError {
    HerderError::Failed(error.to_string())
}

fn not_an_object(partition: &Value) -> HerderError {
    HerderError::Refused(format!("partition {partition} is no JSON object"))
}

/// All partitions of a sink's topics.
async fn partitions(
    client: &dyn Client,
    config: &ConnectorConfig,
) -> Result<Vec<TopicPartition>, HerderError> {
    let mut all = Vec::new();
    for topic in topics::chosen(client, config.topics()).await.map_err(failed)? {
        let name: Arc<str> = topic.name.into();
        let partition = |partition| TopicPartition { topic: Arc::clone(&name), partition };
        all.extend((0..topic.partitions).map(partition));
    }
    Ok(all)
}

/// `{"kafka_topic": "t", "kafka_partition": 0}`, `{"kafka_offset": 42}`.
fn sink_part(
    part: &PartOffset,
    known: &[TopicPartition],
) -> Result<(TopicPartition, Option<Offset>), HerderError> {
    let refused = |what: String| HerderError::Refused(what);
    let topic = part.partition["kafka_topic"].as_str();
    // Kafka takes numbers in quotes too.
    let number = |value: &Value| {
        value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse::<i64>().ok()))
    };
    let index = number(&part.partition["kafka_partition"]).and_then(|at| i32::try_from(at).ok());
    let (Some(topic), Some(index)) = (topic, index) else {
        return Err(refused(format!(
            "partition {} needs `kafka_topic` and `kafka_partition`",
            part.partition
        )));
    };
    let partition = TopicPartition::new(topic, index);
    if !known.contains(&partition) {
        return Err(refused(format!("partition {partition} is none of this connector's")));
    }
    let offset = match part.offset.as_ref().filter(|offset| !offset.is_null()) {
        None => None,
        Some(offset) => match number(&offset["kafka_offset"]).filter(|offset| *offset >= 0) {
            Some(offset) => Some(Offset(offset)),
            None => return Err(refused(format!("offset {offset} needs a `kafka_offset`"))),
        },
    };
    Ok((partition, offset))
}

/// The offsets that a sink keeps with its output, changed; see
/// [`Plugin::alter_offsets`](crate::plugin::Plugin::alter_offsets).
pub type AlterOffsets =
    fn(&ConnectorConfig, &[(TopicPartition, Option<Offset>)]) -> Result<(), crate::task::TaskError>;
