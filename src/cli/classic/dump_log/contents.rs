//! Batches and records of a segment.

use std::io::{self, Write};
use std::path::Path;

use broker::dump::{SegmentFile, StoredBatch};
use broker::ids::Offset;
use broker::record::{ControlType, Record, RecordBatch};

use super::{Decoder, Stop};
use crate::cli::consume::print::BytesAs;
use crate::cli::stored::{self, Unknown};

/// How much of segments is shown.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    pub decoder: Decoder,
    /// Whether keys and values are.
    pub print: bool,
    pub deep: bool,
    /// Whether what is known of a record is shown before its key.
    pub metadata: bool,
    pub bytes_max: Option<u64>,
}

impl Contents {
    pub fn dump(
        &self,
        out: &mut impl Write,
        path: &Path,
        base: Offset,
        wrong: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let mut file = SegmentFile::open(path, self.bytes_max.unwrap_or(u64::MAX))?;
        writeln!(out, "Log starting offset: {base}")?;
        let (mut last, mut gaps) = (None, Vec::new());
        while let Some(stored) = file.next_batch()? {
            batch(out, &stored)?;
            if self.deep {
                self.records(out, path, &stored, &mut last, &mut gaps)?;
            }
        }
        if !gaps.is_empty() {
            wrong.push(format!("Non-consecutive offsets in {}", absolute(path)));
            // Kafka puts each before the ones that it has found.
            wrong.extend(gaps.into_iter().rev());
        }
        if file.remaining() > 0 && self.bytes_max.is_none() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            writeln!(out, "Found {} invalid bytes at the end of {name}", file.remaining())?;
        }
        Ok(())
    }

    fn records(
        &self,
        out: &mut impl Write,
        path: &Path,
        stored: &StoredBatch,
        last: &mut Option<Offset>,
        gaps: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let (batch, position) = (&stored.batch, stored.position);
        let damaged =
            |source| broker::dump::DumpError::Damaged { path: path.to_owned(), position, source };
        let records = batch.records().map_err(damaged)?;
        for record in records.iter() {
            let record = record.map_err(damaged)?;
            if let Some(last) = last.filter(|last| last.next() != record.offset) {
                gaps.push(format!("  {last} is followed by {}", record.offset));
            }
            *last = Some(record.offset);
            self.record(out, batch, &record)?;
        }
        Ok(())
    }

    fn record(
        &self,
        out: &mut impl Write,
        batch: &RecordBatch,
        record: &Record<'_>,
    ) -> io::Result<()> {
        let mut prefix = "| ";
        if self.metadata {
            metadata(out, batch, record)?;
            prefix = " ";
        }
        if self.print && !batch.is_control() {
            let (key, value) = self.texts(record);
            if let Some(key) = key {
                write!(out, "{prefix}key: {key}")?;
            }
            if let Some(value) = value {
                write!(out, " payload: {value}")?;
            }
        }
        writeln!(out)
    }

    fn texts(&self, record: &Record<'_>) -> (Option<String>, Option<String>) {
        let internal = match self.decoder {
            Decoder::Plain { key, value } => {
                return (
                    record.key.map(|bytes| plain(key, bytes)),
                    record.value.map(|bytes| plain(value, bytes)),
                );
            }
            Decoder::Internal(internal) => internal,
        };
        match stored::decode(internal, record.key, record.value) {
            Ok(decoded) => {
                let value = decoded.value.unwrap_or_else(|| "<DELETE>".to_owned());
                (Some(decoded.key), Some(value))
            }
            Err(Unknown::Kind(kind)) => {
                let offset = record.offset;
                (Some(format!("Unknown record type {kind} at offset {offset}, skipping.")), None)
            }
            Err(Unknown::Malformed(reason)) => {
                (Some(format!("Error at offset {}, skipping. {reason}", record.offset)), None)
            }
        }
    }
}

fn batch(out: &mut impl Write, stored: &StoredBatch) -> io::Result<()> {
    let StoredBatch { position, batch } = stored;
    let horizon = batch
        .delete_horizon_ms()
        .map_or("OptionalLong.empty".to_owned(), |ms| format!("OptionalLong[{ms}]"));
    write!(
        out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} \
         deleteHorizonMs: {horizon}",
        batch.base_offset(),
        batch.last_offset(),
        batch.records_count(),
        batch.base_sequence(),
        batch.last_sequence(),
        batch.producer_id(),
        batch.producer_epoch(),
        batch.leader_epoch().0,
        batch.is_transactional(),
        batch.is_control(),
    )?;
    let codec = batch.compression().map_or("unknown".to_owned(), |codec| codec.to_string());
    writeln!(
        out,
        " position: {position} {:?}: {} size: {} magic: 2 compresscodec: {codec} crc: {} isvalid: {}",
        batch.timestamp_type(),
        batch.max_timestamp_ms(),
        batch.size(),
        batch.checksum(),
        batch.verify_checksum().is_ok(),
    )
}

fn metadata(out: &mut impl Write, batch: &RecordBatch, record: &Record<'_>) -> io::Result<()> {
    let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    let headers: Vec<&str> = record.headers().map(|header| header.key).collect();
    write!(
        out,
        "| offset: {} {:?}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
        record.offset,
        batch.timestamp_type(),
        record.timestamp_ms,
        size(record.key),
        size(record.value),
        sequence(batch, record),
        headers.join(","),
    )?;
    if !batch.is_control() {
        return Ok(());
    }
    let kind = match record.control_type() {
        Some(ControlType::Abort) => "ABORT",
        Some(ControlType::Commit) => "COMMIT",
        None => return write!(out, " controlType: UNKNOWN"),
    };
    // Value: version i16, coordinator epoch i32.
    let epoch = record.value.and_then(|value| value.get(2..6)?.try_into().ok());
    let epoch = epoch.map_or("unknown".to_owned(), |epoch| i32::from_be_bytes(epoch).to_string());
    write!(out, " endTxnMarker: {kind} coordinatorEpoch: {epoch}")
}

/// Sequences wrap from `i32::MAX` to 0.
fn sequence(batch: &RecordBatch, record: &Record<'_>) -> i64 {
    match i64::from(batch.base_sequence()) {
        none @ ..0 => none,
        base => (base + record.offset.since(batch.base_offset())) & i64::from(i32::MAX),
    }
}

fn plain(bytes_as: BytesAs, bytes: &[u8]) -> String {
    let number = match bytes_as {
        BytesAs::Integer => bytes.try_into().ok().map(|four| i32::from_be_bytes(four).to_string()),
        BytesAs::Long => bytes.try_into().ok().map(|eight| i64::from_be_bytes(eight).to_string()),
        _ => None,
    };
    number.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned())
}

pub fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
