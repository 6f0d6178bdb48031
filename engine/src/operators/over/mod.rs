//! Functions over windows of rows in event time: `… OVER (PARTITION BY k ORDER BY ts …)`.
//!
//! The rule: a row comes out once, with what each function says of it, when the watermark has
//! passed it and all that its frames reach; those that come out together are in the order of their
//! event times. A row that comes after that is late: left out and counted. So are rows without an
//! event time. A function that looks a number of rows ahead waits for these, however long.
//!
//! What is kept of a partition: rows that wait, rows that frames of later ones reach, and, for
//! functions over all rows from the first one on, what these have come to ([`calls::Running`]).
//! Rows come out in the order of time, so many at a time; what has come out stays before
//! [`kept::KeptRows::out_before_ms`].
//!
//! - [`frame`]: which rows around a row are meant; [`calls`]: what the functions say;
//!   [`release`]: rows that come out; [`kept`]: what is remembered.

pub mod calls;
pub mod frame;
mod kept;
mod release;

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
use crate::operators::ordered_rows::{EncodedRows, Ordering, RowCodec};
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::top_n::ranked::Rank;
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::map::StateMap;
use crate::time::Watermark;
use calls::OverCall;
use frame::Reach;
use kept::KeptRows;
use release::Releasing;

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

    /// Whether something is kept of each partition for ever.
    pub fn is_everlasting(&self) -> bool {
        let is_bounded = |call: &OverCall| matches!(call, OverCall::OneWithin { .. });
        let rows_wait = !self.is_prompt();
        !rows_wait && self.calls.iter().any(|call| call.is_running() && !is_bounded(call))
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
    codec: RowCodec,
    /// Of what [`calls::Running`] has of aggregates; `None` if there are none.
    state_codec: Option<RowConverter>,
    kept: KeptRows,
    passed: Watermark,
    /// What is on its way out.
    releasing: Option<Releasing>,
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
            OverCall::OneWithin { within_ns, .. } => Some(within_ns / NS_PER_MS),
            _ => None,
        });
        let for_ever =
            |call: &OverCall| call.is_running() && !matches!(call, OverCall::OneWithin { .. });
        let keeps = if self.calls.iter().any(for_ever) {
            Keeps::new("what all rows so far have come to", by, Until::Never)
        } else if let Some(within_ms) = within.max() {
            let until = format!("the watermark is {} past it", duration_text(within_ms));
            let what = match self.is_prompt() {
                true => "the time of the first row",
                false => "the time of the first row, and rows that wait",
            };
            Keeps::new(what, by, Until::Watermark(until))
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
            codec: RowCodec::new(&self.ordering)?,
            state_codec: match states.is_empty() {
                true => None,
                false => Some(RowConverter::new(states)?),
            },
            kept: KeptRows::new(id, self.reach),
            passed: Watermark::MIN,
            releasing: None,
            spec: self,
        }))
    }
}

impl Over {
    /// All that a row of an earlier time sees is known.
    fn ready_before_ms(&self) -> i64 {
        self.passed.0.saturating_sub(self.spec.reach.following_ms)
    }

    /// No row of a partition from now on can be of use.
    fn is_exhausted(&self, partition: &[u8]) -> Result<bool> {
        let Some((rank, limit)) = self.spec.limit else { return Ok(false) };
        let running = self.kept.running(partition)?;
        Ok(match rank {
            Rank::RowNumber | Rank::Rank => running.rows >= limit,
            Rank::DenseRank => running.different >= limit,
        })
    }
}

impl Operator for Over {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let columns = self.codec.encode(&self.spec.ordering, &rows.batch)?;
        let encoded = EncodedRows::of(&columns);
        let times = &rows.event_times_ms;
        let untimed = times.null_count();
        let mut on_time = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let time_ms = times.value(row);
            on_time.push(
                times.is_valid(row)
                    && time_ms >= self.ready_before_ms()
                    && !self.kept.is_given(encoded.get(row).partition, time_ms)?,
            );
        }
        let on_time = BooleanArray::from(on_time);
        let late = rows.len() - untimed - on_time.true_count();
        let (mut rows, mut columns) = (rows, columns);
        if untimed + late > 0 {
            let kept = columns.iter().map(|column| filter(column, &on_time));
            columns = kept.collect::<Result<Vec<ArrayRef>, _>>()?;
            rows = rows.filter(&on_time)?;
        }
        self.spec.calls.iter().try_for_each(|call| call.try_rows(&rows.batch))?;
        Ok(Prepared { rows, columns, keys: None, late, untimed })
    }

    fn apply(&mut self, _side: usize, prepared: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = prepared;
        let encoded = EncodedRows::of(&columns);
        for at in 0..rows.len() {
            let row = encoded.get(at);
            if self.is_exhausted(row.partition)? {
                continue;
            }
            self.kept.add(&row.place(), rows.event_times_ms.value(at))?;
        }
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark <= self.passed {
            return Ok(());
        }
        self.passed = watermark;
        self.releasing = Some(Releasing::ready());
        self.release(out)
    }

    fn finish(&mut self, _bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        self.releasing = Some(Releasing::all());
        self.release(out)
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        self.release(out)?;
        Ok(self.releasing.is_some())
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let last = self.kept.last_waiting_ms(bound_ms)?;
        let passes = last.saturating_add(self.spec.reach.following_ms).saturating_add(1);
        Some(Watermark(passes))
    }

    fn earliest_ms(&self) -> Option<i64> {
        self.kept.first_waiting_ms()
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.kept.forget(key)?)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.kept.maps()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.kept.restore(key, value)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.passed = watermark;
        Ok(self.kept.restored(self.ready_before_ms())?)
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.kept.len() }
    }
}
