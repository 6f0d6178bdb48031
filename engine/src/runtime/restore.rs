//! Where a query goes on: its place in every input.
//!
//! State and offsets come from one transaction. Where there is state, the offsets beside it in
//! the changelog count; otherwise those of the group. A partition that was never read starts at
//! its first record.

use broker::client::{Client, ClientError, Isolation, OffsetSpec, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchError;

use crate::state::changelog::{Meta, Restored};
use crate::task::Position;

/// What may go wrong in reading a changelog.
#[derive(Debug)]
pub enum ReadError {
    Client(ClientError),
    Batch(BatchError),
}

/// What is wanted of a changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Entries,
    /// Only which entries there are.
    Keys,
}

/// Reads a changelog to its end.
pub async fn read_changelog(
    client: &dyn Client,
    partition: &TopicPartition,
    wanted: Wanted,
) -> Result<Restored, ReadError> {
    let (start, end) = bounds(client, partition).await.map_err(ReadError::Client)?;
    let mut restored = Restored::default();
    if start >= end {
        return Ok(restored);
    }
    let options = ReaderOptions::partitions(vec![(partition.clone(), start)]);
    let mut reader = client.reader(options).await.map_err(ReadError::Client)?;
    loop {
        let event = reader.next().await.map_err(ReadError::Client)?;
        let ReaderEvent::Batches(fetched) = event else { continue };
        for batch in &fetched.batches {
            let records = batch.records().map_err(ReadError::Batch)?;
            for record in records.iter() {
                let record = record.map_err(ReadError::Batch)?;
                let value = match wanted {
                    Wanted::Entries => record.value,
                    Wanted::Keys => record.value.map(|_| &[][..]),
                };
                restored.apply(record.key, value);
            }
        }
        if fetched.next_offset >= end {
            return Ok(restored);
        }
    }
}

async fn bounds(
    client: &dyn Client,
    partition: &TopicPartition,
) -> Result<(Offset, Offset), ClientError> {
    let one = std::slice::from_ref(partition);
    let first = |offsets: Vec<Option<Offset>>| offsets.first().copied().flatten();
    let start = first(client.list_offsets(one, OffsetSpec::Earliest).await?);
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let end = first(client.list_offsets(one, latest).await?);
    Ok((start.unwrap_or_default(), end.unwrap_or_default()))
}

/// A partition and where reading it goes on.
#[derive(Clone, Debug)]
pub struct Place {
    pub partition: TopicPartition,
    pub position: Position,
    /// Read by an earlier run.
    pub resumed: bool,
    /// Records that an earlier run had not read and that are gone.
    pub lost: i64,
    /// What was committed beside the offset, if it counts.
    pub metadata: Option<String>,
}

/// Looks up where to go on. `from_start` forgets what earlier runs did.
pub async fn places(
    client: &dyn Client,
    group: &str,
    partitions: Vec<TopicPartition>,
    meta: Option<&Meta>,
    from_start: bool,
) -> Result<Vec<Place>, ClientError> {
    let starts = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let ends = client.list_offsets(&partitions, latest).await?;
    let committed: Vec<Option<(Offset, Option<String>)>> = match meta {
        _ if from_start => vec![None; partitions.len()],
        Some(meta) => {
            let offset = |partition| Some((meta.offset(partition)?, None));
            partitions.iter().map(offset).collect()
        }
        None => {
            let committed = client.committed_offsets(group, &partitions).await?;
            let committed = committed.into_iter();
            committed.map(|offset| offset.map(|at| (at.offset, Some(at.metadata)))).collect()
        }
    };
    let places = partitions.into_iter().zip(starts).zip(ends).zip(committed);
    Ok(places
        .map(|(((partition, start), end), committed)| {
            let start = start.unwrap_or_default();
            let (committed, metadata) = committed.unzip();
            let metadata = metadata.flatten();
            let next = committed.unwrap_or(start).max(start);
            let position = Position { next, end: end.unwrap_or(start) };
            let lost = committed.map_or(0, |committed| next.since(committed));
            Place { partition, position, resumed: committed.is_some(), lost, metadata }
        })
        .collect())
}
