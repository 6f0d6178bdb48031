//! How far event time is known to have come.
//!
//! Every partition has a clock: the latest event time read from it. A watermark W says that no
//! row before W is waited for any more; a window that ends at E closes when W ≥ E. All of this is
//! pure: (state, what was read, wall time) → watermark. The rules:
//!
//! 1. A row moves its partition's clock forward, never back. A row more than `future_bound` ahead
//!    of the wall clock does not move it: one machine with a bad clock must not make the rows of
//!    all others late. A row without event time does not move it either.
//! 2. A partition's watermark is its clock less `delay`: rows out of order by no more than `delay`
//!    are never late. A partition from which no row was read has no watermark yet, and holds
//!    back all others.
//! 3. A partition is idle when all of it has been read and nothing has come for `idle_timeout` of
//!    wall time. An idle partition holds nothing back. One record, whatever its time, wakes it.
//! 4. The watermark of a task is the least of all its partitions that are not idle, over all its
//!    inputs, each with the delay of its own source. It never moves back: a partition that wakes
//!    with old rows finds them late.
//! 5. When every partition is idle there is nothing left to wait for: [`Progress::AllIdle`] closes
//!    the windows that are open, and the watermark moves to the end of the latest of them, but not
//!    beyond the wall clock less `idle_timeout` and `delay`: a source that is quiet for a while is
//!    to go on within the hour that has not ended yet. Rows that come later for windows that were
//!    closed are late.
//! 6. The end of a bounded input closes all windows the same way, those beyond `future_bound`
//!    too: these are remembered one by one as closed and do not move the watermark.
//!
//! 7. A query that is cut into parts hands its watermark on: each task of a part tells every task
//!    of the next one, in order with its rows, what its watermark is, or that it is idle. The
//!    watermark of the next one is the least of what it was told.
//!
//! Event times are in ms, rounded down. That loses nothing: windows begin and end at whole
//! milliseconds, so a time and its rounded form lie on the same side of every window's end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use arrow::array::Int64Array;
use arrow::util::display::array_value_to_string;

use crate::pipeline;

/// The wall clock, in ms since 1970. Given to everything that needs it; read only at the rim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub i64);

impl WallTime {
    pub fn plus(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_add(duration_ms(duration)))
    }
}

/// No row with an event time before this, in ms since 1970, is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known yet.
    pub const MIN: Watermark = Watermark(i64::MIN);
}

/// `2013-01-01T10:00:00`, or `none`.
impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Watermark::MIN {
            return f.write_str("none");
        }
        let time = arrow::array::TimestampMillisecondArray::from(vec![self.0]);
        match array_value_to_string(&time, 0) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// What the clocks of a task say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    At(Watermark),
    /// Every partition is idle (rule 5).
    AllIdle,
}

/// The clocks of one source's partitions.
#[derive(Clone, Debug)]
pub struct SourceClock {
    delay_ms: i64,
    idle_timeout: Duration,
    future_bound: Duration,
    partitions: BTreeMap<i32, PartitionClock>,
}

#[derive(Clone, Copy, Debug)]
struct PartitionClock {
    /// The latest event time read.
    latest_ms: Option<i64>,
    /// When a record last came, or reading began.
    active_at: WallTime,
    /// All that was there has been read.
    caught_up: bool,
}

impl SourceClock {
    /// Clocks for partitions of which nothing has been read.
    pub fn new(
        rules: &pipeline::Watermark,
        partitions: impl IntoIterator<Item = i32>,
        now: WallTime,
    ) -> SourceClock {
        let clock = PartitionClock { latest_ms: None, active_at: now, caught_up: false };
        SourceClock {
            delay_ms: duration_ms(rules.delay),
            idle_timeout: rules.idle_timeout,
            future_bound: rules.future_bound,
            partitions: partitions.into_iter().map(|partition| (partition, clock)).collect(),
        }
    }

    /// Takes up a clock where an earlier run left it.
    pub fn restore(&mut self, partition: i32, latest_ms: i64) {
        if let Some(clock) = self.partitions.get_mut(&partition) {
            clock.latest_ms = Some(latest_ms);
        }
    }

    /// Rows that were read from a partition. Returns how many were too far in the future to
    /// count (rule 1).
    pub fn observe(&mut self, partition: i32, event_times_ms: &Int64Array, now: WallTime) -> usize {
        let bound = self.future_bound(now).0;
        let Some(clock) = self.partitions.get_mut(&partition) else { return 0 };
        let mut beyond = 0;
        for time in event_times_ms.iter().flatten() {
            if time > bound {
                beyond += 1;
            } else if clock.latest_ms.is_none_or(|latest| latest < time) {
                clock.latest_ms = Some(time);
            }
        }
        beyond
    }

    /// Later times are of clocks that are wrong (rule 1).
    pub fn future_bound(&self, now: WallTime) -> WallTime {
        now.plus(self.future_bound)
    }

    /// Records came from a partition, or it was found at its end: `caught_up` says whether all
    /// of it has been read now.
    pub fn read(&mut self, partition: i32, records: bool, caught_up: bool, now: WallTime) {
        let Some(clock) = self.partitions.get_mut(&partition) else { return };
        clock.caught_up = caught_up;
        if records {
            clock.active_at = now;
        }
    }

    /// Rows of now that are still to come are not from before this.
    pub fn settled(&self, now: WallTime) -> i64 {
        let quiet_ms = duration_ms(self.idle_timeout).saturating_add(self.delay_ms);
        now.0.saturating_sub(quiet_ms)
    }

    fn is_idle(&self, clock: &PartitionClock, now: WallTime) -> bool {
        clock.caught_up && now >= clock.active_at.plus(self.idle_timeout)
    }

    /// The least watermark of the partitions that are not idle, if there is one.
    fn watermark(&self, now: WallTime) -> Option<Watermark> {
        let active = self.partitions.values().filter(|clock| !self.is_idle(clock, now));
        active.map(|clock| self.partition_watermark(clock)).min()
    }

    fn partition_watermark(&self, clock: &PartitionClock) -> Watermark {
        clock
            .latest_ms
            .map_or(Watermark::MIN, |latest| Watermark(latest.saturating_sub(self.delay_ms)))
    }

    /// When the next partition becomes idle unless something comes.
    fn idle_at(&self, now: WallTime) -> Option<WallTime> {
        let waiting =
            self.partitions.values().filter(|clock| clock.caught_up && !self.is_idle(clock, now));
        waiting.map(|clock| clock.active_at.plus(self.idle_timeout)).min()
    }

    /// How far each partition has come.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionTime> {
        self.partitions.iter().map(|(partition, clock)| PartitionTime {
            partition: *partition,
            latest_ms: clock.latest_ms,
            active_at: clock.active_at,
            caught_up: clock.caught_up,
        })
    }

    /// Each partition with the latest event time read from it, to be restored later.
    pub fn latest(&self) -> impl Iterator<Item = (i32, i64)> {
        self.partitions.iter().filter_map(|(partition, clock)| Some((*partition, clock.latest_ms?)))
    }
}

/// How far event time has come in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionTime {
    pub partition: i32,
    /// `None` if no row with a time was read.
    pub latest_ms: Option<i64>,
    /// When a record last came, or reading began.
    pub active_at: WallTime,
    /// All that was there has been read.
    pub caught_up: bool,
}

/// What the tasks say that write an exchange: each of them its own watermark, in order with its
/// rows. What has not said anything yet holds back all others.
#[derive(Clone, Debug)]
pub struct ExchangeClock {
    writers: Vec<Option<Watermark>>,
    future_bound: Duration,
    patience: Duration,
}

impl ExchangeClock {
    /// `patience`: the longest idle timeout and delay of the sources behind it, together.
    pub fn new(writers: usize, future_bound: Duration, patience: Duration) -> ExchangeClock {
        ExchangeClock { writers: vec![Some(Watermark::MIN); writers], future_bound, patience }
    }

    /// See [`SourceClock::settled`].
    pub fn settled(&self, now: WallTime) -> i64 {
        now.0.saturating_sub(duration_ms(self.patience))
    }

    /// What a writer says: `None` if nothing is there that it could wait for.
    pub fn tell(&mut self, writer: usize, watermark: Option<Watermark>) {
        if let Some(told) = self.writers.get_mut(writer) {
            *told = watermark;
        }
    }

    /// What each writer said last.
    pub fn told(&self) -> &[Option<Watermark>] {
        &self.writers
    }

    fn watermark(&self) -> Option<Watermark> {
        self.writers.iter().flatten().min().copied()
    }

    /// Later times are of clocks that are wrong (rule 1).
    pub fn future_bound(&self, now: WallTime) -> WallTime {
        now.plus(self.future_bound)
    }
}

/// What all clocks of a task say together.
pub fn progress(clocks: &[SourceClock], exchanges: &[ExchangeClock], now: WallTime) -> Progress {
    let of_sources = clocks.iter().filter_map(|clock| clock.watermark(now));
    let of_exchanges = exchanges.iter().filter_map(ExchangeClock::watermark);
    match of_sources.chain(of_exchanges).min() {
        Some(watermark) => Progress::At(watermark),
        None => Progress::AllIdle,
    }
}

/// The latest event time that inputs have come to; `None` if there was none. Of an exchange that is
/// what its writers were at, less what they wait for.
pub fn reached(clocks: &[SourceClock], exchanges: &[ExchangeClock]) -> Option<i64> {
    let of_sources = clocks.iter().flat_map(SourceClock::latest).map(|(_, latest_ms)| latest_ms);
    let told = exchanges.iter().flat_map(|exchange| exchange.told().iter().flatten());
    let told = told.filter(|watermark| **watermark != Watermark::MIN).map(|watermark| watermark.0);
    of_sources.chain(told).max()
}

/// When to ask again although nothing was read.
pub fn idle_at(clocks: &[SourceClock], now: WallTime) -> Option<WallTime> {
    clocks.iter().filter_map(|clock| clock.idle_at(now)).min()
}

fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::LateRows;
    use proptest::prelude::*;

    fn rules(delay_ms: u64) -> pipeline::Watermark {
        pipeline::Watermark {
            delay: Duration::from_millis(delay_ms),
            idle_timeout: Duration::from_millis(1000),
            future_bound: Duration::from_millis(5000),
            late: LateRows::Drop,
        }
    }

    fn times(times: &[i64]) -> Int64Array {
        Int64Array::from(times.to_vec())
    }

    const NOW: WallTime = WallTime(1_000_000);

    #[test]
    fn the_slowest_partition_decides() {
        let mut clock = SourceClock::new(&rules(10), 0..2, NOW);
        clock.observe(0, &times(&[500, 300]), NOW);
        assert_eq!(progress(&[clock.clone()], &[], NOW), Progress::At(Watermark::MIN));
        clock.observe(1, &times(&[400]), NOW);
        assert_eq!(progress(&[clock.clone()], &[], NOW), Progress::At(Watermark(390)));
        let other = SourceClock::new(&rules(0), 0..1, NOW);
        assert_eq!(progress(&[clock, other], &[], NOW), Progress::At(Watermark::MIN));
    }

    #[test]
    fn an_idle_partition_holds_nothing_back_until_it_wakes() {
        let mut clock = SourceClock::new(&rules(0), 0..2, NOW);
        clock.observe(0, &times(&[500]), NOW);
        clock.read(1, false, true, NOW);
        let later = NOW.plus(Duration::from_millis(1000));
        assert_eq!(idle_at(&[clock.clone()], NOW), Some(later));
        assert_eq!(progress(&[clock.clone()], &[], later), Progress::At(Watermark(500)));
        clock.read(0, true, true, NOW);
        assert_eq!(progress(&[clock.clone()], &[], later), Progress::AllIdle);
        assert_eq!(idle_at(&[clock.clone()], later), None);
        clock.read(1, true, true, later);
        clock.observe(1, &times(&[100]), later);
        assert_eq!(progress(&[clock], &[], later), Progress::At(Watermark(100)));
    }

    #[test]
    fn an_unread_partition_is_never_idle() {
        let clock = SourceClock::new(&rules(0), 0..1, NOW);
        let much_later = NOW.plus(Duration::from_secs(3600));
        assert_eq!(progress(&[clock.clone()], &[], much_later), Progress::At(Watermark::MIN));
        assert_eq!(idle_at(&[clock], much_later), None);
    }

    #[test]
    fn rows_too_far_in_the_future_do_not_count() {
        let mut clock = SourceClock::new(&rules(0), 0..1, NOW);
        assert_eq!(clock.observe(0, &times(&[NOW.0 + 5001, NOW.0 + 5000]), NOW), 1);
        assert_eq!(progress(&[clock], &[], NOW), Progress::At(Watermark(NOW.0 + 5000)));
    }

    proptest! {
        /// Rows out of order by no more than the delay are never behind the watermark.
        #[test]
        fn rows_within_the_delay_are_never_late(
            steps in prop::collection::vec((0..50i64, 0..=20i64, 0..3i32), 1..200),
        ) {
            let mut clock = SourceClock::new(&rules(20), 0..3, NOW);
            let mut latest = [0i64; 3];
            let mut watermark = Watermark::MIN;
            for (forward, back, partition) in steps {
                let at = partition as usize;
                let time = (latest[at] - back).max(0);
                prop_assert!(watermark <= Watermark(time), "{watermark:?} {time}");
                latest[at] += forward;
                clock.observe(partition, &times(&[time, latest[at]]), NOW);
                let Progress::At(next) = progress(std::slice::from_ref(&clock), &[], NOW) else {
                    panic!("no partition is idle");
                };
                prop_assert!(next >= watermark);
                watermark = next;
            }
        }
    }
}
