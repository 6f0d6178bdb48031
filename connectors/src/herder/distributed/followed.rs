//! A compacted topic, read from its beginning and kept up with.
//!
//! ```text
//! topic ─► apply, record by record ─► state ─► whoever looks, or waits for a change
//! ```
//!
//! Only what is committed counts. Records of a partition are applied in their order; what is read
//! again after a failure is applied again, which leads to the same state.

use std::sync::Arc;
use std::time::Duration;

use broker::client::{
    Client, ClientError, FetchedBatches, Isolation, OffsetSpec, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::warn;

/// Before what has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What records make.
pub(super) trait Apply: Default + Send + Sync + 'static {
    /// One record; without a value, its key is forgotten. What is not understood is passed over:
    /// it may be of another version.
    fn apply(&mut self, offset: Offset, key: &str, value: Option<&[u8]>);
}

/// A state, and how far its topic was read for it.
#[derive(Debug)]
pub(super) struct Seen<S> {
    pub state: S,
    positions: Vec<Offset>,
}

impl<S> Seen<S> {
    /// How far the first partition was read.
    pub fn position(&self) -> Offset {
        self.positions.first().copied().unwrap_or(Offset::ZERO)
    }

    fn has(&self, ends: &[Offset]) -> bool {
        self.positions.iter().zip(ends).all(|(position, end)| position >= end)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Followed<S> {
    client: Arc<dyn Client>,
    partitions: Vec<TopicPartition>,
    seen: watch::Receiver<Seen<S>>,
    reading: AbortHandle,
}

impl<S> Drop for Followed<S> {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl<S: Apply> Followed<S> {
    /// Begins to read.
    pub fn start(client: Arc<dyn Client>, partitions: Vec<TopicPartition>) -> Followed<S> {
        let positions = vec![Offset::ZERO; partitions.len()];
        let (told, seen) = watch::channel(Seen { state: S::default(), positions });
        let follow = follow(client.clone(), partitions.clone(), told);
        let reading = tokio::spawn(follow).abort_handle();
        Followed { client, partitions, seen, reading }
    }

    /// What is known by now.
    pub fn now(&self) -> watch::Ref<'_, Seen<S>> {
        self.seen.borrow()
    }

    /// For whoever waits for changes.
    pub fn watch(&self) -> watch::Receiver<Seen<S>> {
        self.seen.clone()
    }

    /// Waits until all is read that was written before this was called.
    pub async fn read_to_end(&self) -> Result<(), ClientError> {
        let ends = self.ends(Isolation::ReadUncommitted).await?;
        self.reach(&ends).await;
        Ok(())
    }

    /// Where the partitions end.
    pub async fn ends(&self, isolation: Isolation) -> Result<Vec<Offset>, ClientError> {
        let latest = OffsetSpec::Latest(isolation);
        let ends = self.client.list_offsets(&self.partitions, latest).await?;
        Ok(ends.into_iter().map(|end| end.unwrap_or(Offset::ZERO)).collect())
    }

    /// Waits until the partitions are read so far.
    pub async fn reach(&self, ends: &[Offset]) {
        // Reading goes on for as long as this is there.
        let _ = self.seen.clone().wait_for(|seen| seen.has(ends)).await;
    }
}

async fn follow<S: Apply>(
    client: Arc<dyn Client>,
    partitions: Vec<TopicPartition>,
    told: watch::Sender<Seen<S>>,
) {
    loop {
        let error = match read(&*client, &partitions, &told).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let topic = partitions.first().map(|partition| partition.topic.clone());
        warn!("topic '{}': {error}; read again in {PAUSE:?}", topic.unwrap_or_default());
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read<S: Apply>(
    client: &dyn Client,
    partitions: &[TopicPartition],
    told: &watch::Sender<Seen<S>>,
) -> Result<std::convert::Infallible, ClientError> {
    let starts = client.list_offsets(partitions, OffsetSpec::Earliest).await?;
    let from: Vec<(TopicPartition, Offset)> = {
        let positions = &told.borrow().positions;
        let starts = starts.into_iter().map(|start| start.unwrap_or(Offset::ZERO));
        let from = positions.iter().zip(starts).map(|(position, start)| start.max(*position));
        partitions.iter().cloned().zip(from).collect()
    };
    let mut reader = client.reader(ReaderOptions::partitions(from)).await?;
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
        let Some(place) = partitions.iter().position(|one| *one == fetched.partition) else {
            continue;
        };
        told.send_modify(|seen| {
            apply(&mut seen.state, &fetched);
            seen.positions[place] = fetched.next_offset.max(seen.positions[place]);
        });
    }
}

fn apply<S: Apply>(state: &mut S, fetched: &FetchedBatches) {
    let unreadable = |error: &dyn std::fmt::Display| {
        warn!("partition {}: passed over what cannot be read: {error}", fetched.partition);
    };
    for batch in &fetched.batches {
        let records = match batch.records() {
            Ok(records) => records,
            Err(error) => {
                unreadable(&error);
                continue;
            }
        };
        for record in records.iter() {
            match record {
                Ok(record) => {
                    let key = record.key.and_then(|key| std::str::from_utf8(key).ok());
                    if let Some(key) = key {
                        state.apply(record.offset, key, record.value);
                    }
                }
                Err(error) => unreadable(&error),
            }
        }
    }
}
