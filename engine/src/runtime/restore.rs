//! Where a query goes on: its place in every input.
//!
//! State and offsets come from one transaction. Where there is state, the offsets beside it in
//! the changelog count; otherwise those of the group. A partition that was never read starts at
//! its first record.

use std::fmt;

use broker::client::{Client, ClientError, Isolation, OffsetSpec, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchError;

use crate::state::changelog::{META_KEY, Meta, Restored};
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
    /// Only which entries there are, beside the meta record.
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
                    Wanted::Keys if record.key == Some(&META_KEY) => record.value,
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

/// The first record of a partition, and one past the last that is committed.
pub async fn bounds(
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

/// What is committed beside an offset, where several tasks share a query:
/// `tasks=4 latest_ms=1767225600000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub tasks: usize,
    /// The latest event time read from the partition, of a task that has no state to keep it in:
    /// without it, nobody behind the task would learn what is late before the next row comes.
    pub latest_ms: Option<i64>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tasks > 1 {
            write!(f, "tasks={}", self.tasks)?;
        }
        match self.latest_ms {
            Some(latest_ms) => write!(f, " latest_ms={latest_ms}"),
            None => Ok(()),
        }
    }
}

impl Note {
    /// What is not known is left out: others may have committed in the group.
    pub fn parse(text: &str) -> Note {
        let value = |name: &str| {
            text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        Note {
            tasks: value("tasks").and_then(|tasks| tasks.parse().ok()).unwrap_or(1),
            latest_ms: value("latest_ms").and_then(|latest_ms| latest_ms.parse().ok()),
        }
    }
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
    pub note: Option<Note>,
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
    let committed: Vec<Option<(Offset, Option<Note>)>> = match meta {
        _ if from_start => vec![None; partitions.len()],
        Some(meta) => {
            let offset = |partition| Some((meta.offset(partition)?, None));
            partitions.iter().map(offset).collect()
        }
        None => {
            let committed = client.committed_offsets(group, &partitions).await?;
            let committed = committed.into_iter();
            committed
                .map(|offset| offset.map(|at| (at.offset, Some(Note::parse(&at.metadata)))))
                .collect()
        }
    };
    let places = partitions.into_iter().zip(starts).zip(ends).zip(committed);
    Ok(places
        .map(|(((partition, start), end), committed)| {
            let start = start.unwrap_or_default();
            let (committed, note) = committed.unzip();
            let note = note.flatten();
            let next = committed.unwrap_or(start).max(start);
            let position = Position { next, end: end.unwrap_or(start) };
            let lost = committed.map_or(0, |committed| next.since(committed));
            Place { partition, position, resumed: committed.is_some(), lost, note }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        for note in [
            Note { tasks: 1, latest_ms: None },
            Note { tasks: 4, latest_ms: None },
            Note { tasks: 4, latest_ms: Some(-7) },
        ] {
            assert_eq!(Note::parse(&note.to_string()), note);
        }
        assert_eq!(Note { tasks: 4, latest_ms: Some(17) }.to_string(), "tasks=4 latest_ms=17");
        let of_others = Note::parse("AgAAAXqcD2s= by someone else latest_ms=soon");
        assert_eq!(of_others, Note { tasks: 1, latest_ms: None });
    }
}
