use super::*;
use crate::testing::{events, topology};
use arrow::array::StringArray;
use arrow::datatypes::Int64Type;

async fn operator(calls: &str) -> Box<dyn Operator> {
    let sql = format!(
        "SELECT tumble_start(ts, INTERVAL '10 ms') AS w, tumble_end(ts, INTERVAL '10 ms') AS e,
                key, {calls} FROM a
         GROUP BY tumble_start(ts, INTERVAL '10 ms'), tumble_end(ts, INTERVAL '10 ms'), key"
    );
    let topology = topology(&sql, &[&events("a")]).await.unwrap();
    topology.nodes[0].operator.clone().start(StateId::of("q")).unwrap()
}

fn rows(rows: &[(Option<i64>, Option<&str>, i64)]) -> Rows {
    let times: Int64Array = rows.iter().map(|row| row.0).collect();
    let keys: StringArray = rows.iter().map(|row| row.1).collect();
    let numbers: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    let ts: TimestampMillisecondArray = times.iter().collect();
    let columns = vec![Arc::new(ts) as ArrayRef, Arc::new(keys) as _, Arc::new(numbers) as _];
    let batch = RecordBatch::try_new(events("a").schema, columns).unwrap();
    Rows::new(batch, times)
}

fn add(operator: &mut Box<dyn Operator>, values: &[(Option<i64>, Option<&str>, i64)]) {
    let prepared = operator.prepare(0, rows(values)).unwrap();
    operator.apply(0, prepared, &mut Vec::new()).unwrap();
}

fn close(operator: &mut Box<dyn Operator>, watermark: i64) -> Vec<String> {
    let mut out = Vec::new();
    operator.advance(Watermark(watermark), &mut out).unwrap();
    shown(&out)
}

fn commit(operator: &mut Box<dyn Operator>) -> Vec<Change> {
    let mut changes = Vec::new();
    crate::operators::commit(operator.as_mut(), &mut changes, &mut Vec::new()).unwrap();
    changes
}

/// `start-end key sum @ event time`
fn shown(rows: &[Rows]) -> Vec<String> {
    let [Rows { batch, event_times_ms, .. }] = rows else { return Vec::new() };
    let number = |column: usize, row: usize| {
        let column = cast(batch.column(column), &DataType::Int64).unwrap();
        column.as_primitive::<Int64Type>().value(row)
    };
    (0..batch.num_rows())
        .map(|row| {
            let keys = batch.column(2).as_string::<i32>();
            let key = if keys.is_null(row) { "NULL" } else { keys.value(row) };
            let time = event_times_ms.value(row);
            format!("{}-{} {key} {} @ {time}", number(0, row), number(1, row), number(3, row))
        })
        .collect()
}

#[tokio::test]
async fn windows_close_in_order_and_groups_are_sorted_by_key() {
    let mut operator = operator("sum(n) AS s").await;
    add(
        &mut operator,
        &[
            (Some(25), Some("z"), 1),
            (Some(-1), Some("b"), 2),
            (Some(5), Some("b"), 3),
            (Some(9), None, 4),
            (Some(0), Some("a"), 5),
            (Some(4), Some("b"), 6),
        ],
    );
    assert_eq!(operator.earliest_ms(), Some(-10));
    assert_eq!(close(&mut operator, -1), [""; 0]);
    assert_eq!(
        close(&mut operator, 10),
        ["-10-0 b 2 @ -1", "0-10 NULL 4 @ 9", "0-10 a 5 @ 9", "0-10 b 9 @ 9"]
    );
    assert_eq!(close(&mut operator, 29), [""; 0]);
    assert_eq!(close(&mut operator, 30), ["20-30 z 1 @ 29"]);
    assert_eq!(operator.earliest_ms(), None);
}

#[tokio::test]
async fn closing_one_window_keeps_what_is_new_of_others() {
    let mut operator = operator("sum(n) AS s").await;
    add(&mut operator, &[(Some(5), Some("a"), 1), (Some(15), Some("a"), 2)]);
    assert_eq!(commit(&mut operator).len(), 2);
    add(&mut operator, &[(Some(6), Some("a"), 10), (Some(16), Some("b"), 20)]);
    assert_eq!(close(&mut operator, 10), ["0-10 a 11 @ 9"]);
    add(&mut operator, &[(Some(17), Some("b"), 30)]);
    let changes = commit(&mut operator);
    let deleted = changes.iter().filter(|change| change.value.is_none()).count();
    assert_eq!((changes.len(), deleted), (2, 1));
    assert_eq!(close(&mut operator, 20), ["10-20 a 2 @ 19", "10-20 b 50 @ 19"]);
}

#[tokio::test]
async fn late_and_untimed_rows_are_counted_and_leave_no_trace() {
    let mut operator = operator("sum(n) AS s").await;
    operator.restored(Watermark(12)).unwrap();
    let values = [
        (Some(9), Some("a"), 1),
        (Some(10), Some("a"), 2),
        (None, Some("a"), 4),
        (Some(30), Some("a"), 8),
    ];
    let prepared = operator.prepare(0, rows(&values)).unwrap();
    assert_eq!((prepared.late, prepared.untimed), (1, 1));
    operator.apply(0, prepared, &mut Vec::new()).unwrap();
    assert_eq!(close(&mut operator, 40), ["10-20 a 2 @ 19", "30-40 a 8 @ 39"]);
}

#[tokio::test]
async fn a_window_of_a_wrong_clock_does_not_make_others_late() {
    let mut operator = operator("sum(n) AS s").await;
    add(&mut operator, &[(Some(5), Some("a"), 1), (Some(9_000_000), Some("a"), 2)]);
    assert_eq!(operator.releases_at(1000), Some(Watermark(10)));
    assert_eq!(close(&mut operator, 10), ["0-10 a 1 @ 9"]);
    add(&mut operator, &[(Some(15), Some("a"), 3)]);
    assert_eq!(operator.releases_at(1000), Some(Watermark(20)));
    assert_eq!(close(&mut operator, 20), ["10-20 a 3 @ 19"]);
    assert_eq!(operator.releases_at(1000), None);
    let mut out = Vec::new();
    operator.finish(1000, &mut out).unwrap();
    assert_eq!(shown(&out), ["9000000-9000010 a 2 @ 9000009"]);
    // Closed is closed, through a restart too, and what lies between is not.
    let late = |operator: &dyn Operator| {
        let values = [(Some(9_000_001), Some("a"), 4), (Some(8_000_000), Some("a"), 5)];
        operator.prepare(0, rows(&values)).unwrap().late
    };
    assert_eq!(late(operator.as_ref()), 1);
    let changes = commit(&mut operator);
    let [Change { key, value: Some(value) }] = changes.as_slice() else { panic!("{changes:?}") };
    let mut again = super::tests::operator("sum(n) AS s").await;
    again.restore(&key[StateId::of("q").key(&[]).len()..], Some(value)).unwrap();
    commit(&mut again);
    again.restored(Watermark(20)).unwrap();
    assert_eq!(late(again.as_ref()), 1);
    // Once the watermark is there, nothing is left to remember.
    close(&mut again, 9_000_010);
    let changes = commit(&mut again);
    assert!(matches!(changes.as_slice(), [Change { value: None, .. }]), "{changes:?}");
}
