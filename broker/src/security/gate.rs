//! How much is done for clients that are not known yet, at one time.
//!
//! ```text
//! connections ─► those of one host wait for one another ─► slots ─► work
//! ```
//!
//! As many wait as there are connections, which are bounded, and no longer than a client may stay
//! unknown. One host never has more than half of the slots: whoever tries passwords from there
//! holds up others by one piece of work at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// A bound on what is done at once, shared out fairly among hosts.
#[derive(Debug)]
pub struct Gate {
    slots: Semaphore,
    of_host: usize,
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Debug)]
struct Host {
    turns: Arc<Semaphore>,
    /// That wait or work; the last of them to go takes the host away.
    inside: usize,
}

/// Leave to work until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _slot: SemaphorePermit<'a>,
    _of_host: OwnedSemaphorePermit,
    _inside: Inside<'a>,
}

/// One that is counted among those of its host.
#[derive(Debug)]
struct Inside<'a> {
    gate: &'a Gate,
    host: String,
}

impl Gate {
    pub fn new(slots: usize) -> Gate {
        let slots = slots.max(1);
        let of_host = (slots / 2).max(1);
        Gate { slots: Semaphore::new(slots), of_host, hosts: Mutex::default() }
    }

    /// Waits for a turn. Safe to cancel.
    pub async fn enter(&self, host: &str) -> Turn<'_> {
        let (turns, inside) = self.come(host);
        let of_host = turns.acquire_owned().await.expect("gates are never closed");
        let slot = self.slots.acquire().await.expect("gates are never closed");
        Turn { _slot: slot, _of_host: of_host, _inside: inside }
    }

    fn come(&self, host: &str) -> (Arc<Semaphore>, Inside<'_>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Host { turns: Arc::new(Semaphore::new(self.of_host)), inside: 0 };
        let known = hosts.entry(host.to_owned()).or_insert_with(new);
        known.inside += 1;
        (known.turns.clone(), Inside { gate: self, host: host.to_owned() })
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut hosts = self.gate.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get_mut(&self.host) {
            host.inside -= 1;
            if host.inside == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn one_host_leaves_room_for_others() {
        let gate = Gate::new(4);
        let enter = |host| gate.enter(host).now_or_never();
        let first = [enter("a").unwrap(), enter("a").unwrap()];
        assert!(enter("a").is_none(), "half of the slots is all that it has");
        let mut waiting = Box::pin(gate.enter("a"));
        assert!((&mut waiting).now_or_never().is_none());
        let others = [enter("b").unwrap(), enter("c").unwrap()];
        assert!(enter("d").is_none(), "all are taken");
        drop(others);
        drop(enter("d").unwrap());
        drop(first);
        drop(waiting.now_or_never().expect("its turn has come"));
        assert!(gate.hosts.lock().unwrap().is_empty(), "nothing is kept of hosts that are gone");
    }

    #[test]
    fn there_is_always_a_slot() {
        let gate = Gate::new(0);
        let turn = gate.enter("a").now_or_never().unwrap();
        assert!(gate.enter("b").now_or_never().is_none());
        drop(turn);
        assert!(gate.enter("b").now_or_never().is_some());
    }
}
