//! Joins with a table as it was, beside what each row should have met.

use arrow::datatypes::DataType;

use super::*;
use crate::pipeline::SourceKind;
use crate::testing::{source, timestamp};

#[derive(Clone, Debug)]
struct Rate {
    at: i64,
    key: String,
    rate: i64,
}

/// `at`, `key`, `rate`: with `at` as its event time.
fn rates() -> Source {
    let columns = [("at", timestamp()), ("key", DataType::Utf8), ("rate", DataType::Int64)];
    Source { kind: SourceKind::Table { key: vec![1] }, ..source("rates", Format::Json, &columns) }
}

fn logs() -> impl Strategy<Value = (Vec<Vec<Event>>, Vec<Vec<Rate>>)> {
    let rate =
        (0..100_000i64, "[ab]{0,1}", 0..9i64).prop_map(|(at, key, rate)| Rate { at, key, rate });
    let events = (prop::collection::vec(event(), 1..40), 1..6usize);
    let rates = (prop::collection::vec(rate, 1..20), 1..6usize);
    (events, rates).prop_map(|((mut events, one), (mut rates, other))| {
        events.sort_by_key(|event| event.time);
        rates.sort_by_key(|rate| rate.at);
        // Which of two of one time and key is the last is a matter of the topic, not of time.
        rates.dedup_by_key(|rate| rate.at);
        let events = events.chunks(one).map(<[Event]>::to_vec).collect();
        (events, rates.chunks(other).map(<[Rate]>::to_vec).collect())
    })
}

fn log(batches: &[Vec<Rate>]) -> Vec<LogBatch> {
    let mut log: Vec<LogBatch> = Vec::new();
    for batch in batches {
        let mut builder = BatchBuilder::default();
        for Rate { at, key, rate } in batch {
            // A rate of 0 deletes.
            let value = serde_json::json!({"at": at, "key": key, "rate": rate}).to_string();
            let value = (*rate > 0).then_some(value.as_bytes());
            builder.append(*at, Some(key.as_bytes()), value);
        }
        let base = log.last().map_or(Offset::ZERO, LogBatch::next_offset);
        log.push(builder.build(ProducerStamp::NONE).stamped(base, LeaderEpoch(0)));
    }
    log
}

/// A query over both, with all that they are to bring.
async fn world(
    sql: &str,
    sources: [&Source; 2],
    events_log: &[Vec<Event>],
    rates_log: &[Vec<Rate>],
) -> World {
    let mut world = World::new(topology(sql, &sources).await.unwrap());
    for batch in events_log {
        let values: Vec<String> = batch.iter().map(Event::json).collect();
        world.produce("a", 0, &values);
    }
    world.inputs.insert(TopicPartition::new("rates", 0), log(rates_log));
    world
}

/// What the rule says, row by row.
fn expected(events: &[Event], rates: &[Rate], outer: bool) -> Vec<Value> {
    let mut rows = Vec::new();
    for event in events {
        let known = rates
            .iter()
            .rev()
            .find(|rate| rate.at <= event.time && Some(&rate.key) == event.key.as_ref());
        let met = known.map(|rate| rate.rate).filter(|&rate| rate > 1);
        let met = met.filter(|&rate| event.n.is_some_and(|n| n < rate));
        if outer || met.is_some() {
            rows.push(serde_json::json!({"ts_ms": event.time, "n": event.n, "rate": met}));
        }
    }
    rows
}

const DISORDER_MS: i64 = 20_000;

/// Rates may come as much later than others of their time.
fn disordered_logs() -> impl Strategy<Value = (Vec<Vec<Event>>, Vec<Vec<Rate>>)> {
    let delays = prop::collection::vec(0..DISORDER_MS, 20);
    (logs(), delays).prop_map(|((events, rates), delays)| {
        let each = rates.first().map_or(1, Vec::len);
        let mut delayed: Vec<(Rate, i64)> = rates.concat().into_iter().zip(delays).collect();
        delayed.sort_by_key(|(rate, delay)| rate.at + delay);
        let rates: Vec<Rate> = delayed.into_iter().map(|(rate, _)| rate).collect();
        (events, rates.chunks(each).map(<[Rate]>::to_vec).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn rows_meet_the_table_as_it_was(
        (events_log, rates_log) in disordered_logs(),
        steps in prop::collection::vec((0..2usize, 1..3usize, fate()), 0..40),
        outer in any::<bool>(),
        beside in any::<bool>(),
    ) {
        let kind = if outer { "LEFT JOIN" } else { "JOIN" };
        let rows = format!(
            "SELECT a.ts, a.key, a.n, r.rate FROM a
             {kind} (SELECT * FROM rates WHERE rate > 1) AS r
             ON a.key = r.key AND a.n < r.rate AND system_time_as_of(a.ts, r.key)"
        );
        let rows = if beside {
            let count = "count(*) OVER (PARTITION BY key ORDER BY ts) AS so_far";
            format!("SELECT * FROM (SELECT *, {count} FROM ({rows})) WHERE so_far > 0")
        } else {
            rows
        };
        let sql = format!("SELECT arrow_cast(ts, 'Int64') AS ts_ms, n, rate FROM ({rows})");
        let (left, mut right) = (events("a"), rates());
        right.watermark.delay = Duration::from_millis(DISORDER_MS as u64);
        block_on(async {
            let mut world = world(&sql, [&left, &right], &events_log, &rates_log).await;
            walk(&mut world, &steps);
            let task = world.run_to_end();
            assert_eq!(task.counts().late, 0);
            let (events, mut rates) = (events_log.concat(), rates_log.concat());
            rates.sort_by_key(|rate| rate.at);
            assert_same(world.out(), &expected(&events, &rates, outer));
        });
    }
}

/// What came of windows met no table as it was.
#[test]
fn windows_meet_the_table_as_it_was_at_their_end() {
    proptest!(ProptestConfig { cases: 64, ..ProptestConfig::default() }, |(
        (events_log, rates_log) in logs(),
        steps in prop::collection::vec((0..2usize, 1..3usize, fate()), 0..40),
        at_end in any::<bool>(),
    )| {
        let seen = if at_end { "w.we" } else { "window_time(w.we)" };
        let sql = format!(
            "SELECT arrow_cast(w.we, 'Int64') AS end_ms, w.key, w.c, r.rate FROM (
               SELECT window_end AS we, key, count(*) AS c
               FROM TUMBLE((SELECT * FROM a), ts, INTERVAL '10 seconds')
               GROUP BY window_start, window_end, key) AS w
             JOIN rates AS r ON w.key = r.key AND system_time_as_of({seen}, r.key)"
        );
        let (left, right) = (patient(events("a")), rates());
        block_on(async {
            let mut world = world(&sql, [&left, &right], &events_log, &rates_log).await;
            walk(&mut world, &steps);
            world.run_to_end();
            let mut counts: BTreeMap<(i64, String), u64> = BTreeMap::new();
            for Event { time, key, .. } in events_log.concat() {
                let end_ms = (time.div_euclid(10_000) + 1) * 10_000;
                if let Some(key) = key {
                    *counts.entry((end_ms, key)).or_default() += 1;
                }
            }
            let rates = rates_log.concat();
            let mut expected = Vec::new();
            for ((end_ms, key), c) in counts {
                let seen_ms = if at_end { end_ms } else { end_ms - 1 };
                let known = rates.iter().rev().find(|rate| rate.at <= seen_ms && rate.key == key);
                if let Some(rate) = known.map(|rate| rate.rate).filter(|&rate| rate > 0) {
                    expected.push(serde_json::json!(
                        {"end_ms": end_ms, "key": key, "c": c, "rate": rate}
                    ));
                }
            }
            assert_same(world.out(), &expected);
        });
    });
}

#[tokio::test]
async fn versions_are_kept_as_long_as_they_may_be_met() {
    let sql = "SELECT a.n, r.rate FROM a JOIN rates AS r
               ON a.key = r.key AND system_time_as_of(a.ts, r.key)";
    let mut world = World::new(topology(sql, &[&events("a"), &rates()]).await.unwrap());
    let rate = |at, rate| Rate { at, key: "x".to_owned(), rate };
    let rates = [vec![rate(10, 1), rate(20, 2), rate(30, 3)], vec![rate(100, 4)]];
    world.inputs.insert(TopicPartition::new("rates", 0), log(&rates));
    let event = |time| Event { time, key: Some("x".to_owned()), n: Some(time) }.json();
    world.produce("a", 0, &[event(5), event(25), event(30)]);
    world.produce("a", 0, &[event(60), event(2)]);
    let mut task = world.start();
    let mut seen = Vec::new();
    for topic in ["rates", "a", "a", "rates"] {
        let fetched = world.fetch(&task, &TopicPartition::new(topic, 0), 1).unwrap();
        task.process(&fetched, NOW).unwrap();
        world.write(task.commit(NOW).unwrap());
        seen.push((world.out().len(), task.kept().groups));
    }
    // 25 comes when both are past it; then 30 and, once the table is past 60 too, all.
    assert_eq!(seen, [(0, 3), (1, 2 + 1), (1, 2 + 2), (2, 2 + 1)]);
    assert_eq!(task.counts().late, 1);
    task.finish(NOW).unwrap();
    world.write(task.commit(NOW).unwrap());
    let rows: Vec<String> = world.out().iter().map(Value::to_string).collect();
    assert_eq!(rows, [r#"{"n":25,"rate":2}"#, r#"{"n":30,"rate":3}"#, r#"{"n":60,"rate":3}"#]);
}

/// The log of a table without disorder says nothing that must be remembered for long.
#[tokio::test]
async fn deletions_are_forgotten_with_the_keys_that_they_deleted() {
    let sql = "SELECT a.n, r.rate FROM a JOIN rates AS r
               ON a.key = r.key AND system_time_as_of(a.ts, r.key)";
    let mut world = World::new(topology(sql, &[&events("a"), &rates()]).await.unwrap());
    let rate = |at, key: &str, rate| Rate { at, key: key.to_owned(), rate };
    // One is deleted before it is there, another one comes again, the third one is gone for good.
    let rates = [
        rate(10, "x", 1),
        rate(20, "x", 0),
        rate(12, "y", 0),
        rate(11, "y", 2),
        rate(13, "z", 3),
        rate(14, "z", 0),
        rate(30, "x", 4),
        rate(90, "w", 5),
        rate(91, "v", 0),
    ];
    world.inputs.insert(TopicPartition::new("rates", 0), log(&[rates.to_vec()]));
    let event = |time, key: &str| Event { time, key: Some(key.to_owned()), n: Some(time) }.json();
    world.produce("a", 0, &[event(11, "y"), event(12, "y"), event(25, "x"), event(31, "x")]);
    world.produce("a", 0, &[event(90, "z")]);
    let mut task = world.start();
    for topic in ["rates", "a", "a"] {
        let fetched = world.fetch(&task, &TopicPartition::new(topic, 0), 1).unwrap();
        task.process(&fetched, NOW).unwrap();
        world.write(task.commit(NOW).unwrap());
    }
    let rows: Vec<String> = world.out().iter().map(Value::to_string).collect();
    assert_eq!(rows, [r#"{"n":11,"rate":2}"#, r#"{"n":31,"rate":4}"#]);
    let mut restored = Changelog::default();
    for change in &world.changelog {
        restored.apply(Some(&change.key), change.value.as_deref());
    }
    // x and w with their records' keys, the deletion of v, what waits; and how far it all has come.
    assert_eq!(restored.keys().count(), 4 + 1 + 1 + 1);
}
