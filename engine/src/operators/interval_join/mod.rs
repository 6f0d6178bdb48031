//! Two streams, joined where their times are near each other.
//!
//! The rule: a row on the left with time L and one on the right with time R meet if `R - L` lies
//! within bounds that the condition sets, their keys are equal, and all else of the condition
//! holds. The pair comes out when the later of them arrives, with the later of their event times. A
//! row of an outer or anti join that has met none comes out once, when the watermark says that
//! none can come any more, never before. A row that can meet nothing (NULL in its key, or no time)
//! does so at once.
//!
//! A row is late when the watermark has passed its time (the end of its window, where that is what
//! is compared): it is left out and counted. Until then all that it could meet is still kept, so a
//! row is joined whole or not at all, and the answer is that of batch SQL over the rows that were
//! not late.
//!
//! Where the condition says nothing of times, the query's time to live does: rows meet that
//! happened no further apart than that.
//!
//! ```text
//! kept until   left   L + the most that R may be later       + how long R's rows may still come
//!              right  R - the least (L earlier by the most)  + how long L's rows may still come
//! ```
//!
//! What comes out may hold times that are older than the watermark by as much as a row is kept:
//! operators behind are told of a watermark that lags by that (see [`IntervalSpec::lag_ms`]).
//!
//! The changelog has an entry per row that is kept:
//!
//! ```text
//! key    1 u8, side u8, join key (arrow-row), time_ms i64 ^ sign, number u64
//!        the time stands before the key where only equal times meet
//! value  has met any u8, has an event time u8, event_time_ms i64, row (arrow-row)
//! ```

mod kept;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_physical_expr::PhysicalExpr;

use super::filter_project::evaluate;
use super::sides::{Codecs, Encoded, Half, PAIRS_MAX, Role, Sides, later};
use super::tables::{Entries, KeptTable};
use super::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::describe::words::duration_text;
use crate::describe::{Described, Keeps, Until, Words};
use crate::formats::decode::times_ms;
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::map::StateMap;
use crate::time::Watermark;
use kept::{KeptRow, KeptRows, Layout, Place};

/// Which rows meet, and when.
#[derive(Debug)]
pub struct IntervalSpec {
    pub sides: Arc<Sides>,
    pub times: [SideTime; 2],
    /// The least and the most that a time on the right is after one on the left.
    pub within_ms: (i64, i64),
}

/// The time of a side's rows that is compared.
#[derive(Debug)]
pub struct SideTime {
    /// `None`: the event time that a row comes with, whether or not a column has it.
    pub time: Option<Arc<dyn PhysicalExpr>>,
    /// The least and the most that the event time of a row is after that time: the most is how
    /// long rows of this time may still come.
    pub event_after_ms: (i64, i64),
}

impl SideTime {
    /// Of each row, in ms since 1970.
    fn of(&self, rows: &Rows) -> Result<Int64Array> {
        let Some(time) = &self.time else { return Ok(rows.event_times_ms.clone()) };
        let times = evaluate(&rows.batch, time.as_ref())?;
        times_ms(&times).ok_or_else(|| {
            exec_datafusion_err!("'{time}' is {}, not a timestamp", times.data_type())
        })
    }
}

impl fmt::Display for SideTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.time {
            Some(time) => write!(f, "{time}"),
            None => f.write_str("event time"),
        }
    }
}

impl IntervalSpec {
    /// Whether it is its query's time to live that says how long rows are kept.
    fn is_by_ttl(&self) -> bool {
        self.times.iter().any(|side| side.time.is_none())
    }

    /// How long after its time a row of a side is kept.
    fn reach_ms(&self, side: usize) -> i64 {
        let (least, most) = self.within_ms;
        let farthest = if side == 0 { most } else { least.saturating_neg() };
        farthest.saturating_add(self.times[1 - side].event_after_ms.1)
    }

    /// How rows that are kept lie.
    fn layout(&self) -> Layout {
        if self.within_ms == (0, 0) { Layout::TimeFirst } else { Layout::KeyFirst }
    }

    /// How much older than the watermark rows that come out may be.
    pub fn lag_ms(&self) -> i64 {
        let of_side = |side: usize| {
            let (least, most) = self.times[side].event_after_ms;
            self.reach_ms(side).max(most).saturating_sub(least)
        };
        of_side(0).max(of_side(1)).max(0)
    }
}

impl fmt::Display for IntervalSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, right] = &self.times;
        let (least, most) = self.within_ms;
        write!(f, "{}\n  {right} - {left} from {least} to {most} ms", self.sides)?;
        write!(f, ", rows kept for {} and {} ms", self.reach_ms(0), self.reach_ms(1))?;
        f.write_str(if self.layout() == Layout::TimeFirst { ", by time" } else { "" })
    }
}

impl OperatorSpec for IntervalSpec {
    fn schema(&self) -> &SchemaRef {
        &self.sides.schema
    }

    fn distribution(&self, side: usize) -> Distribution {
        Distribution::by(self.sides.of[side].keys.iter().cloned())
    }

    fn describe(&self, words: &Words) -> Described {
        // Times of whole milliseconds come out 1 ms more, for those between them.
        let past = |side: usize| match self.reach_ms(side).max(0) {
            0 | 1 => "past".to_owned(),
            ms if ms % 10 == 1 => format!("{} past", duration_text(ms - 1)),
            ms => format!("{} past", duration_text(ms)),
        };
        let (left, right) = (past(0), past(1));
        let until = match left == right {
            true => format!("the watermark is {left} them"),
            false => {
                format!("the watermark is {left} those on the left, and {right} those on the right")
            }
        };
        let keys = self.sides.keys(words);
        let mut details = self.sides.details(words);
        if self.is_by_ttl() {
            let apart = duration_text(self.within_ms.1);
            details.push(format!("of rows that happened no more than {apart} apart"));
        }
        Described {
            title: self.sides.title("interval"),
            details,
            keeps: Keeps::new("the rows of both sides", keys, Until::Watermark(until)),
        }
    }

    fn forgets(&self) -> bool {
        self.is_by_ttl()
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let [left, right] = &self.sides.of;
        Ok(vec![
            kept::table(entries, 0, self.layout(), &left.schema)?
                .build("left", &left.key_names())?,
            kept::table(entries, 1, self.layout(), &right.schema)?
                .build("right", &right.key_names())?,
        ])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        let kept = |side: u8| {
            let role = self.sides.roles[usize::from(side)];
            KeptRows::new(id, side, self.layout(), role.keeps_unmatched())
        };
        Ok(Box::new(IntervalJoin {
            codecs: Codecs::new(self.sides.clone())?,
            kept: [kept(0), kept(1)],
            watermark: Watermark::MIN,
            arriving: None,
            ending: false,
            spec: self,
        }))
    }
}

/// The operator.
pub struct IntervalJoin {
    spec: Arc<IntervalSpec>,
    codecs: Codecs,
    kept: [KeptRows; 2],
    watermark: Watermark,
    /// Rows that are on their way in.
    arriving: Option<Arriving>,
    /// All that waits is to come out.
    ending: bool,
}

/// Rows of one side, and how many of them have met what they meet.
struct Arriving {
    side: usize,
    rows: Rows,
    times_ms: Int64Array,
    keys: Encoded,
    encoded: Encoded,
    meets_nothing: Option<NullBuffer>,
    matched: Vec<bool>,
    /// The first row that is not done.
    at: usize,
    /// The last of those that it has met.
    after: Option<Place>,
}

/// Two rows that may meet.
struct Candidate {
    /// The arriving row's index.
    row: usize,
    place: Place,
    kept: KeptRow,
}

/// Rows to come out: what arrived, with what was kept.
#[derive(Default)]
struct Lines {
    arrived: Vec<Option<u64>>,
    kept: Vec<Option<KeptRow>>,
    event_times_ms: Vec<Option<i64>>,
}

impl Lines {
    fn push(&mut self, arrived: Option<usize>, kept: Option<KeptRow>, time_ms: Option<i64>) {
        self.arrived.push(arrived.map(|row| row as u64));
        self.kept.push(kept);
        self.event_times_ms.push(time_ms);
    }
}

impl Arriving {
    fn time_ms(&self, row: usize) -> Option<i64> {
        let may_meet = self.meets_nothing.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        (may_meet && self.times_ms.is_valid(row)).then(|| self.times_ms.value(row))
    }

    fn event_time_ms(&self, row: usize) -> Option<i64> {
        let times = &self.rows.event_times_ms;
        times.is_valid(row).then(|| times.value(row))
    }
}

impl IntervalJoin {
    /// The times on the other side that a time meets.
    fn partners_ms(&self, side: usize, time_ms: i64) -> (i64, i64) {
        let (least, most) = self.spec.within_ms;
        match side {
            0 => (time_ms.saturating_add(least), time_ms.saturating_add(most)),
            _ => (time_ms.saturating_sub(most), time_ms.saturating_sub(least)),
        }
    }

    /// The next rows that may meet, a bounded number of them.
    fn candidates(&self, arriving: &mut Arriving) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        let others = &self.kept[1 - arriving.side];
        let last = arriving.rows.len().min(arriving.at + PAIRS_MAX);
        if others.len() == 0 {
            arriving.at = last;
        }
        while arriving.at < last {
            let row = arriving.at;
            if let Some(time_ms) = arriving.time_ms(row) {
                let between = self.partners_ms(arriving.side, time_ms);
                let (key, after) = (arriving.keys.row(row), arriving.after.take());
                for kept in others.between(key, between, after.as_ref()) {
                    let (place, kept) = kept?;
                    if found.len() == PAIRS_MAX {
                        arriving.after = found.last().map(|last: &Candidate| last.place.clone());
                        return Ok(found);
                    }
                    found.push(Candidate { row, place, kept });
                }
            }
            arriving.at += 1;
            arriving.after = None;
        }
        Ok(found)
    }

    fn halves<'a>(side: usize, arrived: Half<'a>, kept: Half<'a>) -> [Half<'a>; 2] {
        if side == 0 { [arrived, kept] } else { [kept, arrived] }
    }

    fn passing(&self, of: &Arriving, found: &[Candidate]) -> Result<Option<BooleanArray>> {
        if self.spec.sides.filter.is_none() || found.is_empty() {
            return Ok(None);
        }
        let rows: Vec<_> = found.iter().map(|pair| Some(pair.row as u64)).collect();
        let kept: Vec<_> = found.iter().map(|pair| Some(pair.kept.row())).collect();
        let (arrived, kept) = (Half::Arrived(&of.rows.batch, &rows), Half::Kept(&kept));
        self.codecs.passing(found.len(), Self::halves(of.side, arrived, kept))
    }

    /// Lets the next rows that arrive meet those that are kept.
    fn meet(&mut self, mut arriving: Arriving, out: &mut Vec<Rows>) -> Result<()> {
        let first = arriving.at;
        let found = self.candidates(&mut arriving)?;
        let passing = self.passing(&arriving, &found)?;
        let passes = |pair: usize| passing.as_ref().is_none_or(|mask| mask.value(pair));
        let mut lines = Lines::default();
        let mut pairs = found.into_iter().enumerate().peekable();
        for row in first..arriving.rows.len().min(arriving.at + 1) {
            while let Some((index, pair)) = pairs.next_if(|(_, pair)| pair.row == row) {
                if passes(index) {
                    self.pair(&mut arriving, pair, &mut lines)?;
                }
            }
            if row < arriving.at {
                self.settle(&mut arriving, row, &mut lines)?;
            }
        }
        self.kept[arriving.side].kept()?;
        self.emit(arriving.side, Some(&arriving.rows), lines, out)?;
        if arriving.at < arriving.rows.len() {
            self.arriving = Some(arriving);
        }
        Ok(())
    }

    /// Two rows meet.
    fn pair(&mut self, arriving: &mut Arriving, pair: Candidate, lines: &mut Lines) -> Result<()> {
        let (own, other) =
            (self.spec.sides.roles[arriving.side], self.spec.sides.roles[1 - arriving.side]);
        let first = !std::mem::replace(&mut arriving.matched[pair.row], true);
        let time_ms = arriving.event_time_ms(pair.row);
        if own.pairs() {
            let time_ms = later(time_ms, pair.kept.event_time_ms());
            lines.push(Some(pair.row), Some(pair.kept.clone()), time_ms);
        } else if own == Role::Semi && first {
            lines.push(Some(pair.row), None, time_ms);
        }
        let others = &mut self.kept[1 - arriving.side];
        match other {
            Role::Outer => others.matched(&pair.place)?,
            // What has met one is done, and another of the same batch may have been the first.
            Role::Semi if others.remove(&pair.place)?.is_some() => {
                let time_ms = pair.kept.event_time_ms();
                lines.push(None, Some(pair.kept), time_ms);
            }
            Role::Anti => {
                others.remove(&pair.place)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A row has met all that are there: it waits for those to come, or is done.
    fn settle(&mut self, arriving: &mut Arriving, row: usize, lines: &mut Lines) -> Result<()> {
        let (side, matched) = (arriving.side, arriving.matched[row]);
        let role = self.spec.sides.roles[side];
        if matched && matches!(role, Role::Semi | Role::Anti) {
            return Ok(());
        }
        let event_time_ms = arriving.event_time_ms(row);
        let waits_for = arriving
            .time_ms(row)
            .filter(|time_ms| time_ms.saturating_add(self.spec.reach_ms(side)) >= self.watermark.0);
        match waits_for {
            Some(time_ms) => {
                let (key, bytes) = (arriving.keys.row(row), arriving.encoded.row(row));
                self.kept[side].put(key, time_ms, bytes, event_time_ms, matched)?;
            }
            None if role.keeps_unmatched() && !matched => {
                lines.push(Some(row), None, event_time_ms);
            }
            None => {}
        }
        Ok(())
    }

    /// Lets go of the next rows that nothing can meet any more. Whether there were any.
    fn expire(&mut self, side: usize, out: &mut Vec<Rows>) -> Result<bool> {
        let before_ms = self.watermark.0.saturating_sub(self.spec.reach_ms(side));
        let keeps_unmatched = self.spec.sides.roles[side].keeps_unmatched();
        let mut lines = Lines::default();
        let kept = &mut self.kept[side];
        let mut rows = kept.take_before(before_ms, PAIRS_MAX)?;
        if self.ending && rows.is_empty() {
            rows = kept.take_waiting(PAIRS_MAX)?;
        }
        let any = !rows.is_empty();
        for row in rows {
            if keeps_unmatched && !row.matched() {
                let time_ms = row.event_time_ms();
                lines.push(None, Some(row), time_ms);
            }
        }
        self.emit(1 - side, None, lines, out)?;
        Ok(any)
    }

    /// Rows of which the half that arrived is of `side`, and the other one was kept.
    fn emit(
        &self,
        side: usize,
        arrived: Option<&Rows>,
        lines: Lines,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        if lines.event_times_ms.is_empty() {
            return Ok(());
        }
        let nothing: Vec<Option<&[u8]>> = vec![None; lines.arrived.len()];
        let arrived = match arrived {
            Some(rows) => Half::Arrived(&rows.batch, &lines.arrived),
            None => Half::Kept(&nothing),
        };
        let kept: Vec<Option<&[u8]>> =
            lines.kept.iter().map(|kept| kept.as_ref().map(KeptRow::row)).collect();
        let halves = Self::halves(side, arrived, Half::Kept(&kept));
        out.push(self.codecs.rows(halves, lines.event_times_ms.into(), None)?);
        Ok(())
    }
}

impl Operator for IntervalJoin {
    fn prepare(&self, side: usize, rows: Rows) -> Result<Prepared> {
        let time = &self.spec.times[side];
        let mut times_ms = time.of(&rows)?;
        let is_late =
            |time_ms: i64| time_ms.saturating_add(time.event_after_ms.1) < self.watermark.0;
        let late = times_ms.iter().flatten().filter(|time_ms| is_late(*time_ms)).count();
        let mut rows = rows;
        if late > 0 {
            let on_time = times_ms.iter().map(|time_ms| Some(!time_ms.is_some_and(is_late)));
            rows = rows.filter(&on_time.collect())?;
            times_ms = time.of(&rows)?;
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times_ms)];
        columns.extend(self.codecs.key_columns(side, &rows.batch)?);
        Ok(Prepared { rows, columns, keys: None, late, untimed: 0 })
    }

    fn apply(&mut self, side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = rows;
        let (times_ms, keys) = (columns[0].as_primitive::<Int64Type>().clone(), &columns[1..]);
        self.arriving = Some(Arriving {
            side,
            keys: self.codecs.encode_keys(keys)?,
            encoded: self.codecs.encode_rows(side, &rows.batch)?,
            meets_nothing: self.codecs.may_meet(keys),
            matched: vec![false; rows.len()],
            rows,
            times_ms,
            at: 0,
            after: None,
        });
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, _out: &mut Vec<Rows>) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        Ok(())
    }

    fn finish(&mut self, _bound_ms: i64, _out: &mut Vec<Rows>) -> Result<()> {
        self.ending = true;
        Ok(())
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        if let Some(arriving) = self.arriving.take() {
            self.meet(arriving, out)?;
            return Ok(self.arriving.is_some());
        }
        let any = self.expire(0, out)? | self.expire(1, out)?;
        self.ending &= any;
        Ok(any)
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let of_side = |side: usize| {
            let last_ms = self.kept[side].last_waiting_ms(bound_ms)?;
            Some(last_ms.saturating_add(self.spec.reach_ms(side)).saturating_add(1))
        };
        of_side(0).max(of_side(1)).map(Watermark)
    }

    fn earliest_ms(&self) -> Option<i64> {
        self.kept.iter().filter_map(KeptRows::first_waiting_ms).min()
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.kept.iter_mut().flat_map(KeptRows::maps).collect()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        kept::restore(&mut self.kept, key, value)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        Ok(self.kept.iter_mut().try_for_each(KeptRows::restored)?)
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.kept.iter().map(KeptRows::len).sum() }
    }
}
