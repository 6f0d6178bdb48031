//! Looking at transactions, and forgetting transactional ids that nobody uses.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use super::machine::{ProducerIdentity, Status, Transaction};
use super::service::{Slot, TransactionService};
use crate::ids::TopicPartition;

/// A transactional id as DescribeTransactions and ListTransactions show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: Arc<str>,
    pub status: Status,
    pub producer: ProducerIdentity,
    pub timeout_ms: i32,
    /// −1 if none is open.
    pub started_ms: i64,
    pub partitions: BTreeSet<TopicPartition>,
}

/// Which transactions to list; an empty list lets all through.
#[derive(Clone, Debug, Default)]
pub struct TransactionFilter {
    pub statuses: Vec<Status>,
    pub producer_ids: Vec<i64>,
    /// Open for longer than this, if not negative.
    pub open_for_ms: i64,
}

impl TransactionFilter {
    fn passes(&self, transaction: &Transaction, now_ms: i64) -> bool {
        let Transaction { status, producer_id, started_ms, .. } = transaction;
        (self.statuses.is_empty() || self.statuses.contains(status))
            && (self.producer_ids.is_empty() || self.producer_ids.contains(&producer_id.0))
            // One that has not begun has no duration, and counts as begun at −1.
            && (self.open_for_ms < 0 || now_ms.saturating_sub(*started_ms) > self.open_for_ms)
    }
}

impl TransactionService {
    /// In order of ids.
    pub async fn list(&self, filter: &TransactionFilter) -> Vec<TransactionDescription> {
        let now_ms = (self.now_ms)();
        let mut listed = Vec::new();
        for (id, slot) in self.all() {
            let slot = slot.lock().await;
            let found = slot.transaction.as_ref().filter(|found| filter.passes(found, now_ms));
            listed.extend(found.map(|found| describe(id, found)));
        }
        listed.sort_by(|one, other| one.transactional_id.cmp(&other.transactional_id));
        listed
    }

    /// `None` if nobody has taken this id.
    pub async fn describe(&self, id: &str) -> Option<TransactionDescription> {
        let (id, slot) = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get_key_value(id).map(|(id, slot)| (id.clone(), slot.clone()))?
        };
        let slot = slot.lock().await;
        slot.transaction.as_ref().map(|found| describe(id, found))
    }

    pub(super) fn all(&self) -> Vec<(Arc<str>, Arc<AsyncMutex<Slot>>)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|(id, slot)| (id.clone(), slot.clone())).collect()
    }

    /// Forgets ids that have not been used for
    /// [`TransactionConfig::id_expiration_ms`](super::TransactionConfig).
    pub async fn forget_unused(&self) {
        let before_ms = (self.now_ms)().saturating_sub(self.config.id_expiration_ms);
        for (id, slot) in self.all() {
            let mut slot = slot.lock().await;
            let unused = slot.transaction.as_ref().is_some_and(|found| {
                let open = found.status == Status::Ongoing || found.decision().is_some();
                !open && slot.unsettled.is_empty() && found.updated_ms <= before_ms
            });
            if !unused {
                continue;
            }
            let forgotten = match self.append(&id, None) {
                Ok(appended) => appended.await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match forgotten {
                Ok(_) => {
                    slot.transaction = None;
                    self.drop_untouched(&id, &mut slot);
                    tracing::info!(transactional_id = %id, "a transactional id has expired");
                }
                Err(error) => tracing::warn!(transactional_id = %id, error,
                    "cannot forget a transactional id"),
            }
        }
    }

    pub(super) fn forget_now_and_then(self: &Arc<Self>) {
        let (service, interval) = (Arc::downgrade(self), self.config.expiration_check_interval);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(service) = service.upgrade() else { return };
                service.forget_unused().await;
            }
        });
    }
}

fn describe(transactional_id: Arc<str>, found: &Transaction) -> TransactionDescription {
    TransactionDescription {
        transactional_id,
        status: found.status,
        producer: found.identity(),
        timeout_ms: found.timeout_ms,
        started_ms: found.started_ms,
        partitions: found.partitions.clone(),
    }
}
