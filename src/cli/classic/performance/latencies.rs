//! How long things took, in buckets narrow enough for percentiles.
//!
//! ```text
//! 0 1 2 … 127 │ 128 130 … 254 │ 256 260 … 508 │ …        microseconds where each bucket begins
//!  each its own   64 per power of two: off by 1.6 % at most
//! ```

use std::time::Duration;

/// Below this each microsecond has a bucket.
const EXACT: u64 = 128;
/// Buckets per power of two above.
const STEPS: u64 = 64;

/// Latencies seen so far.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        let bucket = bucket_of(latency.as_micros().try_into().unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum += latency;
        self.max = self.max.max(latency);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn average_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum.as_secs_f64() * 1e3 / self.count as f64 }
    }

    pub fn max_ms(&self) -> f64 {
        self.max.as_secs_f64() * 1e3
    }

    /// What this share of them did not exceed, from 0 to 1.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                // As far as its bucket reaches, but no further than the longest.
                return (beginning_of(bucket + 1) as f64 / 1e3).min(self.max_ms());
            }
        }
        0.0
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    let power = micros.ilog2() - EXACT.ilog2();
    let step = (micros >> (power + 1)) - STEPS;
    (EXACT + u64::from(power) * STEPS + step) as usize
}

fn beginning_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (power, step) = ((bucket - EXACT) / STEPS, (bucket - EXACT) % STEPS);
    (STEPS + step).saturating_mul(1_u64.checked_shl(power as u32 + 1).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_meet_and_are_narrow() {
        for bucket in 0..2_000 {
            let (from, to) = (beginning_of(bucket), beginning_of(bucket + 1));
            assert_eq!(bucket_of(from), bucket, "{from}");
            assert_eq!(bucket_of(to - 1), bucket, "{to}");
            assert!(to - from <= 1.max(from / 64), "{from} to {to}");
        }
        assert!(beginning_of(bucket_of(u64::MAX)) > u64::MAX / 2);
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.percentile_ms(0.5), latencies.average_ms()), (0.0, 0.0));
        for millis in 1..=1_000 {
            latencies.add(Duration::from_millis(millis));
        }
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = latencies.percentile_ms(share);
            assert!((ms..ms * 1.017).contains(&found), "{share}: {found}");
        }
        assert_eq!((latencies.percentile_ms(1.0), latencies.max_ms()), (1_000.0, 1_000.0));
        assert_eq!((latencies.average_ms(), latencies.count()), (500.5, 1_000));
    }
}
