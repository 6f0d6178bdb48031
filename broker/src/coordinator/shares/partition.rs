//! The records of one partition that a share group has under way. Pure: no clock, no log.
//!
//! ```text
//!    done        ┌──────────── window, at most `locks_max` ───────────┐   not looked at yet
//! ───────────────┼─ acquired ─┼ accepted ┼ available ┼─ archived ─┼──┼──────────────────────►
//!              start                                                  end              offsets
//! ```
//!
//! The window is a list of ranges without gaps. Its first record is one that is not done: once it
//! is, `start` moves on. Offsets that the log does not have (compaction, aborted transactions) are
//! archived like records that were rejected.
//!
//! Beside KIP-932: a record becomes available again when it is released, when the lock of its
//! acquisition ends, and when the session of its member does; it was delivered as often as it was
//! acquired, but for what a session's end gave back unseen. Available after `deliveries_max`
//! deliveries, it is archived instead.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use thiserror::Error;

/// What bounds a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `group.share.partition.max.record.locks`: nothing new is given out beyond.
    pub locks_max: i64,
    /// `group.share.delivery.count.limit`
    pub deliveries_max: i16,
}

/// What has become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Available,
    Acquired(Lock),
    Accepted,
    Archived,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lock {
    member: Arc<str>,
    until_ms: u64,
}

impl State {
    fn is_done(&self) -> bool {
        matches!(self, State::Accepted | State::Archived)
    }

    fn has_ended(&self, now_ms: u64) -> bool {
        matches!(self, State::Acquired(lock) if lock.until_ms <= now_ms)
    }

    fn is_of(&self, member: &str) -> bool {
        matches!(self, State::Acquired(lock) if &*lock.member == member)
    }
}

/// Neighbours that have come to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    last: i64,
    state: State,
    deliveries: i16,
}

/// What a member was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub first: i64,
    pub last: i64,
    pub deliveries: i16,
}

impl Acquired {
    pub fn count(&self) -> i64 {
        self.last - self.first + 1
    }
}

/// A record batch that was read, by its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: i64,
    pub last: i64,
    /// Of an aborted transaction, and read by a group that reads what is committed.
    pub is_aborted: bool,
}

/// Who asks for how much.
#[derive(Clone, Debug)]
pub struct Asking {
    pub member: Arc<str>,
    pub records_max: i64,
    /// What is new is given out in pieces of about as many records.
    pub batch_size: i64,
    pub now_ms: u64,
    pub lock_ms: u64,
}

/// What a member says of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There was no such record.
    Gap,
    Accept,
    Release,
    Reject,
}

impl Verdict {
    /// By Kafka's number.
    pub fn of(number: i8) -> Option<Verdict> {
        let all = [Verdict::Gap, Verdict::Accept, Verdict::Release, Verdict::Reject];
        all.get(usize::try_from(number).ok()?).copied()
    }
}

/// One verdict for all offsets from `first` to `last`, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub first: i64,
    pub last: i64,
    pub verdicts: Vec<Verdict>,
}

/// Why nothing was acknowledged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    #[error("offset {0} is not acquired by this member: its lock has ended, or it never was")]
    NotAcquired(i64),
    #[error("offset {0} lies beyond all that was ever acquired")]
    Beyond(i64),
}

/// A range as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptRange {
    pub first: i64,
    pub last: i64,
    pub state: KeptState,
    pub deliveries: i16,
}

/// Locks are not kept: what was acquired is available to those who come after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptState {
    Available,
    Accepted,
    Archived,
}

/// What outlasts a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub start: i64,
    pub ranges: Vec<KeptRange>,
}

/// The records that a share group has under way in one partition.
#[derive(Clone, Debug)]
pub struct SharePartition {
    limits: Limits,
    start: i64,
    end: i64,
    /// By their first offsets.
    ranges: BTreeMap<i64, Range>,
}

impl SharePartition {
    /// A group that begins at `start`.
    pub fn new(start: i64, limits: Limits) -> SharePartition {
        SharePartition { limits, start, end: start, ranges: BTreeMap::new() }
    }

    /// As it was kept. What lies between two ranges was never given out.
    pub fn restored(kept: &Kept, limits: Limits) -> SharePartition {
        let mut restored = SharePartition::new(kept.start, limits);
        for range in &kept.ranges {
            if range.first < restored.end || range.last < range.first {
                continue;
            }
            restored.extend(range.first - 1, State::Available, 0);
            let state = match range.state {
                KeptState::Available => State::Available,
                KeptState::Accepted => State::Accepted,
                KeptState::Archived => State::Archived,
            };
            restored.extend(range.last, state, range.deliveries);
        }
        restored.tidy();
        restored
    }

    /// What is to be kept.
    pub fn kept(&self) -> Kept {
        let mut ranges: Vec<KeptRange> = Vec::new();
        for (&first, range) in &self.ranges {
            let (state, deliveries) = match range.state {
                State::Available => (KeptState::Available, range.deliveries),
                // Whether this delivery comes to anything is not known yet.
                State::Acquired(_) => (KeptState::Available, range.deliveries - 1),
                State::Accepted => (KeptState::Accepted, range.deliveries),
                State::Archived => (KeptState::Archived, range.deliveries),
            };
            match ranges.last_mut() {
                Some(before) if (before.state, before.deliveries) == (state, deliveries) => {
                    before.last = range.last;
                }
                _ => ranges.push(KeptRange { first, last: range.last, state, deliveries }),
            }
        }
        // As if it had never been looked at.
        while ranges.pop_if(|it| it.state == KeptState::Available && it.deliveries == 0).is_some() {
        }
        Kept { start: self.start, ranges }
    }

    /// All before is done.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Where there is something to give out: at records that are available again, or at what
    /// nobody was given yet. `None` while as many records are under way as may be.
    pub fn next_fetch(&self) -> Option<i64> {
        let is_available = |range: &Range| range.state == State::Available;
        let again = self.ranges.iter().find(|(_, range)| is_available(range));
        let is_full = self.end - self.start >= self.limits.locks_max;
        again.map(|(first, _)| *first).or((!is_full).then_some(self.end))
    }

    /// The member is given what was read from `from` on and is there to be given. Of what was
    /// given out before exactly as many as it asks for; what is new goes out by whole batches.
    pub fn acquire(&mut self, asking: &Asking, from: i64, read: &[Span]) -> Vec<Acquired> {
        let (Some(front), Some(back)) = (read.first(), read.last()) else { return Vec::new() };
        // Somebody has moved the window while the log was read.
        if from > self.end || back.last < self.start {
            return Vec::new();
        }
        self.leave_out(from, front.first);
        for span in read.iter().filter(|span| span.is_aborted) {
            self.leave_out(span.first, span.last + 1);
        }
        let mut acquired = Vec::new();
        let mut left = asking.records_max;
        let first = front.first.max(from);
        for (first, last) in self.available(first..=back.last) {
            if left <= 0 {
                break;
            }
            let last = last.min(first + left - 1);
            left -= last - first + 1;
            acquired.push(self.lock(asking, first, last));
        }
        self.acquire_new(asking, read, left, &mut acquired);
        self.tidy();
        acquired
    }

    fn acquire_new(
        &mut self,
        asking: &Asking,
        read: &[Span],
        mut left: i64,
        acquired: &mut Vec<Acquired>,
    ) {
        let mut open: Option<Acquired> = None;
        for span in read {
            if span.last < self.end {
                continue;
            }
            if left <= 0 {
                break;
            }
            if span.is_aborted {
                acquired.extend(open.take());
                self.extend(span.last, State::Archived, 0);
                continue;
            }
            // The batches of a log have no records between them.
            let first = self.end;
            left -= span.last - first + 1;
            let lock = Lock { member: asking.member.clone(), until_ms: asking.until_ms() };
            self.extend(span.last, State::Acquired(lock), 1);
            match &mut open {
                Some(piece) if piece.count() < asking.batch_size => piece.last = span.last,
                _ => {
                    let piece = Acquired { first, last: span.last, deliveries: 1 };
                    acquired.extend(open.replace(piece));
                }
            }
        }
        acquired.extend(open);
    }

    /// What the log does not have, from `first` to before `end`, is given to nobody.
    fn leave_out(&mut self, first: i64, end: i64) {
        for (first, last) in self.available(first..=end - 1) {
            self.change(first, last, |range| range.state = State::Archived);
        }
        if self.end >= first && self.end < end {
            self.extend(end - 1, State::Archived, 0);
        }
    }

    /// The member says what became of records: of all, or of none if one is not its own.
    pub fn acknowledge(
        &mut self,
        member: &str,
        acknowledgements: &[Acknowledgement],
    ) -> Result<bool, Refused> {
        for one in acknowledgements {
            self.check(member, one)?;
        }
        let mut has_changed = false;
        for one in acknowledgements {
            let each = match *one.verdicts.as_slice() {
                [all] => vec![(one.first, one.last, all)],
                _ => runs(one),
            };
            for (first, last, verdict) in each {
                let first = first.max(self.start);
                if first <= last {
                    self.settle(first, last, verdict);
                    has_changed = true;
                }
            }
        }
        self.tidy();
        Ok(has_changed)
    }

    fn check(&self, member: &str, one: &Acknowledgement) -> Result<(), Refused> {
        // Deleted from the log, or done since: nothing is left to say of it.
        let first = one.first.max(self.start);
        if one.last < self.start {
            return Ok(());
        }
        if self.ranges.is_empty() {
            return Err(Refused::NotAcquired(first));
        }
        if one.last >= self.end {
            return Err(Refused::Beyond(one.last));
        }
        let mut touched = self.touched(first..=one.last);
        match touched.find(|(_, range)| !range.state.is_of(member)) {
            Some((at, _)) => Err(Refused::NotAcquired(at.max(first))),
            None => Ok(()),
        }
    }

    fn settle(&mut self, first: i64, last: i64, verdict: Verdict) {
        let deliveries_max = self.limits.deliveries_max;
        self.change(first, last, |range| {
            range.state = match verdict {
                Verdict::Accept => State::Accepted,
                Verdict::Gap | Verdict::Reject => State::Archived,
                Verdict::Release => available_again(range.deliveries, deliveries_max),
            }
        });
    }

    /// The member has gone without a word: what it had counts as not delivered.
    pub fn release(&mut self, member: &str) -> bool {
        let of_member = |range: &Range| range.state.is_of(member);
        self.give_back(of_member, |range| {
            range.deliveries -= 1;
            range.state = State::Available;
        })
    }

    /// What the member was given but was not sent counts as not delivered.
    pub fn take_back(&mut self, member: &str, acquired: &[Acquired]) {
        for one in acquired {
            let of_member: Vec<_> = self
                .touched(one.first..=one.last)
                .filter(|(_, range)| range.state.is_of(member))
                .map(|(first, range)| (first.max(one.first), range.last.min(one.last)))
                .collect();
            for (first, last) in of_member {
                self.change(first, last, |range| {
                    range.deliveries -= 1;
                    range.state = State::Available;
                });
            }
        }
        self.tidy();
    }

    /// Ends the locks whose time is over.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let deliveries_max = self.limits.deliveries_max;
        let is_over = |range: &Range| range.state.has_ended(now_ms);
        self.give_back(is_over, |range| {
            range.state = available_again(range.deliveries, deliveries_max);
        })
    }

    fn give_back(&mut self, which: impl Fn(&Range) -> bool, how: impl Fn(&mut Range)) -> bool {
        let mut has_changed = false;
        for range in self.ranges.values_mut().filter(|range| which(range)) {
            how(range);
            has_changed = true;
        }
        self.tidy();
        has_changed
    }

    /// When the next lock ends.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let locks = self.ranges.values().filter_map(|range| match &range.state {
            State::Acquired(lock) => Some(lock.until_ms),
            _ => None,
        });
        locks.min()
    }

    /// The log begins at `offset` now: what lay before is done, whoever has it.
    pub fn log_starts_at(&mut self, offset: i64) -> bool {
        if offset <= self.start {
            return false;
        }
        self.split_at(offset);
        self.ranges = self.ranges.split_off(&offset);
        self.start = offset;
        self.end = self.end.max(offset);
        self.tidy();
        true
    }

    /// The log ends at `offset` now: what it has lost in a crash was never there.
    pub fn log_ends_at(&mut self, offset: i64) {
        if offset < self.end {
            self.split_at(offset);
            self.ranges.split_off(&offset);
            self.start = self.start.min(offset);
            self.end = offset;
            self.tidy();
        }
    }

    /// The first and last offsets of what is available within.
    fn available(&self, within: RangeInclusive<i64>) -> Vec<(i64, i64)> {
        let touched = self.touched(within.clone());
        let available = touched.filter(|(_, range)| range.state == State::Available);
        available
            .map(|(first, range)| (first.max(*within.start()), range.last.min(*within.end())))
            .collect()
    }

    /// Ranges that have offsets within.
    fn touched(&self, within: RangeInclusive<i64>) -> impl Iterator<Item = (i64, &Range)> {
        let (first, last) = within.into_inner();
        let from = self.ranges.range(..=first).next_back().map_or(first, |(before, _)| *before);
        let touched = self.ranges.range(from..).map(|(first, range)| (*first, range));
        touched
            .take_while(move |(at, _)| first <= last && *at <= last)
            .filter(move |(_, range)| range.last >= first)
    }

    fn lock(&mut self, asking: &Asking, first: i64, last: i64) -> Acquired {
        let mut deliveries = 0;
        self.change(first, last, |range| {
            range.deliveries += 1;
            deliveries = range.deliveries;
            let member = asking.member.clone();
            range.state = State::Acquired(Lock { member, until_ms: asking.until_ms() });
        });
        Acquired { first, last, deliveries }
    }

    fn change(&mut self, first: i64, last: i64, mut how: impl FnMut(&mut Range)) {
        self.split_at(first);
        self.split_at(last + 1);
        for (_, range) in self.ranges.range_mut(first..=last) {
            how(range);
        }
    }

    /// A range begins at `offset` afterwards, if the window has it.
    fn split_at(&mut self, offset: i64) {
        let Some((_, range)) = self.ranges.range_mut(..offset).next_back() else { return };
        if range.last >= offset {
            let after = range.clone();
            range.last = offset - 1;
            self.ranges.insert(offset, after);
        }
    }

    /// The window reaches up to `last` afterwards.
    fn extend(&mut self, last: i64, state: State, deliveries: i16) {
        if last >= self.end {
            self.ranges.insert(self.end, Range { last, state, deliveries });
            self.end = last + 1;
        }
    }

    /// Makes one of neighbours that are alike, and lets go of what is done at the beginning.
    fn tidy(&mut self) {
        while let Some(first) = self.ranges.first_entry()
            && first.get().state.is_done()
        {
            self.start = first.remove().last + 1;
        }
        let mut before: Option<(i64, Range)> = None;
        let mut joined = BTreeMap::new();
        for (first, range) in std::mem::take(&mut self.ranges) {
            match &mut before {
                Some((_, one))
                    if one.state == range.state
                        && (one.deliveries == range.deliveries || one.state.is_done()) =>
                {
                    one.last = range.last;
                }
                _ => joined.extend(before.replace((first, range))),
            }
        }
        joined.extend(before);
        self.ranges = joined;
    }
}

impl Asking {
    fn until_ms(&self) -> u64 {
        self.now_ms.saturating_add(self.lock_ms)
    }
}

fn available_again(deliveries: i16, deliveries_max: i16) -> State {
    match deliveries >= deliveries_max {
        true => State::Archived,
        false => State::Available,
    }
}

/// Neighbours with one verdict.
fn runs(one: &Acknowledgement) -> Vec<(i64, i64, Verdict)> {
    let mut runs: Vec<(i64, i64, Verdict)> = Vec::new();
    for (offset, verdict) in (one.first..=one.last).zip(&one.verdicts) {
        match runs.last_mut() {
            Some((_, last, before)) if before == verdict => *last = offset,
            _ => runs.push((offset, offset, *verdict)),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
