//! Transactions: which are open, who writes to a partition, and ending one that hangs (KIP-664).

use super::routing::To;
use super::{Admin, AdminError, check};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k22_init_producer_id::InitProducerIdRequest;
use crate::protocol::messages::k27_write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use crate::protocol::messages::k61_describe_producers::{DescribeProducersRequest, TopicRequest};
use crate::protocol::messages::k65_describe_transactions::DescribeTransactionsRequest;
use crate::protocol::messages::k66_list_transactions::ListTransactionsRequest;

/// Of the producer that is made up to end another's transaction; it begins none.
const TERMINATION_TIMEOUT_MS: i32 = 60_000;

/// A transactional id among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub coordinator: i32,
    pub producer_id: ProducerId,
    /// Such as `Ongoing`.
    pub state: String,
}

/// A transactional id and what it has under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub coordinator: i32,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub state: String,
    pub timeout_ms: i32,
    /// `None` if none is under way.
    pub start_time_ms: Option<i64>,
    pub partitions: Vec<TopicPartition>,
}

/// A producer that a partition remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    pub producer_id: ProducerId,
    pub epoch: i32,
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    /// -1 before the first marker.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins in this partition.
    pub transaction_start: Option<Offset>,
}

/// A transaction to end in one partition, whatever its coordinator knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangingTransaction {
    pub partition: TopicPartition,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
}

impl Admin {
    /// All transactional ids, or those whose transaction has been open for longer than this and
    /// whose id the regular expression matches.
    pub async fn transactions(
        &self,
        longer_than_ms: Option<i64>,
        pattern: Option<&str>,
    ) -> Result<Vec<TransactionListing>, AdminError> {
        let mut found = Vec::new();
        let from_version = match (longer_than_ms, pattern) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        };
        let request = ListTransactionsRequest {
            duration_filter: longer_than_ms.unwrap_or(-1),
            transactional_id_pattern: pattern.map(str::to_owned),
            ..Default::default()
        };
        for node in self.cluster().await?.nodes {
            let what = format!("transactions of broker {}", node.id);
            let listed = self.again(&what, async || {
                let answer = self.ask(To::Node(node.id), from_version, request.clone()).await?;
                check(answer.error_code, None, &what)?;
                Ok(answer.transaction_states)
            });
            found.extend(listed.await?.into_iter().map(|listed| TransactionListing {
                transactional_id: listed.transactional_id,
                coordinator: node.id,
                producer_id: ProducerId(listed.producer_id),
                state: listed.transaction_state,
            }));
        }
        found.sort_by(|one, other| one.transactional_id.cmp(&other.transactional_id));
        Ok(found)
    }

    pub async fn transaction(&self, id: &str) -> Result<TransactionDescription, AdminError> {
        let what = format!("transactional id '{id}'");
        let request = DescribeTransactionsRequest { transactional_ids: vec![id.to_owned()] };
        self.again(&what, async || {
            let coordinator = self.coordinator(id, 1).await?;
            let answer = self.ask(To::Node(coordinator.id), 0, request.clone()).await?;
            let found = answer.transaction_states.into_iter().next();
            let gone = || AdminError::refused(&what, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND, None);
            let found = found.ok_or_else(gone)?;
            check(found.error_code, None, &what)?;
            let mut partitions = Vec::new();
            for topic in found.topics {
                let of = |number| TopicPartition::new(topic.topic.as_str(), number);
                partitions.extend(topic.partitions.into_iter().map(of));
            }
            partitions.sort();
            Ok(TransactionDescription {
                transactional_id: found.transactional_id,
                coordinator: coordinator.id,
                producer_id: ProducerId(found.producer_id),
                epoch: ProducerEpoch(found.producer_epoch),
                state: found.transaction_state,
                timeout_ms: found.transaction_timeout_ms,
                start_time_ms: Some(found.transaction_start_time_ms).filter(|start| *start >= 0),
                partitions,
            })
        })
        .await
    }

    /// The producers that a partition's leader remembers, or those that `node` does.
    pub async fn producers(
        &self,
        of: &TopicPartition,
        node: Option<i32>,
    ) -> Result<Vec<ProducerDescription>, AdminError> {
        let what = format!("producers of partition {of}");
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: of.topic.to_string(),
                partition_indexes: vec![of.partition],
            }],
        };
        self.again(&what, async || {
            let node = match node {
                Some(node) => node,
                None => self.leader(of).await?,
            };
            let answer = self.ask(To::Node(node), 0, request.clone()).await?;
            let mut producers = Vec::new();
            for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
                check(partition.error_code, partition.error_message, &what)?;
                producers.extend(partition.active_producers.into_iter().map(|producer| {
                    let start = Some(Offset(producer.current_txn_start_offset));
                    ProducerDescription {
                        producer_id: ProducerId(producer.producer_id),
                        epoch: producer.producer_epoch,
                        last_sequence: producer.last_sequence,
                        last_timestamp_ms: producer.last_timestamp,
                        coordinator_epoch: producer.coordinator_epoch,
                        transaction_start: start.filter(|start| start.0 >= 0),
                    }
                }));
            }
            producers.sort_by_key(|producer| producer.producer_id);
            Ok(producers)
        })
        .await
    }

    /// Writes the marker that takes a transaction back in one partition.
    pub async fn abort_transaction(&self, hanging: &HangingTransaction) -> Result<(), AdminError> {
        let of = &hanging.partition;
        let what = format!("transaction of producer {} in {of}", hanging.producer_id);
        let request = WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: hanging.producer_id.0,
                producer_epoch: hanging.epoch.0,
                transaction_result: false,
                topics: vec![WritableTxnMarkerTopic {
                    name: of.topic.to_string(),
                    partition_indexes: vec![of.partition],
                }],
                coordinator_epoch: hanging.coordinator_epoch,
            }],
        };
        self.again(&what, async || {
            let leader = self.leader(of).await?;
            let answer = self.ask(To::Node(leader), 1, request.clone()).await?;
            let topics = answer.markers.into_iter().flat_map(|marker| marker.topics);
            for partition in topics.flat_map(|topic| topic.partitions) {
                check(partition.error_code, None, &what)?;
            }
            Ok(())
        })
        .await
    }

    /// Aborts the open transaction of a transactional id and fences its producer, as a new producer
    /// of that id would.
    pub async fn terminate_transaction(&self, id: &str) -> Result<(), AdminError> {
        let what = format!("transactional id '{id}'");
        let request = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: TERMINATION_TIMEOUT_MS,
            ..Default::default()
        };
        self.again(&what, async || {
            let coordinator = self.coordinator(id, 1).await?;
            let answer = self.ask(To::Node(coordinator.id), 0, request.clone()).await?;
            check(answer.error_code, None, &what)
        })
        .await
    }

    async fn leader(&self, of: &TopicPartition) -> Result<i32, AdminError> {
        let mut leaders = self.leaders(std::slice::from_ref(of)).await?;
        leaders.pop().expect("one partition was asked for, one is answered")
    }
}
