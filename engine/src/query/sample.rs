//! Topics that nothing declares: a declaration guessed from some of their records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use broker::client::{
    Client, ClientError, Isolation, OffsetSpec, ReadFrom, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchError;
use thiserror::Error;

use crate::formats::infer::declaration::{AvroOption, sql};
use crate::formats::infer::{InferError, Inferred, Sample, infer};
use crate::pipeline::{Diagnostics, Source, SourceFile, sql_file};

/// What is read is kept until the guess is made.
const BYTES_MAX: usize = 64 << 20;

/// Key and value of a record.
pub type KeyValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Why records of a topic could not be looked at.
#[derive(Debug, Error)]
pub enum SampleError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("partition {partition}: {error}")]
    Batch { partition: TopicPartition, error: BatchError },
    #[error("topic '{topic}': {error}")]
    Infer { topic: String, error: InferError },
    #[error("topic '{topic}': what was guessed of it cannot be declared")]
    Declaration { topic: String, mistakes: Diagnostics },
}

/// A topic as a source, guessed from its last records.
pub async fn infer_source(
    client: &dyn Client,
    topic: &str,
    records: i64,
) -> Result<Arc<Source>, SampleError> {
    let (last, first) = sample(client, topic, records).await?;
    let inferred = infer_from(&last, &first);
    let inferred =
        inferred.map_err(|error| SampleError::Infer { topic: topic.to_owned(), error })?;
    declare(topic, &inferred, &[])
}

/// A guess from records that were read.
pub fn infer_from(last: &[KeyValue], first: &[KeyValue]) -> Result<Inferred, InferError> {
    let samples: Vec<Sample<'_>> = last
        .iter()
        .map(|(key, value)| Sample { key: key.as_deref(), value: value.as_deref() })
        .collect();
    let first: Vec<&[u8]> = first.iter().filter_map(|(_, value)| value.as_deref()).collect();
    infer(&samples, &first, None)
}

/// The declaration that people would be given, as if it stood in a file.
fn declare(
    topic: &str,
    inferred: &Inferred,
    avro: &[AvroOption],
) -> Result<Arc<Source>, SampleError> {
    let text = sql(topic, inferred, avro);
    let path = PathBuf::from(format!("topic '{topic}', as guessed from its records"));
    let file = Arc::new(SourceFile { path, text });
    let mut mistakes = Vec::new();
    let draft = sql_file::read(&file, &mut mistakes);
    match draft.sources.into_iter().next().filter(|_| mistakes.is_empty()) {
        Some(source) => Ok(source),
        None => {
            let (topic, mistakes) = (topic.to_owned(), Diagnostics(mistakes));
            Err(SampleError::Declaration { topic, mistakes })
        }
    }
}

/// The last records of all partitions, and the first of each.
pub async fn sample(
    client: &dyn Client,
    topic: &str,
    records: i64,
) -> Result<(Vec<KeyValue>, Vec<KeyValue>), SampleError> {
    let Some(found) = client.topic(topic).await? else {
        return Err(ClientError::UnknownTopic(topic.to_owned()).into());
    };
    let partitions: Vec<TopicPartition> =
        (0..found.partitions).map(|number| TopicPartition::new(topic, number)).collect();
    let starts = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let ends = client.list_offsets(&partitions, latest).await?;
    let each = (records + i64::from(found.partitions) - 1) / i64::from(found.partitions.max(1));
    let (mut last, mut first) = (Vec::new(), Vec::new());
    for ((partition, start), end) in partitions.into_iter().zip(starts).zip(ends) {
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
        if start < end {
            last.push((partition.clone(), Offset((end.0 - each).max(start.0)), end));
            first.push((partition, start, start.next()));
        }
    }
    Ok((read_ranges(client, last).await?, read_ranges(client, first).await?))
}

/// The records of each partition from one offset up to another.
async fn read_ranges(
    client: &dyn Client,
    ranges: Vec<(TopicPartition, Offset, Offset)>,
) -> Result<Vec<KeyValue>, SampleError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    if ranges.is_empty() {
        return Ok(found);
    }
    let from = ranges.iter().map(|(partition, start, _)| (partition.clone(), *start)).collect();
    let mut open: BTreeMap<TopicPartition, (Offset, Offset)> =
        ranges.into_iter().map(|(partition, start, end)| (partition, (start, end))).collect();
    let (from, isolation) = (ReadFrom::Partitions(from), Isolation::ReadCommitted);
    let mut reader =
        client.reader(ReaderOptions { from, isolation, event_bytes_max: 1 << 20 }).await?;
    while !open.is_empty() && bytes < BYTES_MAX {
        let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
        let Some(&(start, end)) = open.get(&fetched.partition) else { continue };
        let malformed = |error| {
            let partition = fetched.partition.clone();
            SampleError::Batch { partition, error }
        };
        for batch in &fetched.batches {
            for record in batch.records().map_err(malformed)?.iter() {
                let record = record.map_err(malformed)?;
                if record.offset >= start && record.offset < end {
                    let (key, value) = (record.key.map(<[u8]>::to_vec), record.value);
                    bytes += value.map_or(0, <[u8]>::len) + key.as_ref().map_or(0, Vec::len);
                    found.push((key, value.map(<[u8]>::to_vec)));
                }
            }
        }
        if fetched.next_offset >= end {
            open.remove(&fetched.partition);
        }
    }
    Ok(found)
}
