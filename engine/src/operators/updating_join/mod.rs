//! Two tables, joined by any columns, told whenever the answer changes.
//!
//! The rule: what has come out, less what was taken back, is what batch SQL answers over the rows
//! that both sides have at that moment. Rows of both sides may come and be taken back in any order;
//! each tells what it changes and nothing else. A row of an outer join that loses the last one it
//! has met comes out with NULLs again, and is taken back when it meets one anew; a semi or anti
//! join does the same with the row itself.
//!
//! Both sides are kept whole, each row as often as it is there, and of sides whose rows come out
//! with NULLs or by themselves how many rows each meets. A row with NULL in its key meets none, so
//! it is not kept.
//!
//! ```text
//! key    1 u8, side u8, join key (arrow-row), row (arrow-row)
//! value  length of the join key u32, count u32, matches u64, event time as a byte and i64
//! ```

mod kept;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use super::sides::{Codecs, Encoded, Half, PAIRS_MAX, Role, Sides, later};
use super::tables::{Entries, KeptTable};
use super::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::describe::{Described, Keeps, Until, Words};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::map::StateMap;
use crate::time::Watermark;
use kept::{KeptRow, KeptRows, Place};

/// Which rows meet.
#[derive(Debug)]
pub struct UpdatingJoinSpec {
    pub sides: Arc<Sides>,
}

impl fmt::Display for UpdatingJoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "updating {}", self.sides)
    }
}

impl OperatorSpec for UpdatingJoinSpec {
    fn schema(&self) -> &SchemaRef {
        &self.sides.schema
    }

    fn distribution(&self, side: usize) -> Distribution {
        Distribution::by(self.sides.of[side].keys.iter().cloned())
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        self.sides.comes_by()
    }

    fn describe(&self, words: &Words) -> Described {
        Described {
            title: self.sides.title("updating"),
            details: self.sides.details(words),
            keeps: Keeps::new("the rows of both sides", self.sides.keys(words), Until::TakenBack),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let [left, right] = &self.sides.of;
        Ok(vec![
            kept::table(entries, 0, &left.schema)?.build("left", &left.key_names())?,
            kept::table(entries, 1, &right.schema)?.build("right", &right.key_names())?,
        ])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(UpdatingJoin {
            codecs: Codecs::new(self.sides.clone())?,
            kept: [KeptRows::new(id, 0), KeptRows::new(id, 1)],
            arriving: None,
            may_forget: false,
        }))
    }
}

/// The operator.
pub struct UpdatingJoin {
    codecs: Codecs,
    kept: [KeptRows; 2],
    /// Rows that are on their way in.
    arriving: Option<Arriving>,
    /// Rows that are taken back may be gone.
    may_forget: bool,
}

/// Rows of one side, and how many of them have met what they meet.
struct Arriving {
    side: usize,
    rows: Rows,
    keys: Encoded,
    encoded: Encoded,
    meets_nothing: Option<NullBuffer>,
    /// The first row that is not done.
    at: usize,
    /// How many it has met, and the last of them.
    met: u64,
    after: Option<Place>,
}

impl Arriving {
    fn may_meet(&self, row: usize) -> bool {
        self.meets_nothing.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    fn event_time_ms(&self, row: usize) -> Option<i64> {
        let times = &self.rows.event_times_ms;
        times.is_valid(row).then(|| times.value(row))
    }
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
    kept: Vec<Option<(Place, u32)>>,
    event_times_ms: Vec<Option<i64>>,
    retracts: Vec<bool>,
}

impl Lines {
    fn arrived(&mut self, row: usize, time_ms: Option<i64>, retracts: bool) {
        self.push(Some(row as u64), None, time_ms, retracts);
    }

    /// A kept row by itself, as often as it is there.
    fn kept(&mut self, pair: &Candidate, retracts: bool) {
        for _ in 0..pair.kept.count {
            let kept = (pair.place.clone(), pair.kept.key_len);
            self.push(None, Some(kept), pair.kept.event_time_ms, retracts);
        }
    }

    fn pair(&mut self, pair: &Candidate, time_ms: Option<i64>, retracts: bool) {
        let time_ms = later(time_ms, pair.kept.event_time_ms);
        for _ in 0..pair.kept.count {
            let kept = (pair.place.clone(), pair.kept.key_len);
            self.push(Some(pair.row as u64), Some(kept), time_ms, retracts);
        }
    }

    fn push(
        &mut self,
        arrived: Option<u64>,
        kept: Option<(Place, u32)>,
        time_ms: Option<i64>,
        retracts: bool,
    ) {
        self.arrived.push(arrived);
        self.kept.push(kept);
        self.event_times_ms.push(time_ms);
        self.retracts.push(retracts);
    }
}

impl UpdatingJoin {
    fn role(&self, side: usize) -> Role {
        self.codecs.sides.roles[side]
    }

    /// The next rows that may meet, a bounded number of them; and up to which row they are all.
    fn candidates(&self, arriving: &Arriving) -> Result<(Vec<Candidate>, usize, Option<Place>)> {
        let mut found: Vec<Candidate> = Vec::new();
        let others = &self.kept[1 - arriving.side];
        let last = arriving.rows.len().min(arriving.at + PAIRS_MAX);
        let mut after = arriving.after.clone();
        for row in arriving.at..last {
            let after = after.take();
            if !arriving.may_meet(row) {
                continue;
            }
            for kept in others.of(arriving.keys.row(row), after.as_ref()) {
                let (place, kept) = kept?;
                if found.len() == PAIRS_MAX {
                    let last = found.last().filter(|last| last.row == row);
                    let last = last.map(|last| last.place.clone());
                    return Ok((found, row, last));
                }
                found.push(Candidate { row, place, kept });
            }
        }
        Ok((found, last, None))
    }

    /// Rows without those that are taken back and are gone.
    fn known(&self, side: usize, rows: Rows, columns: &[ArrayRef]) -> Result<Rows> {
        let keys = self.codecs.encode_keys(columns)?;
        let encoded = self.codecs.encode_rows(side, &rows.batch)?;
        let may_meet = self.codecs.may_meet(columns);
        let mut counts: HashMap<(&[u8], &[u8]), i64> = HashMap::new();
        let mut known = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            if may_meet.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                known.push(true);
                continue;
            }
            let place = (keys.row(row), encoded.row(row));
            let count = match counts.entry(place) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(self.kept[side].count(place.0, place.1)?),
            };
            let goes = rows.is_retraction(row);
            known.push(!goes || *count > 0);
            *count += if !goes { 1 } else { -i64::from(*count > 0) };
        }
        rows.filter(&BooleanArray::from(known))
    }

    fn halves<'a>(side: usize, arrived: Half<'a>, kept: Half<'a>) -> [Half<'a>; 2] {
        if side == 0 { [arrived, kept] } else { [kept, arrived] }
    }

    fn passing(&self, of: &Arriving, found: &[Candidate]) -> Result<Option<BooleanArray>> {
        if found.is_empty() {
            return Ok(None);
        }
        let rows: Vec<_> = found.iter().map(|pair| Some(pair.row as u64)).collect();
        let kept: Vec<_> =
            found.iter().map(|pair| Some(&pair.place[pair.kept.key_len as usize..])).collect();
        let (arrived, kept) = (Half::Arrived(&of.rows.batch, &rows), Half::Kept(&kept));
        self.codecs.passing(found.len(), Self::halves(of.side, arrived, kept))
    }

    /// Lets the next rows that arrive meet those that are kept.
    fn meet(&mut self, mut arriving: Arriving, out: &mut Vec<Rows>) -> Result<()> {
        let (found, done, after) = self.candidates(&arriving)?;
        let passing = self.passing(&arriving, &found)?;
        let passes = |pair: usize| passing.as_ref().is_none_or(|mask| mask.value(pair));
        let mut lines = Lines::default();
        let mut pairs = found.into_iter().enumerate().peekable();
        for row in arriving.at..arriving.rows.len().min(done + 1) {
            while let Some((index, pair)) = pairs.next_if(|(_, pair)| pair.row == row) {
                if passes(index) {
                    self.pair(&mut arriving, &pair, &mut lines)?;
                }
            }
            if row < done {
                self.settle(&mut arriving, row, &mut lines)?;
            }
        }
        (arriving.at, arriving.after) = (done, after);
        self.emit(&arriving, lines, out)?;
        if arriving.at < arriving.rows.len() {
            self.arriving = Some(arriving);
        }
        Ok(())
    }

    /// Two rows meet, or meet no longer.
    fn pair(&mut self, arriving: &mut Arriving, pair: &Candidate, lines: &mut Lines) -> Result<()> {
        let goes = arriving.rows.is_retraction(pair.row);
        let time_ms = arriving.event_time_ms(pair.row);
        let (own, other) = (self.role(arriving.side), self.role(1 - arriving.side));
        arriving.met += u64::from(pair.kept.count);
        let mut turns = false;
        if other.counts_matches() {
            let before = self.kept[1 - arriving.side].meets(&pair.place, goes)?;
            turns = before == u64::from(goes);
        }
        // Alone it goes before the pair comes, and comes after the pair went.
        if turns && other == Role::Outer && !goes {
            lines.kept(pair, true);
        }
        if own.pairs() {
            lines.pair(pair, time_ms, goes);
        }
        if turns && other == Role::Outer && goes {
            lines.kept(pair, false);
        }
        if turns && matches!(other, Role::Semi | Role::Anti) {
            lines.kept(pair, goes == (other == Role::Semi));
        }
        Ok(())
    }

    /// A row has met all that it meets.
    fn settle(&mut self, arriving: &mut Arriving, row: usize, lines: &mut Lines) -> Result<()> {
        let side = arriving.side;
        let met = std::mem::take(&mut arriving.met);
        let goes = arriving.rows.is_retraction(row);
        let time_ms = arriving.event_time_ms(row);
        let alone = match self.role(side) {
            Role::Paired | Role::Witness => false,
            Role::Semi => met > 0,
            Role::Outer | Role::Anti => met == 0,
        };
        if alone {
            lines.arrived(row, time_ms, goes);
        }
        if !arriving.may_meet(row) {
            return Ok(());
        }
        let (key, bytes) = (arriving.keys.row(row), arriving.encoded.row(row));
        if goes {
            return self.kept[side].take_back(key, bytes);
        }
        self.kept[side].add(key, bytes, time_ms, met)
    }

    fn emit(&self, arriving: &Arriving, lines: Lines, out: &mut Vec<Rows>) -> Result<()> {
        if lines.retracts.is_empty() {
            return Ok(());
        }
        let kept = lines.kept.iter();
        let kept: Vec<Option<&[u8]>> = kept
            .map(|kept| kept.as_ref().map(|(place, key_len)| &place[*key_len as usize..]))
            .collect();
        let arrived = Half::Arrived(&arriving.rows.batch, &lines.arrived);
        let halves = Self::halves(arriving.side, arrived, Half::Kept(&kept));
        out.push(self.codecs.rows(halves, lines.event_times_ms.into(), Some(lines.retracts))?);
        Ok(())
    }
}

impl Operator for UpdatingJoin {
    fn prepare(&self, side: usize, rows: Rows) -> Result<Prepared> {
        let columns = self.codecs.key_columns(side, &rows.batch)?;
        Ok(Prepared { rows, columns, keys: None, late: 0, untimed: 0 })
    }

    fn apply(&mut self, side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { mut rows, mut columns, .. } = rows;
        if self.may_forget && rows.retracts.is_some() {
            rows = self.known(side, rows, &columns)?;
            columns = self.codecs.key_columns(side, &rows.batch)?;
        }
        self.arriving = Some(Arriving {
            side,
            keys: self.codecs.encode_keys(&columns)?,
            encoded: self.codecs.encode_rows(side, &rows.batch)?,
            meets_nothing: self.codecs.may_meet(&columns),
            rows,
            at: 0,
            met: 0,
            after: None,
        });
        Ok(())
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        if let Some(arriving) = self.arriving.take() {
            self.meet(arriving, out)?;
        }
        Ok(self.arriving.is_some())
    }

    fn may_forget(&mut self) {
        self.may_forget = true;
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.kept.iter_mut().try_for_each(|side| side.forget(key))?)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.kept.iter_mut().map(KeptRows::map).collect()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        kept::restore(&mut self.kept, key, value)
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.kept.iter().map(KeptRows::len).sum() }
    }
}
