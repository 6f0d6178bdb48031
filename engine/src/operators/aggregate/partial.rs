//! Rows of one group put together before they meet.
//!
//! Where several tasks share an aggregate, the rows of a group come to one of them through a topic.
//! The tasks that write it combine what they have of each group between two commits and send that,
//! once: as many records as there are groups, not as there are rows, however much more often some
//! keys come than others.
//!
//! ```text
//! rows ─ prepare (windows, keys, arguments) ─ take: GroupTable → accumulators   a task before
//! commit, or full: state() ─ window, key, states, count ═ exchange
//!                                                        ║
//!                  groups of the aggregate ◄─ merge_batch ┘                     its task
//! ```
//!
//! The rules:
//!
//! 1. Nothing is kept over a commit: so there is no state to restore, nothing waits for longer than
//!    single rows wait, and what an exchange says of the watermark comes after all rows that it
//!    holds for.
//! 2. A combined row stands for rows of one window. So whoever takes it in decides for all of them
//!    whether they are late, as if they had come one after the other at that moment, and counts as
//!    many. What is to be done with single late rows (a topic of theirs) needs single rows.
//! 3. Rows without a time belong to no window, and go on as they are.
//! 4. Only what an aggregate keeps of a group in a bounded number of bytes is combined. What grows
//!    with the rows (`count(DISTINCT …)`, `array_agg`) saves little and could outgrow a record.
//! 5. If there are nearly as many groups as rows, combining is of no use, and rows go on as they
//!    are, until it is tried again. What was tried in vain is a small part of all rows.
//!
//! Which rows are combined with which depends on when a task commits. What comes of them does not,
//! as with the states that each commit of an aggregate leaves, which are merged the same way.
//!
//! A combined row has the window's start or end (Int64, ms), if there are windows, the key as
//! arrow-row writes it (Binary), if there is one, the states of each call, and how many rows it
//! stands for (Int64). States go by what they are states of, so that a query that computes
//! something else by now finds what it still computes, and nothing of what is new.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt64Array,
};
use arrow::compute::{cast, filter, is_not_null, is_null, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow_row::{RowConverter, Rows as KeyRows};
use broker::client::partition_for_key;
use datafusion_common::{Result, exec_datafusion_err};

use super::accumulated::Groups;
use super::spec::{AggregateCall, AggregateSpec};
use super::window::{times_from_ms, window_bounds};
use crate::describe::Words;
use crate::operators::Prepared;
use crate::plan::user_functions::aggregate::is_of_module;
use crate::rows::Rows;
use crate::state::changelog::StateId;
use crate::state::layouts::Part;

#[cfg(test)]
mod tests;

/// Where groups without a window lie.
const NO_WINDOW: i64 = 0;
/// What a group takes beside its key and its states: its places in tables, about.
const GROUP_BYTES: usize = 64;
/// When a row came that has no time.
const UNTIMED: i64 = i64::MIN;

/// What may be done with rows before they meet.
#[derive(Clone, Debug)]
pub enum BeforeMeeting {
    /// They are for no aggregate.
    Nothing,
    AsTheyAre(AsTheyAre),
    /// They are combined, unless there is something against it. The aggregate takes them in anyway:
    /// there may be some from before it was changed.
    Combine {
        aggregate: Arc<AggregateSpec>,
        /// The group expression that tells windows apart.
        bound: Option<usize>,
        unless: Option<AsTheyAre>,
    },
}

/// Why rows of an aggregate are not combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsTheyAre {
    /// It finds sessions by the times of single rows.
    Sessions,
    /// They may be taken back.
    TakenBack,
    /// Late ones go to a topic.
    Late,
    /// What this call keeps grows with them.
    Grows { call: String },
}

impl AsTheyAre {
    pub fn in_words(&self, words: &Words) -> String {
        match self {
            AsTheyAre::Sessions => "sessions are found by the times of single rows".to_owned(),
            AsTheyAre::TakenBack => "they may be taken back".to_owned(),
            AsTheyAre::Late => "late ones go to a topic one by one".to_owned(),
            AsTheyAre::Grows { call } => {
                format!("what {} keeps grows with them", words.name(call))
            }
        }
    }
}

impl BeforeMeeting {
    pub(super) fn of(aggregate: &Arc<AggregateSpec>, bound: Option<usize>) -> BeforeMeeting {
        let growing = aggregate.calls.iter().find(|call| !is_bounded(call));
        let unless = growing.map(|call| AsTheyAre::Grows { call: call.function.name().to_owned() });
        BeforeMeeting::Combine { aggregate: aggregate.clone(), bound, unless }
    }
}

/// Whether what is kept of a group is no longer than a row, however many rows it has.
fn is_bounded(call: &AggregateCall) -> bool {
    /// Of these, text that is kept is that of one row.
    const OF_ONE_ROW: [&str; 4] = ["min", "max", "first_value", "last_value"];
    // What a module keeps is its own to bound; it says nothing of it, and means to be merged.
    if is_of_module(call.function.fun()) {
        return true;
    }
    let is_of_one_row = OF_ONE_ROW.contains(&call.function.fun().name());
    call.state_fields.iter().all(|field| match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => is_of_one_row,
        DataType::Boolean | DataType::FixedSizeBinary(_) => true,
        of => of.is_primitive(),
    })
}

/// How rows of an aggregate are combined, and what they are then.
#[derive(Clone, Debug)]
pub struct Partial {
    aggregate: Arc<AggregateSpec>,
    bound: Option<usize>,
    /// Of the aggregate: what was combined for another one is of no use.
    pub of: StateId,
    /// Of combined rows.
    pub schema: SchemaRef,
    pub limits: Limits,
}

/// When combining ends for now.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Groups go out when they take that many bytes.
    pub bytes_max: usize,
    /// Of fewer rows it cannot be told whether combining is of use: it costs next to nothing.
    pub tried_min: usize,
}

/// Of that many rows there is one group at least, in percent, where combining is of no use.
const GROUPS_PERCENT_MAX: usize = 50;
/// How often as many rows go on as they are as were combined in vain.
const PASSED_TIMES: usize = 16;

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: 4 << 20, tried_min: 1024 }
    }
}

impl Partial {
    /// `fingerprint` and `parts`: those of the aggregate's node.
    pub fn new(
        aggregate: Arc<AggregateSpec>,
        bound: Option<usize>,
        fingerprint: &str,
        parts: &[Part],
    ) -> Partial {
        let mut fields = Vec::new();
        if bound.is_some() {
            fields.push(Field::new("window", DataType::Int64, false));
        }
        if !aggregate.keys.is_empty() {
            fields.push(Field::new("key", DataType::Binary, false));
        }
        for (at, call) in aggregate.calls.iter().enumerate() {
            let is = parts.get(at).map_or_else(|| format!("call {at}"), |part| part.is.clone());
            // What is computed twice is the same in both places.
            let before = parts.iter().take(at).filter(|part| part.is == is).count();
            let name = StateId::of(&is);
            fields.extend(call.state_fields.iter().enumerate().map(|(state, field)| {
                Field::new(format!("{name}.{before}.{state}"), field.data_type().clone(), true)
            }));
        }
        fields.push(Field::new("rows", DataType::Int64, false));
        Partial {
            aggregate,
            bound,
            of: StateId::of(fingerprint),
            schema: Arc::new(Schema::new(fields)),
            limits: Limits::default(),
        }
    }

    /// Of how many columns the window and the key are.
    fn states_from(&self) -> usize {
        usize::from(self.bound.is_some()) + usize::from(!self.aggregate.keys.is_empty())
    }

    /// For a column that was not there when rows were combined: as of no rows.
    pub fn of_nothing(&self, column: usize, rows: usize) -> Result<ArrayRef> {
        let missing = || exec_datafusion_err!("{} is missing", self.schema.field(column).name());
        let state = column.checked_sub(self.states_from()).ok_or_else(missing)?;
        let mut states = Vec::new();
        for call in &self.aggregate.calls {
            states.extend(call.state_of_nothing()?);
        }
        let state = states.get(state).ok_or_else(missing)?;
        Ok(take(state, &UInt64Array::from(vec![0; rows]), None)?)
    }

    /// Rows that were combined, as columns of [`Partial::schema`].
    pub fn combined(&self, rows: &Rows) -> Result<CombinedRows> {
        let odd = || exec_datafusion_err!("combined rows of another kind");
        let mut columns = rows.batch.columns().iter();
        let bounds_ms = match self.bound {
            Some(_) => Some(int64(columns.next()).ok_or_else(odd)?),
            None => None,
        };
        let keys = match self.aggregate.keys.is_empty() {
            true => None,
            false => {
                let keys = columns.next().and_then(|keys| keys.as_binary_opt::<i32>());
                Some(keys.ok_or_else(odd)?.clone())
            }
        };
        let calls = self.aggregate.calls.iter();
        let of = |call: &AggregateCall| {
            columns.by_ref().take(call.state_fields.len()).cloned().collect::<Vec<ArrayRef>>()
        };
        let states = calls.map(of).collect();
        let counts = int64(columns.next()).ok_or_else(odd)?;
        let latest_ms = rows.event_times_ms.clone();
        Ok(CombinedRows { bounds_ms, keys, states, counts, latest_ms })
    }
}

fn int64(column: Option<&ArrayRef>) -> Option<Int64Array> {
    column?.as_primitive_opt::<Int64Type>().cloned()
}

/// Rows that stand for others.
#[derive(Debug)]
pub struct CombinedRows {
    /// The bound that tells windows apart, of each.
    pub bounds_ms: Option<Int64Array>,
    pub keys: Option<BinaryArray>,
    /// Of each call.
    pub states: Vec<Vec<ArrayRef>>,
    /// How many rows each stands for.
    pub counts: Int64Array,
    /// The latest time of them, if one has any.
    pub latest_ms: Int64Array,
}

/// How many rows combined ones stood for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    pub taken: u64,
    /// Left out because they came too late.
    pub late: u64,
}

impl CombinedRows {
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    fn rows(&self) -> u64 {
        self.counts.values().iter().map(|count| *count as u64).sum()
    }

    /// Takes rows whose window is open into groups.
    pub(super) fn merge_into(
        self,
        groups: &mut Groups,
        spec: &AggregateSpec,
        is_open: impl Fn(i64) -> bool,
    ) -> Result<Merged> {
        let given = self.rows();
        let open = match &self.bounds_ms {
            Some(bounds_ms) => self.filter(&bounds_ms.iter().map(|ms| ms.map(&is_open)).collect()),
            None => Ok(self),
        }?;
        let taken = open.rows();
        if open.len() > 0 {
            let no_window;
            let bounds_ms = match &open.bounds_ms {
                Some(bounds_ms) => bounds_ms.values(),
                None => {
                    no_window = vec![NO_WINDOW; open.len()];
                    &no_window[..]
                }
            };
            groups.take_combined(spec, bounds_ms, open.keys.as_ref(), &open.states)?;
        }
        Ok(Merged { taken, late: given - taken })
    }

    fn filter(&self, mask: &BooleanArray) -> Result<CombinedRows> {
        let int64 = |of: &Int64Array| -> Result<Int64Array> {
            Ok(filter(of, mask)?.as_primitive::<Int64Type>().clone())
        };
        let states = self.states.iter().map(|columns| {
            let columns = columns.iter().map(|column| Ok(filter(column, mask)?));
            columns.collect::<Result<Vec<_>>>()
        });
        let keys = match &self.keys {
            Some(keys) => Some(filter(keys, mask)?.as_binary().clone()),
            None => None,
        };
        Ok(CombinedRows {
            bounds_ms: self.bounds_ms.as_ref().map(int64).transpose()?,
            keys,
            states: states.collect::<Result<_>>()?,
            counts: int64(&self.counts)?,
            latest_ms: int64(&self.latest_ms)?,
        })
    }
}

/// Combines rows that one task sends.
pub struct Combiner {
    partial: Arc<Partial>,
    key_codec: Option<RowConverter>,
    /// Of the bound, by which rows meet that have no key.
    bound_codec: Option<RowConverter>,
    groups: Groups,
    /// Of each group: how many rows, and the latest time.
    counts: Vec<i64>,
    latest_ms: Vec<i64>,
    /// Rows since groups last went out.
    taken: usize,
    /// Rows go on as they are until the commit by which so many have.
    passing: Option<usize>,
}

/// Rows that were combined, each with the task that it belongs to.
pub struct TakenOut {
    pub rows: Rows,
    pub tasks: Vec<usize>,
}

impl Combiner {
    pub fn new(partial: Arc<Partial>) -> Result<Combiner> {
        let aggregate = &partial.aggregate;
        let of = |index: usize| aggregate.schema.field(index).data_type();
        let bound = partial.bound.filter(|_| aggregate.keys.is_empty());
        Ok(Combiner {
            key_codec: AggregateSpec::codec(aggregate.keys.iter().map(|&key| of(key)))?,
            bound_codec: AggregateSpec::codec(bound.map(of).into_iter())?,
            groups: Groups::new(aggregate)?,
            counts: Vec::new(),
            latest_ms: Vec::new(),
            taken: 0,
            passing: None,
            partial,
        })
    }

    /// Whether [`Prepared::keys`] are what rows meet by.
    pub fn meet_by_key(&self) -> bool {
        self.key_codec.is_some()
    }

    /// Finds windows, keys and arguments of rows; changes nothing.
    pub fn prepare(&self, rows: Rows) -> Result<Prepared> {
        let Partial { aggregate, bound, .. } = &*self.partial;
        let mut columns: Vec<ArrayRef> = Vec::new();
        if let Some(bound) = *bound {
            columns.push(Arc::new(window_bounds(aggregate, bound, &rows.batch)?));
        }
        aggregate.arguments(&rows.batch, &mut columns)?;
        let keys = aggregate.key_rows(&rows.batch, self.key_codec.as_ref())?;
        Ok(Prepared { rows, columns, keys, late: 0, untimed: 0 })
    }

    /// Takes rows in. Gives those back that go on as they are.
    pub fn take(&mut self, prepared: Prepared) -> Result<Option<Prepared>> {
        let count = prepared.rows.len();
        if let Some(left) = &mut self.passing {
            *left = left.saturating_sub(count);
            return Ok(Some(prepared));
        }
        let Some(bounds) = self.partial.bound.map(|_| prepared.columns[0].clone()) else {
            self.combine(&prepared, &vec![NO_WINDOW; count], 0)?;
            return Ok(None);
        };
        if bounds.null_count() == 0 {
            self.combine(&prepared, bounds.as_primitive::<Int64Type>().values(), 1)?;
            return Ok(None);
        }
        let timed = self.prepare(prepared.rows.filter(&is_not_null(&bounds)?)?)?;
        let bounds_ms = timed.columns[0].as_primitive::<Int64Type>().values().clone();
        self.combine(&timed, &bounds_ms, 1)?;
        Ok(Some(self.prepare(prepared.rows.filter(&is_null(&bounds)?)?)?))
    }

    fn combine(&mut self, rows: &Prepared, bounds_ms: &[i64], arguments: usize) -> Result<()> {
        if bounds_ms.is_empty() {
            return Ok(());
        }
        let (spec, arguments) = (&self.partial.aggregate, &rows.columns[arguments..]);
        let groups = self.groups.take(spec, bounds_ms, rows.keys.as_ref(), arguments)?;
        self.counts.resize(self.groups.table.len(), 0);
        self.latest_ms.resize(self.groups.table.len(), UNTIMED);
        for (group, time_ms) in groups.iter().zip(&rows.rows.event_times_ms) {
            self.counts[*group] += 1;
            let latest_ms = &mut self.latest_ms[*group];
            *latest_ms = (*latest_ms).max(time_ms.unwrap_or(UNTIMED));
        }
        self.taken += groups.len();
        Ok(())
    }

    /// Roughly what groups take.
    pub fn bytes(&self) -> usize {
        let states = self.groups.accumulators.iter().map(|of| of.size()).sum::<usize>();
        self.groups.table.key_bytes() + self.groups.table.len() * GROUP_BYTES + states
    }

    pub fn is_full(&self) -> bool {
        self.bytes() > self.partial.limits.bytes_max
    }

    /// A commit begins: whether rows are combined is decided for all that come until the next one,
    /// by which it is told whether that is of use.
    pub fn begin(&mut self) {
        self.passing = self.passing.filter(|left| *left > 0);
    }

    /// All groups, of which nothing is left; `tasks` share them.
    pub fn take_out(&mut self, tasks: usize) -> Result<Option<TakenOut>> {
        let count = self.groups.table.len();
        if count == 0 {
            return Ok(None);
        }
        let is_of_use = count * 100 <= self.taken * GROUPS_PERCENT_MAX;
        if self.taken >= self.partial.limits.tried_min && !is_of_use {
            self.passing = Some(self.taken * PASSED_TIMES);
        }
        let tasks = self.tasks(tasks)?;
        let states = self.groups.states()?;
        let table = &self.groups.table;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.partial.schema.fields().len());
        if self.partial.bound.is_some() {
            columns.push(Arc::new(Int64Array::from(table.window_starts_ms().to_vec())));
        }
        if self.meet_by_key() {
            let keys = (0..count).map(|group| table.key(group));
            columns.push(Arc::new(BinaryArray::from_iter_values(keys)));
        }
        for state in states.into_iter().flatten() {
            let of = self.partial.schema.field(columns.len()).data_type();
            columns.push(if state.data_type() == of { state } else { cast(&state, of)? });
        }
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.counts))));
        let batch = RecordBatch::try_new(self.partial.schema.clone(), columns)?;
        let times = self.latest_ms.drain(..).map(|ms| (ms != UNTIMED).then_some(ms));
        let rows = Rows::new(batch, times.collect());
        self.groups.clear(&self.partial.aggregate)?;
        self.taken = 0;
        Ok(Some(TakenOut { rows, tasks }))
    }

    /// The task that each group belongs to: that of its rows, one by one.
    fn tasks(&self, tasks: usize) -> Result<Vec<usize>> {
        let table = &self.groups.table;
        let of = |key: &[u8]| partition_for_key(key, tasks as i32) as usize;
        let Some(codec) = &self.bound_codec else {
            let task = |group| if self.meet_by_key() { of(table.key(group)) } else { 0 };
            return Ok((0..table.len()).map(task).collect());
        };
        let bound = self.partial.bound.unwrap_or_default();
        let bound = self.partial.aggregate.schema.field(bound).data_type();
        let bounds = times_from_ms(table.window_starts_ms().iter().copied(), bound)?;
        let bounds: KeyRows = codec.convert_columns(&[bounds])?;
        Ok(bounds.iter().map(|bound| of(bound.data())).collect())
    }
}
