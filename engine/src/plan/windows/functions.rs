//! The scalar functions that windows are made of.
//!
//! ```text
//! tumble_start(time, size [, offset])          tumble_end(…)
//! hop_starts(time, slide, size [, offset])     of all windows that the time is in: a list
//! hop_end(start, size)
//! cumulate_ends(time, step, size [, offset])   the same: a list
//! cumulate_start(end, size [, offset])
//! session_start(time, gap, keys…)              session_end(…): of a session of that row alone
//! window_time(end)                             1 ms before the end, or the time's unit if longer
//! ```
//!
//! Windows are half open, `[start, start + size)`, and aligned to the epoch plus the offset, for
//! times before the epoch too. A time whose window does not fit its type is in none: NULL, or not
//! in the list. What is in no window because it has no time is in the window NULL.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, ListArray, PrimitiveArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Bound, Shape};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const NANOS_PER_MS: i64 = 1_000_000;

/// A row that lies in more windows than this would be copied for each of them.
const WINDOWS_OF_ROW_MAX: i64 = 1_000;

/// One of the functions above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Tumble(Bound),
    HopStarts,
    HopEnd,
    CumulateEnds,
    CumulateStart,
    Session(Bound),
    Time,
}

const ROLES: [Role; 9] = [
    Role::Tumble(Bound::Start),
    Role::Tumble(Bound::End),
    Role::HopStarts,
    Role::HopEnd,
    Role::CumulateEnds,
    Role::CumulateStart,
    Role::Session(Bound::Start),
    Role::Session(Bound::End),
    Role::Time,
];

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowFunction {
    pub role: Role,
    signature: Signature,
}

/// All of them, for any registry that plans or runs our queries.
pub fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    ROLES.into_iter().map(function)
}

/// Whether it is about the window of a row.
pub(crate) fn is_window_function(function: &ScalarUDF) -> bool {
    function.inner().is::<WindowFunction>()
}

/// Whether it gives the windows that a row lies in.
pub(crate) fn is_list_of_windows(function: &ScalarUDF) -> bool {
    let function = function.inner().downcast_ref::<WindowFunction>();
    function.is_some_and(|of| matches!(of.role, Role::HopStarts | Role::CumulateEnds))
}

pub(super) fn function(role: Role) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(WindowFunction { role, signature }))
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Tumble(Bound::Start) => "tumble_start",
            Role::Tumble(_) => "tumble_end",
            Role::HopStarts => "hop_starts",
            Role::HopEnd => "hop_end",
            Role::CumulateEnds => "cumulate_ends",
            Role::CumulateStart => "cumulate_start",
            Role::Session(Bound::Start) => "session_start",
            Role::Session(_) => "session_end",
            Role::Time => "window_time",
        }
    }

    /// What the constants after the time are: all of them, and how many must be there.
    fn constants(self) -> (&'static [&'static str], usize) {
        match self {
            Role::Tumble(_) | Role::CumulateStart => (&["size", "offset"], 1),
            Role::HopStarts => (&["slide", "size", "offset"], 2),
            Role::CumulateEnds => (&["step", "size", "offset"], 2),
            Role::HopEnd => (&["size"], 1),
            Role::Session(_) => (&["gap"], 1),
            Role::Time => (&[], 0),
        }
    }

    fn gives_list(self) -> bool {
        matches!(self, Role::HopStarts | Role::CumulateEnds)
    }

    /// The windows that constants describe, as far as the function takes them.
    pub fn shape(self, constants: &[&ScalarValue]) -> Result<Shape, String> {
        let (names, needed) = self.constants();
        if constants.len() < needed {
            return Err(format!("a window must have a {}", names[constants.len()]));
        }
        let mut lengths_ns = [0; 3];
        for ((constant, what), length_ns) in constants.iter().zip(names).zip(&mut lengths_ns) {
            *length_ns = fixed_length_ns(constant, what)?;
            if *what != "offset" && *length_ns <= 0 {
                return Err(format!("the {what} of a window must be more than nothing"));
            }
        }
        let [first_ns, second_ns, third_ns] = lengths_ns;
        let shape = match self {
            Role::Tumble(_) | Role::CumulateStart | Role::HopEnd => {
                Shape::Tumble { size_ns: first_ns, offset_ns: second_ns }
            }
            Role::HopStarts => {
                Shape::Hop { slide_ns: first_ns, size_ns: second_ns, offset_ns: third_ns }
            }
            Role::CumulateEnds => {
                Shape::Cumulate { step_ns: first_ns, size_ns: second_ns, offset_ns: third_ns }
            }
            Role::Session(_) => Shape::Session { gap_ns: first_ns },
            Role::Time => return Ok(Shape::Tumble { size_ns: 0, offset_ns: 0 }),
        };
        shape.check()?;
        Ok(shape)
    }
}

impl Shape {
    fn check(self) -> Result<(), String> {
        let (each_ns, size_ns) = match self {
            Shape::Tumble { .. } | Shape::Session { .. } => return Ok(()),
            Shape::Hop { slide_ns, size_ns, .. } => (slide_ns, size_ns),
            Shape::Cumulate { step_ns, size_ns, .. } => {
                if size_ns % step_ns != 0 {
                    return Err("the size of CUMULATE must be a multiple of its step".to_owned());
                }
                (step_ns, size_ns)
            }
        };
        let windows = size_ns / each_ns;
        if windows > WINDOWS_OF_ROW_MAX {
            return Err(format!(
                "each row would lie in {windows} windows, and {WINDOWS_OF_ROW_MAX} is the most"
            ));
        }
        Ok(())
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        self.role.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (names, needed) = self.role.constants();
        let more = matches!(self.role, Role::Session(_));
        if types.len() < 1 + needed || (types.len() > 1 + names.len() && !more) {
            let name = self.name();
            return plan_err!("{name} takes a time, and {} of the window", names.join(", "));
        }
        let time = match &types[0] {
            DataType::Timestamp(..) => types[0].clone(),
            DataType::Null => DataType::Timestamp(TimeUnit::Millisecond, None),
            other => return plan_err!("the time of a window must be a timestamp, not {other}"),
        };
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let mut coerced = vec![time];
        for (at, given) in types[1..].iter().enumerate() {
            match names.get(at) {
                None => coerced.push(given.clone()),
                Some(_) if matches!(given, DataType::Interval(_)) => coerced.push(interval.clone()),
                Some(what) => {
                    return plan_err!("the {what} of a window must be an interval, not {given}");
                }
            }
        }
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(time @ DataType::Timestamp(..)) if self.role.gives_list() => {
                Ok(DataType::List(element(time)))
            }
            Some(time @ DataType::Timestamp(..)) => Ok(time.clone()),
            _ => plan_err!("the time of a window must be a timestamp"),
        }
    }

    fn is_strict(&self) -> bool {
        !self.role.gives_list()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constants: Vec<&ScalarValue> = args.args[1..]
            .iter()
            .take(self.role.constants().0.len())
            .map(|arg| match arg {
                ColumnarValue::Scalar(value) => Ok(value),
                ColumnarValue::Array(_) => exec_err!("the size of a window must be a constant"),
            })
            .collect::<Result<_>>()?;
        let shape = match self.role.shape(&constants) {
            Ok(shape) => shape,
            Err(reason) => return exec_err!("{reason}"),
        };
        match &args.args[0] {
            ColumnarValue::Array(times) => Ok(ColumnarValue::Array(self.bounds(times, shape)?)),
            ColumnarValue::Scalar(time) => {
                let bounds = self.bounds(&time.to_array()?, shape)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&bounds, 0)?))
            }
        }
    }
}

fn element(time: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(time.clone(), true))
}

pub(crate) fn fixed_length_ns(value: &ScalarValue, what: &str) -> Result<i64, String> {
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = value else {
        return Err(format!("the {what} of a window must be a constant interval"));
    };
    let IntervalMonthDayNano { months, days, nanoseconds } = *interval;
    if months != 0 {
        return Err(format!(
            "the {what} of a window must have a fixed length, and months differ in theirs; \
             use days"
        ));
    }
    i64::from(days)
        .checked_mul(NANOS_PER_DAY)
        .and_then(|of_days| of_days.checked_add(nanoseconds))
        .ok_or_else(|| format!("the {what} of a window is too long"))
}

/// How long one step of a time's type is.
pub(crate) fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

impl WindowFunction {
    fn bounds(&self, times: &ArrayRef, shape: Shape) -> Result<ArrayRef> {
        let DataType::Timestamp(unit, _) = times.data_type() else {
            return exec_err!(
                "the time of a window must be a timestamp, not {}",
                times.data_type()
            );
        };
        let unit_ns = unit_ns(*unit);
        let Some(shape) = shape.in_units_of(unit_ns) else {
            return exec_err!(
                "a window's size and offset must be whole steps of its time, of {unit_ns} ns"
            );
        };
        Ok(match unit {
            TimeUnit::Second => self.bounds_of::<TimestampSecondType>(times, shape)?,
            TimeUnit::Millisecond => self.bounds_of::<TimestampMillisecondType>(times, shape)?,
            TimeUnit::Microsecond => self.bounds_of::<TimestampMicrosecondType>(times, shape)?,
            TimeUnit::Nanosecond => self.bounds_of::<TimestampNanosecondType>(times, shape)?,
        })
    }

    fn bounds_of<T: ArrowTimestampType>(&self, times: &ArrayRef, shape: Shape) -> Result<ArrayRef> {
        let of_type = times.data_type().clone();
        let times = times.as_primitive::<T>();
        let found: PrimitiveArray<T> = match (self.role, shape) {
            (Role::Tumble(bound), Shape::Tumble { size_ns: size, offset_ns: offset }) => {
                // Neighbours mostly share a window, and a comparison is much cheaper than a
                // division.
                let last = Cell::new((0, 0));
                times.unary_opt(|time| {
                    let mut at = last.get();
                    if !(at.0 <= time && time < at.1) {
                        at = tumbling(time, size, offset)?;
                        last.set(at);
                    }
                    Some(match bound {
                        Bound::Start => at.0,
                        Bound::End | Bound::Time => at.1,
                    })
                })
            }
            (Role::HopEnd, Shape::Tumble { size_ns: size, .. }) => {
                times.unary_opt(|start| start.checked_add(size))
            }
            (Role::CumulateStart, Shape::Tumble { size_ns: size, offset_ns: offset }) => {
                times.unary_opt(|end| Some(tumbling(end.checked_sub(1)?, size, offset)?.0))
            }
            (Role::Time, _) => {
                let step = (NANOS_PER_MS / unit_ns(T::UNIT)).max(1);
                times.unary_opt(|end| end.checked_sub(step))
            }
            (Role::Session(Bound::Start), _) => times.clone(),
            (Role::Session(_), Shape::Session { gap_ns: gap }) => {
                times.unary_opt(|time| time.checked_add(gap))
            }
            (_, shape) => return lists(times, &of_type, shape),
        };
        Ok(Arc::new(found.with_data_type(of_type)))
    }
}

/// The window of `size` that a time lies in; `None` where a bound does not fit.
fn tumbling(time: i64, size: i64, offset: i64) -> Option<(i64, i64)> {
    let start = floor(time, size, offset);
    Some((i64::try_from(start).ok()?, i64::try_from(start + i128::from(size)).ok()?))
}

fn floor(time: i64, step: i64, offset: i64) -> i128 {
    let (time, step, offset) = (i128::from(time), i128::from(step), i128::from(offset));
    time - (time - offset).rem_euclid(step)
}

/// All windows of each time, by what tells them apart, in ascending order.
fn lists<T: ArrowPrimitiveType<Native = i64>>(
    times: &PrimitiveArray<T>,
    of_type: &DataType,
    shape: Shape,
) -> Result<ArrayRef> {
    let mut bounds: Vec<Option<i64>> = Vec::with_capacity(times.len() * shape.windows_of_row());
    let mut lengths = Vec::with_capacity(times.len());
    for time in times {
        let before = bounds.len();
        match time {
            None => bounds.push(None),
            Some(time) => shape.windows_of(time, &mut bounds),
        }
        lengths.push(bounds.len() - before);
    }
    let values = cast(&Int64Array::from(bounds), of_type)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(element(of_type), offsets, values, None)?))
}

impl Shape {
    /// Sizes and offsets in steps of `unit_ns`; `None` if they are not whole ones.
    pub(super) fn in_units_of(self, unit_ns: i64) -> Option<Shape> {
        let units = |length_ns: i64| (length_ns % unit_ns == 0).then_some(length_ns / unit_ns);
        Some(match self {
            Shape::Tumble { size_ns, offset_ns } => {
                Shape::Tumble { size_ns: units(size_ns)?, offset_ns: units(offset_ns)? }
            }
            Shape::Hop { slide_ns, size_ns, offset_ns } => Shape::Hop {
                slide_ns: units(slide_ns)?,
                size_ns: units(size_ns)?,
                offset_ns: units(offset_ns)?,
            },
            Shape::Cumulate { step_ns, size_ns, offset_ns } => Shape::Cumulate {
                step_ns: units(step_ns)?,
                size_ns: units(size_ns)?,
                offset_ns: units(offset_ns)?,
            },
            Shape::Session { gap_ns } => Shape::Session { gap_ns: units(gap_ns)? },
        })
    }

    fn windows_of_row(self) -> usize {
        match self {
            Shape::Tumble { .. } | Shape::Session { .. } => 1,
            Shape::Hop { slide_ns: each, size_ns: size, .. }
            | Shape::Cumulate { step_ns: each, size_ns: size, .. } => (size / each) as usize + 1,
        }
    }

    /// Starts of windows that hop, or ends of windows that cumulate; all in the unit of the time.
    fn windows_of(self, time: i64, into: &mut Vec<Option<i64>>) {
        match self {
            Shape::Hop { slide_ns: slide, size_ns: size, offset_ns: offset } => {
                let (slide, size) = (i128::from(slide), i128::from(size));
                let latest = floor(time, slide as i64, offset);
                let since = i128::from(time) - latest;
                // How many hops back a window may start and still reach beyond the time.
                let hops = (size - since + slide - 1).div_euclid(slide);
                let starts = (0..hops).rev().map(|back| latest - back * slide);
                let fits = |start: &i128| i64::try_from(start + size).is_ok();
                into.extend(starts.filter(fits).filter_map(|at| i64::try_from(at).ok().map(Some)));
            }
            Shape::Cumulate { step_ns: step, size_ns: size, offset_ns: offset } => {
                let base = floor(time, size, offset);
                let (step, size) = (i128::from(step), i128::from(size));
                let first = (i128::from(time) - base).div_euclid(step) + 1;
                let ends = (first..=size / step).map(|steps| base + steps * step);
                let fits = i64::try_from(base).is_ok();
                let ends = ends.filter_map(|end| i64::try_from(end).ok().map(Some));
                into.extend(ends.filter(|_| fits));
            }
            Shape::Tumble { .. } | Shape::Session { .. } => {}
        }
    }
}
