//! After a restart: what was decided is completed, what is open stays open as far as its producer
//! can still be there, and nothing else is left open in any partition.
//!
//! What is kept may be behind the partitions: a power cut, or the end of a producer's process,
//! leaves transactions that only the partitions know of, and perhaps markers of the decision that
//! was kept, but of not all of them. Epochs tell which is which: from version 2 on a marker has a
//! higher epoch than the records it ends, and that is the epoch of the records behind it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::machine::{self, Protocol, Step, Transaction, TransactionError};
use super::records;
use super::service::{EndedTransaction, Slot, TransactionService, unavailable};
use crate::coordinator::state_log::{Marker, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::record::{ControlType, RecordBatch};

/// Partitions with records of open transactions, by who wrote them.
type Orphans = BTreeMap<(ProducerId, ProducerEpoch), BTreeSet<TopicPartition>>;

impl TransactionService {
    /// Reads `__transaction_state`, completes what was decided before a crash, lets time run for
    /// what is open, and aborts what nobody can end any more. To be called once, before requests
    /// are taken.
    pub async fn recover(self: &Arc<Self>) -> Result<(), TransactionError> {
        for (id, mut transaction) in self.replay()? {
            let id: Arc<str> = id.into();
            let mut slot = self.enter(&id).await;
            let decided = transaction.decision().is_some();
            if decided {
                self.leave_out_marked(&mut transaction);
            }
            slot.transaction = Some(transaction.clone());
            if decided && let Err(error) = self.finish(&id, &mut slot, transaction).await {
                // What was decided stays so, and the next start tries again.
                tracing::error!(transactional_id = %id, %error,
                    "a transaction that was decided cannot end in all of its partitions: what it \
                     wrote to the others is there. Once they are well, restart the broker");
            }
        }
        let mut orphans = Orphans::new();
        for open in self.log.open_transactions() {
            let own = orphans.entry((open.producer_id, open.epoch)).or_default();
            own.insert(open.partition);
        }
        for (id, slot) in self.all() {
            let mut slot = slot.lock_owned().await;
            let identity = slot.transaction.as_ref().map(|found| (found.producer_id, found.epoch));
            if let Some(open) = identity.and_then(|identity| orphans.remove(&identity)) {
                self.take_in(&id, &mut slot, open).await?;
            }
            self.arm_timeout(&id, &mut slot);
        }
        self.abort(orphans).await?;
        self.forget_now_and_then();
        Ok(())
    }

    fn replay(&self) -> Result<HashMap<String, Transaction>, TransactionError> {
        let mut found = HashMap::new();
        let mut failed = None;
        for partition in 0..self.log.partitions(TRANSACTIONS_TOPIC).unwrap_or(0) {
            let from = TopicPartition::new(TRANSACTIONS_TOPIC, partition);
            let mut each = |batch: RecordBatch| {
                if failed.is_none()
                    && !batch.is_control()
                    && let Err(reason) = replay_batch(&batch, &mut found)
                {
                    failed = Some(format!("{from}: {reason}"));
                }
            };
            self.log.replay(&from, &mut each).map_err(unavailable)?;
        }
        failed.map_or(Ok(found), |reason| Err(TransactionError::Unavailable(reason)))
    }

    /// Of a decided transaction, leaves out partitions that have its marker. Records behind that
    /// are of the next transaction, which a second marker would end likewise.
    fn leave_out_marked(&self, decided: &mut Transaction) {
        // In version 1 there are none: the next transaction is kept before they are written.
        if decided.protocol == Protocol::V1 {
            return;
        }
        let Transaction { producer_id, epoch, .. } = *decided;
        let has_marker = |to: &TopicPartition| {
            self.log.producer_epoch(to, producer_id).is_some_and(|newest| newest >= epoch)
        };
        decided.partitions.retain(|to| !has_marker(to));
    }

    async fn take_in(
        self: &Arc<Self>,
        id: &Arc<str>,
        slot: &mut Slot,
        open: BTreeSet<TopicPartition>,
    ) -> Result<(), TransactionError> {
        let Some(found) = &slot.transaction else { return Ok(()) };
        match machine::orphaned(found, open, (self.now_ms)()) {
            Step::Answer => Ok(()),
            Step::Keep(next) => {
                self.keep(id, slot, &next).await?;
                slot.transaction = Some(next);
                Ok(())
            }
            Step::Remember(next) => {
                self.remember(id, slot, &next)?;
                slot.transaction = Some(next);
                Ok(())
            }
            Step::End(decided) => {
                tracing::info!(transactional_id = %id, partitions = decided.partitions.len(),
                    "a transaction ended with the process that it was open in: it is aborted");
                self.finish(id, slot, decided).await
            }
        }
    }

    /// Of these producers no transactional id is known, or they are not the latest of theirs.
    async fn abort(&self, orphans: Orphans) -> Result<(), TransactionError> {
        for ((producer_id, epoch), partitions) in orphans {
            let marker = Marker { producer_id, epoch, control_type: ControlType::Abort };
            let mut offsets_partitions = Vec::new();
            for to in partitions {
                tracing::info!(partition = %to, producer_id = producer_id.0,
                    "a transaction that nobody can end is aborted");
                self.log.append_marker(&to, marker).await.map_err(unavailable)?;
                if &*to.topic == OFFSETS_TOPIC {
                    offsets_partitions.push(to.partition);
                }
            }
            let decision = ControlType::Abort;
            (self.on_ended)(EndedTransaction { producer_id, decision, offsets_partitions });
        }
        Ok(())
    }
}

fn replay_batch(
    batch: &RecordBatch,
    found: &mut HashMap<String, Transaction>,
) -> Result<(), String> {
    let records = batch.records().map_err(|error| error.to_string())?;
    for record in records.iter() {
        let record = record.map_err(|error| error.to_string())?;
        let at = |error: records::RecordError| format!("offset {}: {error}", record.offset);
        let Some(key) = record.key else { continue };
        let id = records::decode_key(&records.share(key)).map_err(at)?;
        match record.value {
            None => found.remove(&id),
            Some(value) => {
                found.insert(id, records::decode_value(&records.share(value)).map_err(at)?)
            }
        };
    }
    Ok(())
}
