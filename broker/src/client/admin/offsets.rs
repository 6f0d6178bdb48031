//! Offsets of partitions: looking them up, and deleting the records before them.

use std::collections::BTreeMap;

use super::routing::To;
use super::{Admin, AdminError, check};
use crate::client::Isolation;
use crate::ids::{Offset, TopicPartition};
use crate::protocol::messages::k02_list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::messages::k21_delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};

const ORDER_TIMEOUT_MS: i32 = 30_000;

/// Which offset to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record kept.
    Earliest,
    /// One past the last record.
    Latest,
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record on the broker's own disk (KIP-405).
    EarliestLocal,
    /// The last record in tiered storage (KIP-1005).
    LatestTiered,
    /// The first record with this timestamp in ms since 1970, or a later one.
    Time(i64),
}

impl OffsetAt {
    /// The number on the wire, and the first version that knows it.
    fn wire(self) -> (i64, i16) {
        match self {
            OffsetAt::Latest => (-1, 1),
            OffsetAt::Earliest => (-2, 1),
            OffsetAt::MaxTimestamp => (-3, 7),
            OffsetAt::EarliestLocal => (-4, 8),
            OffsetAt::LatestTiered => (-5, 9),
            // Negative numbers would ask for something else.
            OffsetAt::Time(ms) => (ms.max(0), 1),
        }
    }
}

/// One answer for each partition that was asked for, in the same order.
pub type Each<T> = Vec<Result<T, AdminError>>;

impl Admin {
    /// Looks up one offset for each partition; `None` where there is no such record.
    pub async fn list_offsets(
        &self,
        wanted: &[TopicPartition],
        at: OffsetAt,
        isolation: Isolation,
    ) -> Result<Each<Option<Offset>>, AdminError> {
        let (timestamp, from_version) = at.wire();
        let isolation_level = i8::from(isolation == Isolation::ReadCommitted);
        self.by_leader(wanted, async |node, share| {
            let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
            for &index in share {
                let TopicPartition { topic, partition } = &wanted[index];
                topics.entry(topic).or_default().push(ListOffsetsPartition {
                    partition_index: *partition,
                    timestamp,
                    ..Default::default()
                });
            }
            let topic = |(name, partitions): (&str, _)| ListOffsetsTopic {
                name: name.to_owned(),
                partitions,
            };
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level,
                topics: topics.into_iter().map(topic).collect(),
                timeout_ms: ORDER_TIMEOUT_MS,
            };
            let answer = self.ask(To::Node(node), from_version, request).await?;
            let mut found = BTreeMap::new();
            for topic in answer.topics {
                for partition in topic.partitions {
                    let of = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let what = format!("offsets of partition {of}");
                    let offset = Some(Offset(partition.offset)).filter(|offset| offset.0 >= 0);
                    found.insert(of, check(partition.error_code, None, &what).map(|()| offset));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Deletes the records before these offsets (-1: all that are there); gives the first offset
    /// that is left.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, Offset)],
    ) -> Result<Each<Offset>, AdminError> {
        let partitions: Vec<TopicPartition> = before.iter().map(|(of, _)| of.clone()).collect();
        self.by_leader(&partitions, async |node, share| {
            let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
            for &index in share {
                let (TopicPartition { topic, partition }, offset) = &before[index];
                topics
                    .entry(topic)
                    .or_default()
                    .push(DeleteRecordsPartition { partition_index: *partition, offset: offset.0 });
            }
            let topic = |(name, partitions): (&str, _)| DeleteRecordsTopic {
                name: name.to_owned(),
                partitions,
            };
            let request = DeleteRecordsRequest {
                topics: topics.into_iter().map(topic).collect(),
                timeout_ms: ORDER_TIMEOUT_MS,
            };
            let answer = self.ask(To::Node(node), 0, request).await?;
            let mut found = BTreeMap::new();
            for topic in answer.topics {
                for partition in topic.partitions {
                    let of = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    let what = format!("records of partition {of}");
                    let left = Offset(partition.low_watermark);
                    found.insert(of, check(partition.error_code, None, &what).map(|()| left));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Asks each leader once for its share of the partitions, given by their places in `wanted`;
    /// again for those that may have another leader by now.
    async fn by_leader<T>(
        &self,
        wanted: &[TopicPartition],
        ask: impl AsyncFn(
            i32,
            &[usize],
        )
            -> Result<BTreeMap<TopicPartition, Result<T, AdminError>>, AdminError>,
    ) -> Result<Each<T>, AdminError> {
        self.again("offsets", async || {
            let mut shares: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
            let mut answers: Vec<Option<Result<T, AdminError>>> = Vec::new();
            for (index, leader) in self.leaders(wanted).await?.into_iter().enumerate() {
                match leader {
                    Ok(leader) => {
                        shares.entry(leader).or_default().push(index);
                        answers.push(None);
                    }
                    Err(error) => answers.push(Some(Err(error))),
                }
            }
            for (node, share) in &shares {
                let mut found = ask(*node, share).await?;
                for &index in share {
                    answers[index] = found.remove(&wanted[index]);
                }
            }
            let silent = |of: &TopicPartition| AdminError::Malformed {
                address: self.address(),
                reason: format!("it does not mention partition {of}"),
            };
            let mut done = Vec::with_capacity(answers.len());
            for (answer, of) in answers.into_iter().zip(wanted) {
                match answer.unwrap_or_else(|| Err(silent(of))) {
                    Err(error) if error.is_retriable() => return Err(error),
                    answer => done.push(answer),
                }
            }
            Ok(done)
        })
        .await
    }
}
