//! Keeping clients to their quotas as Kafka does it (KIP-219): what they do is done and counted,
//! then they are told for how long to be quiet, and are not listened to until then.
//!
//! ```text
//! request ─► done ─► counted by user, client or both ─► too much? ─► answer with throttle_time_ms
//!                                                                     └ connection muted so long
//! ```
//!
//! - bytes that are written count when they arrive, those that are read before they are sent; if
//!   those are too many they are not sent;
//! - time is that in which a request keeps a thread busy, its waiting left out;
//! - changes of topics are paid from a bucket that fills at the rate (KIP-599); who may be told so
//!   is refused while it is empty;
//! - connections are counted by address before anything is said on them (KIP-612).
//!
//! Where there are no quotas, nothing is counted.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::handlers::Call;
use super::rate::{Rate, Windows};
use crate::protocol::ErrorCode;
use crate::quotas::{Quota, Quotas, Sharers};

/// Of more users, clients or addresses than this, those that were quiet for longest are forgotten.
const SENSORS_MAX: usize = 10_000;

/// Over what is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaConfig {
    /// `quota.window.num`, `quota.window.size.seconds`
    pub windows: Windows,
    /// `controller.quota.window.num`, `controller.quota.window.size.seconds`
    pub mutation_windows: Windows,
}

/// What clients have used.
#[derive(Debug)]
pub struct Throttle {
    config: QuotaConfig,
    begun: Instant,
    rates: Mutex<Sensors<(Quota, Sharers), Rate>>,
    buckets: Mutex<Sensors<Sharers, Bucket>>,
    addresses: Mutex<Sensors<IpAddr, Rate>>,
}

/// Something for each key, as many as there may be.
#[derive(Debug)]
struct Sensors<K, S> {
    of: HashMap<K, (u64, S)>,
}

impl<K, S> Default for Sensors<K, S> {
    fn default() -> Sensors<K, S> {
        Sensors { of: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, S: Default> Sensors<K, S> {
    fn get(&mut self, key: K, now_ms: u64) -> &mut S {
        if self.of.len() >= SENSORS_MAX && !self.of.contains_key(&key) {
            // Half of them at once, so that this is rare.
            let mut used: Vec<u64> = self.of.values().map(|(used_ms, _)| *used_ms).collect();
            let (_, median, _) = used.select_nth_unstable(SENSORS_MAX / 2);
            let (median, mut room) = (*median, SENSORS_MAX / 2);
            self.of.retain(|_, (used_ms, _)| {
                let stays = *used_ms >= median && room > 0;
                room -= usize::from(stays);
                stays
            });
        }
        let (used_ms, sensor) = self.of.entry(key).or_default();
        *used_ms = now_ms;
        sensor
    }
}

/// Tokens that come at a rate up to as many as fit into all windows (KIP-599).
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// With when they were counted; full before the first time.
    tokens: Option<(f64, u64)>,
}

impl Bucket {
    fn refill(&mut self, rate: f64, now_ms: u64, windows: Windows) -> f64 {
        let most = rate * windows.all_seconds();
        let (before, at_ms) = self.tokens.unwrap_or((most, now_ms));
        let come = rate * now_ms.saturating_sub(at_ms) as f64 / 1_000.0;
        let tokens = (before + come).min(most);
        self.tokens = Some((tokens, now_ms));
        tokens
    }

    fn take(&mut self, count: f64, now_ms: u64) {
        if let Some((tokens, _)) = self.tokens {
            self.tokens = Some((tokens - count, now_ms));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics with a sensor half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who uses something.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    pub name: &'a str,
    pub client_id: &'a str,
}

impl Throttle {
    pub fn new(config: QuotaConfig) -> Throttle {
        Throttle {
            config,
            begun: Instant::now(),
            rates: Mutex::default(),
            buckets: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Counts, and says for how long the client is to be quiet.
    fn record(&self, quotas: &Quotas, quota: Quota, of: User<'_>, amount: f64) -> u64 {
        let Some((max, sharers)) = quotas.of_client(quota, of.name, of.client_id) else { return 0 };
        let (now_ms, windows) = (self.now_ms(), self.config.windows);
        let mut rates = locked(&self.rates);
        let rate = rates.get((quota, sharers), now_ms);
        rate.record(amount, now_ms, windows);
        let throttle_ms = rate.throttle_ms(max, now_ms, windows);
        match quota {
            // Kafka's bound: time is not known before it is spent.
            Quota::RequestPercentage => throttle_ms.min(windows.size_ms),
            _ => throttle_ms,
        }
    }

    /// The same of what is done only if it is not too much. What would be too much by itself is
    /// done when nothing else was: else it would never be.
    fn try_record(
        &self,
        quotas: &Quotas,
        quota: Quota,
        of: User<'_>,
        amount: f64,
    ) -> Result<u64, u64> {
        let Some((max, sharers)) = quotas.of_client(quota, of.name, of.client_id) else {
            return Ok(0);
        };
        let (now_ms, windows) = (self.now_ms(), self.config.windows);
        let mut rates = locked(&self.rates);
        let rate = rates.get((quota, sharers), now_ms);
        let was_quiet = rate.is_over(now_ms, windows);
        rate.record(amount, now_ms, windows);
        match rate.throttle_ms(max, now_ms, windows) {
            throttle_ms if throttle_ms == 0 || was_quiet => Ok(throttle_ms),
            throttle_ms => {
                rate.take_back(amount);
                Err(throttle_ms)
            }
        }
    }

    /// The most that is done at a time.
    fn burst(&self, quotas: &Quotas, quota: Quota, of: User<'_>) -> Option<f64> {
        let (max, _) = quotas.of_client(quota, of.name, of.client_id)?;
        Some(max * self.config.windows.full_seconds())
    }

    /// Counts changes of topics, by partitions; an error where none are left and the client
    /// understands that. Either way with for how long it is to be quiet.
    fn mutate(
        &self,
        quotas: &Quotas,
        of: User<'_>,
        partitions: usize,
        is_strict: bool,
    ) -> Result<u64, u64> {
        const QUOTA: Quota = Quota::ControllerMutationRate;
        let Some((rate, sharers)) = quotas.of_client(QUOTA, of.name, of.client_id) else {
            return Ok(0);
        };
        let now_ms = self.now_ms();
        let mut buckets = locked(&self.buckets);
        let bucket = buckets.get(sharers, now_ms);
        let until_ms = |tokens: f64| (-tokens / rate * 1_000.0).round().max(0.0) as u64;
        let tokens = bucket.refill(rate, now_ms, self.config.mutation_windows);
        if is_strict && tokens < 0.0 {
            return Err(until_ms(tokens));
        }
        bucket.take(partitions as f64, now_ms);
        // Whoever understands errors gets one next time, and need not be muted now.
        Ok(if is_strict { 0 } else { until_ms(tokens - partitions as f64) })
    }

    /// Counts a connection of an address; for how long it is to be closed only then, if it is one
    /// too many.
    pub fn connect(&self, quotas: &Quotas, address: IpAddr) -> Option<Duration> {
        let max = quotas.of_address(Quota::ConnectionCreationRate, address)?;
        let (now_ms, windows) = (self.now_ms(), self.config.windows);
        let mut addresses = locked(&self.addresses);
        let rate = addresses.get(address.to_canonical(), now_ms);
        rate.record(1.0, now_ms, windows);
        let throttle_ms = rate.throttle_ms(max, now_ms, windows);
        (throttle_ms > 0).then(|| {
            rate.take_back(1.0);
            Duration::from_millis(throttle_ms.min(windows.size_ms))
        })
    }
}

tokio::task_local! {
    /// Nanoseconds for which the request under way has kept threads busy.
    static BUSY: Arc<AtomicU64>;
}

/// Counts how long something keeps a thread busy for the request under way, if that is counted.
pub fn counted<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let busy = BUSY.try_with(Arc::clone).ok();
    move || {
        let begun = Instant::now();
        let done = work();
        if let Some(busy) = busy {
            busy.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        done
    }
}

/// A future, with how long its polls take.
struct Timed<F> {
    future: F,
    busy: Arc<AtomicU64>,
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let begun = Instant::now();
        let polled = Pin::new(&mut self.future).poll(cx);
        self.busy.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        polled
    }
}

/// What a call uses.
impl Call {
    fn user(&self) -> User<'_> {
        let principal = self.identity.principal.as_str();
        let name = principal.split_once(':').map_or(principal, |(_, name)| name);
        User { name, client_id: self.client_id.as_deref().unwrap_or("") }
    }

    /// The quotas, where there are any.
    fn quotas(&self) -> Option<Arc<Quotas>> {
        let broker = self.broker();
        broker.has_quotas().then(|| broker.quotas())
    }

    fn be_quiet(&self, ms: u64) {
        if ms > 0 {
            self.broker().metrics().throttled.inc();
            self.throttle_ms.fetch_max(ms, Ordering::Relaxed);
        }
    }

    /// For how long the client is to be quiet.
    pub fn throttled(&self) -> Duration {
        Duration::from_millis(self.throttle_ms.load(Ordering::Relaxed))
    }

    /// Counts what a client has written.
    pub fn count_written(&self, bytes: usize) {
        if let Some(quotas) = self.quotas() {
            let (quota, throttle) = (Quota::ProducerByteRate, &self.shared.throttle);
            self.be_quiet(throttle.record(&quotas, quota, self.user(), bytes as f64));
        }
    }

    /// Counts what a client is about to be sent; false if that is too much now.
    pub fn count_read(&self, bytes: usize) -> bool {
        let Some(quotas) = self.quotas() else { return true };
        let (quota, throttle) = (Quota::ConsumerByteRate, &self.shared.throttle);
        let recorded = throttle.try_record(&quotas, quota, self.user(), bytes as f64);
        let (Ok(ms) | Err(ms)) = recorded;
        self.be_quiet(ms);
        recorded.is_ok()
    }

    /// No more is read for the client at a time than its quota ever allows.
    pub fn read_max(&self) -> usize {
        let burst = self.quotas().and_then(|quotas| {
            self.shared.throttle.burst(&quotas, Quota::ConsumerByteRate, self.user())
        });
        burst.map_or(usize::MAX, |bytes| bytes as usize)
    }

    /// Counts partitions that are about to be created or deleted. Versions from `strict_from` on
    /// can be told that it is too much.
    pub fn count_mutations(
        &self,
        partitions: usize,
        strict_from: i16,
    ) -> Result<(), (ErrorCode, String)> {
        let Some(quotas) = self.quotas() else { return Ok(()) };
        let (throttle, is_strict) = (&self.shared.throttle, self.version >= strict_from);
        let counted = throttle.mutate(&quotas, self.user(), partitions, is_strict);
        let (Ok(ms) | Err(ms)) = counted;
        self.be_quiet(ms);
        let code = ErrorCode::THROTTLING_QUOTA_EXCEEDED;
        counted.map(|_| ()).map_err(|_| (code, code.message().to_owned()))
    }

    /// Does what is asked for, and counts for how long that keeps threads busy.
    pub async fn count_time<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(quotas) = self.quotas() else { return work.await };
        let busy = Arc::new(AtomicU64::new(0));
        let scoped = pin!(BUSY.scope(busy.clone(), work));
        let done = Timed { future: scoped, busy: busy.clone() }.await;
        let percent = busy.load(Ordering::Relaxed) as f64 * 100.0 / 1e9;
        let (quota, throttle) = (Quota::RequestPercentage, &self.shared.throttle);
        self.be_quiet(throttle.record(&quotas, quota, self.user(), percent));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotas::{Entity, Who};

    fn of_user(name: &str, quota: Quota, value: f64) -> Quotas {
        let mut quotas = Quotas::default();
        let entity = Entity { user: Some(Who::new(Some(name))), ..Entity::default() };
        quotas.set(&entity, quota, Some(value));
        quotas
    }

    const ALICE: User<'_> = User { name: "alice", client_id: "a" };

    #[test]
    fn clients_of_a_user_share_its_quota_and_others_have_none() {
        const QUOTA: Quota = Quota::ProducerByteRate;
        let throttle = Throttle::new(QuotaConfig::default());
        let quotas = of_user("alice", QUOTA, 1_000.0);
        assert_eq!(throttle.record(&quotas, QUOTA, ALICE, 10_000.0), 0);
        let other = User { client_id: "b", ..ALICE };
        let throttled = throttle.record(&quotas, QUOTA, other, 5_000.0);
        assert!((4_000..=5_100).contains(&throttled), "{throttled}");
        let bob = User { name: "bob", client_id: "a" };
        assert_eq!(throttle.record(&quotas, QUOTA, bob, 1e9), 0);
        assert_eq!(throttle.record(&quotas, Quota::ConsumerByteRate, ALICE, 1e9), 0);
    }

    #[test]
    fn what_is_too_much_to_read_is_not_counted_but_something_always_is() {
        const QUOTA: Quota = Quota::ConsumerByteRate;
        let throttle = Throttle::new(QuotaConfig::default());
        let quotas = of_user("alice", QUOTA, 1_000.0);
        assert_eq!(throttle.burst(&quotas, QUOTA, ALICE), Some(10_000.0));
        // One batch that is larger than all windows together.
        let first = throttle.try_record(&quotas, QUOTA, ALICE, 20_000.0);
        assert!(first.unwrap() > 9_000);
        let second = throttle.try_record(&quotas, QUOTA, ALICE, 1e6).unwrap_err();
        let third = throttle.try_record(&quotas, QUOTA, ALICE, 0.0).unwrap_err();
        assert!(second > 900_000 && third <= 10_100, "{second} {third}");
    }

    #[test]
    fn time_is_throttled_for_a_window_at_most() {
        const QUOTA: Quota = Quota::RequestPercentage;
        let throttle = Throttle::new(QuotaConfig::default());
        let quotas = of_user("alice", QUOTA, 1.0);
        assert_eq!(throttle.record(&quotas, QUOTA, ALICE, 1e6), 1_000);
    }

    #[test]
    fn a_bucket_may_be_overdrawn_once() {
        let throttle = Throttle::new(QuotaConfig::default());
        let quotas = of_user("alice", Quota::ControllerMutationRate, 1.0);
        // Eleven seconds fill it.
        assert_eq!(throttle.mutate(&quotas, ALICE, 11, true), Ok(0));
        assert_eq!(throttle.mutate(&quotas, ALICE, 50, true), Ok(0));
        let refused = throttle.mutate(&quotas, ALICE, 1, true).unwrap_err();
        assert!((49_000..=50_000).contains(&refused), "{refused}");
        let quiet = throttle.mutate(&quotas, ALICE, 1, false).unwrap();
        assert!((50_000..=51_000).contains(&quiet), "{quiet}");
        let (mut bucket, windows) = (Bucket::default(), Windows::default());
        assert_eq!(bucket.refill(2.0, 5, windows), 22.0);
        bucket.take(30.0, 5);
        assert_eq!(bucket.refill(2.0, 2_005, windows), -4.0);
        assert_eq!(bucket.refill(2.0, 1_000_000, windows), 22.0);
    }

    #[test]
    fn connections_of_an_address_are_counted() {
        let throttle = Throttle::new(QuotaConfig::default());
        let mut quotas = Quotas::default();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(throttle.connect(&quotas, address), None);
        let entity = Entity { ip: Some(Who::Others), ..Entity::default() };
        quotas.set(&entity, Quota::ConnectionCreationRate, Some(1.0));
        assert!((0..10).all(|_| throttle.connect(&quotas, address).is_none()));
        assert!(throttle.connect(&quotas, address).is_some());
        assert_eq!(throttle.connect(&quotas, "10.0.0.2".parse().unwrap()), None);
    }

    #[test]
    fn sensors_are_bounded_and_those_in_use_stay() {
        let mut sensors: Sensors<u64, u64> = Sensors::default();
        for key in 0..3 * SENSORS_MAX as u64 {
            *sensors.get(key, key) = key;
            *sensors.get(0, key) += 1;
            assert!(sensors.of.len() <= SENSORS_MAX);
        }
        assert!(*sensors.get(0, 0) >= 3 * SENSORS_MAX as u64 - 1);
        // However many are used at one time.
        let mut sensors: Sensors<u64, u64> = Sensors::default();
        for key in 0..3 * SENSORS_MAX as u64 {
            sensors.get(key, 7);
            assert!(sensors.of.len() <= SENSORS_MAX);
        }
    }

    #[tokio::test]
    async fn waiting_is_not_counted_and_work_on_other_threads_is() {
        let (busy, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let work = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let sleep = || std::thread::sleep(Duration::from_millis(50));
            tokio::task::spawn_blocking(counted(sleep)).await.unwrap();
            std::thread::sleep(Duration::from_millis(50));
        };
        let scoped = pin!(BUSY.scope(busy.clone(), work));
        Timed { future: scoped, busy: busy.clone() }.await;
        let waited = begun.elapsed() - Duration::from_nanos(busy.load(Ordering::Relaxed));
        assert!(busy.load(Ordering::Relaxed) >= 100_000_000, "{busy:?}");
        assert!(waited >= Duration::from_millis(190), "{waited:?}");
        assert_eq!(counted(|| 7)(), 7, "where nothing is counted");
    }
}
