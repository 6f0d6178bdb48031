use arrow::array::{StringArray, TimestampMillisecondArray};
use arrow::util::display::array_value_to_string;

use super::*;
use crate::operators::commit;
use crate::testing::{events, topology};

async fn operator() -> Box<dyn Operator> {
    let sql = "SELECT window_start, window_end, key, sum(n) AS total
               FROM (SELECT session_start(ts, INTERVAL '10 ms', key) AS window_start,
                            session_end(ts, INTERVAL '10 ms', key) AS window_end, key, n FROM a)
               GROUP BY window_start, window_end, key";
    let topology = topology(sql, &[&events("a")]).await.unwrap();
    topology.nodes[0].operator.clone().start(StateId::of("q")).unwrap()
}

/// How many rows came too late.
fn add(operator: &mut Box<dyn Operator>, values: &[(Option<i64>, &str, i64)]) -> usize {
    let times: Int64Array = values.iter().map(|row| row.0).collect();
    let keys: StringArray = values.iter().map(|row| Some(row.1)).collect();
    let numbers: Int64Array = values.iter().map(|row| Some(row.2)).collect();
    let starts: TimestampMillisecondArray = times.iter().collect();
    let ends: TimestampMillisecondArray = times.iter().map(|time| Some(time? + 10)).collect();
    let columns = vec![
        Arc::new(starts) as ArrayRef,
        Arc::new(ends) as _,
        Arc::new(keys) as _,
        Arc::new(numbers) as _,
    ];
    let names = ["window_start", "window_end", "key", "n"];
    let batch = RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap();
    let prepared = operator.prepare(0, Rows::new(batch, times)).unwrap();
    let late = prepared.late;
    operator.apply(0, prepared, &mut Vec::new()).unwrap();
    late
}

/// `start-end key sum @ event time`, in ms
fn shown(rows: &[Rows]) -> Vec<String> {
    let rows = rows.iter().flat_map(|rows| (0..rows.len()).map(move |row| (rows, row)));
    rows.map(|(rows, row)| {
        let number = |column: usize| {
            let column = cast(rows.batch.column(column), &DataType::Int64).unwrap();
            column.as_primitive::<Int64Type>().value(row)
        };
        let key = array_value_to_string(rows.batch.column(2), row).unwrap();
        let time = rows.event_times_ms.value(row);
        format!("{}-{} {key} {} @ {time}", number(0), number(1), number(3))
    })
    .collect()
}

fn advance(operator: &mut Box<dyn Operator>, watermark: i64) -> Vec<String> {
    let mut out = Vec::new();
    operator.advance(Watermark(watermark), &mut out).unwrap();
    shown(&out)
}

#[tokio::test]
async fn a_session_ends_the_gap_after_its_last_row() {
    let mut operator = operator().await;
    add(&mut operator, &[(Some(5), "x", 1), (Some(100), "x", 2), (Some(0), "y", 3)]);
    // Exactly the gap away extends it.
    add(&mut operator, &[(Some(15), "x", 4), (Some(11), "y", 5), (None, "y", 6)]);
    assert_eq!(operator.earliest_ms(), Some(0));
    assert_eq!(advance(&mut operator, 10), [""; 0]);
    assert_eq!(advance(&mut operator, 25), ["0-10 y 3 @ 10", "11-21 y 5 @ 21"]);
    assert_eq!(advance(&mut operator, 26), ["5-25 x 5 @ 25"]);
    assert_eq!(operator.releases_at(1000), Some(Watermark(111)));
    assert_eq!(advance(&mut operator, 111), ["100-110 x 2 @ 110"]);
}

#[tokio::test]
async fn a_late_row_joins_an_open_session_or_is_left_out() {
    let mut operator = operator().await;
    add(&mut operator, &[(Some(40), "x", 1)]);
    advance(&mut operator, 45);
    // The first would be over by itself, and extends the session; the last one reaches it by that.
    let late = add(&mut operator, &[(Some(10), "x", 1), (Some(33), "x", 2), (Some(25), "x", 4)]);
    assert_eq!(late, 1);
    assert_eq!(add(&mut operator, &[(Some(33), "y", 1)]), 1);
    assert_eq!(advance(&mut operator, 51), ["25-50 x 7 @ 50"]);
    assert_eq!(operator.kept().windows, 0);
}

#[tokio::test]
async fn sessions_that_become_one_bring_what_they_have_through_a_restart() {
    let mut first = operator().await;
    let mut changes = Vec::new();
    add(&mut first, &[(Some(0), "x", 1), (Some(20), "x", 2), (Some(40), "x", 4)]);
    commit(first.as_mut(), &mut changes, &mut Vec::new()).unwrap();
    add(&mut first, &[(Some(10), "x", 8)]);
    commit(first.as_mut(), &mut changes, &mut Vec::new()).unwrap();
    let mut kept = std::collections::BTreeMap::new();
    for Change { key, value } in changes {
        match value {
            Some(value) => kept.insert(key, value),
            None => kept.remove(&key),
        };
    }
    // Two sessions, each with a group.
    assert_eq!(kept.len(), 4);
    let mut second = operator().await;
    let prefix = StateId::of("q").key(&[]).len();
    for (key, value) in &kept {
        second.restore(&key[prefix..], Some(value)).unwrap();
    }
    commit(second.as_mut(), &mut Vec::new(), &mut Vec::new()).unwrap();
    second.restored(Watermark(5)).unwrap();
    add(&mut second, &[(Some(30), "x", 16)]);
    assert_eq!(advance(&mut second, 51), ["0-50 x 31 @ 50"]);
    let mut changes = Vec::new();
    commit(second.as_mut(), &mut changes, &mut Vec::new()).unwrap();
    changes.iter().filter(|change| change.value.is_none()).for_each(|change| {
        kept.remove(&change.key);
    });
    assert_eq!(kept.len(), 0);
}

#[tokio::test]
async fn a_session_that_was_told_at_the_end_takes_no_more_rows() {
    let mut operator = operator().await;
    add(&mut operator, &[(Some(1000), "x", 1)]);
    let mut out = Vec::new();
    operator.finish(500, &mut out).unwrap();
    assert_eq!(shown(&out), ["1000-1010 x 1 @ 1010"]);
    assert_eq!(add(&mut operator, &[(Some(1005), "x", 1), (Some(1020), "x", 2)]), 1);
    assert_eq!(advance(&mut operator, 2000), ["1020-1030 x 2 @ 1030"]);
    assert_eq!(operator.kept().windows, 0);
}
