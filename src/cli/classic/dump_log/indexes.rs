//! The small files beside a segment, and whether indexes agree with it.

use std::io::{self, Write};
use std::path::Path;

use broker::dump::{self, SegmentFile, StoredProducer};
use broker::ids::Offset;
use broker::record::RecordBatch;

use super::contents::absolute;
use super::{Stop, beside};
use crate::cli::Failure;

/// What is looked at in indexes.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    /// Only whether the index is in order, as a broker asks when it starts.
    pub sanity_only: bool,
    /// Only whether it agrees with the segment.
    pub verify_only: bool,
}

fn corrupt(file: &Path, reason: impl std::fmt::Display) -> Stop {
    let failure = Failure::running(format!("{}: corrupt index: {reason}", file.display()));
    Stop::Failure(
        failure.with_help("remove it: the broker writes it anew when it recovers the log"),
    )
}

pub fn offsets(
    out: &mut impl Write,
    file: &Path,
    base: Offset,
    checks: Checks,
    wrong: &mut Vec<String>,
) -> Result<(), Stop> {
    let (entries, cut) = dump::offset_index(file, base)?;
    let Some((last, _)) = entries.last() else {
        return Ok(writeln!(out, "{} is empty.", file.display())?);
    };
    if checks.sanity_only {
        if cut {
            return Err(corrupt(file, "its last entry is cut short"));
        }
        if *last < base {
            return Err(corrupt(file, format!("its last offset {last} is before {base}")));
        }
        return Ok(writeln!(out, "{} passed sanity check.", file.display())?);
    }
    let mut segment = SegmentFile::open(&beside(file, "log"), u64::MAX)?;
    let mut mismatches = Vec::new();
    for (index, (offset, position)) in entries.into_iter().enumerate() {
        // What was never written is zero, in a file that was made larger than it had to be.
        if offset == base && index > 0 {
            break;
        }
        segment.seek(position)?;
        let found = segment.next_batch()?.map(|stored| stored.batch.last_offset());
        if found != Some(offset) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            mismatches.push(format!("  Index offset: {offset}, log offset: {found}"));
        }
        if !checks.verify_only {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    if !mismatches.is_empty() {
        wrong.push(format!("Mismatches in :{}", absolute(file)));
        wrong.extend(mismatches.into_iter().rev());
    }
    Ok(())
}

pub fn times(
    out: &mut impl Write,
    file: &Path,
    base: Offset,
    checks: Checks,
    wrong: &mut Vec<String>,
) -> Result<(), Stop> {
    let (entries, cut) = dump::time_index(file, base)?;
    if checks.sanity_only {
        if cut {
            return Err(corrupt(file, "its last entry is cut short"));
        }
        if let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last())
            && last < first
        {
            return Err(corrupt(file, format!("its last timestamp {last} is before {first}")));
        }
        return Ok(writeln!(out, "{} passed sanity check.", file.display())?);
    }
    let mut segment = SegmentFile::open(&beside(file, "log"), u64::MAX)?;
    let (positions, _) = dump::offset_index(&beside(file, "index"), base)?;
    let mut faults = TimeFaults::default();
    let mut previous = -1;
    for (index, (timestamp, offset)) in entries.into_iter().enumerate() {
        if offset == base && index > 0 {
            break;
        }
        let before = positions.partition_point(|(indexed, _)| *indexed <= offset);
        let position = before.checked_sub(1).map_or(0, |index| positions[index].1);
        match batch_of(&mut segment, position, offset)? {
            Some(batch) if batch.last_offset() == offset => {
                faults.compare(timestamp, largest(&batch), previous);
            }
            other => {
                let found = other.map_or(-1, |batch| batch.last_offset().0);
                faults.missing.push(format!("Indexed offset: {offset}, found log offset: {found}"));
            }
        }
        if !checks.verify_only {
            writeln!(out, "timestamp: {timestamp} offset: {offset}")?;
        }
        previous = timestamp;
    }
    faults.tell(file, wrong);
    Ok(())
}

/// The first batch from `position` on that reaches `offset`.
fn batch_of(
    segment: &mut SegmentFile,
    position: u64,
    offset: Offset,
) -> Result<Option<RecordBatch>, Stop> {
    segment.seek(position)?;
    while let Some(stored) = segment.next_batch()? {
        if stored.batch.last_offset() >= offset {
            return Ok(Some(stored.batch));
        }
    }
    Ok(None)
}

/// The largest timestamp among the records, or of the batch if they cannot be read.
fn largest(batch: &RecordBatch) -> i64 {
    let Ok(records) = batch.records() else { return batch.max_timestamp_ms() };
    records.iter().flatten().map(|record| record.timestamp_ms).max().unwrap_or(-1)
}

#[derive(Debug, Default)]
struct TimeFaults {
    mismatches: Vec<String>,
    disorder: Vec<String>,
    missing: Vec<String>,
}

impl TimeFaults {
    fn compare(&mut self, indexed: i64, found: i64, previous: i64) {
        if indexed != found {
            self.mismatches.push(format!("  Index timestamp: {indexed}, log timestamp: {found}"));
        }
        if previous >= indexed {
            self.disorder.push(format!(
                "  Index timestamp: {indexed}, Previously indexed timestamp: {previous}"
            ));
        }
    }

    fn tell(self, file: &Path, wrong: &mut Vec<String>) {
        let name = absolute(file);
        for (title, lines) in [
            (format!("Found timestamp mismatch in :{name}"), self.mismatches),
            (format!("Found out of order timestamp in :{name}"), self.disorder),
            ("The following indexed offsets are not found in the log.".to_owned(), self.missing),
        ] {
            if !lines.is_empty() {
                wrong.push(title);
                wrong.extend(lines);
            }
        }
    }
}

pub fn transactions(out: &mut impl Write, file: &Path) -> Result<(), Stop> {
    for aborted in dump::transaction_index(file)? {
        writeln!(
            out,
            "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            aborted.producer_id,
            aborted.first_offset,
            aborted.last_offset,
            aborted.last_stable_offset
        )?;
    }
    Ok(())
}

pub fn producers(out: &mut impl Write, file: &Path) -> Result<(), Stop> {
    for producer in dump::producer_snapshot(file)? {
        one_producer(out, &producer)?;
    }
    Ok(())
}

fn one_producer(out: &mut impl Write, producer: &StoredProducer) -> io::Result<()> {
    let start = producer.transaction_start;
    let start = start.map_or("OptionalLong.empty".to_owned(), |at| format!("OptionalLong[{at}]"));
    write!(
        out,
        "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {start} \
         lastTimestamp: {} ",
        producer.producer_id,
        producer.epoch,
        producer.coordinator_epoch,
        producer.last_timestamp_ms
    )?;
    if let Some(last) = producer.last {
        write!(
            out,
            "firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
            last.first_sequence,
            last.last_sequence,
            last.last_offset,
            last.offset_delta,
            last.timestamp_ms
        )?;
    }
    writeln!(out)
}
