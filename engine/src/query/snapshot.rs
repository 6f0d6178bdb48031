//! Where topics begin and end when a question is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::client::{Client, ClientError, Isolation, OffsetSpec};
use broker::ids::{Offset, TopicPartition};

use crate::pipeline::{Format, Source, SourceKind};
use crate::runtime::{ShownFrom, ShownPartition};

/// Records from one time to before another, by their timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeBounds {
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
}

impl TimeBounds {
    pub fn contain(&self, timestamp_ms: i64) -> bool {
        self.from_ms.is_none_or(|from_ms| timestamp_ms >= from_ms)
            && self.to_ms.is_none_or(|to_ms| timestamp_ms < to_ms)
    }
}

/// A partition as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub partition: TopicPartition,
    /// The first record kept, and the first one within the bounds.
    pub earliest: Offset,
    pub from: Offset,
    /// One past the last committed record.
    pub end: Offset,
}

/// Topics as they stand.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    topics: BTreeMap<String, Vec<Range>>,
    pub bounds: TimeBounds,
}

/// Whether the records of a source replace or take back rows, so that all of them are needed to
/// know which rows there are.
pub fn is_changelog(source: &Source) -> bool {
    matches!(source.kind, SourceKind::Table { .. }) || source.format == Format::DebeziumJson
}

impl Snapshot {
    pub async fn take(
        client: &dyn Client,
        topics: BTreeSet<String>,
        bounds: TimeBounds,
    ) -> Result<Snapshot, ClientError> {
        let mut snapshot = Snapshot { topics: BTreeMap::new(), bounds };
        for topic in topics {
            let found = client.topic(&topic).await?;
            let found = found.ok_or_else(|| ClientError::UnknownTopic(topic.clone()))?;
            let name: Arc<str> = topic.as_str().into();
            let partitions: Vec<TopicPartition> = (0..found.partitions)
                .map(|partition| TopicPartition::new(name.clone(), partition))
                .collect();
            let earliest = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
            let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
            let ends = client.list_offsets(&partitions, latest).await?;
            let from = match bounds.from_ms {
                Some(ms) => client.list_offsets(&partitions, OffsetSpec::AtTimestamp(ms)).await?,
                None => earliest.clone(),
            };
            let ranges = partitions.into_iter().zip(earliest).zip(ends).zip(from);
            let ranges = ranges.map(|(((partition, earliest), end), from)| {
                let earliest = earliest.unwrap_or_default();
                let end = end.unwrap_or(earliest);
                // No record is that late.
                let from = from.unwrap_or(end).max(earliest);
                Range { partition, earliest, from, end }
            });
            snapshot.topics.insert(topic, ranges.collect());
        }
        Ok(snapshot)
    }

    /// The partitions of a topic that it was taken of.
    pub fn ranges(&self, topic: &str) -> &[Range] {
        self.topics.get(topic).map_or(&[], Vec::as_slice)
    }

    /// For a query that is shown: all of these sources from their beginnings, or those that only
    /// add rows from their ends.
    pub fn shown_from(&self, sources: &[Arc<Source>], at_end: bool, until_end: bool) -> ShownFrom {
        let mut from = ShownFrom { until_end, ..ShownFrom::default() };
        for source in sources {
            let all = is_changelog(source);
            for range in self.ranges(&source.topic) {
                let start = match (all, at_end) {
                    (true, _) => range.earliest,
                    (false, true) => range.end,
                    (false, false) => range.from,
                };
                let at = ShownPartition { start, end: range.end };
                let known = from.partitions.entry(range.partition.clone()).or_insert(at);
                known.start = known.start.min(start);
            }
        }
        from
    }
}
