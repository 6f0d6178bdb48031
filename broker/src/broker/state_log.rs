//! The coordinators' state in the broker's own topics.

use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::{self, BoxFuture};

use super::{Broker, TopicError, now_ms};
use crate::client::{Acks, Isolation, NewTopic};
use crate::coordinator::state_log::{
    Marker, OpenTransaction, StateLog, StateLogError, TransactionLog,
};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::log::{AppendError, AppendOptions, Appended, Origin, Partition, ReadOptions};
use crate::record::{RecordBatch, control_batch};

/// One node coordinates all, in one epoch.
const COORDINATOR_EPOCH: i32 = 0;
/// How much is read at once when a coordinator reads its state.
const REPLAY_BYTES: usize = 4 << 20;
/// `offsets.topic.segment.bytes`: small, so that compaction finds closed segments.
const SEGMENT_BYTES: u32 = 100 << 20;

/// The coordinators belong to the broker, so they do not keep it alive.
#[derive(Clone, Debug)]
pub(crate) struct TopicStateLog(Weak<Broker>);

impl TopicStateLog {
    pub fn new(broker: &Arc<Broker>) -> TopicStateLog {
        TopicStateLog(Arc::downgrade(broker))
    }

    fn partition(&self, of: &TopicPartition) -> Result<Option<Arc<Partition>>, StateLogError> {
        let broker = self.0.upgrade().ok_or_else(|| unavailable(of, "the broker has stopped"))?;
        Ok(broker.partition(of))
    }

    fn existing(&self, of: &TopicPartition) -> Result<Arc<Partition>, StateLogError> {
        self.partition(of)?.ok_or_else(|| unavailable(of, "there is no such partition"))
    }
}

fn unavailable(partition: &TopicPartition, reason: impl ToString) -> StateLogError {
    StateLogError::Unavailable { partition: partition.clone(), reason: reason.to_string() }
}

fn append(
    partition: &Arc<Partition>,
    batch: RecordBatch,
    acks: Acks,
) -> Result<Appended, StateLogError> {
    let options = AppendOptions { origin: Origin::Coordinator, acks, now_ms: now_ms() };
    Ok(partition.append(batch.into_bytes(), options)?)
}

fn append_synced(
    partition: Arc<Partition>,
    batch: RecordBatch,
) -> BoxFuture<'static, Result<Offset, StateLogError>> {
    let appended = match append(&partition, batch, Acks::All) {
        Ok(appended) => appended,
        Err(error) => return future::ready(Err(error)).boxed(),
    };
    async move {
        if appended.wait_for_sync {
            let synced = partition.synced(appended.last_offset).await;
            synced.map_err(|error| unavailable(partition.id(), error))?;
        }
        Ok(appended.base_offset)
    }
    .boxed()
}

impl From<AppendError> for StateLogError {
    fn from(error: AppendError) -> StateLogError {
        match error {
            AppendError::TooLarge { partition, size, .. }
            | AppendError::LargerThanSegment { partition, size, .. } => {
                StateLogError::TooLarge { partition, size }
            }
            AppendError::InvalidProducerEpoch { partition, producer, epoch, .. } => {
                StateLogError::Fenced { partition, producer_id: producer, epoch }
            }
            error => unavailable(error.partition(), &error),
        }
    }
}

impl StateLog for TopicStateLog {
    fn append(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> BoxFuture<'static, Result<Offset, StateLogError>> {
        match self.existing(to) {
            Ok(partition) => append_synced(partition, batch),
            Err(error) => future::ready(Err(error)).boxed(),
        }
    }

    fn append_marker(
        &self,
        to: &TopicPartition,
        marker: Marker,
    ) -> BoxFuture<'static, Result<Option<Offset>, StateLogError>> {
        let Marker { producer_id, epoch, control_type } = marker;
        let write = |partition: Arc<Partition>| {
            let batch =
                control_batch(producer_id, epoch, control_type, COORDINATOR_EPOCH, now_ms());
            // The decision is durable and so need not wait to be seen: were the marker lost, it
            // would be written again before anything else.
            append(&partition, batch, Acks::Leader).map(|appended| appended.base_offset)
        };
        let written = self.partition(to).and_then(|partition| partition.map(write).transpose());
        future::ready(written).boxed()
    }

    fn ensure_topic(
        &self,
        topic: &'static str,
        partitions: i32,
    ) -> BoxFuture<'static, Result<i32, StateLogError>> {
        let broker = self.0.upgrade();
        async move {
            let first = TopicPartition::new(topic, 0);
            let broker = broker.ok_or_else(|| unavailable(&first, "the broker has stopped"))?;
            if let Some(topic) = broker.topic(topic) {
                return Ok(topic.partitions_count());
            }
            let new = NewTopic::new(topic, partitions)
                .with_config("cleanup.policy", "compact")
                .with_config("segment.bytes", SEGMENT_BYTES);
            match broker.create_topic(new).await {
                Ok(topic) => Ok(topic.partitions_count()),
                Err(TopicError::Exists(_)) => broker
                    .topic(topic)
                    .map(|topic| topic.partitions_count())
                    .ok_or_else(|| unavailable(&first, "the topic was deleted")),
                Err(error) => Err(unavailable(&first, error)),
            }
        }
        .boxed()
    }

    fn partitions(&self, topic: &'static str) -> Option<i32> {
        Some(self.0.upgrade()?.topic(topic)?.partitions_count())
    }

    fn replay(
        &self,
        from: &TopicPartition,
        each: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), StateLogError> {
        let partition = self.existing(from)?;
        let mut offset = partition.visible().log_start;
        let isolation = Isolation::ReadUncommitted;
        let options = ReadOptions { isolation, bytes_max: REPLAY_BYTES, at_least_one: true };
        loop {
            let slice =
                partition.read(offset, options).map_err(|error| unavailable(from, error))?;
            if slice.records.is_empty() {
                return Ok(());
            }
            let batches = RecordBatch::split_all(slice.records);
            for batch in batches.map_err(|error| unavailable(from, error))? {
                each(batch);
            }
            offset = slice.next_offset;
        }
    }
}

impl TransactionLog for TopicStateLog {
    fn append_unsynced(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> Result<Offset, StateLogError> {
        Ok(append(&self.existing(to)?, batch, Acks::Leader)?.base_offset)
    }

    fn synced(
        &self,
        of: &TopicPartition,
        offset: Offset,
    ) -> BoxFuture<'static, Result<(), StateLogError>> {
        let partition = self.partition(of);
        let (log, of) = (self.clone(), of.clone());
        async move {
            let Some(partition) = partition? else { return Ok(()) };
            match partition.sync(offset).await {
                Ok(()) => Ok(()),
                // Deleted meanwhile.
                Err(_) if log.partition(&of)?.is_none() => Ok(()),
                Err(error) => Err(unavailable(&of, error)),
            }
        }
        .boxed()
    }

    fn producer_epoch(&self, of: &TopicPartition, producer: ProducerId) -> Option<ProducerEpoch> {
        self.partition(of).ok()??.producer_epoch(producer)
    }

    fn open_transactions(&self) -> Vec<OpenTransaction> {
        let Some(broker) = self.0.upgrade() else { return Vec::new() };
        let mut found = Vec::new();
        for topic in broker.topics() {
            for partition in topic.partitions() {
                let open = partition.open_transactions().into_iter();
                found.extend(open.map(|(producer_id, epoch)| OpenTransaction {
                    partition: partition.id().clone(),
                    producer_id,
                    epoch,
                }));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;
    use crate::coordinator::state_log::OFFSETS_TOPIC;
    use crate::ids::{ProducerEpoch, ProducerId};
    use crate::record::{BatchBuilder, ControlType, ProducerStamp};

    fn batch(value: &str, stamp: ProducerStamp) -> RecordBatch {
        let mut builder = BatchBuilder::default();
        builder.append(now_ms(), Some(b"key"), Some(value.as_bytes()));
        builder.build(stamp)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn state_comes_back_in_the_order_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
        let log = TopicStateLog::new(&broker);
        let to = TopicPartition::new(OFFSETS_TOPIC, 1);
        assert_eq!(log.partitions(OFFSETS_TOPIC), None);
        assert!(log.append(&to, batch("x", ProducerStamp::NONE)).await.is_err());
        assert_eq!(log.ensure_topic(OFFSETS_TOPIC, 2).await, Ok(2));
        assert_eq!(log.ensure_topic(OFFSETS_TOPIC, 9).await, Ok(2));

        let (producer_id, epoch) = (ProducerId(5), ProducerEpoch(1));
        let stamp = ProducerStamp { producer_id, epoch, base_sequence: -1, transactional: true };
        let marker = Marker { producer_id, epoch, control_type: ControlType::Commit };
        let first = log.append(&to, batch("one", ProducerStamp::NONE));
        let second = log.append(&to, batch("two", stamp));
        let third = log.append(&to, batch("three", stamp));
        let fourth = log.append_marker(&to, marker);
        assert_eq!(fourth.await, Ok(Some(Offset(3))));
        assert_eq!(third.await, Ok(Offset(2)));
        assert_eq!((first.await, second.await), (Ok(Offset(0)), Ok(Offset(1))));
        let old = ProducerStamp { epoch: ProducerEpoch(0), ..stamp };
        let fenced = log.append(&to, batch("late", old)).await.unwrap_err();
        assert!(matches!(fenced, StateLogError::Fenced { epoch: ProducerEpoch(0), .. }));
        let gone = TopicPartition::new("gone", 0);
        assert_eq!(log.append_marker(&gone, marker).await, Ok(None));
        drop(broker);

        let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
        let log = TopicStateLog::new(&broker);
        let mut found = Vec::new();
        log.replay(&to, &mut |batch| found.push((batch.base_offset().0, batch.is_control())))
            .unwrap();
        assert_eq!(found, [(0, false), (1, false), (2, false), (3, true)]);
    }
}
