//! How many connections there may be, and how many new ones by the second (KIP-402, KIP-612):
//! of all listeners, of one, of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::ListenerConfig;
use super::rate::{Rate, Windows};

/// What holds for all listeners together.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// `max.connections`; more are closed at once.
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub per_address_max: usize,
    /// `max.connections.per.ip.overrides`
    pub of_addresses: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`: more wait to be accepted.
    pub rate_max: f64,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            connections_max: 4096,
            per_address_max: usize::MAX,
            of_addresses: HashMap::new(),
            rate_max: f64::INFINITY,
        }
    }
}

/// Why a connection is closed at once. As words to go behind "closed connections: ".
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Full {
    #[error("as many as may be are open (max.connections = {0})")]
    Broker(usize),
    #[error("as many as the listener may have are open (max.connections = {0})")]
    Listener(usize),
    #[error("the address has as many as it may (max.connections.per.ip = {0})")]
    Address(usize),
}

/// The connections that there are.
#[derive(Debug)]
pub struct ConnectionCounts {
    limits: ConnectionLimits,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    of_listeners: HashMap<String, usize>,
    of_addresses: HashMap<IpAddr, usize>,
    rate: Rate,
    rates_of_listeners: HashMap<String, Rate>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place {
    counts: Arc<ConnectionCounts>,
    listener: String,
    address: IpAddr,
}

impl ConnectionCounts {
    pub fn new(limits: ConnectionLimits) -> ConnectionCounts {
        ConnectionCounts { limits, begun: Instant::now(), state: Mutex::default() }
    }

    // No code panics with the counts half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection of an address, if there is one.
    pub fn take(
        self: &Arc<Self>,
        listener: &ListenerConfig,
        address: IpAddr,
    ) -> Result<Place, Full> {
        let (limits, address) = (&self.limits, address.to_canonical());
        let of_address = limits.of_addresses.get(&address).copied();
        let of_address = of_address.unwrap_or(limits.per_address_max);
        let mut state = self.state();
        if state.all >= limits.connections_max {
            return Err(Full::Broker(limits.connections_max));
        }
        let count = |counts: &HashMap<String, usize>| counts.get(&listener.name).copied();
        if count(&state.of_listeners).unwrap_or(0) >= listener.connections_max {
            return Err(Full::Listener(listener.connections_max));
        }
        if state.of_addresses.get(&address).copied().unwrap_or(0) >= of_address {
            return Err(Full::Address(of_address));
        }
        state.all += 1;
        *state.of_listeners.entry(listener.name.clone()).or_default() += 1;
        *state.of_addresses.entry(address).or_default() += 1;
        Ok(Place { counts: self.clone(), listener: listener.name.clone(), address })
    }

    /// How long a listener waits until it accepts the next one, after it has accepted another.
    pub fn pause(&self, listener: &ListenerConfig) -> Duration {
        let (all_max, own_max) = (self.limits.rate_max, listener.connection_rate_max);
        if all_max.is_infinite() && own_max.is_infinite() {
            return Duration::ZERO;
        }
        let now_ms = self.begun.elapsed().as_millis() as u64;
        let throttle_ms = |rate: &mut Rate, max: f64| {
            rate.record(1.0, now_ms, Windows::default());
            rate.throttle_ms(max, now_ms, Windows::default())
        };
        let mut state = self.state();
        let of_all = throttle_ms(&mut state.rate, all_max);
        let own = state.rates_of_listeners.entry(listener.name.clone()).or_default();
        Duration::from_millis(of_all.max(throttle_ms(own, own_max)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.counts.state();
        state.all -= 1;
        if let Some(count) = state.of_listeners.get_mut(&self.listener) {
            *count -= 1;
        }
        // Addresses that are gone take no memory.
        if let Some(count) = state.of_addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                state.of_addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, connections_max: usize) -> ListenerConfig {
        ListenerConfig { name: name.to_owned(), connections_max, ..ListenerConfig::plaintext("") }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_by_listener_and_address() {
        let counts = Arc::new(ConnectionCounts::new(ConnectionLimits {
            connections_max: 5,
            per_address_max: 2,
            of_addresses: HashMap::from([(address("10.0.0.2"), 1), (address("10.0.0.3"), 9)]),
            ..ConnectionLimits::default()
        }));
        let (wide, narrow) = (listener("WIDE", usize::MAX), listener("NARROW", 1));
        let take = |listener, from| counts.take(listener, address(from));
        let first = [take(&wide, "10.0.0.1").unwrap(), take(&wide, "10.0.0.1").unwrap()];
        assert_eq!(take(&wide, "10.0.0.1").unwrap_err(), Full::Address(2));
        assert_eq!(take(&wide, "::ffff:10.0.0.1").unwrap_err(), Full::Address(2), "it is the same");
        let second = take(&wide, "10.0.0.2").unwrap();
        assert_eq!(take(&wide, "10.0.0.2").unwrap_err(), Full::Address(1));
        let third = take(&narrow, "10.0.0.3").unwrap();
        assert_eq!(take(&narrow, "10.0.0.3").unwrap_err(), Full::Listener(1));
        let fourth = take(&wide, "10.0.0.3").unwrap();
        assert_eq!(take(&wide, "10.0.0.4").unwrap_err(), Full::Broker(5));
        drop((first, second, third, fourth));
        drop(take(&narrow, "10.0.0.1").unwrap());
        assert!(counts.state().of_addresses.is_empty() && counts.state().all == 0);
    }

    #[test]
    fn what_comes_too_often_waits() {
        let unlimited = ConnectionCounts::new(ConnectionLimits::default());
        assert_eq!(unlimited.pause(&listener("A", 1)), Duration::ZERO);
        let limits = ConnectionLimits { rate_max: 10.0, ..ConnectionLimits::default() };
        let counts = ConnectionCounts::new(limits);
        // What fits into all windows comes at once.
        assert!((0..100).all(|_| counts.pause(&listener("A", 1)).is_zero()));
        let pauses: Vec<Duration> = (0..20).map(|_| counts.pause(&listener("B", 1))).collect();
        assert!(!pauses[19].is_zero(), "the rate is that of all listeners: {pauses:?}");
        let own = ListenerConfig { connection_rate_max: 1.0, ..listener("C", 1) };
        let counts = ConnectionCounts::new(ConnectionLimits::default());
        let pauses: Vec<Duration> = (0..30).map(|_| counts.pause(&own)).collect();
        assert!(pauses[0].is_zero() && pauses[29] > Duration::from_secs(5), "{pauses:?}");
    }
}
