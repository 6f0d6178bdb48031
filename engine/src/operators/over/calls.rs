//! Functions over windows of rows, for the rows of one partition at a time.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, filter as filter_array, interleave};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::Accumulator;
use datafusion_physical_expr::PhysicalExpr;

use super::frame::{Frame, Reach, Sorted, ms_up};
use crate::operators::aggregate::AggregateCall;
use crate::operators::failed_groups::Failed;
use crate::operators::filter_project::{evaluate, mask};
use crate::operators::top_n::ranked::Rank;
use crate::plan::one_within::Which;
use crate::plan::user_functions::aggregate::{finishing, is_of_module, try_rows};

/// One function with its arguments.
#[derive(Debug)]
pub enum OverCall {
    Rank(Rank),
    /// The value so many rows before (or, if positive, after) the row.
    Shift {
        value: Arc<dyn PhysicalExpr>,
        by: i64,
        default: Option<Arc<dyn PhysicalExpr>>,
    },
    /// Over the rows of a frame.
    Aggregate {
        call: AggregateCall,
        frame: Frame,
    },
    /// Whether a row is this one of those that come within that time of the first of them.
    OneWithin {
        which: Which,
        within_ns: i64,
    },
}

/// What a function has come to for all rows of a partition that have come out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    pub rows: u64,
    /// Different values of the order.
    pub different: u64,
    /// The time of the last row that was the first of its doubles.
    pub first_ns: Option<i128>,
    /// States of aggregates from the first row on, in arrow-row's form.
    pub states: Box<[u8]>,
}

/// The rows of one partition: which of all the rows that were decoded together, and which of
/// these come out.
pub struct Job<'a> {
    pub first: usize,
    pub sorted: Sorted<'a>,
    pub from: usize,
    pub to: usize,
}

impl OverCall {
    pub fn reach(&self, reach: &mut Reach) {
        match self {
            OverCall::Shift { by, .. } if *by < 0 => {
                let rows = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
                reach.preceding_rows = reach.preceding_rows.max(rows);
            }
            OverCall::Shift { by, .. } => {
                let rows = usize::try_from(*by).unwrap_or(usize::MAX);
                reach.following_rows = reach.following_rows.max(rows);
            }
            OverCall::Aggregate { frame, .. } => reach.extend(frame),
            OverCall::OneWithin { which: Which::Last, within_ns } => {
                reach.following_ms = reach.following_ms.max(ms_up(*within_ns));
            }
            OverCall::Rank(_) | OverCall::OneWithin { which: Which::First, .. } => {}
        }
    }

    /// The types of what is remembered of all earlier rows.
    pub fn state_types(&self) -> impl Iterator<Item = &DataType> {
        let call = match self {
            OverCall::Aggregate { call, frame } if frame.start.is_none() => Some(call),
            _ => None,
        };
        call.into_iter().flat_map(|call| call.state_fields.iter().map(|field| field.data_type()))
    }

    /// Whether something is remembered of all earlier rows, beside what frames reach.
    pub fn is_running(&self) -> bool {
        match self {
            OverCall::Rank(_) | OverCall::OneWithin { .. } => true,
            OverCall::Shift { .. } => false,
            OverCall::Aggregate { frame, .. } => frame.start.is_none(),
        }
    }

    /// Fails if one of these rows does.
    pub fn try_rows(&self, batch: &RecordBatch) -> Result<()> {
        let OverCall::Aggregate { call, .. } = self else { return Ok(()) };
        if !is_of_module(call.function.fun()) {
            return Ok(());
        }
        let Arguments { values, filter } = self.arguments(batch)?;
        try_rows(call.function.fun(), &values, filter.as_ref())
    }

    /// Arguments for all rows that were decoded together.
    pub fn arguments(&self, batch: &RecordBatch) -> Result<Arguments> {
        let mut values = Vec::new();
        let mut filter = None;
        match self {
            OverCall::Rank(_) | OverCall::OneWithin { .. } => {}
            OverCall::Shift { value, default, .. } => {
                let value = evaluate(batch, value.as_ref())?;
                if let Some(default) = default {
                    values.push(cast(&evaluate(batch, default.as_ref())?, value.data_type())?);
                }
                values.insert(0, value);
            }
            OverCall::Aggregate { call, .. } => {
                for arg in &call.args {
                    values.push(evaluate(batch, arg.as_ref())?);
                }
                if let Some(by) = &call.filter {
                    filter = Some(mask(batch, by.as_ref())?);
                }
            }
        }
        Ok(Arguments { values, filter })
    }
}

/// What a function is given, a value per row.
pub struct Arguments {
    values: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
}

impl Arguments {
    fn feed(&self, accumulator: &mut dyn Accumulator, start: usize, len: usize) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let values = self.values.iter().map(|values| values.slice(start, len));
        let values: Vec<ArrayRef> = match &self.filter {
            None => values.collect(),
            Some(by) => {
                let by = by.slice(start, len);
                values.map(|values| filter_array(&values, &by)).collect::<Result<_, _>>()?
            }
        };
        accumulator.update_batch(&values)
    }
}

/// Results of one function, row after row.
pub enum Results {
    Ranks(Vec<u64>),
    Flags(Vec<bool>),
    /// Which argument has the value, and where; `None` is NULL.
    Places(Vec<Option<(usize, usize)>>),
    Values(Values),
}

impl Results {
    pub fn of(call: &OverCall) -> Results {
        match call {
            OverCall::Rank(_) => Results::Ranks(Vec::new()),
            OverCall::OneWithin { .. } => Results::Flags(Vec::new()),
            OverCall::Shift { .. } => Results::Places(Vec::new()),
            OverCall::Aggregate { .. } => Results::Values(Values::default()),
        }
    }

    /// As a column of this type.
    pub fn column(self, arguments: &Arguments, data_type: &DataType) -> Result<ArrayRef> {
        let column: ArrayRef = match self {
            Results::Ranks(ranks) => Arc::new(UInt64Array::from(ranks)),
            Results::Flags(flags) => Arc::new(BooleanArray::from(flags)),
            Results::Places(places) => {
                let nothing = arrow::array::new_null_array(arguments.values[0].data_type(), 1);
                let mut sources: Vec<&dyn Array> =
                    arguments.values.iter().map(AsRef::as_ref).collect();
                sources.push(nothing.as_ref());
                let null = (sources.len() - 1, 0);
                let places: Vec<_> =
                    places.into_iter().map(|place| place.unwrap_or(null)).collect();
                interleave(&sources, &places)?
            }
            Results::Values(values) => ScalarValue::iter_to_array(values.all)?,
        };
        Ok(match column.data_type() == data_type {
            true => column,
            false => cast(&column, data_type)?,
        })
    }
}

/// The ranks of rows that come out.
pub fn ranks(rank: Rank, job: &Job<'_>, running: &Running) -> Vec<u64> {
    let mut different = running.different;
    let of = |row: usize| {
        let first_peer = job.sorted.first_peers[row];
        if first_peer == row || row == job.from {
            different += 1;
        }
        let before = (first_peer.max(job.from) - job.from) as u64;
        match rank {
            Rank::RowNumber => running.rows + (row - job.from) as u64 + 1,
            Rank::Rank => running.rows + before + 1,
            Rank::DenseRank => different,
        }
    };
    (job.from..job.to).map(of).collect()
}

/// Where the value stands for each row that comes out.
pub fn shifted(by: i64, has_default: bool, job: &Job<'_>, into: &mut Vec<Option<(usize, usize)>>) {
    for row in job.from..job.to {
        let place = i64::try_from(row).ok().and_then(|row| row.checked_add(by));
        let place = place.and_then(|place| usize::try_from(place).ok());
        into.push(match place.filter(|place| *place < job.sorted.len()) {
            Some(place) => Some((0, job.first + place)),
            None => has_default.then_some((1, job.first + row)),
        });
    }
}

/// What an aggregate comes to for each row, and for which it fails.
#[derive(Default)]
pub struct Values {
    pub all: Vec<ScalarValue>,
    pub failed: Failed,
}

/// With the reason why it is none.
type Value = (ScalarValue, Option<String>);

impl Values {
    fn push(&mut self, (value, failed): Value) {
        self.failed.extend(failed.map(|reason| (self.all.len(), reason)));
        self.all.push(value);
    }
}

fn value_of(accumulator: &mut dyn Accumulator) -> Result<Value> {
    let (value, mut failed) = finishing(|| accumulator.evaluate())?;
    Ok((value, failed.remove(&0)))
}

/// An aggregate over a frame that begins a fixed distance from each row: from scratch for each, so
/// that a sum of floats does not depend on what it was before.
pub fn framed(
    call: &AggregateCall,
    frame: &Frame,
    arguments: &Arguments,
    job: &Job<'_>,
    into: &mut Values,
) -> Result<()> {
    let mut last: Option<(std::ops::Range<usize>, Value)> = None;
    for row in job.from..job.to {
        let of = job.sorted.frame(frame, row);
        let value = match last.take() {
            Some((same, value)) if same == of => value,
            _ => {
                let mut accumulator = call.function.create_accumulator()?;
                arguments.feed(accumulator.as_mut(), job.first + of.start, of.len())?;
                value_of(accumulator.as_mut())?
            }
        };
        into.push(value.clone());
        last = Some((of, value));
    }
    Ok(())
}

/// An aggregate over all rows up to each: goes on from `state`, and gives its next one.
pub fn accumulated(
    call: &AggregateCall,
    frame: &Frame,
    arguments: &Arguments,
    job: &Job<'_>,
    state: Option<&[ArrayRef]>,
    into: &mut Values,
) -> Result<Vec<ScalarValue>> {
    let mut accumulator = call.function.create_accumulator()?;
    if let Some(state) = state {
        accumulator.merge_batch(state)?;
    }
    let mut row = job.from;
    while row < job.to {
        let next = match frame.units {
            super::frame::Units::Rows => row + 1,
            super::frame::Units::Time => job.sorted.peers_end(row),
        };
        arguments.feed(accumulator.as_mut(), job.first + row, next - row)?;
        let value = value_of(accumulator.as_mut())?;
        (row..next).for_each(|_| into.push(value.clone()));
        row = next;
    }
    accumulator.state()
}

impl fmt::Display for OverCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OverCall::Rank(rank) => write!(f, "{rank}()"),
            OverCall::OneWithin { which, within_ns } => write!(f, "{which} within {within_ns} ns"),
            OverCall::Shift { value, by, default } => {
                write!(f, "{value} {by} rows on")?;
                default.iter().try_for_each(|default| write!(f, ", else {default}"))
            }
            OverCall::Aggregate { call, frame } => {
                let args: Vec<String> = call.args.iter().map(ToString::to_string).collect();
                let distinct = if call.function.is_distinct() { "DISTINCT " } else { "" };
                let function = call.function.fun().name();
                write!(f, "{function}({distinct}{})", args.join(", "))?;
                if call.function.ignore_nulls() {
                    f.write_str(" ignoring nulls")?;
                }
                if let Some(filter) = &call.filter {
                    write!(f, " where {filter}")?;
                }
                write!(f, " {frame}")
            }
        }
    }
}

impl Running {
    /// ```text
    /// rows u64, different u64, first_ns i128, states
    /// ```
    ///
    /// The least number there is stands for none.
    pub fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(32 + self.states.len());
        value.extend_from_slice(&self.rows.to_be_bytes());
        value.extend_from_slice(&self.different.to_be_bytes());
        value.extend_from_slice(&self.first_ns.unwrap_or(i128::MIN).to_be_bytes());
        value.extend_from_slice(&self.states);
        value
    }

    pub fn parse(value: &[u8]) -> Option<Running> {
        let (rows, rest) = value.split_first_chunk()?;
        let (different, rest) = rest.split_first_chunk()?;
        let (first_ns, states) = rest.split_first_chunk()?;
        Some(Running {
            rows: u64::from_be_bytes(*rows),
            different: u64::from_be_bytes(*different),
            first_ns: Some(i128::from_be_bytes(*first_ns)).filter(|first| *first != i128::MIN),
            states: states.into(),
        })
    }
}

/// Times in ns, whatever their unit.
pub fn times_ns(times: &ArrayRef) -> Option<Vec<i128>> {
    use arrow::datatypes::{
        TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    };
    let (values, unit_ns) = match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            (times.as_primitive::<TimestampSecondType>().values(), 1_000_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            (times.as_primitive::<TimestampMillisecondType>().values(), 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            (times.as_primitive::<TimestampMicrosecondType>().values(), 1_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            (times.as_primitive::<TimestampNanosecondType>().values(), 1)
        }
        _ => return None,
    };
    Some(values.iter().map(|&time| i128::from(time) * unit_ns).collect())
}
