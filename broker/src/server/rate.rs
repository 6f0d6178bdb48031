//! How much there was by the second, lately: Kafka's `Rate` over a `SampledStat`. Pure.
//!
//! ```text
//! │ sample │ sample │ … │ sample that is filled now │   a sample for each window, the last so many
//!   └─────────── sum ÷ time since the first ───────┘   at least as long as all windows but one
//! ```

use std::collections::VecDeque;

/// `quota.window.num` windows of `quota.window.size.seconds` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub number: usize,
    pub size_ms: u64,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { number: 11, size_ms: 1_000 }
    }
}

impl Windows {
    /// What is remembered at all, but for the window that is being filled.
    pub fn full_seconds(self) -> f64 {
        self.number.saturating_sub(1).max(1) as f64 * self.size_ms as f64 / 1_000.0
    }

    /// Of all windows.
    pub fn all_seconds(self) -> f64 {
        self.all_ms() as f64 / 1_000.0
    }

    fn all_ms(self) -> u64 {
        self.size_ms * self.number as u64
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    begun_ms: u64,
    last_ms: u64,
    sum: f64,
}

/// A sum over the last windows.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// Never more than there are windows, and one.
    samples: VecDeque<Sample>,
}

impl Rate {
    pub fn record(&mut self, value: f64, now_ms: u64, windows: Windows) {
        self.forget(now_ms, windows);
        match self.samples.back_mut() {
            Some(last) if now_ms.saturating_sub(last.begun_ms) < windows.size_ms => {
                (last.sum, last.last_ms) = (last.sum + value, now_ms);
            }
            _ => self.samples.push_back(Sample { begun_ms: now_ms, last_ms: now_ms, sum: value }),
        }
    }

    /// Takes back what was recorded just now.
    pub fn take_back(&mut self, value: f64) {
        if let Some(last) = self.samples.back_mut() {
            last.sum -= value;
        }
    }

    fn forget(&mut self, now_ms: u64, windows: Windows) {
        let is_old = |sample: &Sample| now_ms.saturating_sub(sample.last_ms) >= windows.all_ms();
        while self.samples.front().is_some_and(is_old) || self.samples.len() > windows.number {
            self.samples.pop_front();
        }
    }

    /// Over how long is measured.
    fn span_ms(&self, now_ms: u64, windows: Windows) -> u64 {
        let first = self.samples.front().map_or(now_ms, |sample| sample.begun_ms);
        let elapsed_ms = now_ms.saturating_sub(first);
        let full_min = windows.number.saturating_sub(1) as u64;
        let missing = full_min.saturating_sub(elapsed_ms / windows.size_ms.max(1));
        (elapsed_ms + missing * windows.size_ms).max(windows.size_ms).max(1)
    }

    pub fn per_second(&mut self, now_ms: u64, windows: Windows) -> f64 {
        self.forget(now_ms, windows);
        let sum: f64 = self.samples.iter().map(|sample| sample.sum).sum();
        sum * 1_000.0 / self.span_ms(now_ms, windows) as f64
    }

    /// How long nothing more may come so that the rate goes down to `max`: with O the rate that is
    /// observed over W, O × W ÷ (W + X) = max gives X = (O − max) ÷ max × W.
    pub fn throttle_ms(&mut self, max: f64, now_ms: u64, windows: Windows) -> u64 {
        let observed = self.per_second(now_ms, windows);
        if observed <= max {
            return 0;
        }
        let span_ms = self.span_ms(now_ms, windows) as f64;
        // To a number of any size a float is cut, not wrapped.
        ((observed - max) / max.max(f64::MIN_POSITIVE) * span_ms).round() as u64
    }

    /// Whether nothing is left of what was recorded.
    pub fn is_over(&mut self, now_ms: u64, windows: Windows) -> bool {
        self.forget(now_ms, windows);
        self.samples.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bursts_are_spread_over_all_windows() {
        let (windows, mut rate) = (Windows::default(), Rate::default());
        rate.record(10_000.0, 0, windows);
        // Ten windows of a second are taken to have been quiet before.
        assert_eq!(rate.per_second(0, windows), 1_000.0);
        assert_eq!(rate.throttle_ms(1_000.0, 0, windows), 0);
        rate.record(10_000.0, 0, windows);
        assert_eq!(rate.throttle_ms(1_000.0, 0, windows), 10_000);
        // After that long the rate is what it may be.
        assert_eq!(rate.per_second(10_000, windows), 2_000.0 * 10.0 / 10.0);
        assert_eq!(rate.throttle_ms(2_000.0, 10_000, windows), 0);
        assert!(!rate.is_over(10_999, windows));
        assert!(rate.is_over(11_000, windows));
        assert_eq!(rate.per_second(11_000, windows), 0.0);
    }

    #[test]
    fn a_bound_of_nothing_throttles_for_ever_and_does_not_overflow() {
        let (windows, mut rate) = (Windows::default(), Rate::default());
        rate.record(1e300, 5, windows);
        assert_eq!(rate.throttle_ms(0.0, 5, windows), u64::MAX);
        rate.take_back(1e300);
        assert_eq!(rate.throttle_ms(0.0, 5, windows), 0);
    }

    proptest! {
        /// Whoever waits as long as it is told, and does not send much at a time, is at its rate in
        /// the long run.
        #[test]
        fn who_waits_keeps_to_the_rate(
            parts in proptest::collection::vec(0.001..0.2f64, 100..300),
            max in 1_000.0..100_000.0f64,
        ) {
            let (windows, mut rate) = (Windows::default(), Rate::default());
            let (mut now_ms, mut sum) = (0, 0.0);
            for part in parts {
                rate.record(max * part, now_ms, windows);
                sum += max * part;
                now_ms += rate.throttle_ms(max, now_ms, windows);
                prop_assert!(rate.samples.len() <= windows.number + 1);
            }
            // All that fits into the windows may come at once in the beginning.
            let burst = max * (windows.full_seconds() + 1.0);
            let most = max * now_ms as f64 / 1_000.0 * 1.1 + burst;
            prop_assert!(sum <= most, "{sum} of {most} in {now_ms} ms");
        }
    }
}
