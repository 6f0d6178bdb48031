//! What remains of a batch: a pure function of the batch, the latest offsets of keys, and what is
//! known of transactions.
//!
//! A batch is walked over once per pass, in the order of the log. Offsets never change. A data
//! batch of an aborted transaction loses its records. A record stays if no later record of its key
//! is known; a tombstone, until the horizon that a first pass stamps into its batch has passed.
//! A marker stays as long as the pass has met a batch of its transaction, then until its horizon.
//! Two kinds of batches stay even without records: a producer's last, which holds its sequence
//! number, and the last of the pass, since a reader could not get past the gap at the log's end.

use std::collections::{HashMap, HashSet};

use super::offset_map::OffsetMap;
use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::log::index::AbortedTransaction;
use crate::log::scan::marker_of;
use crate::record::{BatchError, ControlType, Record, RecordBatch};

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Becomes(RecordBatch),
    Goes,
}

/// The aborted transactions of a log, by producer, each producer's in the log's order.
#[derive(Debug, Default)]
pub(super) struct Aborted(HashMap<ProducerId, Vec<AbortedTransaction>>);

impl Aborted {
    pub fn new(transactions: impl IntoIterator<Item = AbortedTransaction>) -> Aborted {
        let mut by_producer: HashMap<ProducerId, Vec<AbortedTransaction>> = HashMap::new();
        for transaction in transactions {
            by_producer.entry(transaction.producer_id).or_default().push(transaction);
        }
        for transactions in by_producer.values_mut() {
            transactions.sort_unstable_by_key(|transaction| transaction.first_offset);
        }
        Aborted(by_producer)
    }

    /// The aborted transaction that this batch, or marker, belongs to.
    pub fn find(&self, batch: &RecordBatch) -> Option<&AbortedTransaction> {
        let offset = batch.base_offset();
        let of_producer = self.0.get(&batch.producer_id())?;
        // A producer has one transaction at a time.
        let after = of_producer.partition_point(|transaction| transaction.first_offset <= offset);
        let last = of_producer.get(after.checked_sub(1)?)?;
        (batch.is_transactional() && offset <= last.last_offset).then_some(last)
    }
}

/// What holds a producer's state: its last data batch, or else the markers of its epoch.
#[derive(Clone, Copy, Debug)]
pub(super) enum LastOfProducer {
    Data(Offset),
    Marker(ProducerEpoch),
}

#[derive(Debug)]
pub(super) struct Filter {
    pub latest: OffsetMap,
    /// Records from here on are not in the map.
    pub mapped_to: Offset,
    pub aborted: Aborted,
    pub last_of_producers: HashMap<ProducerId, LastOfProducer>,
    /// Where the pass ends.
    pub end: Offset,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    /// Producers of whose running transaction the pass has met a batch.
    pub met: HashSet<ProducerId>,
}

impl Filter {
    /// Decides on the next batch; for a marker that ends an aborted transaction of which there may
    /// be batches left, says which.
    pub fn next(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<(Fate, Option<AbortedTransaction>), BatchError> {
        if batch.is_control() { Ok(self.control(batch)) } else { Ok((self.data(batch)?, None)) }
    }

    fn control(&mut self, batch: &RecordBatch) -> (Fate, Option<AbortedTransaction>) {
        let emptied = batch.records_count() == 0;
        let Some(marker) = marker_of(batch) else {
            // Emptied by an earlier pass, or of a kind that this version does not know.
            let goes = emptied && !self.stays_if_empty(batch);
            return (if goes { Fate::Goes } else { Fate::Stays }, None);
        };
        let has_data = self.met.remove(&batch.producer_id());
        if has_data {
            let aborts = marker.control_type == ControlType::Abort;
            let aborted = self.aborted.find(batch).filter(|_| aborts).copied();
            return (Fate::Stays, aborted);
        }
        let last = self.last_of_producers.get(&batch.producer_id());
        let fences = matches!(last, Some(LastOfProducer::Marker(epoch))
            if *epoch == batch.producer_epoch());
        let fate = match batch.delete_horizon_ms() {
            None => self.stamped(batch),
            // Emptied, it would no longer tell the epoch.
            Some(horizon_ms) if fences || horizon_ms > self.now_ms => Fate::Stays,
            Some(_) if self.stays_if_empty(batch) => Fate::Becomes(batch.emptied()),
            Some(_) => Fate::Goes,
        };
        (fate, None)
    }

    /// A marker with the time from which it may go.
    fn stamped(&self, batch: &RecordBatch) -> Fate {
        let horizon_ms = self.now_ms.saturating_add(self.delete_retention_ms);
        let stamp = || {
            let records = batch.records()?;
            let records: Vec<Record<'_>> = records.iter().collect::<Result<_, _>>()?;
            batch.retaining(&records, Some(horizon_ms))
        };
        // Its one record has been read already.
        stamp().map_or(Fate::Stays, Fate::Becomes)
    }

    fn data(&mut self, batch: &RecordBatch) -> Result<Fate, BatchError> {
        if batch.is_transactional() {
            self.met.insert(batch.producer_id());
        }
        let records = batch.records()?;
        let mut kept: Vec<Record<'_>> = Vec::new();
        if self.aborted.find(batch).is_none() {
            for record in records.iter() {
                let record = record?;
                if self.keeps(batch, &record) {
                    kept.push(record);
                }
            }
        }
        if kept.is_empty() {
            return Ok(match (self.stays_if_empty(batch), records.is_empty()) {
                (false, _) => Fate::Goes,
                (true, true) => Fate::Stays,
                (true, false) => Fate::Becomes(batch.emptied()),
            });
        }
        let mut horizon_ms = batch.delete_horizon_ms();
        let tombstone =
            |record: &Record<'_>| record.value.is_none() && record.offset < self.mapped_to;
        let stamps = horizon_ms.is_none() && kept.iter().any(tombstone);
        if stamps {
            horizon_ms = Some(self.now_ms.saturating_add(self.delete_retention_ms));
        }
        if kept.len() == records.len() && !stamps {
            return Ok(Fate::Stays);
        }
        Ok(Fate::Becomes(batch.retaining(&kept, horizon_ms)?))
    }

    fn keeps(&self, batch: &RecordBatch, record: &Record<'_>) -> bool {
        if record.offset >= self.mapped_to {
            return true;
        }
        // From before the topic was compacted: nobody could ever replace it.
        let Some(key) = record.key else { return false };
        let latest = self.latest.get(key).is_none_or(|latest| record.offset >= latest);
        let expired = || batch.delete_horizon_ms().is_some_and(|ms| ms <= self.now_ms);
        latest && (record.value.is_some() || !expired())
    }

    fn stays_if_empty(&self, batch: &RecordBatch) -> bool {
        let last = self.last_of_producers.get(&batch.producer_id());
        let holds_sequence = matches!(last, Some(LastOfProducer::Data(offset))
            if *offset == batch.last_offset());
        holds_sequence || batch.next_offset() == self.end
    }
}
