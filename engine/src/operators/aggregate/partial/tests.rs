use arrow::array::{StringArray, TimestampMillisecondArray};
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;

use super::*;
use crate::operators::Operator;
use crate::testing::{events, topology};
use crate::time::Watermark;

const TASKS: usize = 3;

/// A time, a key and a number.
type Row = (Option<i64>, Option<String>, i64);

fn row(time: i64, key: &str, n: i64) -> Row {
    (Some(time), Some(key.to_owned()), n)
}

fn rows(rows: &[Row]) -> Rows {
    let times: Int64Array = rows.iter().map(|row| row.0).collect();
    let ts: TimestampMillisecondArray = times.iter().collect();
    let keys: StringArray = rows.iter().map(|row| row.1.clone()).collect();
    let numbers: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ts), Arc::new(keys), Arc::new(numbers)];
    Rows::new(RecordBatch::try_new(events("a").schema, columns).unwrap(), times)
}

fn windowed(calls: &str) -> String {
    format!(
        "SELECT tumble_start(ts, INTERVAL '10 ms') AS w, key, {calls} FROM (SELECT ts, key, n FROM a)
         GROUP BY 1, 2"
    )
}

/// What combines rows for a query's aggregate, and the aggregate.
async fn both(sql: &str, limits: Limits) -> (Arc<Partial>, Combiner, Box<dyn Operator>) {
    let topology = topology(sql, &[&events("a")]).await.unwrap();
    let node = &topology.nodes[0];
    let BeforeMeeting::Combine { aggregate, bound, unless } = node.operator.before_meeting(0)
    else {
        panic!("{sql}")
    };
    assert_eq!(unless, None);
    let partial = Partial::new(aggregate, bound, &node.fingerprint, &node.parts);
    let partial = Arc::new(Partial { limits, ..partial });
    let operator = node.operator.clone().start(StateId::of("q")).unwrap();
    (partial.clone(), Combiner::new(partial).unwrap(), operator)
}

/// How many of these go on as they are.
fn take(combiner: &mut Combiner, given: &[Row]) -> usize {
    let prepared = combiner.prepare(rows(given)).unwrap();
    combiner.take(prepared).unwrap().map_or(0, |rows| rows.rows.len())
}

fn taken_out(combiner: &mut Combiner) -> Option<Rows> {
    combiner.take_out(TASKS).unwrap().map(|out| out.rows)
}

fn apply(operator: &mut dyn Operator, given: &[Row]) -> usize {
    let prepared = operator.prepare(0, rows(given)).unwrap();
    let late = prepared.late;
    operator.apply(0, prepared, &mut Vec::new()).unwrap();
    late
}

fn closed(operator: &mut dyn Operator) -> String {
    let mut out = Vec::new();
    operator.advance(Watermark(1_000_000), &mut out).unwrap();
    operator.flush(&mut out).unwrap();
    let batches: Vec<RecordBatch> = out.into_iter().map(|rows| rows.batch).collect();
    pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn one_row_for_each_window_and_key_with_how_many_it_stands_for() {
    let sql = windowed("sum(n) AS s, count(*) AS c, min(key) AS least");
    let (partial, mut combiner, _) = both(&sql, Limits::default()).await;
    assert!(taken_out(&mut combiner).is_none());
    take(&mut combiner, &[row(25, "b", 1), row(3, "a", 2), row(9, "a", 3), row(20, "b", 4)]);
    assert_eq!(take(&mut combiner, &[(Some(1), None, 5)]), 0);
    let out = taken_out(&mut combiner).unwrap();
    let CombinedRows { bounds_ms, counts, latest_ms, states, .. } = partial.combined(&out).unwrap();
    assert_eq!(bounds_ms.unwrap().values(), &[20, 0, 0]);
    assert_eq!(counts.values(), &[2, 2, 1]);
    assert_eq!(latest_ms.values(), &[25, 9, 1]);
    assert_eq!(states[0][0].as_primitive::<Int64Type>().values(), &[5, 5, 5]);
    assert_eq!(states.len(), 3);
    assert!(taken_out(&mut combiner).is_none(), "nothing is kept");
}

#[tokio::test]
async fn rows_without_a_time_go_on_as_they_are() {
    let (_, mut combiner, _) = both(&windowed("count(*) AS c"), Limits::default()).await;
    let untimed = (None, Some("a".to_owned()), 1);
    assert_eq!(take(&mut combiner, &[row(1, "a", 1), untimed.clone(), untimed, row(2, "a", 1)]), 2);
    assert_eq!(taken_out(&mut combiner).unwrap().len(), 1);
}

/// A window that has closed is closed for all rows that a combined one stands for.
#[tokio::test]
async fn late_rows_are_counted_one_by_one() {
    let (partial, mut combiner, mut operator) =
        both(&windowed("count(*) AS c"), Limits::default()).await;
    let given = [row(1, "a", 1), row(2, "a", 1), row(3, "b", 1), row(11, "a", 1)];
    take(&mut combiner, &given);
    let out = taken_out(&mut combiner).unwrap();
    operator.advance(Watermark(10), &mut Vec::new()).unwrap();
    let merged = operator.merge(0, partial.combined(&out).unwrap()).unwrap();
    assert_eq!(merged, Merged { taken: 1, late: 3 });
    assert_eq!(apply(operator.as_mut(), &given), 3);
}

/// Rows that have hardly any group in common are not worth it. That is found out again from time
/// to time, at the beginning of a commit.
#[tokio::test]
async fn where_it_is_of_no_use_rows_go_on_as_they_are() {
    let limits = Limits { tried_min: 10, ..Limits::default() };
    let (_, mut combiner, _) = both(&windowed("count(*) AS c"), limits).await;
    let different = |count: i64| (0..count).map(|at| row(at * 10, "a", 1)).collect::<Vec<_>>();
    let commit = |combiner: &mut Combiner| {
        let out = taken_out(combiner);
        combiner.begin();
        out.map_or(0, |rows| rows.len())
    };
    // Too few to tell.
    assert_eq!(take(&mut combiner, &different(9)), 0);
    assert_eq!(commit(&mut combiner), 9);
    assert_eq!(take(&mut combiner, &different(10)), 0);
    assert_eq!(commit(&mut combiner), 10);
    for _ in 0..2 {
        assert_eq!(take(&mut combiner, &different(80)), 80);
        assert_eq!(commit(&mut combiner), 0);
    }
    // Sixteen times as many have passed.
    let alike = vec![row(5, "a", 1); 30];
    assert_eq!(take(&mut combiner, &alike), 0);
    assert_eq!(commit(&mut combiner), 1);
    assert_eq!(take(&mut combiner, &alike), 0);
}

#[tokio::test]
async fn what_groups_take_is_bounded() {
    let limits = Limits { bytes_max: 10_000, ..Limits::default() };
    let (_, mut combiner, _) = both(&windowed("max(key) AS most"), limits).await;
    assert!(!combiner.is_full());
    take(&mut combiner, &vec![row(1, "a", 1); 1000]);
    assert!(!combiner.is_full(), "{}", combiner.bytes());
    let wide = "x".repeat(3000);
    take(&mut combiner, &(0..4).map(|at| row(at * 10, &wide, 1)).collect::<Vec<_>>());
    assert!(combiner.is_full(), "{}", combiner.bytes());
    taken_out(&mut combiner);
    assert!(!combiner.is_full(), "{}", combiner.bytes());
}

async fn why(calls: &str) -> String {
    let sql = windowed(calls);
    let topology = topology(&sql, &[&events("a")]).await.unwrap();
    match topology.nodes[0].operator.before_meeting(0) {
        BeforeMeeting::Combine { unless, .. } => format!("{unless:?}"),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn what_grows_with_rows_is_not_combined() {
    let combined = [
        "avg(n)",
        "min(n)",
        "max(key)",
        "stddev_pop(n)",
        "corr(n, n)",
        "bool_or(n > 1)",
        "bit_xor(n)",
        "first_value(key)",
        "last_value(n ORDER BY ts)",
        "sum(n) FILTER (WHERE n > 1)",
        "regr_slope(n, n)",
    ];
    for call in combined {
        assert_eq!(why(&format!("count(*) AS c, {call} AS x")).await, "None", "{call}");
    }
    let growing = [
        "count(DISTINCT n)",
        "array_agg(n)",
        "string_agg(key, ',')",
        "median(n)",
        "approx_distinct(key)",
        "approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY n)",
    ];
    for call in growing {
        let why = why(&format!("count(*) AS c, {call} AS x")).await;
        assert!(why.starts_with("Some(Grows"), "{call}: {why}");
    }
}

/// Before the query computed it, there was nothing of it.
#[tokio::test]
async fn what_is_computed_since_has_had_no_rows() {
    let (partial, ..) = both(&windowed("count(*) AS c, sum(n) AS s"), Limits::default()).await;
    let states = partial.states_from();
    let count = partial.of_nothing(states, 2).unwrap();
    assert_eq!(count.as_primitive::<Int64Type>().values(), &[0, 0]);
    assert_eq!(partial.of_nothing(states + 1, 2).unwrap().null_count(), 2);
    assert!(partial.of_nothing(0, 2).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However rows are put together, and whether they are: the groups come to the same.
    #[test]
    fn groups_come_to_what_single_rows_come_to(
        parts in prop::collection::vec(
            (prop::collection::vec((0..60i64, "[ab]{0,2}", -9..9i64), 0..20), 0..3u8),
            0..12,
        ),
        sql in prop_oneof![
            Just(windowed("sum(n) AS s, avg(n) AS mean, min(key) AS least, count(n) AS c,
                max(n) FILTER (WHERE n > 2) AS most, bool_and(n > 0) AS positive")),
            Just("SELECT key, max(ts) AS latest, sum(n) AS s FROM a GROUP BY key".to_owned()),
            Just("SELECT min(ts) AS first, max(key) AS most, avg(n) AS mean FROM a".to_owned()),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (partial, mut combiner, mut operator) = runtime.block_on(both(&sql, Limits::default()));
        let (_, _, mut alone) = runtime.block_on(both(&sql, Limits::default()));
        let send = |combiner: &mut Combiner, operator: &mut dyn Operator| {
            if let Some(out) = taken_out(combiner) {
                operator.merge(0, partial.combined(&out).unwrap()).unwrap();
            }
        };
        for (part, fate) in parts {
            let part: Vec<Row> = part.into_iter().map(|(time, key, n)| row(time, &key, n)).collect();
            apply(alone.as_mut(), &part);
            match fate {
                0 => drop(apply(operator.as_mut(), &part)),
                _ => drop(take(&mut combiner, &part)),
            }
            if fate == 2 {
                send(&mut combiner, operator.as_mut());
            }
        }
        send(&mut combiner, operator.as_mut());
        prop_assert_eq!(closed(operator.as_mut()), closed(alone.as_mut()));
    }
}
