//! Groups per session, written once when the session is over.
//!
//! The rule: rows of one key belong to one session if none of them is further than the gap from
//! the next. A session begins with its first row and ends the gap after its last; a row exactly at
//! its end still extends it, so it is over when the watermark has passed its end. What a session
//! is depends on the times of its rows, not on the order in which they come: a row between two
//! sessions makes them one. A row that comes so late that a session of its own would be over joins
//! one that is open, or is left out and counted.
//!
//! ```text
//! rows → prepare (times, keys, arguments; which are late) → apply: sessions, accumulators  (new)
//! settle: new ─ with what sessions absorbed ─ state() → store, changelog             (committed)
//! over:   settle, then the runs of sessions that are over ─ merge → evaluate → rows
//! ```
//!
//! Groups lie in the store under the id of their session, a time within it that does not change
//! while it grows in both directions.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, not};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use datafusion_common::{Result, exec_datafusion_err, plan_err};
use datafusion_physical_expr::PhysicalExpr;

use super::accumulated::Groups;
use super::kept;
use super::partial::{AsTheyAre, BeforeMeeting};
use super::runs::{GROUP, GroupState, StoredRun};
use super::sessions::{OfKey, Over, SESSION, Session, Sessions, is_late, split_place};
use super::spec::{AggregateCall, AggregateSpec};
use crate::describe::words::duration_text;
use crate::describe::{Described, Keeps, Until, Words};
use crate::operators::failed_groups::{Failed, leave_out};
use crate::operators::filter_project::evaluate;
use crate::operators::tables::{Entries, KeptTable, damaged};
use crate::operators::{Distribution, ExprText, Identity, Kept, Operator, OperatorSpec, Prepared};
use crate::plan::windows::{GroupWindow, Shape, unit_ns};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::layouts::Layouts;
use crate::state::map::StateMap;
use crate::state::store::Run;
use crate::time::Watermark;

mod telling;

pub use telling::Telling;
use telling::Undo;

#[cfg(test)]
mod tests;

const NS_PER_MS: i64 = 1_000_000;

/// Sessions that come out together: bounds the memory that it takes.
const CLOSED_TOGETHER_MAX: usize = 8192;

/// What to group by, a session among it, and what to compute.
#[derive(Debug)]
pub struct SessionSpec {
    aggregate: Arc<AggregateSpec>,
    /// Which group expressions are the session's bounds: of a row, those of a session of its own.
    start: Option<usize>,
    end: Option<usize>,
    /// In steps of `unit`, as all times here.
    gap: i64,
    unit: TimeUnit,
    /// `None`: once, when they are over.
    telling: Option<Telling>,
}

/// The operator.
pub struct SessionAggregate {
    spec: Arc<SessionSpec>,
    sessions: Sessions,
    groups: GroupState,
    /// Sessions as they were settled last, of those that have changed: if they are told more than
    /// once.
    undo: Undo,
    /// Ids of sessions that are part of another since groups were last settled, with their keys.
    absorbed: Vec<(Box<[u8]>, i64)>,
    closed_up_to: Watermark,
    closing: Option<Closing>,
}

/// Which sessions are on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Those that are over.
    Over,
    /// All of them, as the input has ended.
    All,
}

impl SessionSpec {
    pub fn new(
        group: Vec<Arc<dyn PhysicalExpr>>,
        window: &GroupWindow,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> Result<SessionSpec> {
        let Shape::Session { gap_ns } = window.shape else {
            return plan_err!("these windows are no sessions");
        };
        let Some(bound) = window.start.or(window.end) else {
            return plan_err!("a session has a start or an end");
        };
        let DataType::Timestamp(unit, _) = *schema.field(bound).data_type() else {
            return plan_err!("a session's bound is no timestamp");
        };
        if !window.shape.fits(unit) {
            return plan_err!("the gap of a session is whole steps of its time");
        }
        let is_key = |index: &usize| Some(*index) != window.start && Some(*index) != window.end;
        let keys = (0..group.len()).filter(is_key).collect();
        Ok(SessionSpec {
            aggregate: Arc::new(AggregateSpec { group, keys, calls, schema }),
            start: window.start,
            end: window.end,
            gap: gap_ns / unit_ns(unit),
            unit,
            telling: None,
        })
    }

    pub fn telling(self, telling: Option<Telling>) -> SessionSpec {
        SessionSpec { telling, ..self }
    }

    /// What its state depends on beside keys and calls.
    fn head(&self, bound: impl fmt::Display) -> String {
        let telling = self.telling.map(|Telling { early, grace_ms }| {
            let early = if early { ", told as it changes" } else { "" };
            format!("{early}, late rows for {grace_ms} ms")
        });
        let telling = telling.unwrap_or_default();
        format!("aggregate per session, gap {} {:?}s, {bound}{telling}", self.gap, self.unit)
    }

    /// The columns of group expressions, for sessions of these first and last times and keys.
    fn group_columns(
        &self,
        groups: &GroupState,
        of: &[(i64, i64, &[u8])],
    ) -> Result<Vec<ArrayRef>> {
        let fields = self.aggregate.schema.fields();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.aggregate.group.len()];
        if let Some(start) = self.start {
            let firsts = Int64Array::from_iter_values(of.iter().map(|(first, ..)| *first));
            columns[start] = Some(cast(&firsts, fields[start].data_type())?);
        }
        if let Some(end) = self.end {
            let ends = of.iter().map(|(_, last, _)| last.saturating_add(self.gap));
            columns[end] =
                Some(cast(&Int64Array::from_iter_values(ends), fields[end].data_type())?);
        }
        let keys = groups.key_columns(of.iter().map(|(.., key)| *key))?;
        for (&index, column) in self.aggregate.keys.iter().zip(keys) {
            columns[index] = Some(column);
        }
        Ok(columns.into_iter().flatten().collect())
    }

    /// The watermark that rows must not be far behind to begin a session of their own.
    fn taken_from(&self, watermark: Watermark) -> Watermark {
        let grace_ms = self.telling.map_or(0, |telling| telling.grace_ms);
        Watermark(watermark.0.saturating_sub(grace_ms))
    }

    /// Sessions are over whose last time is before this.
    fn over_before(&self, watermark: Watermark) -> i64 {
        let (ns, unit_ns) = (i128::from(watermark.0) * i128::from(NS_PER_MS), unit_ns(self.unit));
        let first = -(-ns).div_euclid(i128::from(unit_ns)) - i128::from(self.gap);
        first.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    fn ms(&self, time: i64) -> i64 {
        let ns = i128::from(time) * i128::from(unit_ns(self.unit));
        let ms = ns.div_euclid(i128::from(NS_PER_MS));
        ms.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    fn end_ms(&self, last: i64) -> i64 {
        self.ms(last.saturating_add(self.gap))
    }

    /// Whether nothing that is waited for can extend a session with this last time.
    fn is_over(&self, last: i64, watermark: Watermark) -> bool {
        self.end_ms(last) < watermark.0
    }

    fn times(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let Some(bound) = self.start.or(self.end) else {
            return Err(exec_datafusion_err!("a session has a start or an end"));
        };
        let times = evaluate(batch, self.aggregate.group[bound].as_ref())?;
        let times = cast(&times, &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        Ok(match self.start {
            Some(_) => times.clone(),
            None => times.unary(|end| end.saturating_sub(self.gap)),
        })
    }
}

impl fmt::Display for SessionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.start.or(self.end).unwrap_or_default();
        let bound = &self.aggregate.group[bound];
        write!(f, "{}{}", self.head(bound), self.aggregate)
    }
}

impl OperatorSpec for SessionSpec {
    fn schema(&self) -> &SchemaRef {
        &self.aggregate.schema
    }

    fn distribution(&self, _side: usize) -> Distribution {
        let group = &self.aggregate.group;
        Distribution::by(self.aggregate.keys.iter().map(|&key| group[key].clone()))
    }

    fn settles(&self) -> bool {
        true
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        vec![self.aggregate.keys.clone()]
    }

    fn before_meeting(&self, _side: usize) -> BeforeMeeting {
        BeforeMeeting::AsTheyAre(AsTheyAre::Sessions)
    }

    fn describe(&self, words: &Words) -> Described {
        let gap = duration_text(self.gap.saturating_mul(unit_ns(self.unit)) / NS_PER_MS);
        let mut details = self.aggregate.details(words);
        details.insert(0, format!("sessions that end {gap} after their last row"));
        let mut until = "the watermark passes their end".to_owned();
        if let Some(telling) = self.telling {
            let grace_ms = telling.grace_ms;
            details.extend(telling.in_words());
            if grace_ms > 0 {
                until = format!("the watermark is {} past their end", duration_text(grace_ms));
            }
        }
        let by = self.aggregate.keys_in_words(words);
        Described {
            title: "aggregate by session".to_owned(),
            details,
            keeps: Keeps::new("sessions and their aggregates", by, Until::Watermark(until)),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let mut spans: HashMap<kept::Place<'_>, (i64, i64)> = HashMap::new();
        for (key, value) in entries.iter().filter(|(key, _)| key.first() == Some(&SESSION)) {
            let (place, span) = session_of(key, value).ok_or_else(|| damaged(key))?;
            spans.insert(place, span);
        }
        let table = kept::table("sessions", &self.aggregate, entries, |state, places| {
            let found = places.iter().map(|place| {
                let span = spans.get(place).ok_or_else(|| damaged(place.1));
                span.map(|(first, last)| (*first, *last, place.1))
            });
            let found = found.collect::<Result<Vec<_>>>()?;
            self.group_columns(state, &found)
        });
        Ok(vec![table?])
    }

    fn identity(&self, text: &ExprText<'_>) -> Option<Identity> {
        let bound = self.start.or(self.end).unwrap_or_default();
        self.aggregate.identity(self.head(text(&self.aggregate.group[bound])), text)
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(SessionAggregate {
            sessions: Sessions::new(id),
            groups: GroupState::new(self.aggregate.clone(), id)?.of_sessions(),
            undo: Undo::default(),
            absorbed: Vec::new(),
            closed_up_to: Watermark::MIN,
            closing: None,
            spec: self,
        }))
    }
}

/// Where a session's groups lie, and its first and last time, by its entry.
fn session_of<'a>(key: &'a [u8], value: &[u8]) -> Option<(kept::Place<'a>, (i64, i64))> {
    let (key, first) = split_place(key.get(1..)?)?;
    let Session { id, last, .. } = Session::parse(value)?;
    Some(((id, key), (first, last)))
}

/// The keys of rows, if there are any.
fn key_of(keys: Option<&arrow_row::Rows>, row: usize) -> &[u8] {
    keys.map_or(&[][..], |keys| keys.row(row).data())
}

impl SessionAggregate {
    /// Which rows are not late. Rows are tried on a copy of the sessions of their keys, where there
    /// is a doubt at all.
    fn on_time(
        &self,
        times: &Int64Array,
        keys: Option<&arrow_row::Rows>,
    ) -> Result<Option<BooleanArray>> {
        let spec = &self.spec;
        let taken_from = spec.taken_from(self.closed_up_to);
        let too_late = |time: i64| spec.is_over(time, taken_from);
        let doubtful = |time: i64| too_late(time) || self.sessions.any_told();
        if !times.iter().flatten().any(doubtful) {
            return Ok(None);
        }
        let mut spans: HashMap<&[u8], (i64, i64)> = HashMap::new();
        for row in (0..times.len()).filter(|&row| doubtful(times.value(row))) {
            spans.insert(key_of(keys, row), (i64::MAX, i64::MIN));
        }
        for row in 0..times.len() {
            if let Some((from, to)) = spans.get_mut(key_of(keys, row)) {
                (*from, *to) = ((*from).min(times.value(row)), (*to).max(times.value(row)));
            }
        }
        let mut tried: HashMap<&[u8], OfKey> = HashMap::with_capacity(spans.len());
        for (key, span) in spans {
            tried.insert(key, self.sessions.between(key, span, spec.gap)?);
        }
        let on_time = (0..times.len()).map(|row| match tried.get_mut(key_of(keys, row)) {
            Some(of_key) => {
                let time = times.value(row);
                Some(!is_late(of_key, time, spec.gap, too_late(time)))
            }
            None => Some(true),
        });
        let on_time: BooleanArray = on_time.collect();
        Ok((on_time.true_count() < times.len()).then_some(on_time))
    }

    /// Puts rows into sessions. The id of that of each: those of one key that are near to each
    /// other go together, in whatever order they come.
    fn place(&mut self, times: &[i64], keys: Option<&arrow_row::Rows>) -> Result<Vec<i64>> {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_unstable_by_key(|&row| (key_of(keys, row), times[row]));
        let mut ids = vec![0; times.len()];
        let gap = self.spec.gap;
        let is_near = |before: &usize, row: &usize| {
            times[*row] <= times[*before].saturating_add(gap)
                && key_of(keys, *before) == key_of(keys, *row)
        };
        for island in order.chunk_by(is_near) {
            let (Some(&first), Some(&last)) = (island.first(), island.last()) else { continue };
            let key = key_of(keys, first);
            let placed = self.sessions.place(key, (times[first], times[last]), gap)?;
            let absorbed = placed.before.iter().map(|(_, session)| session.id);
            let absorbed = absorbed.filter(|id| *id != placed.id).map(|id| (key.into(), id));
            self.absorbed.extend(absorbed);
            if self.spec.telling.is_some() {
                self.undo.note(key, &placed);
            }
            island.iter().for_each(|&row| ids[row] = placed.id);
        }
        Ok(ids)
    }

    /// Rows that have a time, their times, and how many others there are.
    fn timed(&self, rows: Rows) -> Result<(Rows, Int64Array, usize)> {
        let times = self.spec.times(&rows.batch)?;
        let untimed = times.null_count();
        if untimed == 0 {
            return Ok((rows, times, 0));
        }
        let timed: BooleanArray = times.iter().map(|time| Some(time.is_some())).collect();
        Ok((rows.filter(&timed)?, times.iter().flatten().collect(), untimed))
    }

    /// Takes what is new into the committed state, each group under its session's id.
    fn settle(&mut self) -> Result<()> {
        self.unite()?;
        self.groups.commit()?;
        Ok(())
    }

    /// Brings groups of sessions that became one together.
    fn unite(&mut self) -> Result<()> {
        let absorbed = std::mem::take(&mut self.absorbed);
        if absorbed.is_empty() {
            return Ok(());
        }
        let spec = self.groups.spec.clone();
        let empty = Groups::new(&spec)?;
        let mut new = std::mem::replace(&mut self.groups.new, empty);
        let states = new.states()?;
        let survivor = |sessions: &Sessions, key: &[u8], id: i64| -> Result<i64, DiskError> {
            Ok(sessions.find(key, id)?.map_or(id, |(_, session)| session.id))
        };
        // What is merged in one go must have something of every group that is there by then: so
        // each part makes its groups right before it is merged.
        let mut united = std::mem::take(&mut self.groups.new.table);
        let (mut of_runs, mut runs) = (Vec::new(), Vec::new());
        for (key, id) in &absorbed {
            for run in self.groups.committed.take(*id, key)? {
                of_runs.push(united.group(survivor(&self.sessions, key, *id)?, key));
                runs.push(run);
            }
        }
        self.groups.new.table = united;
        if !of_runs.is_empty() {
            let runs: Vec<StoredRun<'_>> = runs.iter().map(Run::stored).collect();
            let states = self.groups.decode(&runs)?;
            self.groups.new.merge(&spec, &states, &of_runs)?;
        }
        let united = &mut self.groups.new.table;
        let mut of_new = Vec::with_capacity(new.table.len());
        for group in 0..new.table.len() {
            let (id, key) = (new.table.window_start_ms(group), new.table.key(group));
            of_new.push(united.group(survivor(&self.sessions, key, id)?, key));
        }
        if !of_new.is_empty() {
            self.groups.new.merge(&spec, &states, &of_new)?;
        }
        Ok(())
    }

    /// What sessions that are over come to, in their order.
    fn answers(&mut self, over: Vec<Over>) -> Result<Option<Rows>> {
        let over: Vec<Over> = over.into_iter().filter(|over| !over.told).collect();
        let rows = self.told_rows_of(&over)?;
        self.forget_runs(&over)?;
        Ok(rows)
    }

    fn forget_runs(&mut self, over: &[Over]) -> Result<()> {
        for Over { key, id, .. } in over {
            self.groups.committed.take(*id, key)?;
        }
        Ok(())
    }

    /// Brings out the next ones of the sessions that are on their way.
    fn close(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let over = match self.closing {
            None => return Ok(()),
            Some(Closing::Over) => {
                let before = self.spec.over_before(self.closed_up_to);
                self.sessions.take_over(before, CLOSED_TOGETHER_MAX)?
            }
            Some(Closing::All) => self.sessions.tell(CLOSED_TOGETHER_MAX)?,
        };
        if over.len() < CLOSED_TOGETHER_MAX {
            self.closing = None;
        }
        out.extend(self.answers(over)?);
        Ok(())
    }

    /// What sessions come to that is to be told: those that fail are told of apart from them.
    fn told_rows_of(&self, over: &[Over]) -> Result<Option<Rows>> {
        let rows = self.rows_of(over)?;
        rows.map(|(rows, failed)| leave_out(rows, failed)).transpose()
    }

    /// What sessions come to by what is committed, and which of them fail.
    fn rows_of(&self, over: &[Over]) -> Result<Option<(Rows, Failed)>> {
        if over.is_empty() {
            return Ok(None);
        }
        let spec = self.spec.clone();
        let mut groups = Groups::new(&spec.aggregate)?;
        let (mut of_runs, mut runs) = (Vec::new(), Vec::new());
        for Over { key, id, .. } in over {
            let group = groups.table.group(*id, key);
            for run in self.groups.committed.runs(*id, key)? {
                of_runs.push(group);
                runs.push(run);
            }
        }
        let runs: Vec<StoredRun<'_>> = runs.iter().map(Run::stored).collect();
        groups.merge(&spec.aggregate, &self.groups.decode(&runs)?, &of_runs)?;
        let order: Vec<usize> = (0..over.len()).collect();
        let (columns, failed) = self.columns(over, &mut groups, &order)?;
        let batch = RecordBatch::try_new(spec.aggregate.schema.clone(), columns)?;
        let ends_ms: Int64Array = over.iter().map(|over| Some(spec.end_ms(over.last))).collect();
        Ok(Some((Rows::new(batch, ends_ms), failed)))
    }

    fn columns(
        &self,
        over: &[Over],
        groups: &mut Groups,
        order: &[usize],
    ) -> Result<(Vec<ArrayRef>, Failed)> {
        let of: Vec<(i64, i64, &[u8])> =
            over.iter().map(|over| (over.first, over.last, &*over.key)).collect();
        let mut columns = self.spec.group_columns(&self.groups, &of)?;
        let (answers, failed) = GroupState::answers(groups, order)?;
        columns.extend(answers);
        Ok((columns, failed))
    }
}

impl Operator for SessionAggregate {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let (rows, times, untimed) = self.timed(rows)?;
        let aggregate = &self.spec.aggregate;
        let keys = aggregate.key_rows(&rows.batch, self.groups.key_codec.as_ref())?;
        let Some(on_time) = self.on_time(&times, keys.as_ref())? else {
            let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
            aggregate.arguments(&rows.batch, &mut columns)?;
            return Ok(Prepared { rows, columns, keys, late: 0, untimed });
        };
        let late = on_time.len() - on_time.true_count();
        let rows = rows.filter(&on_time)?;
        let times: Int64Array = times
            .iter()
            .zip(&on_time)
            .filter(|(_, on_time)| *on_time == Some(true))
            .map(|(time, _)| time)
            .collect();
        let keys = aggregate.key_rows(&rows.batch, self.groups.key_codec.as_ref())?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
        aggregate.arguments(&rows.batch, &mut columns)?;
        Ok(Prepared { rows, columns, keys, late, untimed })
    }

    fn late_rows(&self, _side: usize, rows: &Rows) -> Result<Option<Rows>> {
        let (rows, times, _) = self.timed(rows.clone())?;
        let codec = self.groups.key_codec.as_ref();
        let keys = self.spec.aggregate.key_rows(&rows.batch, codec)?;
        let Some(on_time) = self.on_time(&times, keys.as_ref())? else { return Ok(None) };
        Ok(Some(rows.filter(&not(&on_time)?)?))
    }

    fn apply(&mut self, _side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { columns, keys, .. } = rows;
        let times = columns[0].as_primitive::<Int64Type>().values();
        if times.is_empty() {
            return Ok(());
        }
        let ids = self.place(times, keys.as_ref())?;
        self.groups.new.take(&self.spec.aggregate, &ids, keys.as_ref(), &columns[1..])?;
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark <= self.closed_up_to {
            return Ok(());
        }
        if let Some(telling) = self.spec.telling {
            return self.advance_telling(telling, watermark, out);
        }
        self.closed_up_to = watermark;
        let first = self.sessions.first_last();
        if first.is_some_and(|last| self.spec.is_over(last, watermark)) {
            self.settle()?;
            self.closing = Some(Closing::Over);
        }
        self.close(out)
    }

    /// Sessions that begin beyond the watermark stay as told, so that no row comes to them later.
    fn finish(&mut self, _bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        if let Some(telling) = self.spec.telling {
            return self.finish_telling(telling, out);
        }
        self.settle()?;
        self.closing = Some(Closing::All);
        self.close(out)
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        self.close(out)?;
        Ok(self.closing.is_some())
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        match self.spec.telling {
            Some(telling) => self.settle_and_tell(telling, out),
            None => Ok(()),
        }
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let last = self.sessions.last_of(|first| self.spec.ms(first) <= bound_ms)?;
        Some(Watermark(self.spec.end_ms(last).saturating_add(1)))
    }

    fn earliest_ms(&self) -> Option<i64> {
        self.sessions.earliest().map(|last| self.spec.ms(last))
    }

    fn commit(&mut self, _changes: &mut Vec<Change>) -> Result<()> {
        self.settle()
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        let mut maps: Vec<&mut StateMap> = self.groups.committed.maps().into();
        maps.extend(self.sessions.maps());
        maps
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        match key.split_first() {
            Some((&GROUP, rest)) => self.groups.restore(rest, value),
            Some((&SESSION, rest)) => self.sessions.restore(rest, value),
            _ => Err(StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"))),
        }
    }

    fn take_layouts(&mut self, layouts: &Layouts) -> Result<(), StateError> {
        self.groups.take_layouts(layouts)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.closed_up_to = watermark;
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: self.sessions.len(), groups: self.sessions.untold() }
    }
}
