//! Windows of every kind.

use std::time::Duration;

use super::*;
use crate::pipeline::LateRows;

fn logs() -> impl Strategy<Value = Vec<Vec<Vec<Event>>>> {
    let batch = prop::collection::vec(event(), 1..12);
    prop::collection::vec(prop::collection::vec(batch, 0..6), 1..4)
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Fate)>> {
    prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30)
}

/// The answers of `sql` here and in a batch, after a walk through crashes.
async fn compare(sql: &str, logs: &[Vec<Vec<Event>>], steps: &[(usize, usize, Fate)]) {
    compare_with(&patient(events("a")), sql, logs, steps).await;
}

async fn compare_with(
    source: &Source,
    sql: &str,
    logs: &[Vec<Vec<Event>>],
    steps: &[(usize, usize, Fate)],
) {
    let mut world = World::new(topology(sql, &[source]).await.unwrap());
    assert!(!world.topology.updating, "{sql}");
    world.fill(logs);
    walk(&mut world, steps);
    world.run_to_end();
    let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
    assert_same(world.out(), &batch_answer(sql, source, &all).await);
}

const CALLS: &str = "count(*) AS rows, sum(n) AS total, median(n) AS middle,
                     count(DISTINCT n) FILTER (WHERE n > 0) AS numbers";

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn windows_that_overlap_equal_batch_sql_through_crashes(logs in logs(), steps in steps()) {
        let windows = [
            "HOP((SELECT * FROM a), ts, INTERVAL '4 seconds', INTERVAL '10 seconds')",
            "HOP((SELECT * FROM a), ts, INTERVAL '10 seconds', INTERVAL '3 seconds', INTERVAL '1 second')",
            "CUMULATE((SELECT * FROM a), ts, INTERVAL '5 seconds', INTERVAL '20 seconds', INTERVAL '2 seconds')",
            "TUMBLE((SELECT * FROM a), ts, INTERVAL '7 seconds', INTERVAL '-3 seconds')",
        ];
        let groups = ["window_start, window_end, key", "key, window_end", "window_start"];
        block_on(async {
            for window in windows {
                for group in groups {
                    let sql = format!("SELECT {group}, {CALLS} FROM {window} GROUP BY {group}");
                    compare(&sql, &logs, &steps).await;
                }
            }
        });
    }

    #[test]
    fn windows_of_overlapping_windows_equal_batch_sql(logs in logs(), steps in steps()) {
        let hops = "SELECT window_start AS ws, window_end AS we, key, count(*) AS c
                    FROM HOP((SELECT * FROM a), ts, INTERVAL '4 seconds', INTERVAL '10 seconds')
                    GROUP BY window_start, window_end, key";
        let cumulated = hops.replace("HOP(", "CUMULATE(").replace("'10 sec", "'12 sec");
        let union = format!("({hops} UNION ALL {hops})");
        block_on(async {
            for sql in [
                format!("SELECT ws, we, max(c) AS most FROM ({hops}) GROUP BY ws, we"),
                format!("SELECT ws, we, max(c) AS most FROM ({cumulated}) GROUP BY we, ws"),
                format!("SELECT we, ws, sum(c) AS total FROM {union} GROUP BY we, ws"),
                format!(
                    "SELECT window_end, sum(c) AS total
                     FROM TUMBLE(({hops}), we, INTERVAL '30 seconds') GROUP BY window_end"
                ),
                format!(
                    "SELECT window_end, sum(c) AS total FROM HOP((SELECT tumble_start(ts,
                       INTERVAL '5 seconds') AS t, count(*) AS c FROM a GROUP BY 1), t,
                       INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY window_end"
                ),
                // By its latest time, a window lies in the one that it ends in.
                format!(
                    "SELECT window_start, window_time(window_end) AS wt, sum(c) AS total
                     FROM TUMBLE((SELECT window_time(we) AS rt, c FROM ({hops})), rt,
                       INTERVAL '20 seconds') GROUP BY window_start, window_end"
                ),
            ] {
                compare(&sql, &logs, &steps).await;
            }
        });
    }
}

/// Each partition in the order of time: nothing is late, however far the watermark has come.
fn in_order(logs: Vec<Vec<Vec<Event>>>) -> Vec<Vec<Vec<Event>>> {
    let in_order = |batches: Vec<Vec<Event>>| {
        let each = batches.first().map_or(1, Vec::len).max(1);
        let mut events = batches.concat();
        events.sort_by_key(|event| event.time);
        events.chunks(each).map(<[Event]>::to_vec).collect()
    };
    logs.into_iter().map(in_order).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// The time of a window is the event time of what comes out of it, for all that goes by it.
    #[test]
    fn what_follows_a_window_goes_by_its_time(logs in logs(), steps in steps()) {
        let counts = "SELECT window_time AS wt, key, count(*) AS c
                      FROM HOP((SELECT * FROM a), ts, INTERVAL '4 seconds', INTERVAL '10 seconds')
                      GROUP BY window_start, window_end, window_time, key";
        let best = "SELECT wt, key, c FROM (SELECT *, row_number() OVER (
                      PARTITION BY window_start, window_end ORDER BY c, key) AS place
                      FROM (SELECT window_start, window_end, window_time AS wt, key, count(*) AS c
                            FROM TUMBLE((SELECT * FROM a), ts, INTERVAL '3 seconds')
                            GROUP BY window_start, window_end, window_time, key))
                    WHERE place <= 2";
        let raw = "SELECT ts AS wt, key, 1 AS c FROM a";
        let sums = "sum(c) OVER (PARTITION BY key ORDER BY wt
                      RANGE BETWEEN INTERVAL '8 seconds' PRECEDING AND CURRENT ROW)";
        let logs = in_order(logs);
        block_on(async {
            for sql in [
                format!("SELECT wt, key, c, lag(c) OVER (PARTITION BY key ORDER BY wt) AS before
                         FROM ({counts})"),
                format!("SELECT wt, key, {sums} AS lately FROM ({best})"),
                format!("SELECT window_start, sum(c) AS c, count(*) AS rows
                         FROM TUMBLE(({best}), wt, INTERVAL '7 seconds')
                         GROUP BY window_start, window_end"),
                format!("SELECT window_start, key, sum(c) AS c
                         FROM TUMBLE(({counts} UNION ALL {raw}), wt, INTERVAL '7 seconds')
                         GROUP BY window_start, window_end, key"),
                format!("SELECT window_start, max(lately) AS lately
                         FROM TUMBLE((SELECT wt, {sums} AS lately FROM ({counts})), wt,
                           INTERVAL '7 seconds')
                         GROUP BY window_start, window_end"),
                "SELECT window_time, key, n FROM (SELECT *, row_number() OVER (
                    PARTITION BY window_start, window_end ORDER BY n, key, ts) AS place
                    FROM TUMBLE((SELECT * FROM a), ts, INTERVAL '3 seconds')) WHERE place <= 2"
                    .to_owned(),
            ] {
                compare_with(&events("a"), &sql, &logs, &steps).await;
            }
        });
    }
}

/// Sessions by islands and gaps: a row begins one if the one before it is further than the gap.
const ISLANDS: &str = "
    SELECT min(ts) AS window_start, max(ts) + INTERVAL '3 seconds' AS window_end, key,
           count(*) AS rows, sum(n) AS total, median(n) AS middle, min(n) AS least
    FROM (SELECT ts, key, n, sum(begins) OVER (PARTITION BY key ORDER BY ts) AS session
          FROM (SELECT ts, key, n,
                       CASE WHEN ts <= lag(ts) OVER (PARTITION BY key ORDER BY ts)
                                       + INTERVAL '3 seconds' THEN 0 ELSE 1 END AS begins FROM a))
    GROUP BY key, session";

const SESSIONS: &str = "
    SELECT session_start(ts, INTERVAL '3 seconds', key) AS window_start,
           session_end(ts, INTERVAL '3 seconds', key) AS window_end, key,
           count(*) AS rows, sum(n) AS total, median(n) AS middle, min(n) AS least
    FROM a GROUP BY 1, 2, 3";

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sessions_are_islands_between_gaps_through_crashes(logs in logs(), steps in steps()) {
        let source = patient(events("a"));
        block_on(async {
            let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
            for (ours, islands) in [
                (SESSIONS.to_owned(), ISLANDS.to_owned()),
                (SESSIONS.replace(", key)", ")").replace("key,", "").replace(", 2, 3", ", 2"),
                 ISLANDS.replace("PARTITION BY key ", "").replace("GROUP BY key,", "GROUP BY")
                     .replace("AS window_end, key,", "AS window_end,")),
                (format!("SELECT tumble_end(window_end, INTERVAL '20 seconds') AS t, sum(rows) AS r
                          FROM ({SESSIONS}) GROUP BY 1"),
                 format!("SELECT tumble_end(window_end, INTERVAL '20 seconds') AS t, sum(rows) AS r
                          FROM ({ISLANDS}) GROUP BY 1")),
            ] {
                let mut world = World::new(topology(&ours, &[&source]).await.unwrap());
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                assert_same(world.out(), &batch_answer(&islands, &source, &all).await);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever was late, and however often it came again after a crash: each row is in the answer
    /// of each of its windows, or put aside once.
    #[test]
    fn late_rows_are_answered_or_put_aside_through_crashes(mut logs in logs(), steps in steps()) {
        let events = logs.iter_mut().flatten().flatten().enumerate();
        events.for_each(|(number, event)| event.n = Some(number as i64));
        let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
        let mut source = super::events("a");
        source.watermark.late = LateRows::Topic { topic: "late".to_owned() };
        block_on(async {
            for window in WINDOWS {
                let rows = format!("SELECT window_start, window_end, key, n FROM {window}");
                let sql = format!(
                    "SELECT window_start, window_end, key, sum(n) AS total, count(*) AS rows
                     FROM {window} GROUP BY window_start, window_end, key"
                );
                let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let place = |row: &Value| {
                    ["window_start", "window_end", "n"].map(|name| row[name].to_string())
                };
                let mut rest: BTreeMap<[String; 3], Value> = BTreeMap::new();
                for row in batch_answer(&rows, &source, &all).await {
                    assert!(rest.insert(place(&row), row).is_none());
                }
                for late in world.written.remove("late").unwrap_or_default() {
                    assert!(rest.remove(&place(&late)).is_some(), "put aside twice: {late}");
                }
                let mut groups: BTreeMap<String, Value> = BTreeMap::new();
                for row in rest.into_values() {
                    let names = ["window_start", "window_end", "key"];
                    let mut group: serde_json::Map<String, Value> =
                        names.map(|name| (name.to_owned(), row[name].clone())).into_iter().collect();
                    let so_far = groups.entry(format!("{group:?}")).or_insert_with(|| {
                        group.insert("total".to_owned(), 0.into());
                        group.insert("rows".to_owned(), 0.into());
                        Value::Object(group)
                    });
                    let sum = so_far["total"].as_i64().unwrap() + row["n"].as_i64().unwrap();
                    so_far["total"] = sum.into();
                    so_far["rows"] = (so_far["rows"].as_i64().unwrap() + 1).into();
                }
                let groups: Vec<Value> = groups.into_values().collect();
                assert_same(world.out(), &groups);
            }
        });
    }
}

/// A topology that tells its windows as they change.
async fn telling(sql: &str, source: &Source) -> Topology {
    let mut query = crate::testing::query(sql, &[source]).await;
    query.emit = crate::pipeline::Emit::Changes;
    Topology::new(&query, &[Arc::new(source.clone())]).unwrap()
}

const WINDOWS: [&str; 3] = [
    "TUMBLE((SELECT * FROM a), ts, INTERVAL '10 seconds')",
    "HOP((SELECT * FROM a), ts, INTERVAL '4 seconds', INTERVAL '10 seconds')",
    "CUMULATE((SELECT * FROM a), ts, INTERVAL '5 seconds', INTERVAL '20 seconds')",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever was told in between, each step of it right, it folds to what batch SQL answers.
    #[test]
    fn windows_that_tell_changes_fold_to_batch_sql_through_crashes(
        logs in logs(),
        steps in steps(),
    ) {
        let source = patient(events("a"));
        block_on(async {
            for window in WINDOWS {
                let sql = format!(
                    "SELECT window_start, window_end, key, {CALLS} FROM {window}
                     GROUP BY window_start, window_end, key HAVING sum(n) IS NULL OR sum(n) > 0"
                );
                let mut world = World::new(telling(&sql, &source).await);
                assert!(world.topology.updating);
                world.fill(&logs);
                walk(&mut world, &steps);
                let task = world.run_to_end();
                assert_eq!(task.kept().groups, 0);
                let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
                assert_same(&world.answer(), &batch_answer(&sql, &source, &all).await);
            }
        });
    }

    /// Rows that are late by less than the lateness correct what was told.
    #[test]
    fn late_rows_update_their_windows_through_crashes(logs in logs(), steps in steps()) {
        let mut source = events("a");
        source.watermark.late = LateRows::Update { lateness: Duration::from_secs(1000) };
        block_on(async {
            for window in WINDOWS {
                let sql = format!(
                    "SELECT window_start, window_end, key, {CALLS} FROM {window}
                     GROUP BY window_start, window_end, key"
                );
                let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
                world.fill(&logs);
                walk(&mut world, &steps);
                let task = world.run_to_end();
                assert_eq!(task.counts().late, 0);
                let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
                assert_same(&world.answer(), &batch_answer(&sql, &source, &all).await);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Sessions that grow and become one, told as they do, or corrected by rows that are late.
    #[test]
    fn sessions_that_are_told_again_fold_to_islands_through_crashes(
        logs in logs(),
        steps in steps(),
    ) {
        let mut late = events("a");
        late.watermark.late = LateRows::Update { lateness: Duration::from_secs(1000) };
        let patient = patient(events("a"));
        block_on(async {
            let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
            let expected = batch_answer(ISLANDS, &patient, &all).await;
            for topology in [
                telling(SESSIONS, &patient).await,
                telling(SESSIONS, &late).await,
                topology(SESSIONS, &[&late]).await.unwrap(),
            ] {
                assert!(topology.updating);
                let mut world = World::new(topology);
                world.fill(&logs);
                walk(&mut world, &steps);
                let task = world.run_to_end();
                assert_eq!(task.counts().late, 0);
                assert_same(&world.answer(), &expected);
            }
        });
    }
}

/// `{"ts":…}` of one key.
fn row(time: i64) -> String {
    Event { time, key: Some("k".to_owned()), n: Some(1) }.json()
}

/// What each batch of rows brings out, `-` before what is taken back.
fn told(world: &mut World, batches: &[&[i64]]) -> (Task, Vec<Vec<String>>) {
    for batch in batches {
        let rows: Vec<String> = batch.iter().map(|time| row(*time)).collect();
        world.produce("a", 0, &rows);
    }
    let mut task = world.start();
    let mut told = Vec::new();
    while let Some(fetched) = world.fetch(&task, &TopicPartition::new("a", 0), 1) {
        task.process(&fetched, NOW).unwrap();
        let commit = task.commit(NOW).unwrap();
        let mut lines = Vec::new();
        for rows in &commit.printed {
            let encoder = RowEncoder::new(&Format::Json, &rows.batch.schema(), &[]).unwrap();
            let encoded = encoder.encode(&rows.batch).unwrap();
            for at in 0..rows.len() {
                let text = String::from_utf8_lossy(encoded.value(at).unwrap()).into_owned();
                lines.push(format!("{}{text}", if rows.is_retraction(at) { "-" } else { "" }));
            }
        }
        told.push(lines);
        world.write(commit);
    }
    (task, told)
}

const BY_WINDOW: &str = "SELECT window_start AS w, count(*) AS c
    FROM TUMBLE((SELECT * FROM a), ts, INTERVAL '10 seconds') GROUP BY window_start";

#[tokio::test]
async fn a_window_is_told_early_and_its_state_goes_when_it_closes() {
    let mut world = World::new(telling(BY_WINDOW, &events("a")).await);
    let (task, told) = told(&mut world, &[&[1000, 2000], &[3000], &[4000, 12_000], &[5000]]);
    assert_eq!(
        told,
        [
            vec![r#"{"w":"1970-01-01T00:00:00","c":2}"#],
            vec![r#"-{"w":"1970-01-01T00:00:00","c":2}"#, r#"{"w":"1970-01-01T00:00:00","c":3}"#],
            vec![
                r#"-{"w":"1970-01-01T00:00:00","c":3}"#,
                r#"{"w":"1970-01-01T00:00:00","c":4}"#,
                r#"{"w":"1970-01-01T00:00:10","c":1}"#,
            ],
            vec![],
        ]
    );
    assert_eq!((task.counts().late, task.kept().windows), (1, 1));
}

#[tokio::test]
async fn a_late_row_corrects_a_window_until_its_lateness_is_over() {
    let mut source = events("a");
    source.watermark.late = LateRows::Update { lateness: Duration::from_secs(5) };
    let mut world = World::new(topology(BY_WINDOW, &[&source]).await.unwrap());
    let (task, told) = told(&mut world, &[&[1000], &[12_000], &[2000], &[15_000], &[3000]]);
    assert_eq!(
        told,
        [
            vec![],
            vec![r#"{"w":"1970-01-01T00:00:00","c":1}"#],
            vec![r#"-{"w":"1970-01-01T00:00:00","c":1}"#, r#"{"w":"1970-01-01T00:00:00","c":2}"#],
            vec![],
            vec![],
        ]
    );
    assert_eq!((task.counts().late, task.kept().windows), (1, 1));
}

#[tokio::test]
async fn late_rows_are_put_aside_with_what_they_missed() {
    let by_window = BY_WINDOW.replace("count(*)", "max(ts)");
    for sql in [by_window.as_str(), SESSIONS] {
        let mut source = events("a");
        source.watermark.late = LateRows::Topic { topic: "late".to_owned() };
        let mut world = World::new(topology(sql, &[&source]).await.unwrap());
        let (task, _) = told(&mut world, &[&[1000], &[30_000], &[2000, 31_000, 3000]]);
        assert_eq!(task.counts().late, 2);
        let late: Vec<String> =
            world.written["late"].iter().map(|row| row["ts"].to_string()).collect();
        assert_eq!(late, [r#""1970-01-01T00:00:02""#, r#""1970-01-01T00:00:03""#], "{sql}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn grouping_sets_equal_batch_sql_through_crashes(logs in logs(), steps in steps()) {
        let hop = WINDOWS[1];
        let sqls = [
            format!(
                "SELECT window_start, window_end, key, n % 3 AS m, grouping(key) AS g, {CALLS}
                 FROM {hop} GROUP BY window_start, window_end, ROLLUP(key, n % 3)"
            ),
            format!(
                "SELECT window_start, key, grouping(key, n) AS g, sum(n) AS total, count(*) AS c
                 FROM {hop} GROUP BY window_start, CUBE(key, n) HAVING count(*) > 1"
            ),
            format!(
                "SELECT window_end, key, count(*) AS c FROM {hop}
                 GROUP BY GROUPING SETS ((window_end, key), (window_end), (window_end, key))"
            ),
        ];
        block_on(async {
            for sql in &sqls {
                compare(sql, &logs, &steps).await;
            }
            // Without a window, the sets of an answer that is updated.
            let source = events("a");
            let sql = "SELECT key, n % 3 AS m, grouping(key) AS g, grouping(n % 3) AS h,
                              sum(n) AS total, median(n) AS middle FROM a GROUP BY CUBE(key, n % 3)";
            let mut query = crate::testing::query(sql, &[&source]).await;
            query.sink.key = vec![0, 1, 2, 3];
            let topology = Topology::new(&query, &[Arc::new(source.clone())]).unwrap();
            let mut world = World::new(topology);
            world.fill(&logs);
            walk(&mut world, &steps);
            world.run_to_end();
            let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
            // Of nothing at all, a batch has the sum of all: a stream has yet to hear of a row.
            if !all.is_empty() {
                assert_same(&world.answer(), &batch_answer(sql, &source, &all).await);
            }
        });
    }
}

/// `cargo test --release -- --ignored --nocapture speed_of_windows`
#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_windows() {
    use crate::state::changelog::StateId;
    let source = events("a");
    let all: Vec<Event> = (0..8192i64)
        .map(|at| Event { time: at, key: Some(format!("key {}", at % 100)), n: Some(at) })
        .collect();
    let batch = table(&source, &all);
    for window in [
        "TUMBLE((SELECT * FROM a), ts, INTERVAL '1 hour')",
        "HOP((SELECT * FROM a), ts, INTERVAL '10 minutes', INTERVAL '1 hour')",
        "HOP((SELECT * FROM a), ts, INTERVAL '1 minute', INTERVAL '1 hour')",
        "CUMULATE((SELECT * FROM a), ts, INTERVAL '1 hour', INTERVAL '1 day')",
        "SESSION((SELECT * FROM a), ts, INTERVAL '1 minute', key)",
    ] {
        let sql = match window.starts_with("SESSION") {
            true => SESSIONS.replace("median(n)", "avg(n)"),
            false => format!(
                "SELECT window_start, window_end, key, count(*) AS c, sum(n) AS s FROM {window}
                 GROUP BY window_start, window_end, key"
            ),
        };
        let topology = topology(&sql, &[&source]).await.unwrap();
        let (input, node) = (&topology.inputs[0], &topology.nodes[0]);
        let mut operator = node.operator.clone().start(StateId::of("q")).unwrap();
        let projected = batch.project(&input.projection).unwrap();
        let (mut rows, mut out) = (0, Vec::new());
        let started = std::time::Instant::now();
        for at in 0..100i64 {
            let times: Int64Array = (0..8192i64).map(|row| Some(at * 8192 + row)).collect();
            let times_of_batch: TimestampMillisecondArray = times.iter().collect();
            let mut columns = projected.columns().to_vec();
            columns[0] = Arc::new(times_of_batch);
            let moved = RecordBatch::try_new(projected.schema(), columns).unwrap();
            let staged = input.stage.apply(Rows::new(moved, times), &[]).unwrap();
            let prepared = operator.prepare(0, staged).unwrap();
            operator.apply(0, prepared, &mut out).unwrap();
            operator.advance(Watermark(at * 8192), &mut out).unwrap();
            rows += 8192;
        }
        operator.advance(Watermark(i64::MAX - 1), &mut out).unwrap();
        let per_row = started.elapsed().as_nanos() / rows;
        let answers: usize = out.iter().map(Rows::len).sum();
        println!("{per_row} ns a row, {answers} answers: {window}");
    }
}
