//! Client quotas as they are now, kept in the catalog.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Broker, TopicError};
use crate::quotas::{Entity, Quota, Quotas};

/// More rules than these are a mistake: all are in memory, and written with each change.
pub const RULES_MAX: usize = 100_000;

impl Broker {
    pub(crate) fn quotas(&self) -> Arc<Quotas> {
        self.quotas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are any: where there are none, nothing is measured.
    pub(crate) fn has_quotas(&self) -> bool {
        self.has_quotas.load(Ordering::Relaxed)
    }

    /// Changes quotas together. They are durable, and hold, when this returns.
    pub(crate) async fn change_quotas(
        self: &Arc<Self>,
        changes: Vec<(Entity, Quota, Option<f64>)>,
    ) -> Result<(), TopicError> {
        self.change(move |broker, catalog| {
            let mut dynamic = broker.dynamic_configs();
            for (entity, quota, value) in &changes {
                dynamic.quotas.set(entity, *quota, *value);
            }
            catalog.put_dynamic(dynamic.clone())?;
            *broker.quotas.write().unwrap_or_else(PoisonError::into_inner) =
                Arc::new(dynamic.quotas.clone());
            broker.has_quotas.store(!dynamic.quotas.is_empty(), Ordering::Relaxed);
            *broker.dynamic.write().unwrap_or_else(PoisonError::into_inner) = dynamic;
            Ok(())
        })
        .await
    }
}
