//! Memory that clients can make the server take, shared out from a fixed budget.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a permit stands for.
const UNIT_BYTES: usize = 1024;

/// A bound on what many requests hold together.
///
/// A request takes more as its bytes arrive, so that a claim alone costs nothing. Requests that
/// wait for one another in the middle could then block each other forever; therefore one of them
/// at a time may go beyond the budget, and so comes to its end.
#[derive(Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug, Default)]
pub struct Lease {
    units: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Lease {
    fn bytes(&self) -> usize {
        self.units.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * UNIT_BYTES
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let kept = bytes.div_ceil(UNIT_BYTES);
        if let Some(units) = &mut self.units {
            drop(units.split(units.num_permits().saturating_sub(kept)));
        }
    }
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Budget { units: Arc::new(Semaphore::new(units)), overdraft: Arc::new(Semaphore::new(1)) }
    }

    /// Makes `lease` cover `bytes` in total, once so much is free. Safe to cancel.
    pub async fn cover(&self, lease: &mut Lease, bytes: usize) {
        let missing = bytes.saturating_sub(lease.bytes()).div_ceil(UNIT_BYTES);
        if missing == 0 || lease.overdraft.is_some() {
            return;
        }
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            units = self.units.clone().acquire_many_owned(missing) => {
                let units = units.expect("budgets are never closed");
                match &mut lease.units {
                    Some(held) => held.merge(units),
                    none => *none = Some(units),
                }
            }
            slot = self.overdraft.clone().acquire_owned() => {
                lease.overdraft = Some(slot.expect("budgets are never closed"));
            }
        }
    }

    /// As much as is free now of `bytes`, halved until it fits; waits for `least`.
    pub async fn lease(&self, bytes: usize, least: usize) -> (Lease, usize) {
        let mut wanted = bytes;
        while wanted > least {
            let units = u32::try_from(wanted.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
            if let Ok(units) = self.units.clone().try_acquire_many_owned(units) {
                return (Lease { units: Some(units), overdraft: None }, wanted);
            }
            wanted /= 2;
        }
        let least = bytes.min(least);
        let mut lease = Lease::default();
        self.cover(&mut lease, least).await;
        (lease, least)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn covers(budget: &Budget, lease: &mut Lease, bytes: usize) -> bool {
        budget.cover(lease, bytes).now_or_never().is_some()
    }

    #[test]
    fn one_lease_at_a_time_goes_beyond_the_budget() {
        let budget = Budget::new(8 * UNIT_BYTES);
        let (mut a, mut b, mut c) = (Lease::default(), Lease::default(), Lease::default());
        assert!(covers(&budget, &mut a, 6 * UNIT_BYTES));
        assert!(covers(&budget, &mut b, 4 * UNIT_BYTES), "by the overdraft");
        assert!(covers(&budget, &mut b, 400 * UNIT_BYTES));
        assert!(!covers(&budget, &mut c, 4 * UNIT_BYTES));
        assert!(covers(&budget, &mut c, 2 * UNIT_BYTES), "that much is left");
        drop(b);
        assert!(covers(&budget, &mut c, 4 * UNIT_BYTES));
        drop((a, c));
        let mut all = Lease::default();
        assert!(covers(&budget, &mut all, 8 * UNIT_BYTES));
        assert!(all.overdraft.is_none(), "everything was given back");
    }

    #[test]
    fn a_lease_takes_what_is_free_and_gives_back_what_is_not_needed() {
        let budget = Budget::new(16 * UNIT_BYTES);
        let lease = |bytes| budget.lease(bytes, 2 * UNIT_BYTES).now_or_never();
        let (mut first, bytes) = lease(10 * UNIT_BYTES).unwrap();
        assert_eq!(bytes, 10 * UNIT_BYTES);
        let (_second, bytes) = lease(10 * UNIT_BYTES).unwrap();
        assert_eq!(bytes, 5 * UNIT_BYTES);
        first.shrink(UNIT_BYTES + 1);
        let (_third, bytes) = lease(10 * UNIT_BYTES).unwrap();
        assert_eq!(bytes, 5 * UNIT_BYTES);
        let (_fourth, bytes) = lease(10 * UNIT_BYTES).unwrap();
        assert_eq!(bytes, 10 * UNIT_BYTES / 4, "what is left, four units, is more than that");
    }
}
