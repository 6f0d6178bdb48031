//! Ending transactions: the decision, then the markers, then that it is done.
//!
//! ```text
//!            wait             wait             no wait                    later, at once or after
//!   end ─► markers of the ─► Prepare… ─► markers in all ─► answer  ─ ─ ► SETTLE_AFTER: wait for
//!          transaction       durable     partitions                      the markers, Complete…
//!          before durable
//! ```
//!
//! Once the decision is durable nothing can change it: if markers are lost, recovery writes them
//! again, so neither the producer nor readers need wait for their fsync. But what is kept of an id
//! says what markers are still owed for it. So as long as some may not be durable the transaction
//! is *unsettled*, and nothing else is kept of its id. The next decision, for one, waits; in
//! practice for nothing, since its own records lie behind the markers and were synced with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::machine::{Protocol, Status, Transaction, TransactionError};
use super::service::{EndedTransaction, Request, Slot, TransactionService, unavailable};
use crate::coordinator::state_log::{Marker, OFFSETS_TOPIC, StateLogError};
use crate::ids::{Offset, TopicPartition};
use crate::record::ControlType;

/// How long a marker that a partition did not take waits for the next try.
const MARKER_RETRY: Duration = Duration::from_secs(1);
/// How long markers of a producer in this process wait for its next commit, which syncs them too.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// Markers that may not be durable yet.
pub(super) type Unsettled = BTreeMap<TopicPartition, Offset>;

impl TransactionService {
    /// Waits until the markers of the transaction before are durable. Ending the next one waits
    /// for that too; called first it does so beside other fsyncs.
    pub async fn settled(&self, id: &str) -> Result<(), TransactionError> {
        let unsettled = self.existing(id).await?.unsettled.clone();
        self.synced(unsettled).await
    }

    /// Carries a decision through.
    pub(super) async fn finish(
        self: &Arc<Self>,
        id: &Arc<str>,
        slot: &mut Slot,
        decided: Transaction,
    ) -> Result<(), TransactionError> {
        let Some(decision) = decided.decision() else {
            return Err(TransactionError::InvalidState);
        };
        if slot.transaction.as_ref() != Some(&decided) {
            self.keep(id, slot, &decided).await?;
            slot.transaction = Some(decided.clone());
            slot.marked.clear();
        }
        if let Some(timeout) = slot.timeout.take() {
            timeout.abort();
        }
        self.mark(slot, &decided, decision).await?;
        let offsets = decided.partitions.iter().filter(|to| &*to.topic == OFFSETS_TOPIC);
        (self.on_ended)(EndedTransaction {
            producer_id: decided.producer_id,
            decision,
            offsets_partitions: offsets.map(|to| to.partition).collect(),
        });
        slot.transaction = Some(decided.completed(decision, (self.now_ms)()));
        slot.unsettled = std::mem::take(&mut slot.marked);
        slot.ends += 1;
        self.settle_later(id, slot);
        Ok(())
    }

    /// Writes the markers that are not yet written.
    async fn mark(
        &self,
        slot: &mut Slot,
        decided: &Transaction,
        decision: ControlType,
    ) -> Result<(), TransactionError> {
        let Transaction { producer_id, epoch, .. } = *decided;
        let marker = Marker { producer_id, epoch, control_type: decision };
        let left = decided.partitions.iter().filter(|to| !slot.marked.contains_key(to));
        let markers =
            left.map(|to| async move { (to.clone(), self.log.append_marker(to, marker).await) });
        let mut failed = None;
        for (to, written) in join_all(markers).await {
            match written {
                Ok(Some(at)) => _ = slot.marked.insert(to, at),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(unavailable(error)))
    }

    async fn synced(&self, markers: Unsettled) -> Result<(), TransactionError> {
        let synced = markers.iter().map(|(of, offset)| self.log.synced(of, *offset));
        let synced: Result<Vec<()>, StateLogError> = try_join_all(synced).await;
        synced.map(drop).map_err(unavailable)
    }

    /// Keeps a state that takes the markers of the transaction before for granted.
    pub(super) async fn keep(
        &self,
        id: &str,
        slot: &mut Slot,
        transaction: &Transaction,
    ) -> Result<(), TransactionError> {
        self.synced(slot.unsettled.clone()).await?;
        slot.unsettled.clear();
        self.append(id, Some(transaction))?.await.map(drop).map_err(unavailable)
    }

    /// Keeps a state that need not be durable, if it may be kept by now; else settling does it.
    pub(super) fn remember(
        &self,
        id: &str,
        slot: &Slot,
        transaction: &Transaction,
    ) -> Result<(), TransactionError> {
        let dies_with_us =
            transaction.status == Status::Ongoing && transaction.protocol == Protocol::InProcess;
        if dies_with_us || !slot.unsettled.is_empty() {
            return Ok(());
        }
        let (to, batch) = self.record(id, Some(transaction))?;
        self.log.append_unsynced(&to, batch).map(drop).map_err(unavailable)
    }

    /// Sees to it that what is kept of an id catches up with how its transaction ended.
    fn settle_later(self: &Arc<Self>, id: &Arc<str>, slot: &mut Slot) {
        if slot.settling {
            return;
        }
        slot.settling = true;
        let protocol = slot.transaction.as_ref().map(|ended| ended.protocol);
        let wait =
            if protocol == Some(Protocol::InProcess) { SETTLE_AFTER } else { Duration::ZERO };
        tokio::spawn(settle(Arc::downgrade(self), id.clone(), slot.ends, wait));
    }

    /// A decision stands, so its markers are written as soon as the partitions take them, whether
    /// or not anyone asks.
    pub(super) fn arm_retry(self: &Arc<Self>, id: &str, slot: &mut Slot) {
        if slot.transaction.as_ref().is_some_and(|found| found.decision().is_some()) {
            let retry = self.later(id, MARKER_RETRY, Request::Finish);
            if let Some(before) = slot.timeout.replace(retry) {
                before.abort();
            }
        }
    }
}

/// One at a time for each id. A transaction that ends while this waits has its own time to wait.
async fn settle(service: Weak<TransactionService>, id: Arc<str>, ends: u64, wait: Duration) {
    let (mut ends, mut wait) = (ends, wait);
    loop {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let Some(service) = service.upgrade() else { return };
        let Ok(slot) = service.existing(&id).await else { return };
        let unsettled = slot.unsettled.clone();
        let is_due = slot.ends == ends;
        // Not while the disk works: the next transaction can begin.
        drop(slot);
        let synced = if is_due { service.synced(unsettled).await } else { Ok(()) };
        let Ok(mut slot) = service.existing(&id).await else { return };
        if slot.ends != ends {
            let protocol = slot.transaction.as_ref().map(|ended| ended.protocol);
            ends = slot.ends;
            wait =
                if protocol == Some(Protocol::InProcess) { SETTLE_AFTER } else { Duration::ZERO };
            continue;
        }
        let remembered = synced.and_then(|()| {
            if std::mem::take(&mut slot.unsettled).is_empty() {
                return Ok(());
            }
            let found = slot.transaction.clone();
            found.map_or(Ok(()), |found| service.remember(&id, &slot, &found))
        });
        match remembered {
            Ok(()) => {
                slot.settling = false;
                return;
            }
            Err(error) => {
                tracing::warn!(transactional_id = %id, %error,
                    "a completed transaction could not be noted as such");
                wait = MARKER_RETRY;
            }
        }
    }
}
