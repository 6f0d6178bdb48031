//! Tumbling windows as plain scalar functions, and finding them again in an optimised plan.
//!
//! `TUMBLE(t, ts, INTERVAL '1' HOUR)` lowers to a projection that adds
//! `tumble_start(ts, size, offset) AS window_start` and `tumble_end(…) AS window_end`. Such a plan
//! means the same to a batch engine, which is what streaming answers are compared with. The
//! topology asks [`group_window`] which group expression is a window, and when it closes.
//!
//! Windows are half open, `[start, start + size)`, and aligned to the epoch plus the offset, for
//! times before the epoch too. A time whose window does not fit its type is in none: NULL.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion_common::{Column, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::registry::FunctionRegistry;
use datafusion_expr::{
    Aggregate, ColumnarValue, Expr, JoinType, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, Window,
};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// The window that an aggregate groups by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWindow {
    /// Which of the group expressions is the window's start.
    pub start: usize,
    /// Which is its end, if it is grouped by.
    pub end: Option<usize>,
    pub size_ns: i64,
    pub offset_ns: i64,
    /// The event-time column that the window is made from, as its scan names it.
    pub time: Column,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WindowError {
    #[error("a query groups by one window at a time")]
    Several,
    #[error("the end of a window is grouped by without its start; add window_start to GROUP BY")]
    EndWithoutStart,
    #[error("the window's time '{0}' is computed; a window takes the event-time column as it is")]
    TimeComputed(String),
    #[error(
        "a window of windows must hold whole ones: its size and offset are no multiples of theirs"
    )]
    Across,
    #[error("{0}")]
    Size(String),
}

/// `tumble_start` and `tumble_end`, for any registry that plans or runs our queries.
pub fn functions() -> [Arc<ScalarUDF>; 2] {
    [Bound::Start, Bound::End].map(|bound| Arc::new(ScalarUDF::from(Tumble::new(bound))))
}

/// Registers [`functions`], so that a batch engine can run our plans.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in functions() {
        registry.register_udf(function)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    Start,
    End,
}

/// `tumble_start(time, size [, offset])` and `tumble_end`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Tumble {
    bound: Bound,
    signature: Signature,
}

impl Tumble {
    fn new(bound: Bound) -> Tumble {
        Tumble { bound, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Tumble {
    fn name(&self) -> &str {
        match self.bound {
            Bound::Start => "tumble_start",
            Bound::End => "tumble_end",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=3).contains(&types.len()) {
            return plan_err!("{} takes a time, a size and perhaps an offset", self.name());
        }
        let time = match &types[0] {
            DataType::Timestamp(..) => types[0].clone(),
            DataType::Null => DataType::Timestamp(TimeUnit::Millisecond, None),
            other => return plan_err!("the time of a window must be a timestamp, not {other}"),
        };
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        for (given, what) in types[1..].iter().zip(["size", "offset"]) {
            if !matches!(given, DataType::Interval(_)) {
                return plan_err!("the {what} of a window must be an interval, not {given}");
            }
        }
        Ok(std::iter::once(time).chain(types[1..].iter().map(|_| interval.clone())).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(time @ DataType::Timestamp(..)) => Ok(time.clone()),
            _ => plan_err!("the time of a window must be a timestamp"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constants: Vec<&ScalarValue> = args.args[1..]
            .iter()
            .map(|arg| match arg {
                ColumnarValue::Scalar(value) => Ok(value),
                ColumnarValue::Array(_) => {
                    exec_err!("the size and the offset of a window must be constants")
                }
            })
            .collect::<Result<_>>()?;
        let (size_ns, offset_ns) = match size_and_offset(&constants) {
            Ok(both) => both,
            Err(reason) => return exec_err!("{reason}"),
        };
        match &args.args[0] {
            ColumnarValue::Array(times) => {
                Ok(ColumnarValue::Array(bounds(times, self.bound, size_ns, offset_ns)?))
            }
            ColumnarValue::Scalar(time) => {
                let bounds = bounds(&time.to_array()?, self.bound, size_ns, offset_ns)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&bounds, 0)?))
            }
        }
    }
}

/// Checks what SQL cannot: a window has a fixed and positive size.
pub(crate) fn size_and_offset(constants: &[&ScalarValue]) -> Result<(i64, i64), String> {
    let Some(size) = constants.first() else {
        return Err("a window must have a size".to_owned());
    };
    let size_ns = fixed_length_ns(size, "size")?;
    if size_ns <= 0 {
        return Err("the size of a window must be more than nothing".to_owned());
    }
    let offset_ns = match constants.get(1) {
        Some(offset) => fixed_length_ns(offset, "offset")?,
        None => 0,
    };
    Ok((size_ns, offset_ns))
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

fn bounds(times: &ArrayRef, bound: Bound, size_ns: i64, offset_ns: i64) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = times.data_type() else {
        return exec_err!("the time of a window must be a timestamp, not {}", times.data_type());
    };
    let unit_ns = unit_ns(*unit);
    if size_ns % unit_ns != 0 || offset_ns % unit_ns != 0 {
        return exec_err!(
            "a window's size and offset must be whole steps of its time, of {unit_ns} ns"
        );
    }
    let window = Tumbling { size: size_ns / unit_ns, offset: offset_ns / unit_ns };
    Ok(match unit {
        TimeUnit::Second => bounds_of::<TimestampSecondType>(times, bound, window),
        TimeUnit::Millisecond => bounds_of::<TimestampMillisecondType>(times, bound, window),
        TimeUnit::Microsecond => bounds_of::<TimestampMicrosecondType>(times, bound, window),
        TimeUnit::Nanosecond => bounds_of::<TimestampNanosecondType>(times, bound, window),
    })
}

fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Size and offset in the unit of the times.
#[derive(Clone, Copy)]
struct Tumbling {
    size: i64,
    offset: i64,
}

impl Tumbling {
    /// `None` where a bound does not fit.
    fn window_of(self, time: i64) -> Option<(i64, i64)> {
        let (time, size, offset) =
            (i128::from(time), i128::from(self.size), i128::from(self.offset));
        let start = time - (time - offset).rem_euclid(size);
        Some((i64::try_from(start).ok()?, i64::try_from(start + size).ok()?))
    }
}

fn bounds_of<T: ArrowTimestampType>(times: &ArrayRef, bound: Bound, window: Tumbling) -> ArrayRef {
    let times = times.as_primitive::<T>();
    // Neighbours mostly share a window, and a comparison is much cheaper than a division.
    let last = Cell::new((0, 0));
    let found = times.unary_opt::<_, T>(|time| {
        let mut at = last.get();
        if !(at.0 <= time && time < at.1) {
            at = window.window_of(time)?;
            last.set(at);
        }
        Some(match bound {
            Bound::Start => at.0,
            Bound::End => at.1,
        })
    });
    Arc::new(found.with_data_type(times.data_type().clone()))
}

/// The window among an aggregate's group expressions, followed through the projections and
/// aliases beneath to the event time that it is made from.
pub fn group_window(aggregate: &Aggregate) -> Result<Option<GroupWindow>, WindowError> {
    let mut found: Option<(usize, WindowCall)> = None;
    let mut ends = Vec::new();
    for (index, expr) in aggregate.group_expr.iter().enumerate() {
        let Some(call) = window_call(&trace(expr, &aggregate.input))? else { continue };
        match (call.bound, &found) {
            (Bound::End, _) => ends.push((index, call)),
            (Bound::Start, None) => found = Some((index, call)),
            (Bound::Start, Some((_, first))) if first.same_window(&call) => {}
            (Bound::Start, Some(_)) => return Err(WindowError::Several),
        }
    }
    let Some((start, call)) = found else {
        return if ends.is_empty() { Ok(None) } else { Err(WindowError::EndWithoutStart) };
    };
    if ends.iter().any(|(_, end)| !call.same_window(end)) {
        return Err(WindowError::Several);
    }
    let Expr::Column(time) = call.time else {
        return Err(WindowError::TimeComputed(call.time.human_display().to_string()));
    };
    let end = ends.first().map(|(index, _)| *index);
    let WindowCall { size_ns, offset_ns, .. } = call;
    Ok(Some(GroupWindow { start, end, size_ns, offset_ns, time }))
}

/// The time that the window is made from, and the plan that its columns belong to.
pub(crate) fn window_time(aggregate: &Aggregate, start: usize) -> Option<(Expr, &LogicalPlan)> {
    let traced = trace(aggregate.group_expr.get(start)?, &aggregate.input);
    match traced.expr {
        Expr::ScalarFunction(mut call) if !call.args.is_empty() => {
            let time = trace(&call.args.swap_remove(0), traced.input);
            match time.expr {
                // The time of the inner window.
                Expr::ScalarFunction(mut inner)
                    if inner.func.inner().is::<Tumble>() && !inner.args.is_empty() =>
                {
                    Some((inner.args.swap_remove(0), time.input))
                }
                expr => Some((expr, time.input)),
            }
        }
        _ => None,
    }
}

struct WindowCall {
    bound: Bound,
    time: Expr,
    size_ns: i64,
    offset_ns: i64,
}

impl WindowCall {
    /// Whether the whole of this window lies in the one of `size_ns` that its bound lies in. By its
    /// end it always counts as on time: nothing later than that end is waited for when it closes.
    fn lies_within(&self, size_ns: i64, offset_ns: i64) -> bool {
        let aligned = offset_ns.wrapping_sub(self.offset_ns) % self.size_ns == 0;
        self.bound == Bound::End || (size_ns % self.size_ns == 0 && aligned)
    }

    fn same_window(&self, other: &WindowCall) -> bool {
        self.time == other.time
            && self.size_ns == other.size_ns
            && self.offset_ns == other.offset_ns
    }
}

fn window_call(traced: &Traced<'_>) -> Result<Option<WindowCall>, WindowError> {
    let Expr::ScalarFunction(call) = &traced.expr else { return Ok(None) };
    let Some(tumble) = call.func.inner().downcast_ref::<Tumble>() else { return Ok(None) };
    let constants: Vec<&ScalarValue> = call.args[1..]
        .iter()
        .map(|arg| match arg {
            Expr::Literal(value, _) => Ok(value),
            other => Err(WindowError::Size(format!(
                "the size and the offset of a window must be constants, not '{other}'"
            ))),
        })
        .collect::<Result<_, _>>()?;
    let (size_ns, offset_ns) = size_and_offset(&constants).map_err(WindowError::Size)?;
    let time = trace(&call.args[0], traced.input);
    let inner = window_call(&time)?;
    let time = match inner {
        Some(inner) if !inner.lies_within(size_ns, offset_ns) => return Err(WindowError::Across),
        // A window of a window goes by the time of the inner one.
        Some(inner) => inner.time,
        None => time.expr,
    };
    Ok(Some(WindowCall { bound: tumble.bound, time, size_ns, offset_ns }))
}

/// An expression and the plan that its columns belong to.
pub(crate) struct Traced<'a> {
    pub expr: Expr,
    pub input: &'a LogicalPlan,
}

/// Follows a column through renaming, filtering and joining to where it is made: an expression
/// that computes it, or the column of a scan, an aggregate or another plan that does more than
/// pass it on.
pub(crate) fn trace<'a>(expr: &Expr, input: &'a LogicalPlan) -> Traced<'a> {
    let mut at = Traced { expr: expr.clone(), input };
    loop {
        at = match at.expr {
            Expr::Alias(alias) => Traced { expr: *alias.expr, input: at.input },
            Expr::Column(ref column) => match definition(column, at.input) {
                Some(next) => next,
                None => return at,
            },
            _ => return at,
        };
    }
}

/// One step down; `None` where the plan makes the column itself.
fn definition<'a>(column: &Column, plan: &'a LogicalPlan) -> Option<Traced<'a>> {
    let index = plan.schema().maybe_index_of_column(column)?;
    let passed_on = |input: &'a LogicalPlan, index: usize| {
        Some(Traced { expr: Expr::Column(input.schema().columns().swap_remove(index)), input })
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            Some(Traced { expr: projection.expr[index].clone(), input: &projection.input })
        }
        LogicalPlan::Aggregate(aggregate) => {
            let expr = aggregate.group_expr.get(index)?.clone();
            Some(Traced { expr, input: &aggregate.input })
        }
        LogicalPlan::SubqueryAlias(alias) => passed_on(&alias.input, index),
        LogicalPlan::Filter(filter) => passed_on(&filter.input, index),
        // Rows that are partitioned by a window come out when it has closed.
        LogicalPlan::Window(window) if partitioned_by(window, column) => {
            passed_on(&window.input, index)
        }
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            let left_columns = join.left.schema().fields().len();
            match index.checked_sub(left_columns) {
                None => passed_on(&join.left, index),
                // An outer join's right side may be missing: its columns are not as they were.
                Some(_) if join.join_type == JoinType::Left => None,
                Some(index) => passed_on(&join.right, index),
            }
        }
        _ => None,
    }
}

fn partitioned_by(window: &Window, column: &Column) -> bool {
    let by = |expr: &Expr| match expr {
        Expr::WindowFunction(function) => {
            let mut partition = function.params.partition_by.iter();
            partition.any(|key| matches!(key, Expr::Column(key) if key == column))
        }
        _ => false,
    };
    window.window_expr.iter().all(by)
}

#[cfg(test)]
mod tests {
    use arrow::array::{TimestampMillisecondArray, TimestampSecondArray};
    use arrow::datatypes::{Field, Schema};
    use datafusion_common::config::ConfigOptions;
    use datafusion_expr::expr::ScalarFunction;
    use datafusion_expr::logical_plan::table_scan;
    use datafusion_expr::{col, lit};
    use proptest::prelude::*;

    use super::*;

    fn interval(days: i32, nanoseconds: i64) -> ScalarValue {
        ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, nanoseconds)))
    }

    fn call(bound: Bound, times: ArrayRef, constants: &[ScalarValue]) -> Result<ArrayRef> {
        let rows = times.len();
        let return_field = Arc::new(Field::new("bound", times.data_type().clone(), true));
        let mut args = vec![ColumnarValue::Array(times)];
        args.extend(constants.iter().cloned().map(ColumnarValue::Scalar));
        let arg_fields =
            args.iter().map(|arg| Arc::new(Field::new("arg", arg.data_type(), true))).collect();
        let config_options = Arc::new(ConfigOptions::default());
        let args = ScalarFunctionArgs {
            args,
            arg_fields,
            number_rows: rows,
            return_field,
            config_options,
        };
        Tumble::new(bound).invoke_with_args(args)?.to_array(rows)
    }

    const HOUR_NS: i64 = 3_600_000_000_000;

    #[test]
    fn windows_are_half_open_and_floor_before_the_epoch() {
        let times: ArrayRef = Arc::new(
            TimestampSecondArray::from(vec![Some(0), Some(3599), Some(3600), None, Some(-1)])
                .with_timezone("+00:00"),
        );
        let hour = [interval(0, HOUR_NS)];
        let starts = call(Bound::Start, Arc::clone(&times), &hour).unwrap();
        let expected =
            TimestampSecondArray::from(vec![Some(0), Some(0), Some(3600), None, Some(-3600)])
                .with_timezone("+00:00");
        assert_eq!(starts.as_primitive::<TimestampSecondType>(), &expected);
        let ends = call(Bound::End, times, &hour).unwrap();
        assert_eq!(ends.as_primitive::<TimestampSecondType>().value(4), 0);
        assert_eq!(ends.data_type(), expected.data_type());
    }

    #[test]
    fn sizes_that_do_not_fit_the_time_are_refused() {
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]));
        for constant in [
            interval(0, 500_000_000),
            interval(0, 0),
            interval(-1, 0),
            interval(i32::MAX, 0),
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(1, 0, 0))),
            ScalarValue::IntervalMonthDayNano(None),
        ] {
            assert!(
                call(Bound::Start, Arc::clone(&times), std::slice::from_ref(&constant)).is_err()
            );
        }
    }

    proptest! {
        #[test]
        fn a_time_lies_in_its_window(
            times in proptest::collection::vec(any::<i64>(), 1..20),
            size in 1..i64::MAX / 1_000_000,
            offset in any::<i32>(),
        ) {
            let constants =
                [interval(0, size * 1_000_000), interval(0, i64::from(offset) * 1_000_000)];
            let array: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.clone()));
            let starts = call(Bound::Start, Arc::clone(&array), &constants).unwrap();
            let ends = call(Bound::End, array, &constants).unwrap();
            let starts = starts.as_primitive::<TimestampMillisecondType>();
            let ends = ends.as_primitive::<TimestampMillisecondType>();
            for (row, time) in times.into_iter().enumerate() {
                prop_assert_eq!(starts.is_null(row), ends.is_null(row));
                if starts.is_null(row) {
                    let near_the_end = time.checked_sub(size).is_none();
                    prop_assert!(near_the_end || time.checked_add(size).is_none());
                    continue;
                }
                let (start, end) = (starts.value(row), ends.value(row));
                prop_assert!(start <= time && time < end);
                prop_assert_eq!(i128::from(end) - i128::from(start), i128::from(size));
                prop_assert_eq!((i128::from(start) - i128::from(offset)) % i128::from(size), 0);
            }
        }
    }

    fn tumble(bound: Bound, time: Expr, nanoseconds: i64) -> Expr {
        let func = Arc::new(ScalarUDF::from(Tumble::new(bound)));
        Expr::ScalarFunction(ScalarFunction::new_udf(
            func,
            vec![time, lit(interval(0, nanoseconds))],
        ))
    }

    fn grouped(starts: Expr, group: Vec<Expr>) -> Result<Option<GroupWindow>, WindowError> {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let schema = Schema::new(vec![
            Field::new("ts", time, true),
            Field::new("origin", DataType::Utf8, true),
        ]);
        let plan = table_scan(Some("flights"), &schema, None)
            .unwrap()
            .project(vec![
                col("ts").alias("t"),
                starts.alias("window_start"),
                tumble(Bound::End, col("ts"), HOUR_NS).alias("window_end"),
                col("origin"),
            ])
            .unwrap()
            .alias("windowed")
            .unwrap()
            .filter(col("origin").is_not_null())
            .unwrap()
            .aggregate(group, Vec::<Expr>::new())
            .unwrap()
            .build()
            .unwrap();
        match &plan {
            LogicalPlan::Aggregate(aggregate) => group_window(aggregate),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_window_is_found_through_projections_aliases_and_filters() {
        let start = || tumble(Bound::Start, col("ts"), HOUR_NS);
        let all = vec![col("origin"), col("window_end"), col("window_start")];
        let found = grouped(start(), all).unwrap().unwrap();
        let expected = GroupWindow {
            start: 2,
            end: Some(1),
            size_ns: HOUR_NS,
            offset_ns: 0,
            time: Column::new(Some("flights"), "ts"),
        };
        assert_eq!(found, expected);
        let inline = tumble(Bound::Start, col("t"), HOUR_NS);
        let found = grouped(start(), vec![inline]).unwrap().unwrap();
        assert_eq!(found, GroupWindow { start: 0, end: None, ..expected });
        assert_eq!(grouped(start(), vec![col("origin")]), Ok(None));
    }

    #[test]
    fn what_is_no_single_window_is_refused() {
        let start = || tumble(Bound::Start, col("ts"), HOUR_NS);
        assert_eq!(grouped(start(), vec![col("window_end")]), Err(WindowError::EndWithoutStart));
        let other = tumble(Bound::Start, col("ts"), HOUR_NS * 2);
        let both = vec![col("window_start"), col("window_end")];
        assert_eq!(grouped(other, both), Err(WindowError::Several));
        let shifted = tumble(Bound::Start, col("ts") + lit(interval(1, 0)), HOUR_NS);
        assert!(matches!(
            grouped(shifted, vec![col("window_start")]),
            Err(WindowError::TimeComputed(_))
        ));
    }
}
