//! Functions over windows of rows in event time: `… OVER (PARTITION BY k ORDER BY ts …)`.
//!
//! The rule: a row comes out once, with what each function says of it, when the watermark has
//! passed it and all that its frames reach; those that come out together are in the order of their
//! event times. A row that comes after that is late: left out and counted. So are rows without an
//! event time. A function that looks a number of rows ahead waits for these, however long.
//!
//! What is kept of a partition: rows that wait, rows that frames of later ones reach, and, for
//! functions over all rows from the first one on, what these have come to ([`calls::Running`]).
//!
//! - [`frame`]: which rows around a row are meant; [`calls`]: what the functions say;
//!   [`release`]: rows that come out.

pub mod calls;
pub mod frame;
mod release;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use datafusion_common::Result;

use crate::describe::words::duration_text;
use crate::describe::{Described, Keeps, Until, Words};
use crate::operators::ordered_rows;
use crate::operators::ordered_rows::{EncodedRows, OrderedRows, Ordering, ROW, RowCodec};
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::top_n::ranked::Rank;
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::time::Watermark;
use calls::{OverCall, Running};
use frame::Reach;

/// What the first byte of an entry's key is, beside [`ROW`]: what a partition has come to.
const RUNNING: u8 = 2;

const NS_PER_MS: i64 = 1_000_000;

/// What to compute, and over which rows.
#[derive(Debug)]
pub struct OverSpec {
    ordering: Arc<Ordering>,
    calls: Vec<OverCall>,
    /// Rows of greater rank are of no use.
    limit: Option<(Rank, u64)>,
    /// Of the rows that come out: those that come in, and a column per call.
    schema: SchemaRef,
    reach: Reach,
}

impl OverSpec {
    pub fn new(
        ordering: Ordering,
        calls: Vec<OverCall>,
        limit: Option<(Rank, u64)>,
        schema: SchemaRef,
    ) -> OverSpec {
        let mut reach = Reach::default();
        calls.iter().for_each(|call| call.reach(&mut reach));
        OverSpec { ordering: Arc::new(ordering), calls, limit, schema, reach }
    }

    /// Whether rows come out as soon as the watermark has passed them.
    pub fn is_prompt(&self) -> bool {
        self.reach.following_rows == 0 && self.reach.following_ms == 0
    }
}

impl fmt::Display for OverSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "over{}", self.ordering)?;
        let names = self.schema.fields()[self.ordering.schema.fields().len()..].iter();
        for (call, name) in self.calls.iter().zip(names) {
            write!(f, "\n  {} = {call}", name.name())?;
        }
        if let Some((rank, limit)) = self.limit {
            write!(f, "\n  {rank} up to {limit}")?;
        }
        Ok(())
    }
}

/// The operator.
pub struct Over {
    spec: Arc<OverSpec>,
    id: StateId,
    codec: RowCodec,
    /// Of what [`Running`] has of aggregates; `None` if there are none.
    state_codec: Option<RowConverter>,
    rows: OrderedRows,
    running: HashMap<Box<[u8]>, Running>,
    dirty: BTreeSet<Box<[u8]>>,
    /// Event times of rows that have not come out, and how many have each.
    waiting: BTreeMap<i64, u64>,
    due: Due,
    passed: Watermark,
}

/// When partitions are to be looked at again: once the watermark is beyond a time.
#[derive(Default)]
struct Due {
    by_time: BTreeMap<i64, BTreeSet<Box<[u8]>>>,
    of: HashMap<Box<[u8]>, i64>,
}

impl Due {
    /// No later than that.
    fn by(&mut self, partition: &[u8], time_ms: i64) {
        match self.of.get_mut(partition) {
            Some(at) if *at <= time_ms => return,
            Some(at) => {
                let before = std::mem::replace(at, time_ms);
                if let Some(others) = self.by_time.get_mut(&before) {
                    others.remove(partition);
                    if others.is_empty() {
                        self.by_time.remove(&before);
                    }
                }
            }
            None => {
                self.of.insert(partition.into(), time_ms);
            }
        }
        self.by_time.entry(time_ms).or_default().insert(partition.into());
    }

    fn take_before(&mut self, watermark: Watermark) -> BTreeSet<Box<[u8]>> {
        let later = self.by_time.split_off(&watermark.0);
        let due = std::mem::replace(&mut self.by_time, later);
        let due: BTreeSet<Box<[u8]>> = due.into_values().flatten().collect();
        due.iter().for_each(|partition| {
            self.of.remove(partition);
        });
        due
    }
}

impl OperatorSpec for OverSpec {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _side: usize) -> Distribution {
        self.ordering.distribution()
    }

    fn describe(&self, words: &Words) -> Described {
        let names = self.schema.fields()[self.ordering.schema.fields().len()..].iter();
        let mut details: Vec<String> = names.map(|name| words.computed(name.name())).collect();
        if let Some((rank, limit)) = self.limit {
            details.push(format!("only {rank} up to {limit}"));
        }
        let by = words.physicals(&self.ordering.partition);
        let within = self.calls.iter().filter_map(|call| match call {
            OverCall::FirstWithin { within_ns } => Some(within_ns / NS_PER_MS),
            _ => None,
        });
        let for_ever =
            |call: &OverCall| call.is_running() && !matches!(call, OverCall::FirstWithin { .. });
        let keeps = if self.calls.iter().any(for_ever) {
            Keeps::new("what all rows so far have come to", by, Until::Never)
        } else if let Some(within_ms) = within.max() {
            let until = format!("the watermark is {} past it", duration_text(within_ms));
            Keeps::new("the time of the first row", by, Until::Watermark(until))
        } else {
            let until = "the watermark has passed all rows that look back at them".to_owned();
            Keeps::new("rows", by, Until::Watermark(until))
        };
        Described { title: "compute over rows in their order".to_owned(), details, keeps }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        Ok(vec![ordered_rows::table(entries, &self.ordering)?])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        let states = self.calls.iter().flat_map(OverCall::state_types);
        let states: Vec<SortField> = states.map(|of| SortField::new(of.clone())).collect();
        Ok(Box::new(Over {
            id,
            codec: RowCodec::new(&self.ordering)?,
            state_codec: match states.is_empty() {
                true => None,
                false => Some(RowConverter::new(states)?),
            },
            rows: OrderedRows::new(id),
            running: HashMap::new(),
            dirty: BTreeSet::new(),
            waiting: BTreeMap::new(),
            due: Due::default(),
            passed: Watermark::MIN,
            spec: self,
        }))
    }
}

impl Over {
    /// Whether all that a row of that time sees is known.
    fn is_ready(&self, time_ms: i64) -> bool {
        time_ms.saturating_add(self.spec.reach.following_ms) < self.passed.0
    }

    /// No row of a partition from now on can be of use.
    fn is_exhausted(&self, partition: &[u8]) -> bool {
        let Some((rank, limit)) = self.spec.limit else { return false };
        self.running.get(partition).is_some_and(|running| match rank {
            Rank::RowNumber | Rank::Rank => running.rows >= limit,
            Rank::DenseRank => running.different >= limit,
        })
    }

    fn wait(&mut self, partition: &[u8], time_ms: i64, count: u64) {
        *self.waiting.entry(time_ms).or_default() += count;
        self.due.by(partition, time_ms.saturating_add(self.spec.reach.following_ms));
    }
}

impl Operator for Over {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let columns = self.codec.encode(&self.spec.ordering, &rows.batch)?;
        let encoded = EncodedRows::of(&columns);
        let times = &rows.event_times_ms;
        let is_late = |row: usize| {
            let time_ms = times.value(row);
            let running = || self.running.get(encoded.get(row).partition);
            let given = || running().and_then(|running| running.given_up_to_ms);
            self.is_ready(time_ms) || given().is_some_and(|given| time_ms <= given)
        };
        let untimed = times.null_count();
        let on_time: BooleanArray =
            (0..rows.len()).map(|row| Some(times.is_valid(row) && !is_late(row))).collect();
        let late = rows.len() - untimed - on_time.true_count();
        if untimed + late == 0 {
            return Ok(Prepared { rows, columns, keys: None, late, untimed });
        }
        let columns: Vec<ArrayRef> =
            columns.iter().map(|column| filter(column, &on_time)).collect::<Result<_, _>>()?;
        let rows = rows.filter(&on_time)?;
        Ok(Prepared { rows, columns, keys: None, late, untimed })
    }

    fn apply(&mut self, _side: usize, prepared: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = prepared;
        let encoded = EncodedRows::of(&columns);
        for at in 0..rows.len() {
            let row = encoded.get(at);
            if self.is_exhausted(row.partition) {
                continue;
            }
            let time_ms = rows.event_times_ms.value(at);
            self.rows.add(row.partition, row.sorted(), Some(time_ms));
            self.wait(row.partition, time_ms, 1);
        }
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark <= self.passed {
            return Ok(());
        }
        self.passed = watermark;
        let due = self.due.take_before(watermark);
        self.release(due, false, out)
    }

    fn finish(&mut self, _bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        let waits = |partition: &&[u8]| {
            let of = self.rows.get(partition);
            of.is_some_and(|of| of.rows.values().any(|entry| !entry.given))
        };
        let waiting = self.rows.keys().filter(waits).map(Into::into).collect();
        self.release(waiting, true, out)
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let (last, _) = self.waiting.range(..=bound_ms).next_back()?;
        let passes = last.saturating_add(self.spec.reach.following_ms).saturating_add(1);
        Some(Watermark(passes))
    }

    fn earliest_ms(&self) -> Option<i64> {
        self.waiting.first_key_value().map(|(time_ms, _)| *time_ms)
    }

    fn commit(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        self.rows.commit(changes);
        for partition in std::mem::take(&mut self.dirty) {
            let value = self.running.get(&partition).map(Running::value);
            changes.push(Change { key: self.id.key(&[&[RUNNING], &partition]), value });
        }
        Ok(())
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let value = value.unwrap_or_default();
        let damaged = || StateError::Damaged(format!("an entry of rows beside rows: {key:02x?}"));
        match key.split_first().ok_or_else(damaged)? {
            (&ROW, rest) => self.rows.restore(rest, value),
            (&RUNNING, partition) => {
                let running = Running::parse(value).ok_or_else(damaged)?;
                self.running.insert(partition.into(), running);
                Ok(())
            }
            _ => Err(damaged()),
        }
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.passed = watermark;
        let partitions: BTreeSet<Box<[u8]>> = self
            .rows
            .keys()
            .chain(self.running.keys().map(AsRef::as_ref))
            .map(Into::into)
            .collect();
        for partition in &partitions {
            let of = self.rows.get(partition).into_iter().flat_map(|of| &of.rows);
            let entries = of.map(|(row, entry)| (row.clone(), entry.clone()));
            for (row, entry) in entries.collect::<Vec<_>>() {
                let time_ms = entry.time_ms.unwrap_or(i64::MIN);
                if entry.given || (self.spec.reach.following_rows == 0 && self.is_ready(time_ms)) {
                    self.rows.give(partition, &row, true);
                } else {
                    self.wait(partition, time_ms, entry.count);
                }
            }
            self.look_again(partition);
        }
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.rows.len().max(self.running.len()) }
    }
}
