//! Topics: which there are, and creating, growing and deleting them.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::routing::To;
use super::{Admin, AdminError, check};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k03_metadata::MetadataResponseTopic;
use crate::protocol::messages::k19_create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::k20_delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::messages::k37_create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::k75_describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponseTopic, TopicRequest,
};

/// How long the controller may take.
const ORDER_TIMEOUT_MS: i32 = 30_000;
/// Partitions in one page of a description.
const PAGE_PARTITIONS: i32 = 2000;

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// Nil from brokers older than KIP-516.
    pub id: Uuid,
    pub internal: bool,
    /// In order.
    pub partitions: Vec<PartitionDescription>,
}

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    pub number: i32,
    /// `None` while it has none.
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    pub offline: Vec<i32>,
    /// Eligible leaders and the last known ones (KIP-966), from brokers that tell them.
    pub eligible: Option<(Vec<i32>, Vec<i32>)>,
}

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicToCreate {
    pub name: String,
    /// `None` takes the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// `None` takes the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Instead of the two numbers: the brokers of each partition.
    pub assignments: Vec<Vec<i32>>,
    pub configs: BTreeMap<String, String>,
}

impl TopicDescription {
    /// The id as Kafka prints it.
    pub fn id_text(&self) -> String {
        crate::log::encode_id(self.id)
    }
}

impl Admin {
    /// Names of all topics in order, each with whether it is internal.
    pub async fn topic_names(&self) -> Result<Vec<(String, bool)>, AdminError> {
        let metadata = self.metadata(None).await?;
        let named = |topic: MetadataResponseTopic| Some((topic.name?, topic.is_internal));
        let mut names: Vec<_> = metadata.topics.into_iter().filter_map(named).collect();
        names.sort();
        Ok(names)
    }

    /// These topics, in order of their names; those that do not exist are left out.
    pub async fn describe_topics(
        &self,
        names: &[&str],
    ) -> Result<Vec<TopicDescription>, AdminError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = match self.serves::<DescribeTopicPartitionsRequest>().await? {
            true => self.describe_in_pages(names).await?,
            false => self.describe_by_metadata(names).await?,
        };
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// One topic; an error if it does not exist.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, AdminError> {
        self.describe_topics(&[name]).await?.pop().ok_or_else(|| unknown(name))
    }

    async fn describe_in_pages(&self, names: &[&str]) -> Result<Vec<TopicDescription>, AdminError> {
        let mut found: Vec<TopicDescription> = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let request = DescribeTopicPartitionsRequest {
                topics: names
                    .iter()
                    .map(|name| TopicRequest { name: (*name).to_owned() })
                    .collect(),
                response_partition_limit: PAGE_PARTITIONS,
                cursor: cursor.clone(),
            };
            let page = self.ask(To::Any, 0, request).await?;
            for topic in page.topics {
                let what = format!("topic '{}'", topic.name.as_deref().unwrap_or_default());
                match check(topic.error_code, None, &what) {
                    Err(error) if error.is_unknown_topic() => continue,
                    checked => checked?,
                }
                match found.last_mut() {
                    // A topic may go on from one page to the next.
                    Some(last) if Some(&last.name) == topic.name.as_ref() => {
                        last.partitions.extend(in_page(topic).partitions);
                    }
                    _ => found.push(in_page(topic)),
                }
            }
            // A broker that repeats itself would keep us here for ever.
            match page.next_cursor {
                Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
                _ => return Ok(found),
            }
        }
    }

    async fn describe_by_metadata(
        &self,
        names: &[&str],
    ) -> Result<Vec<TopicDescription>, AdminError> {
        let mut found = Vec::new();
        for topic in self.metadata(Some(names)).await?.topics {
            let what = format!("topic '{}'", topic.name.as_deref().unwrap_or_default());
            match check(topic.error_code, None, &what) {
                Err(error) if error.is_unknown_topic() => {}
                checked => {
                    checked?;
                    found.push(in_metadata(topic));
                }
            }
        }
        Ok(found)
    }

    /// Creates a topic, and waits until brokers know it.
    pub async fn create_topic(&self, topic: &TopicToCreate) -> Result<(), AdminError> {
        let assigned = !topic.assignments.is_empty();
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.clone(),
                num_partitions: if assigned { -1 } else { topic.partitions.unwrap_or(-1) },
                replication_factor: match assigned {
                    true => -1,
                    false => topic.replication_factor.unwrap_or(-1),
                },
                assignments: assignments(&topic.assignments),
                configs: topic
                    .configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: name.clone(),
                        value: Some(value.clone()),
                    })
                    .collect(),
            }],
            timeout_ms: ORDER_TIMEOUT_MS,
            validate_only: false,
        };
        let what = format!("topic '{}'", topic.name);
        self.again(&what, async || {
            let answer = self.ask(To::Controller, 4, request.clone()).await?;
            for created in answer.topics {
                check(created.error_code, created.error_message, &what)?;
            }
            Ok(())
        })
        .await?;
        // The controller has it; brokers hear of it a little later.
        self.again(&what, async || match self.describe_topics(&[&topic.name]).await?.is_empty() {
            true => Err(AdminError::refused(&what, ErrorCode::LEADER_NOT_AVAILABLE, None)),
            false => Ok(()),
        })
        .await
    }

    /// Adds partitions until there are `count`; with the brokers of each new one, if given.
    pub async fn create_partitions(
        &self,
        name: &str,
        count: i32,
        assigned: &[Vec<i32>],
    ) -> Result<(), AdminError> {
        let on = |brokers: &Vec<i32>| CreatePartitionsAssignment { broker_ids: brokers.clone() };
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.to_owned(),
                count,
                assignments: match assigned {
                    [] => None,
                    assigned => Some(assigned.iter().map(on).collect()),
                },
            }],
            timeout_ms: ORDER_TIMEOUT_MS,
            validate_only: false,
        };
        let what = format!("topic '{name}'");
        self.again(&what, async || {
            let answer = self.ask(To::Controller, 0, request.clone()).await?;
            for result in answer.results {
                check(result.error_code, result.error_message, &what)?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes a topic, and waits until brokers have forgotten it.
    pub async fn delete_topic(&self, name: &str) -> Result<(), AdminError> {
        let state = DeleteTopicState { name: Some(name.to_owned()), topic_id: Uuid::nil() };
        let request = DeleteTopicsRequest {
            topics: vec![state],
            topic_names: vec![name.to_owned()],
            timeout_ms: ORDER_TIMEOUT_MS,
        };
        let what = format!("topic '{name}'");
        self.again(&what, async || {
            let answer = self.ask(To::Controller, 6, request.clone()).await?;
            for deleted in answer.responses {
                check(deleted.error_code, deleted.error_message, &what)?;
            }
            Ok(())
        })
        .await?;
        self.again(&what, async || match self.describe_topics(&[name]).await?.is_empty() {
            true => Ok(()),
            false => Err(AdminError::refused(&what, ErrorCode::LEADER_NOT_AVAILABLE, None)),
        })
        .await
    }
}

pub(super) fn unknown(name: &str) -> AdminError {
    AdminError::refused(format!("topic '{name}'"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None)
}

fn assignments(assigned: &[Vec<i32>]) -> Vec<CreatableReplicaAssignment> {
    let numbered = assigned.iter().zip(0..);
    let on = |(brokers, number): (&Vec<i32>, i32)| CreatableReplicaAssignment {
        partition_index: number,
        broker_ids: brokers.clone(),
    };
    numbered.map(on).collect()
}

fn in_page(topic: DescribeTopicPartitionsResponseTopic) -> TopicDescription {
    let partitions = topic.partitions.into_iter().map(|partition| PartitionDescription {
        number: partition.partition_index,
        leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes,
        in_sync: partition.isr_nodes,
        offline: partition.offline_replicas,
        eligible: Some((
            partition.eligible_leader_replicas.unwrap_or_default(),
            partition.last_known_elr.unwrap_or_default(),
        )),
    });
    TopicDescription {
        name: topic.name.unwrap_or_default(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions: partitions.collect(),
    }
}

fn in_metadata(topic: MetadataResponseTopic) -> TopicDescription {
    let by_number: HashMap<i32, _> =
        topic.partitions.into_iter().map(|found| (found.partition_index, found)).collect();
    let mut partitions: Vec<_> = by_number
        .into_values()
        .map(|partition| PartitionDescription {
            number: partition.partition_index,
            leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            in_sync: partition.isr_nodes,
            offline: partition.offline_replicas,
            eligible: None,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    TopicDescription {
        name: topic.name.unwrap_or_default(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}
