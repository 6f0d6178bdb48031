//! The first rows of each key, rows beside others in event time, and rows without their doubles.

use super::*;

fn logs() -> impl Strategy<Value = Vec<Vec<Vec<Event>>>> {
    prop::collection::vec(prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4)
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Fate)>> {
    prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30)
}

/// A world after this walk to the end.
async fn walked(
    sql: &str,
    source: &Source,
    logs: &[Vec<Vec<Event>>],
    steps: &[(usize, usize, Fate)],
) -> World {
    let mut world = World::new(topology(sql, &[source]).await.unwrap());
    world.fill(logs);
    walk(&mut world, steps);
    world.run_to_end();
    world
}

fn all(logs: &[Vec<Vec<Event>>]) -> Vec<Event> {
    logs.iter().flatten().flatten().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever was told in between, it folds to what batch SQL answers.
    #[test]
    fn the_first_rows_of_each_key_fold_to_batch_sql_through_crashes(
        logs in logs(), steps in steps(), limit in 1..4,
    ) {
        let source = events("a");
        let sqls = [
            format!(
                "SELECT key, n, ts, rn FROM (SELECT *, row_number() OVER (
                   PARTITION BY key ORDER BY n DESC, ts) AS rn FROM a) WHERE rn <= {limit}"
            ),
            format!(
                "SELECT key, n, ts FROM a
                 QUALIFY row_number() OVER (PARTITION BY key ORDER BY n DESC, ts) <= {limit}"
            ),
            format!(
                "SELECT key, n, rank() OVER (PARTITION BY key ORDER BY n NULLS FIRST) AS r
                 FROM a QUALIFY r <= {limit}"
            ),
            format!(
                "SELECT key, n, ts, dense_rank() OVER (PARTITION BY key ORDER BY n) AS r
                 FROM a WHERE n > 0 QUALIFY r <= {limit} AND r <> 2"
            ),
            format!(
                "SELECT DISTINCT ON (key) key, n + 1 AS m, ts FROM a ORDER BY key, n DESC, ts"
            ),
            // Ranks of an answer that changes.
            format!(
                "SELECT key, c, total FROM (SELECT key, count(*) AS c, sum(n) AS total FROM a
                 GROUP BY key) QUALIFY row_number() OVER (ORDER BY c DESC, key) <= {limit}"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let mut topology = topology(&sql, &[&source]).await.unwrap();
                assert!(topology.updating, "{sql}");
                topology.sink.key = (0..topology.schema.fields().len()).collect();
                let mut world = World::new(topology);
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let batch = batch_answer(&sql, &source, &all(&logs)).await;
                assert_same(&world.rows(), &batch);
            }
        });
    }

    #[test]
    fn the_first_rows_of_each_window_are_final_and_equal_batch_sql_through_crashes(
        logs in logs(), steps in steps(), limit in 1..4,
    ) {
        let source = patient(events("a"));
        let windowed = format!(
            "SELECT ts, key, n, {WINDOW} AS ws, tumble_end(ts, INTERVAL '10 seconds') AS we FROM a"
        );
        let counted =
            format!("SELECT ws, we, key, count(*) AS c FROM ({windowed}) GROUP BY ws, we, key");
        let sqls = [
            format!(
                "SELECT ws, key, n, ts, rn FROM (SELECT *, row_number() OVER (
                   PARTITION BY ws, we, key ORDER BY n, ts) AS rn FROM ({windowed}))
                 WHERE rn <= {limit}"
            ),
            format!(
                "SELECT ws, key, c FROM ({counted}) QUALIFY row_number() OVER (
                   PARTITION BY ws, we ORDER BY c DESC, key) <= {limit}"
            ),
            format!(
                "SELECT ws, key, c, rank() OVER (PARTITION BY ws ORDER BY c DESC) AS r
                 FROM ({counted}) QUALIFY r <= {limit}"
            ),
            // A window of what came out of a window.
            format!(
                "SELECT tumble_start(ws, INTERVAL '30 seconds') AS w, count(*) AS rows, sum(c) AS s
                 FROM (SELECT ws, c FROM ({counted}) QUALIFY row_number() OVER (
                   PARTITION BY ws, we ORDER BY c DESC, key) <= {limit}) GROUP BY 1"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let world = walked(&sql, &source, &logs, &steps).await;
                assert!(!world.topology.updating, "{sql}");
                let batch = batch_answer(&sql, &source, &all(&logs)).await;
                assert_same(world.out(), &batch);
            }
        });
    }
}

/// Functions whose answers are the same whatever the order of rows of one time.
const FRAMES: [&str; 10] = [
    "lead(ts) OVER (w)",
    "lead(ts, 3) OVER (w)",
    "lag(ts, 2) OVER (w)",
    "count(*) OVER (w ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    "max(ts) OVER (w ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING)",
    "max(n) OVER (w RANGE BETWEEN INTERVAL '3' SECOND PRECEDING AND CURRENT ROW)",
    "count(n) OVER (w RANGE BETWEEN INTERVAL '5' SECOND PRECEDING AND INTERVAL '1' SECOND PRECEDING)",
    "sum(n) OVER (w RANGE BETWEEN INTERVAL '1' SECOND PRECEDING AND INTERVAL '2' SECOND FOLLOWING)",
    "sum(n) OVER (w)",
    "rank() OVER (w)",
];

/// Events of which many have the same time.
fn close_logs() -> impl Strategy<Value = Vec<Vec<Vec<Event>>>> {
    let key = prop::option::weighted(0.9, "[ab]?");
    let event = (0..60i64, key, prop::option::weighted(0.9, -5..50i64))
        .prop_map(|(time, key, n)| Event { time: time * 500, key, n });
    prop::collection::vec(prop::collection::vec(prop::collection::vec(event, 1..12), 0..6), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Frames that reach by rows beside frames that reach by time. Once a row that waits for others
    /// while the watermark goes on made the operator look for ever at what it kept.
    #[test]
    fn frames_of_all_kinds_beside_one_another_equal_batch_sql_through_crashes(
        logs in close_logs(),
        steps in steps(),
        chosen in prop::collection::btree_set(0..FRAMES.len(), 1..5),
    ) {
        let source = patient(events("a"));
        let calls = chosen.iter().map(|&at| FRAMES[at].replace("(w", "(PARTITION BY key ORDER BY ts"));
        let calls = calls.enumerate().map(|(at, call)| format!(", {call} AS c{at}"));
        let sql = format!("SELECT ts, key{} FROM a", calls.collect::<String>());
        block_on(async {
            let world = walked(&sql, &source, &logs, &steps).await;
            let batch = batch_answer(&sql, &source, &all(&logs)).await;
            assert_same(world.out(), &batch);
        });
    }

    #[test]
    fn rows_beside_rows_equal_batch_sql_through_crashes(logs in close_logs(), steps in steps()) {
        let source = patient(events("a"));
        let by_all = "PARTITION BY key ORDER BY ts, n";
        let by_time = "PARTITION BY key ORDER BY ts";
        let sqls = [
            format!(
                "SELECT ts, key, n, row_number() OVER ({by_all}) AS rn, rank() OVER ({by_all}) AS r,
                        dense_rank() OVER ({by_all}) AS d, lag(n) OVER ({by_all}) AS before,
                        lag(n, 2, -1) OVER ({by_all}) AS two_before,
                        nth_value(n, 2) OVER ({by_all}) AS second,
                        nth_value(n, 2) IGNORE NULLS OVER ({by_all}
                          ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING) AS known,
                        nth_value(n, -2) OVER ({by_all}
                          ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS last_but_one,
                        first_value(n) OVER ({by_all}) AS first,
                        first_value(n) IGNORE NULLS OVER (
                          {by_all} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS first_of_3,
                        last_value(n) OVER (
                          {by_all} ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS last_before,
                        sum(n) OVER ({by_all} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s
                 FROM a"
            ),
            format!(
                "SELECT ts, key, n, count(*) OVER ({by_time}) AS rows, sum(n) OVER ({by_time}) AS s,
                        avg(n) FILTER (WHERE n > 3) OVER ({by_time}) AS mean,
                        max(n) OVER ({by_time} RANGE BETWEEN INTERVAL '3' SECOND PRECEDING
                                                AND CURRENT ROW) AS most,
                        count(DISTINCT n) OVER ({by_time} RANGE BETWEEN INTERVAL '5' SECOND
                                                PRECEDING AND INTERVAL '1' SECOND PRECEDING) AS c,
                        median(n) OVER ({by_time} RANGE BETWEEN CURRENT ROW
                                                AND INTERVAL '2.5' SECOND FOLLOWING) AS middle
                 FROM a"
            ),
            format!(
                "SELECT ts, key, n, lead(n) OVER ({by_all}) AS next,
                        lead(n, 3, 0) OVER ({by_all}) AS third,
                        min(n) OVER ({by_all} ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) AS least,
                        rank() OVER ({by_all}) AS r
                 FROM a WHERE n IS NOT NULL"
            ),
            format!(
                "SELECT ts, key, n, sum(n) OVER (ORDER BY ts) AS s,
                        sum(n) OVER (ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                          - sum(n) OVER (ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING
                          AND CURRENT ROW) AS nothing,
                        first_within(ts, INTERVAL '4' SECOND) OVER (PARTITION BY key ORDER BY ts)
                          AS first,
                        last_within(ts, INTERVAL '4' SECOND) OVER (PARTITION BY key ORDER BY ts)
                          AS last
                 FROM a WHERE n = 3"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let world = walked(&sql, &source, &logs, &steps).await;
                assert!(!world.topology.updating, "{sql}");
                assert_same(world.out(), &batch_answer(&sql, &source, &all(&logs)).await);
            }
        });
    }

    #[test]
    fn rows_without_their_doubles_equal_batch_sql_through_crashes(
        logs in close_logs(), steps in steps(), limit in 1..3,
    ) {
        let source = patient(events("a"));
        let first = format!(
            "SELECT ts, key, n FROM a
             QUALIFY row_number() OVER (PARTITION BY key ORDER BY ts, n) <= {limit}"
        );
        let sqls = [
            first.clone(),
            "SELECT DISTINCT ON (key) key, ts FROM a ORDER BY key, ts, n".to_owned(),
            "SELECT ts, key FROM a QUALIFY rank() OVER (PARTITION BY key ORDER BY ts) = 1".to_owned(),
            "SELECT ts, key FROM a QUALIFY first_within(ts, INTERVAL '4' SECOND)
               OVER (PARTITION BY key ORDER BY ts)".to_owned(),
            "SELECT ts, key FROM a QUALIFY last_within(ts, INTERVAL '4' SECOND)
               OVER (PARTITION BY key ORDER BY ts)".to_owned(),
            // A window of first rows: these come out in time.
            format!(
                "SELECT {WINDOW} AS ws, count(*) AS c, sum(n) AS s FROM ({first}) GROUP BY {WINDOW}"
            ),
            // The windows before a window.
            format!(
                "SELECT ws, key, c, c - lag(c) OVER (PARTITION BY key ORDER BY ws) AS more
                 FROM (SELECT {WINDOW} AS ws, key, count(*) AS c FROM a GROUP BY 1, 2)"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let world = walked(&sql, &source, &logs, &steps).await;
                assert!(!world.topology.updating, "{sql}");
                assert_same(world.out(), &batch_answer(&sql, &source, &all(&logs)).await);
            }
        });
    }

    /// The last row of each key is told anew whenever a later one comes.
    #[test]
    fn the_last_row_of_each_key_folds_to_batch_sql_through_crashes(
        logs in close_logs(), steps in steps(),
    ) {
        let source = events("a");
        let sql = "SELECT key, n, ts FROM a
                   QUALIFY row_number() OVER (PARTITION BY key ORDER BY ts DESC, n) = 1";
        block_on(async {
            let world = walked(sql, &source, &logs, &steps).await;
            assert_same(&world.answer(), &batch_answer(sql, &source, &all(&logs)).await);
        });
    }
}
