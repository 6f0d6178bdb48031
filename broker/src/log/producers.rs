//! What a partition knows of its producers (KIP-98): enough to answer duplicates, refuse gaps and
//! zombies, and tell which transactions are open.
//!
//! It follows from the log alone: replaying batch headers from the start gives the same state, a
//! snapshot ([`super::snapshot`]) only shortens the replay.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::append::Origin;
use super::header::BatchHeader;
use super::index::AbortedTransaction;
use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::record::ControlType;

/// Batches per producer in which duplicates are recognised; clients have no more under way.
pub(super) const BATCHES_KEPT: usize = 5;

/// A batch that a producer has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrittenBatch {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp_ms: i64,
}

impl WrittenBatch {
    pub fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    pub fn first_sequence(&self) -> i32 {
        let first = self.last_sequence.wrapping_sub(self.offset_delta);
        // Sequences wrap from i32::MAX to 0, not to i32::MIN.
        if first < 0 { first.wrapping_add(i32::MAX).wrapping_add(1) } else { first }
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub epoch: ProducerEpoch,
    /// Of the current epoch, oldest first, at most [`BATCHES_KEPT`].
    pub batches: VecDeque<WrittenBatch>,
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
    pub last_timestamp_ms: i64,
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Producer {
        Producer {
            epoch,
            batches: VecDeque::with_capacity(BATCHES_KEPT),
            coordinator_epoch: -1,
            transaction_start: None,
            last_timestamp_ms: -1,
        }
    }

    fn begin_epoch(&mut self, epoch: ProducerEpoch) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    /// This batch as it was written before, if it was.
    fn written(&self, batch: &BatchHeader) -> Option<WrittenBatch> {
        let mut batches = self.batches.iter();
        let same = |seen: &&WrittenBatch| {
            seen.offset_delta == batch.last_offset_delta
                && seen.first_sequence() == batch.base_sequence
        };
        batches.find(same).copied()
    }

    /// The last sequence of this epoch, −1 before the first batch.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// Why a producer's batch does not fit; the partition adds its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    OutOfOrder {
        sequence: i32,
        expected: i32,
    },
    OldEpoch {
        current: ProducerEpoch,
    },
    NotTransactional,
    /// It would begin a transaction that no coordinator is known to have open.
    NotAdmitted,
    CoordinatorFenced {
        current: i32,
    },
}

/// What a batch of an idempotent producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    New,
    /// Written before, as this.
    Duplicate(WrittenBatch),
}

/// A marker as read from a control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub control_type: ControlType,
    pub coordinator_epoch: i32,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    by_id: HashMap<ProducerId, Producer>,
    /// Open transactions by their first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// Ended transactions whose marker the high watermark has not passed, first offset to the
    /// marker's: readers must not see how they ended before the marker counts as written.
    ending: BTreeMap<Offset, Offset>,
}

impl Producers {
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Puts a producer back from a snapshot.
    pub fn restore(&mut self, id: ProducerId, producer: Producer) {
        if let Some(start) = producer.transaction_start {
            self.open.insert(start, id);
        }
        self.by_id.insert(id, producer);
    }

    /// Whether a client's batch continues its producer's sequence, and its open transaction. One
    /// that begins a transaction must be admitted: else none might ever end it (KIP-890).
    pub fn check(&self, batch: &BatchHeader, origin: Origin) -> Result<Fit, Misfit> {
        let begins = batch.is_transactional() && origin == Origin::Client;
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            let sequence = batch.base_sequence;
            return match origin {
                Origin::Client if begins => Err(Misfit::NotAdmitted),
                Origin::Admitted { from_zero: true } if sequence > 0 => {
                    Err(Misfit::OutOfOrder { sequence, expected: 0 })
                }
                _ => Ok(Fit::New),
            };
        };
        if batch.producer_epoch < producer.epoch {
            return Err(Misfit::OldEpoch { current: producer.epoch });
        }
        let same_epoch = batch.producer_epoch == producer.epoch;
        if let Some(seen) = producer.written(batch).filter(|_| same_epoch) {
            return Ok(Fit::Duplicate(seen));
        }
        if begins && !(same_epoch && producer.transaction_start.is_some()) {
            return Err(Misfit::NotAdmitted);
        }
        let sequence = batch.base_sequence;
        if !same_epoch {
            // A new epoch starts over.
            return if sequence <= 0 {
                Ok(Fit::New)
            } else {
                Err(Misfit::OutOfOrder { sequence, expected: 0 })
            };
        }
        if producer.transaction_start.is_some() && !batch.is_transactional() {
            return Err(Misfit::NotTransactional);
        }
        if sequence < 0 {
            return Ok(Fit::New);
        }
        let last = producer.last_sequence();
        let expected = if last == i32::MAX { 0 } else { last + 1 };
        if sequence == expected {
            Ok(Fit::New)
        } else {
            Err(Misfit::OutOfOrder { sequence, expected })
        }
    }

    /// Whether a coordinator may end this producer's transaction.
    pub fn check_marker(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
    ) -> Result<(), Misfit> {
        let Some(producer) = self.by_id.get(&id) else { return Ok(()) };
        if epoch < producer.epoch {
            return Err(Misfit::OldEpoch { current: producer.epoch });
        }
        if coordinator_epoch < producer.coordinator_epoch {
            return Err(Misfit::CoordinatorFenced { current: producer.coordinator_epoch });
        }
        Ok(())
    }

    /// Takes note of a data batch that is in the log.
    pub fn add(&mut self, batch: &BatchHeader) {
        let id = batch.producer_id;
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(batch.producer_epoch));
        producer.begin_epoch(batch.producer_epoch);
        if batch.base_sequence >= 0 {
            if producer.batches.len() == BATCHES_KEPT {
                producer.batches.pop_front();
            }
            let wide = i64::from(batch.base_sequence) + i64::from(batch.last_offset_delta);
            producer.batches.push_back(WrittenBatch {
                last_sequence: (wide & i64::from(i32::MAX)) as i32,
                last_offset: batch.last_offset(),
                offset_delta: batch.last_offset_delta,
                timestamp_ms: batch.max_timestamp_ms,
            });
        }
        producer.last_timestamp_ms = batch.max_timestamp_ms;
        if batch.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(batch.base_offset);
            self.open.insert(batch.base_offset, id);
        }
    }

    /// Takes note of a marker that is in the log; says what it has aborted, if anything.
    pub fn add_marker(
        &mut self,
        batch: &BatchHeader,
        marker: Marker,
    ) -> Option<AbortedTransaction> {
        let id = batch.producer_id;
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(batch.producer_epoch));
        producer.begin_epoch(batch.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp_ms = batch.max_timestamp_ms;
        let first_offset = producer.transaction_start.take()?;
        let last_offset = batch.last_offset();
        self.open.remove(&first_offset);
        self.ending.insert(first_offset, last_offset);
        (marker.control_type == ControlType::Abort).then(|| AbortedTransaction {
            producer_id: id,
            first_offset,
            last_offset,
            last_stable_offset: self.first_open().unwrap_or(last_offset.next()),
        })
    }

    /// The newest epoch of a producer that has written or was fenced here lately.
    pub fn epoch(&self, id: ProducerId) -> Option<ProducerEpoch> {
        self.by_id.get(&id).map(|producer| producer.epoch)
    }

    /// The producers of open transactions, with their epochs.
    pub fn with_open(&self) -> impl Iterator<Item = (ProducerId, ProducerEpoch)> {
        self.open.values().filter_map(|id| Some((*id, self.epoch(*id)?)))
    }

    /// The first offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// The last stable offset under this high watermark: all transactions below it have ended.
    pub fn last_stable(&mut self, high_watermark: Offset) -> Offset {
        self.ending.retain(|_, marker| *marker >= high_watermark);
        let ending = self.ending.first_key_value().map(|(first, _)| *first);
        let unstable = [self.first_open(), ending].into_iter().flatten().min();
        unstable.map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// Forgets producers that have been silent for `silence_ms` and have no open transaction.
    pub fn expire(&mut self, now_ms: i64, silence_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.transaction_start.is_some()
                || now_ms.saturating_sub(producer.last_timestamp_ms) < silence_ms
        });
    }
}
