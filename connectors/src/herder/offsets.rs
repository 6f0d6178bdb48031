//! How far connectors are, and changing that while they are stopped (KIP-875).

use std::sync::Arc;

use broker::client::{
    Client, ClientError, CommittedOffset, OffsetSpec, Producer, TransactionOffsets, WithoutOffset,
};
use broker::ids::{Offset, TopicPartition};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::distributed::ATTEMPTS_MAX;
use super::{Herder, HerderError};
use crate::clock;
use crate::config::ConnectorConfig;
use crate::offsets::{OffsetsTopic, SourceOffset, SourcePartition, StoredOffsets};
use crate::plugin::{ConnectorKind, Tasks};
use crate::task::OutgoingBatch;
use crate::topics;

/// A part of a connector's input, and where to go on in it; `None`: at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOffset {
    pub partition: Value,
    pub offset: Option<Value>,
}

/// A stopped connector, to change its offsets. In this process nobody resumes it while this is
/// there. A worker elsewhere may; it fences `producer` then, so that what was to be written is not.
pub struct Held<'a> {
    config: Arc<ConnectorConfig>,
    producer: Box<dyn Producer>,
    _changing: MutexGuard<'a, ()>,
}

impl<'a> Held<'a> {
    pub(super) fn new(
        config: Arc<ConnectorConfig>,
        producer: Box<dyn Producer>,
        changing: MutexGuard<'a, ()>,
    ) -> Held<'a> {
        Held { config, producer, _changing: changing }
    }

    /// Writes all of it in one transaction; false if somebody has changed connectors meanwhile.
    async fn write(
        &mut self,
        batches: Vec<OutgoingBatch>,
        offsets: Option<TransactionOffsets>,
    ) -> Result<bool, HerderError> {
        let mut written = self.producer.begin().await;
        for (to, batch) in batches {
            if written.is_ok() {
                written = self.producer.send(&to, batch).await;
            }
        }
        if written.is_ok() {
            written = self.producer.commit(offsets.as_ref()).await;
        }
        match written {
            Ok(()) => Ok(true),
            Err(ClientError::Fenced { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
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

pub(super) async fn stored(
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
    let committed = client.committed_offsets(&config.reading().group, &partitions).await;
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
    change(herder, name, Some(&parts)).await
}

/// Lets a stopped connector begin anew.
pub async fn reset(herder: &dyn Herder, name: &str) -> Result<(), HerderError> {
    change(herder, name, None).await
}

/// Without parts, all are forgotten.
async fn change(
    herder: &dyn Herder,
    name: &str,
    parts: Option<&[PartOffset]>,
) -> Result<(), HerderError> {
    for _ in 0..ATTEMPTS_MAX {
        let mut held = herder.hold(name).await?;
        let is_done = match held.config.plugin().kind() {
            ConnectorKind::Source => change_source(herder, name, &mut held, parts).await?,
            ConnectorKind::Sink => change_sink(&**herder.client(), &mut held, parts).await?,
        };
        if is_done {
            return Ok(());
        }
    }
    Err(failed(format!("connector '{name}': others change connectors all the time; try again")))
}

async fn change_source(
    herder: &dyn Herder,
    name: &str,
    held: &mut Held<'_>,
    parts: Option<&[PartOffset]>,
) -> Result<bool, HerderError> {
    let (topic, stored) = stored(herder, name).await?;
    check_offsets(&held.config, parts.unwrap_or_default())?;
    let parts: Vec<_> = match parts {
        None => stored.iter().map(|(part, _)| (part.clone(), SourceOffset(Value::Null))).collect(),
        Some(parts) => {
            let parts = parts.iter().map(|part| {
                let partition = SourcePartition::from_json(&part.partition);
                let partition = partition.ok_or_else(|| not_an_object(&part.partition))?;
                Ok((partition, SourceOffset(part.offset.clone().unwrap_or(Value::Null))))
            });
            parts.collect::<Result<_, HerderError>>()?
        }
    };
    held.write(topic.batches(&parts, clock::now_ms()), None).await
}

/// An offset that the source cannot go on from would be passed over, and all of its input come
/// again. To forget is allowed for anything: so what is wrong already can be taken away.
fn check_offsets(config: &ConnectorConfig, parts: &[PartOffset]) -> Result<(), HerderError> {
    let Some(check) = config.plugin().check_offset else { return Ok(()) };
    let mut wrong = Vec::new();
    for PartOffset { partition, offset } in parts {
        if let Some(offset) = offset.as_ref().filter(|offset| !offset.is_null())
            && let Err(reason) = check(config, partition, offset)
        {
            wrong.push(reason);
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(HerderError::Refused(wrong.join("; "))),
    }
}

/// Commits as the sink's group, which has no member while the sink is stopped.
async fn change_sink(
    client: &dyn Client,
    held: &mut Held<'_>,
    parts: Option<&[PartOffset]>,
) -> Result<bool, HerderError> {
    let config = held.config.clone();
    let known = partitions(client, &config).await?;
    let parts: Vec<(TopicPartition, Option<Offset>)> = match parts {
        None => known.into_iter().map(|partition| (partition, None)).collect(),
        Some(parts) => {
            parts.iter().map(|part| sink_part(part, &known)).collect::<Result<_, _>>()?
        }
    };
    if let Tasks::Sink(_) = config.plugin().tasks
        && let Some(alter) = config.plugin().alter_offsets
    {
        let (config, parts) = (config.clone(), parts.clone());
        let altered = tokio::task::spawn_blocking(move || alter(&config, &parts)).await;
        altered.map_err(failed)?.map_err(failed)?;
    }
    let partitions: Vec<_> = parts.iter().map(|(partition, _)| partition.clone()).collect();
    // Where it would begin if it had none.
    let reading = config.reading();
    let start = match reading.without_offset {
        WithoutOffset::Latest => OffsetSpec::Latest(reading.isolation),
        WithoutOffset::Earliest => OffsetSpec::Earliest,
    };
    let starts = client.list_offsets(&partitions, start).await.map_err(failed)?;
    let offsets = parts.into_iter().zip(starts).map(|((partition, offset), start)| {
        let offset = offset.or(start).unwrap_or(Offset::ZERO);
        (partition, CommittedOffset { offset, metadata: String::new() })
    });
    let (group, offsets) = (reading.group, offsets.collect());
    held.write(Vec::new(), Some(TransactionOffsets { group, membership: None, offsets })).await
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

/// Whether a source can go on from that, by partition and offset; else why it cannot. See
/// [`Plugin::check_offset`](crate::plugin::Plugin::check_offset).
pub type CheckOffset = fn(&ConnectorConfig, &Value, &Value) -> Result<(), String>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use broker::broker::{Broker, BrokerConfig};
    use broker::client::embedded::EmbeddedClient;
    use futures::FutureExt;

    use super::*;
    use crate::herder::distributed::settings::GroupSettings;
    use crate::herder::{Distributed, HerderOptions, Standalone, Target};
    use crate::worker::WorkerOptions;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn options(dir: &Path, worker_id: &str) -> HerderOptions {
        HerderOptions {
            worker: properties(&[("group.id", "g")]),
            base_dir: dir.to_owned(),
            worker_id: worker_id.to_owned(),
            options: WorkerOptions::default(),
            graceful: Duration::from_secs(5),
        }
    }

    async fn client(dir: &Path) -> Arc<dyn Client> {
        let broker = Broker::open(BrokerConfig::new(dir.join("data"))).await.unwrap();
        Arc::new(EmbeddedClient::new(broker))
    }

    /// A stopped source.
    async fn create(herder: &dyn Herder) {
        let source =
            properties(&[("connector.class", "file-source"), ("file", "f"), ("topic", "t")]);
        herder.create("c", source, Target::Stopped).await.unwrap();
    }

    async fn batches(herder: &dyn Herder) -> Vec<OutgoingBatch> {
        let (topic, _) = stored(herder, "c").await.unwrap();
        let part = SourcePartition::new(&[("filename", "f")]);
        topic.batches(&[(part, SourceOffset(json!({ "position": 1 })))], 0)
    }

    /// It was resumed while its offsets were changed, and read the old ones or the new.
    async fn nobody_resumes_here_what_is_held(herder: &dyn Herder) {
        create(herder).await;
        let mut held = herder.hold("c").await.unwrap();
        let mut resumed = herder.set_target("c", Target::Running);
        assert!((&mut resumed).now_or_never().is_none());
        assert!(held.write(batches(herder).await, None).await.unwrap());
        assert_eq!(herder.view("c").unwrap().target, Target::Stopped);
        drop(held);
        tokio::time::timeout(PATIENCE, resumed).await.unwrap().unwrap();
        assert_eq!(read(herder, "c").await.unwrap().len(), 1);
        herder.shutdown().await;
    }

    #[tokio::test]
    async fn a_connector_is_not_resumed_while_its_offsets_are_changed() {
        let dir = tempfile::tempdir().unwrap();
        let client = client(dir.path()).await;
        let alone = Standalone::new(client.clone(), options(dir.path(), "alone"));
        nobody_resumes_here_what_is_held(&alone).await;
        let settings = GroupSettings::of(&properties(&[("group.id", "g")])).unwrap().unwrap();
        let one = Distributed::start(client.clone(), options(dir.path(), "one"), settings);
        nobody_resumes_here_what_is_held(&one.await.unwrap()).await;
    }

    #[tokio::test]
    async fn what_a_worker_elsewhere_resumes_keeps_its_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let client = client(dir.path()).await;
        let start = async |id| {
            let settings = GroupSettings::of(&properties(&[("group.id", "g")])).unwrap().unwrap();
            Distributed::start(client.clone(), options(dir.path(), id), settings).await.unwrap()
        };
        let (one, two) = (start("one").await, start("two").await);
        create(&one).await;
        let mut held = one.hold("c").await.unwrap();
        two.set_target("c", Target::Running).await.unwrap();
        assert!(!held.write(batches(&one).await, None).await.unwrap());
        drop(held);
        assert_eq!(read(&one, "c").await.unwrap(), []);
        let part = PartOffset { partition: json!({ "filename": "f" }), offset: None };
        let refused = alter(&one, "c", vec![part]).await.unwrap_err();
        assert!(refused.to_string().contains("STOPPED"), "{refused}");
        one.shutdown().await;
        two.shutdown().await;
    }
}
