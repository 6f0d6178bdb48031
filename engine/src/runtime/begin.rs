//! Where queries begin that have read nothing yet: at the first record, if a source does not say
//! otherwise (`start`).
//!
//! It is written down before any task starts: a record that comes after that is read, whatever
//! happens. A partition that is added later is read from its first record on.

use broker::client::{Client, ClientError, Isolation, OffsetSpec};
use broker::ids::{Offset, TopicPartition};

use super::RunError;
use super::evolution::is_forgotten;
use super::planned::Planned;
use super::restore::Note;
use super::topics::Partitions;
use super::writer::Writer;
use crate::pipeline::Start;

/// Commits where those begin that begin elsewhere than at the first record.
pub async fn begin(
    client: &dyn Client,
    planned: &[Planned],
    partitions: &Partitions,
) -> Result<(), RunError> {
    for part in planned.chunk_by(|one, other| one.group() == other.group()) {
        begin_part(client, part, partitions).await?;
    }
    Ok(())
}

async fn begin_part(
    client: &dyn Client,
    part: &[Planned],
    partitions: &Partitions,
) -> Result<(), RunError> {
    let first = &part[0];
    let begins_elsewhere =
        first.topology.inputs.iter().any(|input| input.source.start != Start::Earliest);
    if !begins_elsewhere || first.shown.is_some() {
        return Ok(());
    }
    let failed = |error: ClientError| first.client_error("where it begins to read", error);
    let reads = part.iter().flat_map(|task| task.reads_of(partitions));
    let mut reads: Vec<TopicPartition> =
        reads.filter(|read| !first.reads_exchange(&read.topic)).collect();
    reads.sort();
    reads.dedup();
    let committed = client.committed_offsets(&first.group(), &reads).await.map_err(failed)?;
    if committed.iter().any(Option::is_some) || is_forgotten(client, first).await? {
        return Ok(());
    }
    let starts = starts(client, first, &reads).await.map_err(failed)?;
    let note = Note { tasks: first.tasks, latest_ms: None };
    let mut writer = Writer::open(client, first).await.map_err(failed)?;
    let offsets = reads.into_iter().zip(starts).map(|(read, start)| (read, start, note));
    writer.commit(offsets).await.map_err(failed)?.await.map_err(failed)?;
    writer.close().await;
    Ok(())
}

/// Where a query begins in each of these partitions. Of two beginnings in one topic the earlier
/// one counts.
pub async fn starts(
    client: &dyn Client,
    planned: &Planned,
    reads: &[TopicPartition],
) -> Result<Vec<Offset>, ClientError> {
    let found = client.list_offsets(reads, OffsetSpec::Earliest).await?;
    let earliest: Vec<Offset> = found.into_iter().map(Option::unwrap_or_default).collect();
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let found = client.list_offsets(reads, latest).await?;
    let ends: Vec<Offset> = found.into_iter().map(Option::unwrap_or_default).collect();
    let mut starts: Vec<Option<Offset>> = vec![None; reads.len()];
    for input in &planned.topology.inputs {
        let at = match input.source.start {
            Start::Earliest => earliest.clone(),
            Start::Latest => ends.clone(),
            Start::Time(time_ms) => {
                let found = client.list_offsets(reads, OffsetSpec::AtTimestamp(time_ms)).await?;
                // Where no record is as late, all that are to come are.
                found.into_iter().zip(&ends).map(|(at, end)| at.unwrap_or(*end)).collect()
            }
        };
        for ((start, read), at) in starts.iter_mut().zip(reads).zip(at) {
            if *read.topic == *input.source.topic {
                *start = Some(start.map_or(at, |other| other.min(at)));
            }
        }
    }
    Ok(starts.into_iter().zip(earliest).map(|(start, first)| start.unwrap_or(first)).collect())
}
