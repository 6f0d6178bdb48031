//! Reading: librdkafka's messages, one by one, become record batches, partition by partition.
//!
//! A group's rebalance is recorded by librdkafka's callback and told here, in its turn. What is
//! taken away is let go only by the call that follows, so that the caller can commit before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::native::consumer::{Consumer, Message};
use super::native::error::{NativeError, code};
use super::native::handle::Rebalance;
use super::native::partitions::PartitionList;
use super::places::{Place, Places};
use super::tunnel::Refusal;
use super::{Cluster, settings};
use crate::client::{
    ClientError, FetchedBatches, GroupMembership, ReadFrom, Reader, ReaderEvent, ReaderOptions,
};
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::record::{BatchBuilder, ProducerStamp};

/// Reads from a cluster. Fields drop in this order.
pub struct RemoteReader {
    consumer: Consumer,
    places: Places,
    /// `None` for a reader that was given its partitions.
    group: Option<String>,
    event_bytes_max: usize,
    /// Told as revoked; to be let go by the next call.
    told: Option<Rebalance>,
    /// A partition whose offset is not in the log, to be reported with what is.
    out_of_range: Option<(TopicPartition, Offset)>,
    cluster: Arc<Cluster>,
}

impl RemoteReader {
    pub(super) async fn open(
        cluster: &Arc<Cluster>,
        options: ReaderOptions,
    ) -> Result<RemoteReader, ClientError> {
        let refused = |error: NativeError| ClientError::Refused {
            what: "reader".into(),
            reason: error.reason,
        };
        let conf = settings::reader(&cluster.address, &cluster.options, &options);
        let consumer = Consumer::new(conf.map_err(refused)?, &cluster.closing.0);
        let mut reader = RemoteReader {
            consumer: consumer.map_err(refused)?,
            places: Places::default(),
            group: None,
            event_bytes_max: options.event_bytes_max,
            told: None,
            out_of_range: None,
            cluster: Arc::clone(cluster),
        };
        match options.from {
            ReadFrom::Partitions(partitions) => reader.assign(partitions).await?,
            ReadFrom::Group(group) => {
                let names: BTreeSet<&str> = group.topics.iter().map(String::as_str).collect();
                cluster.describe(&names.into_iter().collect::<Vec<_>>()).await?;
                let joined = reader.consumer.subscribe(&group.topics);
                joined.map_err(|error| cluster.of_group(&group.group, error))?;
                reader.group = Some(group.group);
            }
        }
        Ok(reader)
    }

    /// The next rebalance to be told, after what was told last is let go.
    fn rebalanced(&mut self) -> Option<ReaderEvent> {
        if let Some(told) = self.told.take() {
            self.consumer.answer(&told);
        }
        while let Some(rebalance) = self.consumer.handle().callbacks().take_rebalance() {
            let partitions = rebalance.partitions.partitions();
            if rebalance.given {
                self.consumer.answer(&rebalance);
                for partition in &partitions {
                    self.places.insert(partition, Place::default());
                }
                return Some(ReaderEvent::Assigned(partitions));
            }
            if partitions.is_empty() {
                self.consumer.answer(&rebalance);
                continue;
            }
            for partition in &partitions {
                self.places.remove(partition);
            }
            self.forget_stranger();
            self.told = Some(rebalance);
            return Some(ReaderEvent::Revoked(partitions));
        }
        None
    }

    /// Drops the message held if it is of a partition that is not read any more. What else there
    /// is of that one, librdkafka drops.
    fn forget_stranger(&mut self) {
        let is_known = |message: &Message| match topic_of(message) {
            Some(topic) => self.places.get(topic, message.partition()).is_some(),
            None => true,
        };
        if self.consumer.held().is_some_and(|message| !is_known(message)) {
            self.consumer.pop();
        }
    }

    /// The next event that can be made of what has come by now.
    fn assemble(&mut self) -> Result<Option<ReaderEvent>, ClientError> {
        loop {
            let Some(message) = self.consumer.front() else { return Ok(None) };
            let of = topic_of(message).and_then(|topic| {
                self.places.find(topic, message.partition()).map(|(at, place)| (at, *place))
            });
            let Some((partition, place)) = of else {
                let error = message.topic().is_none().then(|| message.error());
                self.consumer.pop();
                error.map_or(Ok(()), |error| self.check_consumer_error(error))?;
                continue;
            };
            let offset = Offset(message.offset());
            match message.code() {
                // Fetched before the reader was sent elsewhere.
                code::NONE if place.next.is_some_and(|next| offset < next) => self.consumer.pop(),
                code::PARTITION_EOF if place.is_told_end(offset) => self.consumer.pop(),
                code::NONE | code::PARTITION_EOF => return Ok(Some(self.batch(partition, offset))),
                code::AUTO_OFFSET_RESET => {
                    self.consumer.pop();
                    self.give_up(&partition);
                    self.out_of_range = Some((partition, place.next.unwrap_or(offset)));
                    return Ok(None);
                }
                _ => {
                    let error = message.error();
                    self.consumer.pop();
                    self.check_partition_error(partition, error)?;
                }
            }
        }
    }

    /// One batch of the messages of `partition` at the front, the first of which is at `base`;
    /// empty if that one just says that the end is reached.
    fn batch(&mut self, partition: TopicPartition, base: Offset) -> ReaderEvent {
        let mut builder = BatchBuilder::default();
        let (mut next, mut end) = (base, None);
        let topic = self.consumer.front().and_then(Message::topic).map(ToOwned::to_owned);
        let topic = topic.unwrap_or_default();
        while let Some(message) = self.consumer.front() {
            if message.partition() != partition.partition || message.topic() != Some(&*topic) {
                break;
            }
            let offset = Offset(message.offset());
            if message.code() == code::PARTITION_EOF {
                (next, end) = (offset.max(next), Some(offset.max(next)));
                self.consumer.pop();
                break;
            }
            let Some(delta) = i32::try_from(offset.since(base)).ok().filter(|_| offset >= next)
            else {
                break;
            };
            let size =
                message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
            let full = builder.size() + size > self.event_bytes_max;
            if message.code() != code::NONE || (full && !builder.is_empty()) {
                break;
            }
            append(&mut builder, delta, message);
            next = offset.next();
            self.consumer.pop();
        }
        let end = end.unwrap_or_else(|| {
            let high = self.consumer.high_watermark(&topic, partition.partition);
            Offset(high.unwrap_or(next.0)).max(next)
        });
        if let Some((_, place)) = self.places.find(&partition.topic, partition.partition) {
            place.advance(next, end);
        }
        let batches = if builder.is_empty() {
            Vec::new()
        } else {
            vec![builder.build(ProducerStamp::NONE).stamped(base, LeaderEpoch(-1))]
        };
        ReaderEvent::Batches(FetchedBatches {
            partition,
            batches,
            next_offset: next,
            end_offset: end,
        })
    }

    /// Stops reading a partition for good.
    fn give_up(&mut self, partition: &TopicPartition) {
        self.places.remove(partition);
        let stopped = PartitionList::of(std::slice::from_ref(partition))
            .and_then(|list| self.consumer.stop(&list));
        if let Err(error) = stopped {
            tracing::warn!(%partition, %error, "cannot stop reading");
        }
    }

    fn check_partition_error(
        &mut self,
        partition: TopicPartition,
        error: NativeError,
    ) -> Result<(), ClientError> {
        let gone = error.is_unknown_topic() || error.code == code::UNKNOWN_PARTITION_LOCAL;
        // A group notices by itself what is gone, and revokes it.
        if error.heals_itself() || (gone && self.group.is_some()) {
            tracing::debug!(%partition, %error, "librdkafka goes on by itself");
            return Ok(());
        }
        if gone {
            self.give_up(&partition);
        }
        Err(self.cluster.of_partition(&partition, error))
    }

    fn not_let_in(&self, refusal: Refusal) -> ClientError {
        self.cluster.refused("reader".into(), NativeError::not_let_in(refusal))
    }

    /// An error of no partition: of the group, or of the instance as a whole.
    fn check_consumer_error(&self, error: NativeError) -> Result<(), ClientError> {
        if error.code == code::FATAL {
            let error = self.consumer.handle().fatal().unwrap_or(error);
            return Err(match &self.group {
                Some(group) => self.cluster.of_group(group, error),
                None => self.cluster.refused("reader".into(), error),
            });
        }
        match &self.group {
            Some(group) if !error.heals_itself() && !error.is_unknown_topic() => {
                Err(self.cluster.of_group(group, error))
            }
            // Without a group there is nothing for a group coordinator to refuse.
            _ => {
                tracing::debug!(%error, "librdkafka goes on by itself");
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Reader for RemoteReader {
    async fn next(&mut self) -> Result<ReaderEvent, ClientError> {
        loop {
            if let Some(event) = self.rebalanced() {
                return Ok(event);
            }
            if let Some((partition, offset)) = &self.out_of_range {
                let error = self.cluster.out_of_range(partition, *offset).await;
                self.out_of_range = None;
                return Err(error);
            }
            if let Some(event) = self.assemble()? {
                return Ok(event);
            }
            // The queue is empty, but taking its last messages off may have served a rebalance.
            let served = self.consumer.handle().callbacks().has_rebalance();
            if !served && self.out_of_range.is_none() {
                if let Some(refusal) = self.consumer.handle().callbacks().refusal() {
                    return Err(self.not_let_in(refusal));
                }
                // The time is no pause between polls: it only shows librdkafka that we live.
                let _ = tokio::time::timeout(settings::POLL_INTERVAL, self.consumer.ready()).await;
            }
        }
    }

    async fn assign(
        &mut self,
        partitions: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError> {
        if let Some(group) = &self.group {
            let reason = format!("the reader is in group '{group}', which assigns");
            return Err(ClientError::Refused { what: "assignment of partitions".into(), reason });
        }
        let wanted: BTreeMap<TopicPartition, Offset> = partitions.into_iter().collect();
        let names: Vec<TopicPartition> = wanted.keys().cloned().collect();
        self.cluster.check_partitions(&names).await?;
        let stays = |at: &TopicPartition, place: &Place| {
            wanted.get(at).is_some_and(|offset| place.next == Some(*offset))
        };
        let stop: Vec<TopicPartition> =
            self.places.iter().filter(|(at, place)| !stays(at, place)).map(|(at, _)| at).collect();
        for partition in &stop {
            self.places.remove(partition);
        }
        self.forget_stranger();
        let is_new = |at: &TopicPartition| self.places.get(&at.topic, at.partition).is_none();
        let start: Vec<(TopicPartition, Offset)> =
            wanted.into_iter().filter(|(at, _)| is_new(at)).collect();
        for (partition, offset) in &start {
            self.places.insert(partition, Place { next: Some(*offset), end: None });
        }
        self.out_of_range = None;
        let refused = |error| self.cluster.refused("reader".into(), error);
        if !stop.is_empty() {
            let list = PartitionList::of(&stop).map_err(refused)?;
            self.consumer.stop(&list).map_err(refused)?;
        }
        if !start.is_empty() {
            let list = PartitionList::at(&start).map_err(refused)?;
            self.consumer.start(&list).map_err(refused)?;
        }
        Ok(())
    }

    async fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let Some(group) = &self.group else {
            let reason = "this reader is not in a group".into();
            return Err(ClientError::Refused { what: "commit of offsets".into(), reason });
        };
        if offsets.is_empty() {
            return Ok(());
        }
        let refused = |error| self.cluster.of_group(group, error);
        let list = PartitionList::at(offsets).map_err(refused)?;
        self.consumer.commit(&list).await.map_err(refused)
    }

    fn group(&self) -> Option<GroupMembership> {
        let group = self.group.clone()?;
        let (member_id, generation) = self.consumer.membership()?;
        Some(GroupMembership { group, member_id, generation })
    }
}

impl Drop for RemoteReader {
    fn drop(&mut self) {
        // To be answered when the instance closes, or it would wait for that for ever.
        if let Some(told) = self.told.take() {
            self.consumer.handle().callbacks().put_back(told);
        }
    }
}

/// `None` for errors of the whole consumer. Topics have plain names.
fn topic_of(message: &Message) -> Option<&str> {
    message.topic()?.to_str().ok()
}

fn append(builder: &mut BatchBuilder, offset_delta: i32, message: &Message) {
    let headers = message.headers();
    let headers: Vec<(&str, Option<&[u8]>)> =
        headers.iter().map(|(name, value)| (&**name, *value)).collect();
    builder.append_at(
        offset_delta,
        message.timestamp_ms(),
        message.key(),
        message.value(),
        &headers,
    );
}
