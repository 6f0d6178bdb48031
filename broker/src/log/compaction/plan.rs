//! What to compact and how to group it: numbers in, numbers out.

use std::ops::Range;

use crate::ids::Offset;
use crate::log::config::LogConfig;

/// A segment that takes no more records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SealedSegment {
    pub base: Offset,
    /// Where the next one begins.
    pub end: Offset,
    pub bytes: u64,
    /// Of its larger index; asked for only when segments are grouped.
    pub index_bytes: u64,
    /// Largest timestamp; asked for only if `min.compaction.lag.ms` is set.
    pub largest_ms: Option<i64>,
    /// Timestamp of its first batch; asked for only if `max.compaction.lag.ms` is set.
    pub first_ms: Option<i64>,
}

/// What there is to compact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dirt {
    /// Nothing below has a later record of its key below it.
    pub(super) from: Offset,
    /// The end of the last segment that may be compacted.
    pub(super) to: Offset,
    /// The share of bytes below `to` that compaction has not been through.
    pub ratio: f64,
    /// Records have waited for longer than `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Dirt {
    /// Looks at the segments of a log that was compacted up to `cleaned`. Those that reach beyond
    /// `limit` are left alone: there transactions are open, or records not yet on disk.
    pub(super) fn of(
        segments: &[SealedSegment],
        cleaned: Offset,
        limit: Offset,
        config: &LogConfig,
        now_ms: i64,
    ) -> Option<Dirt> {
        let from = cleaned.max(segments.first()?.base);
        let lag_ms = config.compaction.lag_ms_min;
        let recent = |segment: &SealedSegment| {
            let largest_ms = segment.largest_ms.unwrap_or(i64::MIN);
            lag_ms > 0 && segment.end > from && largest_ms > now_ms.saturating_sub(lag_ms)
        };
        let cleanable = |segment: &&SealedSegment| segment.end <= limit && !recent(segment);
        let (mut clean_bytes, mut dirty_bytes, mut to, mut overdue) = (0, 0, from, false);
        for segment in segments.iter().take_while(cleanable) {
            if segment.end <= from {
                clean_bytes += segment.bytes;
                continue;
            }
            dirty_bytes += segment.bytes;
            to = segment.end;
            let waited_ms = segment.first_ms.map_or(0, |first_ms| now_ms.saturating_sub(first_ms));
            overdue |= waited_ms > config.compaction.lag_ms_max;
        }
        let ratio = dirty_bytes as f64 / (clean_bytes + dirty_bytes).max(1) as f64;
        (dirty_bytes > 0).then_some(Dirt { from, to, ratio, overdue })
    }

    /// Whether the topic's settings ask for compaction by now.
    pub(super) fn is_enough(&self, config: &LogConfig) -> bool {
        self.overdue || self.ratio > config.compaction.dirty_ratio_min
    }
}

/// Which neighbours become one segment: as many as fit within the size of one.
pub(super) fn group(segments: &[SealedSegment], config: &LogConfig) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut index_bytes) = (0, 0);
    for (index, segment) in segments.iter().enumerate() {
        if let Some(group) = groups.last_mut() {
            let span = segment.end.since(segments[group.start].base);
            let fits = bytes + segment.bytes <= u64::from(config.segment_bytes)
                && index_bytes + segment.index_bytes <= u64::from(config.segment_index_bytes)
                // Offsets in the indexes are relative, 31 bits.
                && span <= i64::from(i32::MAX);
            if fits {
                group.end = index + 1;
                bytes += segment.bytes;
                index_bytes += segment.index_bytes;
                continue;
            }
        }
        groups.push(index..index + 1);
        (bytes, index_bytes) = (segment.bytes, segment.index_bytes);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::config::Compaction;

    fn segments(bytes: &[u64]) -> Vec<SealedSegment> {
        let at = |index: usize| Offset(index as i64 * 10);
        let each = bytes.iter().enumerate();
        each.map(|(index, bytes)| SealedSegment {
            base: at(index),
            end: at(index + 1),
            bytes: *bytes,
            index_bytes: 8,
            largest_ms: Some(index as i64 * 100 + 99),
            first_ms: Some(index as i64 * 100),
        })
        .collect()
    }

    fn config(compaction: Compaction) -> LogConfig {
        let (segment_bytes, segment_index_bytes) = (100, 40);
        LogConfig { compaction, segment_bytes, segment_index_bytes, ..LogConfig::default() }
    }

    #[test]
    fn dirt_is_what_is_whole_and_below_the_limit() {
        let config = config(Compaction::default());
        let log = segments(&[60, 20, 20, 100]);
        let dirt = |cleaned, limit| Dirt::of(&log, Offset(cleaned), Offset(limit), &config, 0);
        let all = dirt(0, 40).unwrap();
        assert_eq!((all.from, all.to, all.ratio), (Offset(0), Offset(40), 1.0));
        assert!(all.is_enough(&config));
        // A transaction is open from 39 on: its segment stays.
        let some = dirt(10, 39).unwrap();
        assert_eq!((some.from, some.to, some.ratio), (Offset(10), Offset(30), 0.4));
        assert!(!some.is_enough(&config));
        // A map that was full has left off within a segment.
        assert_eq!(dirt(15, 39).unwrap().ratio, 0.4);
        assert_eq!(dirt(30, 39), None);
        assert_eq!(dirt(0, 5), None);
        assert_eq!(Dirt::of(&[], Offset(0), Offset(5), &config, 0), None);
        // Retention has deleted what was compacted.
        assert_eq!(
            Dirt::of(&log[2..], Offset(0), Offset(40), &config, 0).unwrap().from,
            Offset(20)
        );
    }

    #[test]
    fn lags_hold_back_and_hurry() {
        let lag_ms_min = 50;
        let config = config(Compaction { lag_ms_min, lag_ms_max: 250, ..Default::default() });
        let log = segments(&[90, 5, 5, 5]);
        let at = |now_ms| Dirt::of(&log, Offset(10), Offset(40), &config, now_ms);
        // The segment of offset 20 has a record of time 299.
        assert_eq!(at(348).unwrap().to, Offset(20));
        assert_eq!(at(349).unwrap().to, Offset(30));
        let waiting = at(350).unwrap();
        assert!(!waiting.overdue && !waiting.is_enough(&config), "since 100, for 250 ms");
        assert!(at(351).unwrap().overdue && at(351).unwrap().is_enough(&config));
    }

    #[test]
    fn neighbours_are_merged_up_to_the_size_of_a_segment() {
        let config = config(Compaction::default());
        let groups = |bytes: &[u64]| {
            let groups = group(&segments(bytes), &config).into_iter();
            groups.map(|group| (group.start, group.end)).collect::<Vec<_>>()
        };
        assert_eq!(groups(&[]), []);
        assert_eq!(groups(&[60, 40, 1, 99, 0, 200, 5]), [(0, 2), (2, 5), (5, 6), (6, 7)]);
        assert_eq!(groups(&[0; 7]), [(0, 5), (5, 7)], "the index is full");
        let mut far = segments(&[1, 1, 1]);
        far[1].end = Offset(i64::from(i32::MAX) + 1);
        assert_eq!(group(&far, &config), [0..1, 1..3]);
    }
}
