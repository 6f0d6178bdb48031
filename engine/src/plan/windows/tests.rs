use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMillisecondArray, TimestampSecondArray};
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, Schema, TimestampMillisecondType, TimestampSecondType,
};
use datafusion_common::config::ConfigOptions;
use datafusion_expr::logical_plan::table_scan;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, col, lit};
use proptest::prelude::*;

use super::*;

fn interval(days: i32, nanoseconds: i64) -> ScalarValue {
    ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, nanoseconds)))
}

fn call(role: Role, times: ArrayRef, constants: &[ScalarValue]) -> Result<ArrayRef> {
    let rows = times.len();
    let return_field = Arc::new(Field::new("bound", times.data_type().clone(), true));
    let mut args = vec![ColumnarValue::Array(times)];
    args.extend(constants.iter().cloned().map(ColumnarValue::Scalar));
    let arg_fields =
        args.iter().map(|arg| Arc::new(Field::new("arg", arg.data_type(), true))).collect();
    let config_options = Arc::new(ConfigOptions::default());
    let args =
        ScalarFunctionArgs { args, arg_fields, number_rows: rows, return_field, config_options };
    function(role).inner().invoke_with_args(args)?.to_array(rows)
}

fn tumbling(bound: Bound) -> Role {
    Role::Tumble(bound)
}

const HOUR_NS: i64 = 3_600_000_000_000;

#[test]
fn windows_are_half_open_and_floor_before_the_epoch() {
    let times: ArrayRef = Arc::new(
        TimestampSecondArray::from(vec![Some(0), Some(3599), Some(3600), None, Some(-1)])
            .with_timezone("+00:00"),
    );
    let hour = [interval(0, HOUR_NS)];
    let starts = call(tumbling(Bound::Start), Arc::clone(&times), &hour).unwrap();
    let expected =
        TimestampSecondArray::from(vec![Some(0), Some(0), Some(3600), None, Some(-3600)])
            .with_timezone("+00:00");
    assert_eq!(starts.as_primitive::<TimestampSecondType>(), &expected);
    let ends = call(tumbling(Bound::End), times, &hour).unwrap();
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
            call(tumbling(Bound::Start), Arc::clone(&times), std::slice::from_ref(&constant))
                .is_err()
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
        let starts = call(tumbling(Bound::Start), Arc::clone(&array), &constants).unwrap();
        let ends = call(tumbling(Bound::End), array, &constants).unwrap();
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
    function(Role::Tumble(bound)).call(vec![time, lit(interval(0, nanoseconds))])
}

fn grouped(starts: Expr, group: Vec<Expr>) -> Result<Option<GroupWindow>, WindowError> {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let schema =
        Schema::new(vec![Field::new("ts", time, true), Field::new("origin", DataType::Utf8, true)]);
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
        start: Some(2),
        end: Some(1),
        time_of_rows: None,
        shape: Shape::Tumble { size_ns: HOUR_NS, offset_ns: 0 },
        time: Column::new(Some("flights"), "ts"),
    };
    assert_eq!(found, expected);
    let inline = tumble(Bound::Start, col("t"), HOUR_NS);
    let found = grouped(start(), vec![inline]).unwrap().unwrap();
    assert_eq!(found, GroupWindow { start: Some(0), end: None, ..expected });
    assert_eq!(grouped(start(), vec![col("origin")]), Ok(None));
}

#[test]
fn what_is_no_single_window_is_refused() {
    let other = tumble(Bound::Start, col("ts"), HOUR_NS * 2);
    let both = vec![col("window_start"), col("window_end")];
    assert_eq!(grouped(other, both), Err(WindowError::Several));
    let shifted = tumble(Bound::Start, col("ts") + lit(interval(1, 0)), HOUR_NS);
    assert!(matches!(
        grouped(shifted, vec![col("window_start")]),
        Err(WindowError::TimeComputed(_))
    ));
}

fn lists(role: Role, times: &[Option<i64>], constants: &[i64]) -> Vec<Vec<Option<i64>>> {
    let array: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()));
    let constants: Vec<ScalarValue> =
        constants.iter().map(|ms| interval(0, ms * 1_000_000)).collect();
    let lists = call(role, array, &constants).unwrap();
    let lists = lists.as_list::<i32>().iter();
    let times = |list: ArrayRef| list.as_primitive::<TimestampMillisecondType>().iter().collect();
    lists.map(|list| times(list.unwrap())).collect()
}

#[test]
fn hops_that_do_not_divide_the_size_leave_no_window_out() {
    let times = [Some(0), Some(9), Some(-1), None, Some(i64::MAX)];
    let starts = lists(Role::HopStarts, &times, &[4, 10]);
    let expected: [&[Option<i64>]; 5] = [
        &[Some(-8), Some(-4), Some(0)],
        &[Some(0), Some(4), Some(8)],
        &[Some(-8), Some(-4)],
        &[None],
        &[],
    ];
    assert_eq!(starts, expected);
    // Some times lie between windows.
    assert_eq!(lists(Role::HopStarts, &[Some(1), Some(5)], &[10, 3]), [vec![Some(0)], vec![]]);
}

#[test]
fn windows_that_cumulate_end_step_by_step() {
    let ends = lists(Role::CumulateEnds, &[Some(0), Some(5), Some(-1)], &[5, 15, 2]);
    let expected: [&[Option<i64>]; 3] = [&[Some(2)], &[Some(7), Some(12), Some(17)], &[Some(2)]];
    assert_eq!(ends, expected);
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    let of = |kind: Kind, ms: &[i64]| {
        let values: Vec<ScalarValue> = ms.iter().map(|ms| interval(0, ms * 1_000_000)).collect();
        kind.shape(&values.iter().collect::<Vec<_>>()).unwrap_err()
    };
    assert_eq!(of(Kind::Hop, &[1]), "a window must have a size");
    assert_eq!(of(Kind::Session, &[0]), "the gap of a window must be more than nothing");
    assert_eq!(of(Kind::Cumulate, &[4, 10]), "the size of CUMULATE must be a multiple of its step");
    let many = "each row would lie in 86400000 windows, and 1000 is the most";
    assert_eq!(of(Kind::Hop, &[1, 86_400_000]), many);
}

proptest! {
    /// By the definition: every window of the row of windows that holds the time, and no other.
    #[test]
    fn a_time_lies_in_all_windows_that_hold_it(
        time in -1000..1000i64,
        each in 1..40i64,
        more in 0..40i64,
        offset in -50..50i64,
    ) {
        let found = lists(Role::HopStarts, &[Some(time)], &[each, each + more, offset]);
        let all = (-3000..3000).filter(|start| (start - offset) % each == 0);
        let hold = |start: &i64| *start <= time && time < start + each + more;
        let expected: Vec<Option<i64>> = all.filter(hold).map(Some).collect();
        prop_assert_eq!(&found[0], &expected);
        let size = each * (more % 7 + 1);
        let found = lists(Role::CumulateEnds, &[Some(time)], &[each, size, offset]);
        let base = time - (time - offset).rem_euclid(size);
        let ends = (1..=size / each).map(|steps| base + steps * each).filter(|end| time < *end);
        prop_assert_eq!(&found[0], &ends.map(Some).collect::<Vec<_>>());
    }
}
