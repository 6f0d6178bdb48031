//! The client of the broker in this process: straight to its logs, no socket, no copy of a batch.
//!
//! - [`reader`]: batches from partitions, woken by appends;
//! - [`group`]: the same as a member of a consumer group, [`assignment`]: who gets what in it;
//! - [`coordinator`]: groups that share something else;
//! - [`producer`]: batches to partitions, durable as asked, in transactions if asked.

mod assignment;
mod coordinator;
mod group;
mod producer;
mod reader;

use std::sync::Arc;

use async_trait::async_trait;

use super::member::GroupCoordinator;
use super::{
    Client, ClientError, CommittedOffset, Isolation, NewTopic, OffsetSpec, Producer,
    ProducerOptions, ReadFrom, Reader, ReaderOptions, TopicInfo, TopicRules,
};
use crate::broker::{Broker, Topic, TopicError};
use crate::coordinator::groups::{GroupError, StoredOffset};
use crate::coordinator::transactions::TransactionError;
use crate::ids::{Offset, TopicPartition};
use crate::log::{AppendError, Partition, ReadError};
use crate::topics::is_internal;
use coordinator::EmbeddedCoordinator;

/// See the module.
#[derive(Clone, Debug)]
pub struct EmbeddedClient {
    broker: Arc<Broker>,
}

impl EmbeddedClient {
    pub fn new(broker: Arc<Broker>) -> EmbeddedClient {
        EmbeddedClient { broker }
    }
}

#[async_trait]
impl Client for EmbeddedClient {
    fn address(&self) -> String {
        self.broker.address()
    }

    async fn create_topic(&self, topic: &NewTopic) -> Result<(), ClientError> {
        let created = self.broker.create_topic(topic.clone()).await;
        created.map(|_| ()).map_err(|error| topic_error(&topic.name, error))
    }

    async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        self.broker.delete_topic(name).await.map_err(|error| topic_error(name, error))
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, ClientError> {
        Ok(self.broker.topics().iter().map(|topic| info(topic)).collect())
    }

    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError> {
        Ok(self.broker.topic(name).map(|topic| info(&topic)))
    }

    async fn topic_rules(&self, topic: &str) -> Result<TopicRules, ClientError> {
        let found = self.broker.topic(topic);
        let first = found.and_then(|topic| topic.partitions().first().cloned());
        let rules = first.map(|partition| TopicRules {
            batch_bytes_max: Some(partition.config().max_message_bytes),
            is_compacted: partition.config().cleanup.compact,
        });
        Ok(rules.unwrap_or_default())
    }

    async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetSpec,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        let found = partitions.iter().map(|partition| existing(&self.broker, partition));
        let found: Vec<Arc<Partition>> = found.collect::<Result<_, _>>()?;
        let look = move || found.iter().map(|partition| offset_at(partition, at)).collect();
        // A lookup by time reads from disk.
        tokio::task::spawn_blocking(look).await.expect("lookups do not panic")
    }

    async fn delete_records(&self, up_to: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let found = up_to.iter().map(|(of, before)| Ok((existing(&self.broker, of)?, *before)));
        let found: Vec<(Arc<Partition>, Offset)> = found.collect::<Result<_, _>>()?;
        found.iter().try_for_each(|(partition, _)| check_deletable(partition))?;
        // It syncs checkpoints and deletes files.
        let delete = move || {
            found.iter().try_for_each(|(partition, before)| {
                let deleted = partition.delete_records(*before).map(drop);
                deleted.map_err(|error| read_error(partition, error))
            })
        };
        tokio::task::spawn_blocking(delete).await.expect("deletion does not panic")
    }

    async fn committed_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>, ClientError> {
        committed(&self.broker, group, partitions).await
    }

    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>, ClientError> {
        let ReaderOptions { from, isolation, event_bytes_max } = options;
        match from {
            ReadFrom::Partitions(partitions) => {
                let mut reader =
                    reader::EmbeddedReader::new(self.broker.clone(), isolation, event_bytes_max);
                reader.assign(partitions).await?;
                Ok(Box::new(reader))
            }
            ReadFrom::Group(group) => {
                let broker = self.broker.clone();
                let reader = group::GroupReader::new(broker, group, isolation, event_bytes_max)?;
                Ok(Box::new(reader))
            }
        }
    }

    async fn coordinator(&self) -> Result<Arc<dyn GroupCoordinator>, ClientError> {
        Ok(Arc::new(EmbeddedCoordinator(self.broker.clone())))
    }

    async fn producer(&self, options: ProducerOptions) -> Result<Box<dyn Producer>, ClientError> {
        Ok(Box::new(producer::EmbeddedProducer::new(self.broker.clone(), options).await?))
    }
}

/// What a group has committed, once no open transaction can change it any more (KIP-447).
async fn committed(
    broker: &Broker,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Option<CommittedOffset>>, ClientError> {
    let mut ended = broker.ended_transactions();
    loop {
        let fetched = broker.groups().fetch_offsets(group, Some(partitions), true).into_iter();
        let fetched: Result<Vec<_>, GroupError> = fetched.map(|(_, stored)| stored).collect();
        match fetched {
            Ok(stored) => {
                let committed = |stored: StoredOffset| CommittedOffset {
                    offset: Offset(stored.offset),
                    metadata: stored.metadata,
                };
                return Ok(stored.into_iter().map(|stored| stored.map(committed)).collect());
            }
            Err(GroupError::UnstableOffsetCommit) => {
                tokio::select! {
                    _ = ended.changed() => {}
                    () = broker.stopping() => return Err(ClientError::ShuttingDown),
                }
            }
            Err(error) => return Err(group_error(group, error)),
        }
    }
}

fn group_error(group: &str, error: GroupError) -> ClientError {
    ClientError::Group { group: group.to_owned(), reason: error.to_string() }
}

fn info(topic: &Topic) -> TopicInfo {
    TopicInfo {
        name: topic.name.to_string(),
        id: Some(topic.id),
        partitions: topic.partitions_count(),
        internal: topic.internal,
    }
}

fn existing(broker: &Broker, of: &TopicPartition) -> Result<Arc<Partition>, ClientError> {
    match broker.partition(of) {
        Some(partition) => Ok(partition),
        None if broker.topic(&of.topic).is_none() => {
            Err(ClientError::UnknownTopic(of.topic.to_string()))
        }
        None => Err(ClientError::UnknownPartition(of.clone())),
    }
}

/// Whether records of this partition may be deleted by their offsets, as DeleteRecords has it.
fn check_deletable(partition: &Partition) -> Result<(), ClientError> {
    let reason = if is_internal(&partition.id().topic) {
        "the topic is the broker's own"
    } else if !partition.config().cleanup.delete {
        "the topic is compacted only, and keeps the last record of each key; \
         add delete to its cleanup.policy"
    } else {
        return Ok(());
    };
    let what = format!("records of partition {}", partition.id());
    Err(ClientError::Refused { what, reason: reason.into() })
}

fn offset_at(partition: &Partition, at: OffsetSpec) -> Result<Option<Offset>, ClientError> {
    let visible = partition.visible();
    match at {
        OffsetSpec::Earliest => Ok(Some(visible.log_start)),
        OffsetSpec::Latest(Isolation::ReadUncommitted) => Ok(Some(visible.high_watermark)),
        OffsetSpec::Latest(Isolation::ReadCommitted) => Ok(Some(visible.last_stable)),
        OffsetSpec::AtTimestamp(timestamp_ms) => {
            let found = partition.offset_at_timestamp(timestamp_ms, Isolation::ReadUncommitted);
            let found = found.map_err(|error| read_error(partition, error))?;
            Ok(found.map(|found| found.offset))
        }
    }
}

fn topic_error(name: &str, error: TopicError) -> ClientError {
    match error {
        TopicError::Exists(name) => ClientError::TopicExists(name),
        TopicError::Unknown(name) => ClientError::UnknownTopic(name),
        TopicError::ShuttingDown => ClientError::ShuttingDown,
        TopicError::Catalog(error) => {
            ClientError::Storage { what: format!("topic '{name}'"), reason: error.to_string() }
        }
        TopicError::Log(error) => {
            ClientError::Storage { what: format!("topic '{name}'"), reason: error.to_string() }
        }
        error => {
            ClientError::Refused { what: format!("topic '{name}'"), reason: error.to_string() }
        }
    }
}

fn read_error(partition: &Partition, error: ReadError) -> ClientError {
    let what = format!("partition {}", partition.id());
    match error {
        ReadError::OffsetOutOfRange { partition, offset, start, end } => {
            ClientError::OffsetOutOfRange { partition, offset, start, end }
        }
        ReadError::Storage { source, .. } => {
            ClientError::Storage { what, reason: source.to_string() }
        }
        ReadError::Damaged { .. } => ClientError::Storage { what, reason: error.to_string() },
    }
}

/// `transactional_id` is the appending producer's, for the message if it was fenced.
fn append_error(
    broker: &Broker,
    transactional_id: Option<&str>,
    error: AppendError,
) -> ClientError {
    match error {
        AppendError::TooLarge { partition, size, max } => {
            ClientError::BatchTooLarge { to: partition, size, size_max: max }
        }
        AppendError::InvalidProducerEpoch { .. } if transactional_id.is_some() => {
            let transactional_id = transactional_id.unwrap_or_default().to_owned();
            ClientError::Fenced { transactional_id }
        }
        AppendError::Closed { partition } if broker.partition(&partition).is_none() => {
            ClientError::UnknownPartition(partition)
        }
        AppendError::Closed { .. } => ClientError::ShuttingDown,
        AppendError::Storage { partition, source } => ClientError::Storage {
            what: format!("partition {partition}"),
            reason: source.to_string(),
        },
        error => ClientError::Refused {
            what: format!("append to {}", error.partition()),
            reason: error.to_string(),
        },
    }
}

fn transaction_error(transactional_id: &str, error: TransactionError) -> ClientError {
    match error {
        TransactionError::Fenced | TransactionError::InvalidProducerIdMapping => {
            ClientError::Fenced { transactional_id: transactional_id.to_owned() }
        }
        error => ClientError::Refused {
            what: format!("transactional id '{transactional_id}'"),
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
